"""Rectifiers that learn their slope."""

from math import inf, prod

import numpy as np

from .base import Layer, ParameterSpec, number_within, one_shape


class PReLU(Layer):
    """y = x where x > 0, else weight x, with a weight for each map (He et al. 2015, arXiv:1502.01852, section 2.1).

    Input and output ``(C,)`` or ``(C, ...)``; weight ``(C,)``.

    Parameters
    ----------
    init : float
        What every weight starts at.
    """

    passes_curvature = False

    def __init__(self, init=0.25, name=None):
        super().__init__(name)
        self.init = number_within(init, "init", above=-inf)

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def parameters(self, shape):
        return {"weight": ParameterSpec(shape[:1], lambda of, *_: np.full(of, self.init))}

    def count_connections(self, shape):
        return prod(shape)

    def layout(self, b, s):
        return b.layout_of_maps(s.inputs[0])

    def _sizes(self, b, s):
        return s.layout, b.batch, s.output.channels, s.output.positions

    def forward(self, b, s):
        b.call("prelu_forward", *self._sizes(b, s), b.value(s.inputs[0], s.layout), b.parameter(self, "weight"),
               b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x, sizes = s.inputs[0], self._sizes(b, s)
        values, dx, partial = b.value(x, s.layout), None, None
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, s.layout, fuses=False, over=dy)
        if b.learns(self):
            partial = b.buffer(b.kernels.prelu_partial_size(*sizes))
        b.call("prelu_backward", *sizes, dy, values, b.parameter(self, "weight"), dx, partial)
        if partial is not None:
            b.call("prelu_reduce_weights", *sizes, b.accumulates(self), partial, b.gradient(self, "weight"))
