"""A small convolutional network behind a spatial transformer (Jaderberg et al. 2015, arXiv:1506.02025)."""

from functools import partial

import numpy as np

from .. import layers as L
from ..datasets.distorted_digits import DISTORTION
from ..figures import new_figure
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..tasks import Classification, Model, Recipe

EXAMPLES = 2        # of each class, in the picture


def stn(transformer=True, input_shape=(1, 42, 42), classes=10, seed=0):
    """Two convolutions with pooling and two dense layers, which read the image as a spatial transformer turns it.

    Parameters
    ----------
    transformer : bool
        Without it, the same classifier reads the image as it is.
    input_shape : tuple of int
        ``(C, H, W)``, H and W at least 34 with a transformer, 16 without.
    classes : int
        Scores at the output.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers conv1, pool1, conv2, pool2, flatten, dense and output; before them transformer.theta (the affine map),
        transformer.grid and transformer, and those of the localisation, locate.half, locate.conv1 ...

    Examples
    --------
    >>> from pycnn.models import stn
    >>> stn().count_parameters(), stn(transformer=False).count_parameters()
    (126600, 114314)
    """
    image = Input(input_shape, name="image")
    h = L.SpatialTransformer(localisation)(image) if transformer else image
    for number, filters in enumerate((16, 32), 1):
        h = pooled_convolution(h, filters, number)
    h = dense_layer(h, 64)
    return Network(image, L.Dense(classes, name="output")(h), name="stn" if transformer else "stn-without", seed=seed)


def localisation(image):
    """20 features of an image of half the size, by which a transformer decides."""
    h = L.AvgPool(2, name="locate.half")(image)
    for number in (1, 2):
        h = pooled_convolution(h, 20, number, "locate.")
    return dense_layer(h, 20, "locate.")


def pooled_convolution(x, filters, number, prefix=""):
    h = L.Conv(filters, 5, activation="relu", weight_init="he_normal", name=f"{prefix}conv{number}")(x)
    return L.MaxPool(2, name=f"{prefix}pool{number}")(h)


def dense_layer(x, units, prefix=""):
    h = L.Flatten(name=f"{prefix}flatten")(x)
    return L.Dense(units, activation="relu", weight_init="he_normal", name=f"{prefix}dense")(h)


def transformed(net, images):
    """What the transformer of `stn` makes of images.

    Parameters
    ----------
    net : Network
        With a transformer.
    images : array (N, C, H, W)

    Returns
    -------
    images : array (N, C, H, W)
        As the classifier sees them.
    theta : array (N, 2, 3)
        The affine maps.
    """
    image = Input(*net.input_shapes.values(), name="image")
    sampled = L.SpatialTransformer(localisation)(image)
    (theta,) = sampled.inputs[1].inputs
    inner = Network(image, [sampled, theta], dtype=net.dtype)
    for name, parameter in inner.parameters.items():
        parameter[...] = net.parameters[name]
    seen, maps = inner.predict(images)
    return seen, maps.reshape(-1, 2, 3)


class Transformation(Classification):
    """Classification of what a spatial transformer makes of the images."""

    def figure(self, net, history, x, y, *, data, title):
        if "transformer" not in net.layers:
            return super().figure(net, history, x, y, data=data, title=title)
        return transformer_figure(net, x, y, title=title)


def transformer_figure(net, x, y, title=None):
    """A picture of what the transformer of `stn` does: a column for each class.

    Parameters
    ----------
    net : Network
    x : array (N, 1, H, W)
    y : array of int (N,)
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        Inputs with the frame that the transformer reads, its upper edge dashed, above what it makes of them, and the means of
        all inputs above those of all that comes out.
    """
    seen, theta = transformed(net, x)
    classes = np.unique(y)
    of_class = [np.flatnonzero(y == c) for c in classes]
    rows = []
    for i in range(EXAMPLES):
        chosen = [numbers[i % len(numbers)] for numbers in of_class]
        rows += [("input", x[chosen], theta[chosen]), ("transformed", seen[chosen], None)]
    rows += [(f"mean\n{name}", np.stack([images[numbers].mean(0) for numbers in of_class]), None)
             for name, images in (("input", x), ("transformed", seen))]
    figure = new_figure(1.1 * len(classes) + 1, 1.15 * len(rows) + 0.5)
    for (name, images, frames), axes in zip(rows, figure.subplots(len(rows), len(classes), squeeze=False)):
        for j, axis in enumerate(axes):
            axis.imshow(images[j, 0], cmap="gray", vmin=0, vmax=images[j, 0].max())
            axis.set(xticks=[], yticks=[])
            if frames is not None:
                draw_frame(axis, frames[j], images.shape[2:])
        axes[0].set_ylabel(name)
    if title:
        figure.suptitle(title)
    return figure


def draw_frame(axis, theta, size):
    """Draws which part of an image of that (H, W) is read, and with dashes the part's upper edge."""
    corners = theta @ np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], [1, 1, 1, 1, 1]])
    columns, rows = ((c + 1) * n / 2 - 0.5 for c, n in zip(corners, size[::-1]))
    axis.plot(columns[1:], rows[1:], color="tab:orange", linewidth=1)
    axis.plot(columns[:2], rows[:2], color="tab:orange", linewidth=1.5, linestyle=(0, (2, 1)))
    axis.set(xlim=(-8.5, size[1] + 7.5), ylim=(size[0] + 7.5, -8.5), facecolor="0.25")


RECIPES = {"distorted-digits": Recipe(60, 64, partial(AdamW, weight_decay=0.3), 2e-3, warmup=2, augment=DISTORTION)}
STN = Model(stn, RECIPES, Transformation())
STN_WITHOUT = Model(partial(stn, transformer=False), RECIPES, Transformation())
