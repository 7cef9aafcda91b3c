"""Convolutional autoencoders of small images: 784 values through a few maps of 7x7, and back."""


import numpy as np

from .. import layers as L
from ..figures import rows_of_images
from ..graph import Input
from ..network import Network
from ..optimizers import Adam
from ..tasks import SHOWN_BATCH, Model, Recipe, Task

SHOWN = 12      # images of a picture


def encode(image, maps, label):
    """Convolutions 3x3 with rectifiers, as many as `maps` has numbers; the first two are pooled 2x2."""
    if len(image.shape) != 3 or any(side % 4 for side in image.shape[1:]):
        raise ValueError(f"{label}: images are (C, H, W) with H and W multiples of 4, got {image.shape}")
    h = image
    for number, filters in enumerate(maps, 1):
        h = L.Conv(filters, 3, padding=1, activation="relu", name=f"encode{number}")(h)
        h = L.MaxPool(2, name=f"pool{number}")(h) if number <= 2 else h
    return h


def dark(shape, fan_in, fan_out, rng):
    """First biases of outputs whose sigmoid is to be dark (0.12). Images are dark on average: outputs that began in the
    middle would first of all be driven down, and rectifiers below would fall silent on that way."""
    return np.full(shape, -2.0)


def autoencoder(shape=(1, 28, 28), maps=(16, 4), seed=0):
    """Two convolutions with pooling, then two transposed convolutions that undo both.

    The transposed kernels are 2x2 with stride 2: their copies do not overlap, and leave no checkerboard.

    Parameters
    ----------
    shape : tuple of int
        ``(C, H, W)`` of the images, with H and W multiples of 4 and values in [0, 1]; the output has the same.
    maps : tuple of int
        Of the two convolutions; those of the second are the code.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers encode1, pool1, encode2, pool2, decode1 and decode2. Train it with its input as target.

    Raises
    ------
    ValueError
        If H or W is not a multiple of 4.

    Examples
    --------
    >>> from pycnn.models import autoencoder
    >>> autoencoder().count_parameters()
    1077
    """
    image = Input(shape, name="image")
    wide, code = maps
    h = encode(image, (wide, code), "autoencoder")
    h = L.ConvTranspose(wide, 2, stride=2, activation="relu", name="decode1")(h)
    h = L.ConvTranspose(image.shape[0], 2, stride=2, activation="sigmoid", name="decode2")(h)
    return Network(image, h, name="autoencoder", seed=seed)


def autoencoder_upsample(shape=(1, 28, 28), maps=(16, 4), seed=0):
    """The encoder of `autoencoder`; upsampling to the nearest and a convolution 3x3, twice, as decoder.

    Parameters
    ----------
    shape, maps, seed
        As in `autoencoder`.

    Returns
    -------
    Network
        With the layers encode1, pool1, encode2, pool2, up1, decode1, up2 and decode2.

    Examples
    --------
    >>> from pycnn.models import autoencoder_upsample
    >>> autoencoder_upsample().count_parameters()
    1477
    """
    image = Input(shape, name="image")
    wide, code = maps
    h = encode(image, (wide, code), "autoencoder_upsample")
    h = L.Upsample(2, name="up1")(h)
    h = L.Conv(wide, 3, padding=1, activation="relu", name="decode1")(h)
    h = L.Upsample(2, name="up2")(h)
    h = L.Conv(image.shape[0], 3, padding=1, activation="sigmoid", bias_init=dark, name="decode2")(h)
    return Network(image, h, name="autoencoder-upsample", seed=seed)


class Reconstruction(Task):
    """The images themselves as targets, by mean squared error."""

    loss = "mse"

    def build_options(self, x, y):
        return {"shape": x.shape[1:]}

    def training_data(self, x, y):
        return x, x

    def scores(self, net, x, y, verbose=0):
        return {"mse": self.losses(net, x, y, verbose)["loss"]}

    def sentence(self, scores):
        return f"mean squared error of test images {scores['mse']:.5f}"

    def figure(self, net, history, x, y, *, data, title):
        shown, _ = self.test_data(examples(x, y), None)
        return rows_of_images({"input": shown, "output": net.predict(shown, batch_size=SHOWN_BATCH)}, title=title)


def examples(x, y, count=SHOWN):
    """The first images of every class, classes in turn."""
    places = np.empty(len(y), int)
    for label in np.unique(y):
        of_class = y == label
        places[of_class] = np.arange(of_class.sum())
    return x[np.lexsort((y, places))[:count]]


AUTOENCODER = Model(autoencoder, {
    "digits": Recipe(60, 32, Adam, 0.02, warmup=15),
    "fashion-mnist": Recipe(5, 64, Adam, 0.01, warmup=1),
}, Reconstruction())

AUTOENCODER_UPSAMPLE = Model(autoencoder_upsample, {
    "digits": Recipe(40, 32, Adam, 0.01, warmup=10),
    "fashion-mnist": Recipe(5, 64, Adam, 0.01, warmup=1),
}, Reconstruction())
