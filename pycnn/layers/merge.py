"""Layers that join several inputs: sum, product, concatenation."""

from math import prod

from .. import _kernels as K
from ..shapes import check_size, integer
from .base import Layer


class Elementwise(Layer):
    """An operation on inputs of one shape, element by element."""

    def output_shape(self, *shapes):
        if len(shapes) < 2:
            raise ValueError(f"takes two or more inputs, got {len(shapes)}")
        if len(set(shapes)) > 1:
            raise ValueError(f"its inputs must have one shape, got {', '.join(map(str, shapes))}")
        return shapes[0]


class Add(Elementwise):
    """y = the sum of two or more inputs of one shape."""

    def forward(self, b, s):
        xs = [b.value(x, s.layout) for x in s.inputs]
        b.call("sum", b.size(s.output, s.layout), xs, b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        for x in s.inputs:
            b.pass_gradient(x, dy, s.layout, multiplied=False)


class Multiply(Elementwise):
    """y = the product of two inputs of one shape."""

    def output_shape(self, *shapes):
        if len(shapes) != 2:
            raise ValueError(f"takes two inputs, got {len(shapes)}")
        return super().output_shape(*shapes)

    def forward(self, b, s):
        a, c = (b.value(x, s.layout) for x in s.inputs)
        b.call("multiply", b.size(s.output, s.layout), a, c, b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        for x, other in (s.inputs, s.inputs[::-1]):
            if x.needs_gradient:
                dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
                b.call("multiply", b.size(x, s.layout), dy, b.factor(other, s.layout), dx)


class Concat(Layer):
    """Its inputs along one axis, one after the other; their other axes must agree.

    Parameters
    ----------
    axis : int
        That of the channels, 0, or a later one.
    """

    def __init__(self, axis=0, name=None):
        super().__init__(name)
        self.axis = integer(axis, "axis", 0)

    def output_shape(self, *shapes):
        axis = self.axis
        if len(shapes) < 2:
            raise ValueError(f"takes two or more inputs, got {len(shapes)}")
        if len({(shape[:axis], shape[axis + 1 :], len(shape)) for shape in shapes}) > 1:
            which = "the channels" if axis == 0 else f"axis {axis}"
            raise ValueError(f"its inputs must agree in all axes but {which}, got {', '.join(map(str, shapes))}")
        if axis >= len(shapes[0]):
            raise ValueError(f"has no axis {axis} in inputs of shape {shapes[0]}")
        shape = (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])
        check_size(shape, "its output")
        return shape

    def layout(self, b, s):
        layout = s.inputs[0].layout
        whole = all(x.channels % b.kernels.lanes == 0 for x in s.inputs)
        return K.PLAIN if layout == K.CHANNELS and (self.axis or not whole) else layout

    def _pieces(self, b, s):
        """(input, number of blocks, reals of a block, reals of an output block, where it begins there)."""
        total, begin = b.size(s.output, s.layout), 0
        blocks = -(-b.batch // b.kernels.lanes) if s.layout == K.SAMPLES else b.batch
        blocks *= prod(s.output.shape[: self.axis])
        for x in s.inputs:
            length = b.size(x, s.layout) // blocks
            yield x, blocks, length, total // blocks, begin
            begin += length

    def forward(self, b, s):
        y = b.new_value(s.output, s.layout)
        for x, blocks, length, stride, begin in self._pieces(b, s):
            b.call("copy_blocks", blocks, length, length, stride, b.value(x, s.layout), y.at(begin))

    def backward(self, b, s, dy):
        for x, blocks, length, stride, begin in self._pieces(b, s):
            if x.needs_gradient:
                dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
                b.call("copy_blocks", blocks, length, stride, length, dy.at(begin), dx)
