"""VGG-16 (Simonyan & Zisserman 2015, Very deep convolutional networks for large-scale image recognition, arXiv:1409.1556,
table 1, column D)."""

from .. import layers as L
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..tasks import Model, Recipe
from .small_images import SmallImages

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(classes=1000, shape=(3, 224, 224), dropout=0.5, seed=0):
    """VGG-16: thirteen convolutions 3x3 in five stages, each with pooling behind it, and three dense layers.

    The first dense layer reads all that the last pooling leaves, so that it is as large as the input asks for: 7x7 positions of
    224x224, one of 32x32. There is no normalisation: weights start as He et al. 2015 have them, and learn at a low rate.

    Parameters
    ----------
    classes : int
        Scores at the output.
    shape : tuple of int
        ``(C, H, W)`` of the input, H and W at least 32.
    dropout : float
        Of the two hidden dense layers.
    seed : int or numpy.random.Generator
        For the first values of the parameters, and for dropout.

    Returns
    -------
    Network
        With the layers conv1_1, conv1_2, pool1, ... conv5_3, pool5, flatten, hidden1, hidden2 and output.

    Raises
    ------
    ValueError
        If H or W is less than 32.

    Examples
    --------
    >>> from pycnn.models import vgg16
    >>> vgg16(classes=10, shape=(1, 32, 32)).count_parameters()
    33637066
    """
    image = Input(shape, name="image")
    if len(image.shape) != 3 or min(image.shape[1:]) < 32:
        raise ValueError(f"vgg16: images are (C, H, W) with H and W at least 32, got {shape}")
    h = image
    for stage, filters in enumerate(STAGES, 1):
        for number, maps in enumerate(filters, 1):
            h = L.Conv(maps, 3, padding=1, activation="relu", weight_init="he_normal", name=f"conv{stage}_{number}")(h)
        h = L.MaxPool(2, name=f"pool{stage}")(h)
    h = L.Flatten(name="flatten")(h)
    for number in (1, 2):
        h = L.Dense(4096, activation="relu", weight_init="he_normal", name=f"hidden{number}")(h)
        h = L.Dropout(dropout, name=f"dropout{number}")(h)
    return Network(image, L.Dense(classes, name="output")(h), name="vgg16", seed=seed)


VGG16 = Model(vgg16, {data: Recipe(2, 32, AdamW, 1e-4) for data in ("fashion-mnist", "digits")}, SmallImages())
