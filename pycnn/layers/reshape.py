"""Layers that only look at their input differently."""

from math import prod

from .. import _kernels as K
from .base import Layer, one_shape


class Flatten(Layer):
    """All axes of a sample in one: ``(C, H, W)`` -> ``(C H W,)``, in row order. Costs nothing where lanes are samples."""

    def output_shape(self, *shapes):
        return (prod(one_shape(shapes, range(1, 5), "1 to 4 axes")),)

    def layout(self, b, s):
        layout = s.inputs[0].layout
        return K.PLAIN if layout == K.CHANNELS else layout

    def forward(self, b, s):
        b.alias_value(s.output, s.inputs[0], s.layout)

    def backward(self, b, s, dy):
        # With one reader the output shares the input's activation (Builder.alias_value), so dy has its f' in it.
        b.pass_gradient(s.inputs[0], dy, s.layout, multiplied=s.inputs[0].uses == 1)
