"""The capsule network (Sabour, Frosst & Hinton 2017, Dynamic Routing Between Capsules, arXiv:1710.09829)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from .. import layers as L
from ..datasets.augment import RandomShift
from ..figures import draw_images, new_figure
from ..graph import Input
from ..network import Network
from ..optimizers import Adam
from ..tasks import Model, Recipe, Task

VARIANTS = {"published": (256, 32), "small": (32, 8)}       # maps of the convolution, kinds of primary capsules
DECODER = ("decode1", "decode2", "reconstruction")
OFFSETS = np.linspace(-0.25, 0.25, 11)      # figure 4 of the paper
PIXEL_WEIGHT = 0.0005                       # of a squared error, beside the margin loss


def capsnet(variant="published", input_shape=(1, 28, 28), classes=10, iterations=3, decoder=True, seed=0):
    """A convolution, primary capsules, a capsule of 16 coordinates for each class, and a decoder that draws the input.

    Parameters
    ----------
    variant : {"published", "small"}
        The network of the paper, or one with 32 maps instead of 256 and 8 kinds of primary capsules instead of 32.
    input_shape : tuple of int
        ``(C, H, W)``, values in [0, 1].
    classes : int
    iterations : int
        Of the routing.
    decoder : bool
        Whether there is one. It needs an input `label`, one-hot, or zeros where no label is known.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        Of the inputs `image` and `label`, with the outputs `reconstruction` ``(C H W,)``, `lengths` ``(classes,)`` and
        `capsule` ``(16 classes,)``, zero but for the capsule that is decoded; or of `image`, with the output `lengths`.

    Raises
    ------
    ValueError
        For an unknown variant, or an input that is too small.

    Examples
    --------
    >>> from pycnn.models import capsnet
    >>> capsnet().count_parameters(), capsnet(decoder=False).count_parameters()
    (8215568, 6804224)
    >>> capsnet("small").count_parameters()
    1948560
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r} of capsnet; known are {', '.join(VARIANTS)}")
    maps, kinds = VARIANTS[variant]
    image = Input(input_shape, name="image")
    h = L.Conv(maps, 9, activation="relu", weight_init="he_normal", name="conv")(image)
    h = L.PrimaryCapsules(kinds, 8, 9, stride=2, name="primary")(h)
    h = L.Capsules(classes, 16, iterations, name="capsules")(h)
    lengths = L.Length(name="lengths")(h)
    if not decoder:
        return Network(image, lengths, name="capsnet", seed=seed)
    label = Input((classes,), name="label")
    capsule = L.Mask(name="capsule")(h, label)
    h = L.Dense(512, activation="relu", weight_init="he_normal", name="decode1")(capsule)
    h = L.Dense(1024, activation="relu", weight_init="he_normal", name="decode2")(h)
    drawn = L.Dense(int(np.prod(image.shape)), activation="sigmoid", name="reconstruction")(h)
    return Network([image, label], {"reconstruction": drawn, "lengths": lengths, "capsule": capsule}, name="capsnet",
                   seed=seed)


def capsnet_decoder(net):
    """The decoder of a capsule network as a network of its own: from a `capsule` to its picture.

    Its parameters are copies: training either network leaves the other as it is.

    Parameters
    ----------
    net : Network
        Made by `capsnet`.

    Returns
    -------
    Network

    Examples
    --------
    >>> from pycnn.models import capsnet, capsnet_decoder
    >>> capsnet_decoder(capsnet("small")).count_parameters()
    1411344
    """
    h = capsule = Input(net.output_shapes["capsule"], name="capsule")
    for name in DECODER:
        h = L.Dense(**net[name].config(), name=name)(h)
    decoder = Network(capsule, h, name="decoder")
    for name, parameter in decoder.parameters.items():
        parameter[...] = net.parameters[name]
    return decoder


class ShiftedPictures(RandomShift):
    """Shifts images, and with them what is to be drawn again."""

    changes_targets = True

    def __call__(self, batch, targets, rng):
        moved = super().__call__(batch, rng)
        return moved, moved.reshape(targets.shape)


