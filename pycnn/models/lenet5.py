"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition")."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import layers as L
from ..datasets.augment import RandomShift
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..shapes import as_tensor
from ..tasks import Model, Recipe
from .digit_bitmaps import digit_bitmaps


def modern(image, classes):
    """Rectifiers, max pooling, full connections, scores: 61,706 parameters for 28x28 images of 10 classes."""
    h = L.Conv(6, 5, padding=2, activation="relu", weight_init="he_normal", name="C1")(image)
    h = L.MaxPool(2, name="S2")(h)
    h = L.Conv(16, 5, activation="relu", weight_init="he_normal", name="C3")(h)
    h = L.MaxPool(2, name="S4")(h)
    h = L.Dense(120, activation="relu", weight_init="he_normal", name="C5")(L.Flatten(name="flatten")(h))
    h = L.Dense(84, activation="relu", weight_init="he_normal", name="F6")(h)
    return L.Dense(classes, name="output")(h)


def c3_connections():
    """Which of the six maps of S2 each of the 16 maps of C3 reads (LeCun et al. 1998, table I)."""
    readers = [[0, 4, 5, 6, 9, 10, 11, 12, 14, 15], [0, 1, 5, 6, 7, 10, 11, 12, 13, 15], [0, 1, 2, 6, 7, 8, 11, 13, 14, 15],
               [1, 2, 3, 6, 7, 8, 9, 12, 14, 15], [2, 3, 4, 7, 8, 9, 10, 12, 13, 15], [3, 4, 5, 8, 9, 10, 11, 13, 14, 15]]
    table = np.zeros((16, 6), bool)
    for source, maps in enumerate(readers):
        table[maps, source] = True
    return table


def published(image, classes):
    """The network of the paper: 60,000 trainable parameters and 340,908 connections for 32x32 images of 10 classes."""
    options = dict(activation="scaled_tanh", weight_init="lecun_1998")
    h = L.Conv(6, 5, name="C1", **options)(image)
    h = L.Subsample(2, name="S2", **options)(h)
    h = L.Conv(16, 5, connections=c3_connections(), name="C3", **options)(h)
    h = L.Subsample(2, name="S4", **options)(h)
    return published_head(h, classes, options)


def published_head(h, classes, options):
    """C5, F6 and the output, whose centres are pictures of the digits; of other classes, codes at random."""
    h = L.Conv(120, h.shape[1:], name="C5", **options)(h)
    h = L.Dense(84, name="F6", **options)(L.Flatten(name="flatten")(h))
    return L.RBF(classes, digit_bitmaps().reshape(10, 84) if classes == 10 else None, name="output")(h)


def with_soft_maxima(image, classes):
    """The published network with M-layers (`pycnn.layers.SoftMaxPool`) where it has S-layers."""
    options = dict(activation="scaled_tanh", weight_init="lecun_1998")
    h = L.Conv(6, 5, name="C1", **options)(image)
    h = L.SoftMaxPool(2, name="M2")(h)
    h = L.Conv(16, 5, connections=c3_connections(), name="C3", **options)(h)
    h = L.SoftMaxPool(2, name="M4")(h)
    return published_head(h, classes, options)


VARIANTS = {"modern": modern, "1998": published, "m": with_soft_maxima}


def lenet5_images(images):
    """28x28 images as the published network reads them: in the middle of 32x32, paper -0.1 and ink 1.175.

    Parameters
    ----------
    images : array (N, 1, 28, 28)
        In [0, 1].

    Returns
    -------
    array (N, 1, 32, 32)
    """
    images = as_tensor(images, np.float32, "images", 4)
    if images.shape[1:] != (1, 28, 28):
        raise ValueError(f"images have shape {images.shape}, expects (N, 1, 28, 28)")
    return np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))) * np.float32(1.275) - np.float32(0.1)


def lenet5(variant="modern", input_shape=None, classes=10, seed=0):
    """LeNet-5: two convolutions with pooling, a third one or a dense layer, and two dense layers.

    Parameters
    ----------
    variant : {"modern", "1998", "m"}
        ``"modern"`` has rectifiers, max pooling, full connections and scores for cross-entropy; its C1 pads by 2, so that
        28x28 images count as the paper's 32x32. ``"1998"`` is the published network, for images made by `lenet5_images`
        and the loss ``"distance"``: scaled tanh, subsampling layers, the partial connections of C3, distances from
        pictures of the digits as output. ``"m"`` is that with soft-max pooling (N. Chumerin's M-layers).
    input_shape : tuple of int, optional
        ``(C, H, W)``; (1, 28, 28) for the modern, (1, 32, 32) for the others where missing.
    classes : int
        Scores or distances at the output, at least 1.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers C1, S2 (M2), C3, S4 (M4), flatten, C5, F6 and output.

    Raises
    ------
    ValueError
        For an unknown variant, or an input that is too small.

    Examples
    --------
    >>> from pycnn.models import lenet5
    >>> lenet5().count_parameters()
    61706
    >>> lenet5("1998").count_parameters(trainable=True)
    60000
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r} of lenet5; known are {', '.join(VARIANTS)}")
    if input_shape is None:
        input_shape = (1, 28, 28) if variant == "modern" else (1, 32, 32)
    image = Input(input_shape, name="image")
    return Network(image, VARIANTS[variant](image, classes), name="lenet5", seed=seed)


LENET5 = Model(lenet5, {
    "digits": Recipe(100, 64, partial(AdamW, weight_decay=0.3), 3e-3, augment=RandomShift(2)),
    "fashion-mnist": Recipe(12, 64, partial(AdamW, weight_decay=0.1), 3e-3),
    "mnist": Recipe(20, 64, partial(AdamW, weight_decay=0.1), 2e-3, augment=RandomShift(2)),
})
