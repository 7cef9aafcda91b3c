"""The layers that are measured: convolutions of well-known networks, and what is bound by memory."""

from dataclasses import dataclass
from math import prod

import numpy as np

from pycnn import reference

FEW_CHANNELS, LARGE_BATCH, WINOGRAD_CHANNELS = 16, 16, 32


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
        stride, dilation = (self.stride,) * rank, (self.dilation,) * rank
        return (self.n, self.k, *shape(self.spatial, self.kernel, stride, pairs, dilation))

    @property
    def flops(self):
        """Of each of the three passes: two for every tap of every output, padding included."""
        side = self.x_shape if self.transposed else self.y_shape
        return 2 * prod(side) * prod(self.w_shape[1:])

    def traffic_of(self, which):
        """Bytes of float32 that a pass must read, and those that it must write: each tensor once."""
        x, w, y = (4 * prod(shape) for shape in (self.x_shape, self.w_shape, self.y_shape))
        return {"forward": (x + w, y), "backward_data": (y + w, x), "backward_weights": (x + y, w)}[which]

    @property
    def text(self):
        """As in ``64,1,28,28 -> 6, 5x5, stride 1, padding 2``."""
        words = [f"{','.join(map(str, self.x_shape))} -> {self.k}", "x".join(map(str, self.kernel)),
                 f"stride {self.stride}", f"padding {self.padding}"]
        words += [f"dilation {self.dilation}"] * (self.dilation > 1) + [f"{self.groups} groups"] * (self.groups > 1)
        return ", ".join(words + ["transposed"] * self.transposed)

    def class_of(self, which):
        """By what its speed can be judged: see targets.py."""
        few = min(self.c, self.k) // self.groups < FEW_CHANNELS
        if few and self.n >= LARGE_BATCH:
            return "few channels"
        wide = min(self.c, self.k) >= WINOGRAD_CHANNELS and self.groups == self.dilation == self.stride == 1
        if wide and self.kernel == (3, 3) and not self.transposed and which != "backward_weights":
            return "winograd"
        return "direct"


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


# ---- layers kept aside ----------------------------------------------------------------------------------------------

LEAST_FLOPS, MOST_FLOPS, MOST_VALUES = 2e7, 5e8, 3e7


def random_layers(count, seed):
    """So many plausible layers of 20 to 500 MFLOP that nothing was tuned to."""
    rng, layers = np.random.default_rng(seed), []
    while len(layers) < count:
        layer = random_layer(rng, f"aside_{len(layers)}")
        if layer and LEAST_FLOPS <= layer.flops <= MOST_FLOPS:
            layers.append(layer)
    return layers


def random_layer(rng, name):
    """A layer drawn at random, or None where the draw makes no sense."""
    rank = int(rng.choice([1, 2, 2, 2, 2, 3]))
    n = int(rng.choice([1, 2, 4, 8, 16, 32, 64, rng.integers(1, 65)]))
    c, k = (int(rng.choice([rng.choice([1, 3, 4]), 8 * rng.integers(1, 65), 2 ** rng.integers(3, 10),
                            rng.integers(1, 513)])) for _ in range(2))
    kernel = (int(rng.choice([1, 2, 3, 3, 3, 4, 5, 7])),) * rank
    stride = int(rng.choice([1, 1, 1, 2, 2, 3]))
    dilation = int(rng.choice([1, 1, 1, 1, 2]))
    transposed = bool(rng.random() < 0.15)
    kind, groups = rng.random(), 1
    if kind < 0.15:
        k = groups = c
    elif kind < 0.3:
        groups = int(rng.choice([g for g in (2, 4, 8, 16, 32) if g <= min(c, k)] or [1]))
        c, k = c // groups * groups, k // groups * groups
    reach = dilation * (kernel[0] - 1) + 1
    padding = int(rng.integers(0, reach // 2 + 1))
    work = 2 * n * prod(kernel) * c * k // groups       # of each output, or of each input of a transposed layer
    positions = np.exp(rng.uniform(np.log(LEAST_FLOPS), np.log(MOST_FLOPS))) / work
    side = round(positions ** (1 / rank)) * (1 if transposed else stride)
    most = {1: 4096, 2: 256, 3: 64}[rank]
    too_large = n * max(c, k) * side ** rank > MOST_VALUES
    if too_large or not max(1, reach - 2 * padding) <= side <= most or (transposed and stride > kernel[0]):
        return None
    return ConvLayer(name, n, c, (side,) * rank, k, kernel, stride, padding, dilation, groups, transposed)
