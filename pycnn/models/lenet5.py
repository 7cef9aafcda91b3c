"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition")."""

from __future__ import annotations

from .. import layers as L
from ..graph import Input
from ..network import Network


def modern(image, classes):
    """Rectifiers, max pooling, full connections, scores: 61,706 parameters for 28x28 images of 10 classes."""
    h = L.Conv(6, 5, padding=2, activation="relu", weight_init="he_normal", name="C1")(image)
    h = L.MaxPool(2, name="S2")(h)
    h = L.Conv(16, 5, activation="relu", weight_init="he_normal", name="C3")(h)
    h = L.MaxPool(2, name="S4")(h)
    h = L.Dense(120, activation="relu", weight_init="he_normal", name="C5")(L.Flatten(name="flatten")(h))
    h = L.Dense(84, activation="relu", weight_init="he_normal", name="F6")(h)
    return L.Dense(classes, name="output")(h)


VARIANTS = {"modern": modern}


def lenet5(variant="modern", input_shape=(1, 28, 28), classes=10, seed=0):
    """LeNet-5: two convolutions with pooling, and three dense layers.

    C1 pads its input by 2, so that 28x28 images count as the paper's 32x32.

    Parameters
    ----------
    variant : {"modern"}
        ``"modern"`` has rectifiers, max pooling, full connections and scores for cross-entropy.
    input_shape : tuple of int
        ``(C, H, W)``, H and W at least 12.
    classes : int
        Scores at the output, at least 1.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers C1, S2, C3, S4, flatten, C5, F6 and output.

    Raises
    ------
    ValueError
        For an unknown variant, or an input that is too small.

    Examples
    --------
    >>> from pycnn.models import lenet5
    >>> lenet5().count_parameters()
    61706
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r} of lenet5; known are {', '.join(VARIANTS)}")
    image = Input(input_shape, name="image")
    return Network(image, VARIANTS[variant](image, classes), name="lenet5", seed=seed)
