"""A bias for each value of a sample."""

from math import prod

from .. import _kernels as K
from .base import Layer, ParameterSpec, one_shape


class Bias(Layer):
    """y = x + bias, with a bias of its own for each channel *and position*, the same in every sample.

    Input, output and bias ``(C,)`` or ``(C, ...)``. Behind the last 1x1 convolution of a network that chooses a point of a
    board it says how good each point is by itself (Maddison et al. 2014, arXiv:1412.6564).

    Parameters
    ----------
    bias_init : str or callable
        See `pycnn.initializers`.
    """

    fuses_activation = True

    def __init__(self, bias_init="zeros", name=None):
        super().__init__(name)
        self.bias_init = bias_init

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def parameters(self, shape):
        return {"bias": ParameterSpec(shape, self.bias_init)}

    def count_connections(self, shape):
        return prod(shape)

    def _sizes(self, b, s):
        """(layout, samples, elements) as the kernels know them: lanes of channels are elements like any other."""
        if s.layout == K.SAMPLES:
            return s.layout, b.batch, prod(s.output.shape)
        return K.PLAIN, b.batch, b.size(s.output, s.layout) // b.batch

    def forward(self, b, s):
        bias = b.parameter(self, "bias")
        if s.layout == K.CHANNELS:
            plain, bias = bias, b.buffer(b.size(s.output, s.layout) // b.batch)
            b.prepare("reorder", K.PLAIN, s.layout, False, 1, s.output.channels, s.output.positions, plain, bias)
        b.call("bias_forward", *self._sizes(b, s), s.activation, b.value(s.inputs[0], s.layout), bias,
               b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        if b.learns(self):
            gradient, again = b.gradient(self, "bias"), b.accumulates(self)
            if s.layout == K.CHANNELS:
                self._sum_channels(b, s, dy, gradient, again)
            else:
                b.call("bias_backward_weights", *self._sizes(b, s), again, dy, gradient)
        b.pass_gradient(s.inputs[0], dy, s.layout)

    def _sum_channels(self, b, s, dy, gradient, again):
        """Sums in lanes of channels, and brings them into the order of the parameter."""
        _, batch, elements = self._sizes(b, s)
        sums, size = b.buffer(elements), prod(s.output.shape)
        plain = b.buffer(size) if again else gradient
        b.call("bias_backward_weights", K.PLAIN, batch, elements, False, dy, sums)
        b.call("reorder", s.layout, K.PLAIN, False, 1, s.output.channels, s.output.positions, sums, plain)
        if again:
            b.call("sum", size, [gradient, plain], gradient)
