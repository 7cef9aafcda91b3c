"""Layers that look at their input differently, or put its axes in another order."""

from math import prod

from .. import _kernels as K
from ..shapes import integer
from .base import Layer, one_shape


class Reshape(Layer):
    """The values of a sample in another shape, in row order. Costs nothing where lanes are samples.

    Input of 1 to 4 axes, output `shape`.

    Parameters
    ----------
    shape : int or tuple of int
        Without the batch: 1 to 4 sizes, of which one may be -1 and is found out.
    """

    def __init__(self, shape, name=None):
        super().__init__(name)
        sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
        self.shape = tuple(integer(size, "each size of a shape") for size in sizes)
        if not 1 <= len(self.shape) <= 4:
            raise ValueError(f"a sample has 1 to 4 axes, got the shape {self.shape}")
        if self.shape.count(-1) > 1 or any(size < 1 and size != -1 for size in self.shape):
            raise ValueError(f"the sizes of a shape must be at least 1, but for one that may be -1, got {self.shape}")

    def output_shape(self, *shapes):
        shape = one_shape(shapes, range(1, 5), "1 to 4 axes")
        known = prod(size for size in self.shape if size != -1)
        if prod(shape) % known or -1 not in self.shape and prod(shape) != known:
            raise ValueError(f"the {prod(shape)} values of its input {shape} do not fill the shape {self.shape}")
        return tuple(prod(shape) // known if size == -1 else size for size in self.shape)

    def layout(self, b, s):
        layout = s.inputs[0].layout
        return K.PLAIN if layout == K.CHANNELS else layout

    def forward(self, b, s):
        b.alias_value(s.output, s.inputs[0], s.layout)

    def backward(self, b, s, dy):
        # With one reader the output shares the input's activation (Builder.alias_value), so dy has its f' in it.
        b.pass_gradient(s.inputs[0], dy, s.layout, multiplied=s.inputs[0].uses == 1)


class Flatten(Reshape):
    """All axes of a sample in one: ``(C, H, W)`` -> ``(C H W,)``, in row order. Costs nothing where lanes are samples."""

    def __init__(self, name=None):
        super().__init__(-1, name)


class Permute(Layer):
    """The axes of a sample in another order: axis a of the output is axis ``axes[a]`` of the input (ONNX Transpose).

    Input of 1 to 4 axes, channels among them: ``Permute((1, 2, 0))`` makes ``(H, W, C)`` of ``(C, H, W)``.

    Parameters
    ----------
    axes : tuple of int
        Each of 0 to the number of axes less one, once.
    """

    def __init__(self, axes, name=None):
        super().__init__(name)
        if not isinstance(axes, (tuple, list)):
            raise TypeError(f"axes must be a tuple of integers, got {axes!r}")
        self.axes = tuple(integer(axis, "each of the axes") for axis in axes)
        if not 1 <= len(self.axes) <= 4 or sorted(self.axes) != list(range(len(self.axes))):
            raise ValueError(f"axes must be the numbers from 0 in any order, one for each axis, got {self.axes}")

    def output_shape(self, *shapes):
        rank = len(self.axes)
        shape = one_shape(shapes, (rank,), f"{rank} axes, as many as are put in order")
        return tuple(shape[axis] for axis in self.axes)

    def layout(self, b, s):
        layout = s.inputs[0].layout
        return K.PLAIN if layout == K.CHANNELS and self.axes[0] != 0 else layout

    def _call(self, b, s, shape, axes, x, y):
        """Permutes a tensor of that shape; where lanes are channels, its planes, which stay where they are."""
        n = b.planes(K.SAMPLES, 1) if s.layout == K.SAMPLES else b.batch
        if s.layout == K.CHANNELS:
            n, shape, axes = b.planes(s.layout, shape[0]), shape[1:], [axis - 1 for axis in axes[1:]]
        ones = 4 - len(shape)
        order = (*range(ones), *(axis + ones for axis in axes))
        b.call("permute", s.layout, n, (1,) * ones + tuple(shape), order, x, y)

    def forward(self, b, s):
        x = s.inputs[0]
        self._call(b, s, x.shape, self.axes, b.value(x, s.layout), b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        dx, _, _ = b.new_gradient(s.inputs[0], s.layout, fuses=False)
        self._call(b, s, s.output.shape, inverse(self.axes), dy, dx)


def inverse(axes):
    """The order that puts axes back."""
    return sorted(range(len(axes)), key=axes.__getitem__)
