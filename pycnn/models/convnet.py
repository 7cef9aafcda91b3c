"""A convolutional network for small images, with batch normalisation, dropout and augmentation."""

from functools import partial

from .. import layers as L
from ..datasets.augment import Compose, RandomFlip, RandomShift
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..tasks import Model, Recipe


def convnet(input_shape=(1, 28, 28), classes=10, filters=(48, 48, 96, 96), seed=0):
    """Four convolutions 3x3 with batch normalisation and rectifiers, pooling after each second one, and a dense layer.

    Parameters
    ----------
    input_shape : tuple of int
        ``(C, H, W)``, H and W at least 4.
    classes : int
        Scores at the output.
    filters : tuple of int
        Of the four convolutions.
    seed : int or numpy.random.Generator
        For the first values of the parameters, and for dropout.

    Returns
    -------
    Network
        With the layers ``conv1``, ``conv1.norm``, ``conv1.relu``, ..., ``hidden`` and ``output``.

    Examples
    --------
    >>> from pycnn.models import convnet
    >>> convnet().count_parameters()
    1353466
    """
    if len(filters) != 4:
        raise ValueError(f"filters has a number for each of the four convolutions, got {filters!r}")
    image = Input(input_shape, name="image")
    h = image
    for number, maps in enumerate(filters, 1):
        name = f"conv{number}"
        h = L.Conv(maps, 3, padding=1, bias=False, weight_init="he_normal", name=name)(h)
        h = L.ReLU(name=f"{name}.relu")(L.BatchNorm(name=f"{name}.norm")(h))
        if number % 2 == 0:
            h = L.Dropout(0.25, name=f"dropout{number // 2}")(L.MaxPool(2, name=f"pool{number // 2}")(h))
    h = L.Dense(256, bias=False, weight_init="he_normal", name="hidden")(L.Flatten(name="flatten")(h))
    h = L.ReLU(name="hidden.relu")(L.BatchNorm(name="hidden.norm")(h))
    h = L.Dense(classes, name="output")(L.Dropout(0.5, name="dropout3")(h))
    return Network(image, h, name="convnet", seed=seed)


CONVNET = Model(convnet, {
    "fashion-mnist": Recipe(25, 128, partial(AdamW, weight_decay=0.05), 3e-3, warmup=1,
                            augment=Compose(RandomShift(2), RandomFlip())),
    "digits": Recipe(40, 64, partial(AdamW, weight_decay=0.05), 3e-3, warmup=1, augment=RandomShift(2)),
})
