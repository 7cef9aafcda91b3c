"""ResNet-18 (He, Zhang, Ren, Sun 2015, Deep Residual Learning for Image Recognition, arXiv:1512.03385, table 1)."""

from .. import layers as L
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..tasks import Model, Recipe
from .small_images import SmallImages

WIDTHS = (64, 128, 256, 512)    # maps of the four stages, of two blocks each


def normalised(x, filters, kernel_size, stride, padding, name, groups=1):
    """A convolution without bias, and its normalisation."""
    h = L.Conv(filters, kernel_size, stride=stride, padding=padding, groups=groups, bias=False,
               weight_init=he_normal_fan_out, name=name)(x)
    return L.BatchNorm(name=f"{name}.norm")(h)


def he_normal_fan_out(shape, fan_in, fan_out, rng):
    """Normal, variance 2 / fan_out (He et al. 2015, arXiv:1502.01852, eq. 14)."""
    return rng.normal(0.0, (2 / fan_out) ** 0.5, shape)


def block(x, filters, stride, name):
    """y = relu(x + norm(conv(relu(norm(conv(x)))))), x projected by a 1x1 convolution where the shapes differ."""
    shortcut = x
    if stride != 1 or x.shape[0] != filters:
        shortcut = normalised(x, filters, 1, stride, 0, f"{name}.downsample")
    h = L.ReLU(name=f"{name}.relu1")(normalised(x, filters, 3, stride, 1, f"{name}.conv1"))
    h = normalised(h, filters, 3, 1, 1, f"{name}.conv2")
    return L.ReLU(name=f"{name}.relu2")(L.Add(name=f"{name}.add")(shortcut, h))


def resnet18(classes=1000, shape=(3, 224, 224), seed=0):
    """ResNet-18: a 7x7 convolution and overlapping max pooling, eight residual blocks of two 3x3 convolutions, a dense layer.

    The same layers as torchvision's ``resnet18``, in the same order of parameters but for a block's ``downsample``, which
    comes first here.

    Parameters
    ----------
    classes : int
        Scores at the output.
    shape : tuple of int
        ``(C, H, W)`` of the input.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers stem, pool, ``stage1.block1.conv1`` ..., average and output.

    Examples
    --------
    >>> from pycnn.models import resnet18
    >>> resnet18().count_parameters()
    11689512
    """
    image = Input(shape, name="image")
    h = L.ReLU(name="stem.relu")(normalised(image, WIDTHS[0], 7, 2, 3, "stem"))
    h = L.MaxPool(3, stride=2, padding=1, name="pool")(h)
    for stage, filters in enumerate(WIDTHS, 1):
        for number in (1, 2):
            h = block(h, filters, 2 if stage > 1 and number == 1 else 1, f"stage{stage}.block{number}")
    h = L.GlobalAvgPool(name="average")(h)
    return Network(image, L.Dense(classes, name="output")(h), name="resnet18", seed=seed)


RESNET18 = Model(resnet18, {data: Recipe(2, 32, AdamW, 1e-3) for data in ("fashion-mnist", "digits")}, SmallImages())
