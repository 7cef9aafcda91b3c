"""MobileNet (Howard et al. 2017, MobileNets: efficient convolutional neural networks for mobile vision applications,
arXiv:1704.04861, table 1)."""

from .. import layers as L
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..tasks import Model, Recipe
from .resnet18 import normalised
from .small_images import SmallImages

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))  # maps, stride


def mobilenet(width=1.0, classes=1000, shape=(3, 224, 224), seed=0):
    """MobileNet, version 1: a convolution, thirteen blocks of a depthwise 3x3 and a 1x1 convolution, and a dense layer.

    Parameters
    ----------
    width : float
        Which part of the maps each layer has, greater than 0; the paper has 1, 0.75, 0.5 and 0.25.
    classes : int
        Scores at the output.
    shape : tuple of int
        ``(C, H, W)`` of the input. Of 32x32, one position is left.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers stem, ``block1.depthwise``, ``block1.pointwise``, ... average and output, and behind each convolution
        its normalisation and rectifier.

    Raises
    ------
    ValueError
        If a width leaves no maps.

    Examples
    --------
    >>> from pycnn.models import mobilenet
    >>> mobilenet().count_parameters(), mobilenet(width=0.5).count_parameters()
    (4231976, 1331592)
    """
    def maps(of):
        return int(of * width)

    image = Input(shape, name="image")
    if not width > 0 or not maps(32):
        raise ValueError(f"mobilenet: width must leave at least one of 32 maps, got {width!r}")
    h = rectified(image, maps(32), 3, 2, 1, "stem")
    for number, (filters, stride) in enumerate(BLOCKS, 1):
        h = rectified(h, h.shape[0], 3, stride, 1, f"block{number}.depthwise", groups=h.shape[0])
        h = rectified(h, maps(filters), 1, 1, 0, f"block{number}.pointwise")
    h = L.GlobalAvgPool(name="average")(h)
    return Network(image, L.Dense(classes, name="output")(h), name="mobilenet", seed=seed)


def rectified(x, *arguments, **options):
    """A convolution, its normalisation and a rectifier."""
    h = normalised(x, *arguments, **options)
    return L.ReLU(name=f"{arguments[-1]}.relu")(h)


MOBILENET = Model(mobilenet, {data: Recipe(2, 32, AdamW, 3e-3) for data in ("fashion-mnist", "digits")}, SmallImages())
