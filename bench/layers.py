"""The layers that are measured: convolutions of well-known networks, and what is bound by memory."""

from dataclasses import dataclass
from math import prod

from pycnn import reference


@dataclass(frozen=True)
class ConvLayer:
    """A convolution: x (n, c, *spatial) -> (n, k, ...). A transposed one maps in the other direction."""

    name: str
    n: int
    c: int
    spatial: tuple
    k: int
    kernel: tuple
    stride: int = 1
    padding: tuple | int = 0
    dilation: int = 1
    groups: int = 1
    transposed: bool = False

    @property
    def parameters(self):
        return dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)

    @property
    def x_shape(self):
        return (self.n, self.c, *self.spatial)

    @property
    def w_shape(self):
        if self.transposed:
            return (self.c, self.k // self.groups, *self.kernel)
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def y_shape(self):
        rank = len(self.spatial)
        padding = self.padding if isinstance(self.padding, tuple) else (self.padding,) * rank
        shape = reference.conv_transpose_output_shape if self.transposed else reference.conv_output_shape
        pairs = tuple((p, p) for p in padding)
        return (self.n, self.k, *shape(self.spatial, self.kernel, (self.stride,) * rank, pairs, (self.dilation,) * rank))

    @property
    def flops(self):
        """Of each of the three passes: two for every tap of every output, padding included."""
        side = self.x_shape if self.transposed else self.y_shape
        return 2 * prod(side) * prod(self.w_shape[1:])


CONV_LAYERS = [
    ConvLayer("lenet_c1", 64, 1, (28, 28), 6, (5, 5), padding=2),
    ConvLayer("lenet_c3", 64, 6, (14, 14), 16, (5, 5)),
    ConvLayer("cifar_1", 64, 3, (32, 32), 32, (3, 3), padding=1),
    ConvLayer("cifar_2", 64, 32, (32, 32), 32, (3, 3), padding=1),
    ConvLayer("cifar_3", 64, 32, (16, 16), 64, (3, 3), padding=1),
    ConvLayer("cifar_4", 64, 64, (16, 16), 64, (3, 3), padding=1),
    ConvLayer("alexnet_1", 8, 3, (227, 227), 96, (11, 11), stride=4),
    ConvLayer("alexnet_2", 8, 96, (27, 27), 256, (5, 5), padding=2),
    ConvLayer("vgg_1_1", 4, 3, (224, 224), 64, (3, 3), padding=1),
    ConvLayer("vgg_1_2", 2, 64, (224, 224), 64, (3, 3), padding=1),
    ConvLayer("vgg_3_2", 4, 256, (56, 56), 256, (3, 3), padding=1),
    ConvLayer("vgg_5_1", 4, 512, (14, 14), 512, (3, 3), padding=1),
    ConvLayer("resnet_stem", 8, 3, (224, 224), 64, (7, 7), stride=2, padding=3),
    ConvLayer("resnet_2_1x1", 8, 64, (56, 56), 256, (1, 1)),
    ConvLayer("resnet_2_3x3", 8, 64, (56, 56), 64, (3, 3), padding=1),
    ConvLayer("resnet_3_s2", 8, 128, (56, 56), 128, (3, 3), stride=2, padding=1),
    ConvLayer("resnet_3_1x1", 8, 512, (28, 28), 128, (1, 1)),
    ConvLayer("resnet_4_3x3", 8, 256, (14, 14), 256, (3, 3), padding=1),
    ConvLayer("resnet_5_down", 8, 1024, (14, 14), 2048, (1, 1), stride=2),
    ConvLayer("resnet_5_3x3", 8, 512, (7, 7), 512, (3, 3), padding=1),
    ConvLayer("mobilenet_dw", 8, 256, (28, 28), 256, (3, 3), padding=1, groups=256),
    ConvLayer("mobilenet_dw2", 8, 128, (56, 56), 128, (3, 3), stride=2, padding=1, groups=128),
    ConvLayer("resnext_g32", 8, 128, (56, 56), 128, (3, 3), padding=1, groups=32),
    ConvLayer("dilated", 8, 64, (56, 56), 64, (3, 3), padding=2, dilation=2),
    ConvLayer("text_1d", 64, 300, (50,), 100, (3,)),
    ConvLayer("speech_freq", 32, 1, (40, 98), 64, (9, 9)),
    ConvLayer("go_192", 8, 192, (19, 19), 192, (3, 3), padding=1),
    ConvLayer("batch1_3x3", 1, 64, (56, 56), 64, (3, 3), padding=1),
    ConvLayer("tconv_2x2", 64, 4, (7, 7), 16, (2, 2), stride=2, transposed=True),
    ConvLayer("tconv_4x4", 16, 256, (8, 8), 128, (4, 4), stride=2, padding=1, transposed=True),
]

PASSES = ("forward", "backward_data", "backward_weights")


@dataclass(frozen=True)
class PoolLayer:
    """A pooling over x (n, c, h, w)."""

    name: str
    kind: str
    x_shape: tuple
    kernel: int
    stride: int
    padding: int = 0


POOL_LAYERS = [
    PoolLayer(f"{kind}_{k}x{k}_{c}x{size}", kind, (64, c, size, size), k, 2, padding)
    for c, size in ((64, 56), (6, 28))
    for kind, k, padding in (("max", 2, 0), ("max", 3, 1), ("avg", 2, 0))
]