class Recognition(Task):
    """Digits as lengths of capsules, and drawn from the capsule of the label, or, without one, from the longest."""

    loss: ClassVar = {"reconstruction": "mse", "lengths": "margin"}
    loss_weights: ClassVar = {"reconstruction": PIXEL_WEIGHT * 784, "lengths": 1.0}     # "mse" is a mean over 784 pixels
    classes = 10

    def build_options(self, x, y):
        return {"input_shape": x.shape[1:], "classes": self.classes}

    def training_data(self, x, y):
        return self._data(x, y, np.eye(self.classes, dtype=np.float32)[y])

    def test_data(self, x, y):
        return self._data(x, y, np.zeros((len(x), self.classes), np.float32))

    @staticmethod
    def _data(x, y, label):
        return {"image": x, "label": label}, {"reconstruction": x.reshape(len(x), -1), "lengths": y}

    def scores(self, net, x, y, verbose=0):
        losses = self.losses(net, x, y, verbose)
        pixels = losses["reconstruction_loss"] / self.loss_weights["reconstruction"]
        return {"accuracy": losses["lengths_accuracy"], "margin_loss": losses["lengths_loss"], "squared_error": pixels}

    def sentence(self, scores):
        return (f"test accuracy {scores['accuracy']:.2%}, margin loss {scores['margin_loss']:.4f}, "
                f"squared error of a pixel {scores['squared_error']:.4f}")

    def figure(self, net, history, x, y, *, data, title):
        return capsules_figure(net, x, y, title=title)


def capsules_figure(net, x, y, *, varied=4, title=None):
    """Pictures beside what the network draws of them, and what each coordinate of a capsule changes (figure 4 of the paper).

    Parameters
    ----------
    net : Network
        Made by `capsnet`.
    x : array (N, C, H, W)
    y : array of int (N,)
    varied : int
        The class whose surest capsule is drawn with its coordinates changed.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        When matplotlib is missing.
    """
    figure = new_figure(13, 7.5)
    left, right = figure.subfigures(1, 2, width_ratios=(5, 6))
    classes = net.output_shapes["lengths"][0]
    shown = x[[i for k in range(classes) for i in np.flatnonzero(np.asarray(y) == k)[:3]]]
    made = net.predict({"image": shown, "label": np.zeros((len(shown), classes))})
    pairs = np.stack([shown, made["reconstruction"].reshape(shown.shape)], axis=1)
    draw_images(left, pairs.reshape(-1, *x.shape[1:]), 6, "Images, and what is drawn from their longest capsules")
    sheet = varied_capsule(net, made["capsule"][made["lengths"][:, varied].argmax()])
    draw_images(right, sheet.reshape(-1, *x.shape[1:]), len(OFFSETS),
                "A row for each coordinate of a capsule, changed by -0.25 to 0.25")
    if title:
        figure.suptitle(title, fontsize=13)
    return figure


def varied_capsule(net, capsule):
    """What is drawn when one coordinate of a capsule is changed: an array (16, len(OFFSETS), pixels).

    Parameters
    ----------
    net : Network
    capsule : array (16 classes,)
        As the output `capsule` has it: zero but for one capsule.
    """
    dimension = net["capsules"].dimension
    first = np.flatnonzero(capsule)[0] // dimension * dimension
    changed = np.tile(capsule, (dimension, len(OFFSETS), 1))
    for d in range(dimension):
        changed[d, :, first + d] += OFFSETS
    return capsnet_decoder(net).predict(changed.reshape(-1, capsule.size)).reshape(dimension, len(OFFSETS), -1)


CAPSNET = Model(
    partial(capsnet, "small"), {"digits": Recipe(30, 64, Adam, 2e-3, augment=ShiftedPictures(2))}, Recognition())
CAPSNET_PUBLISHED = Model(
    capsnet, {"digits": Recipe(10, 64, Adam, 1e-3, augment=ShiftedPictures(2))}, Recognition())
