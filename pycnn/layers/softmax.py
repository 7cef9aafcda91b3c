"""Softmax over the channels."""

from math import prod

from .. import _kernels as K
from .base import Layer, one_shape


class Softmax(Layer):
    """y_c = exp(x_c) / sum over channels of exp(x), at every position.

    As the last layer under a cross-entropy loss, the loss works on the scores below it.
    """

    log = False
    passes_curvature = False

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def layout(self, b, s):
        return K.PLAIN

    def forward(self, b, s):
        shape = s.output.shape
        s.y = b.new_value(s.output, K.PLAIN)
        b.call("softmax_forward", self.log, b.batch, shape[0], prod(shape[1:]), b.value(s.inputs[0], K.PLAIN), s.y)

    def backward(self, b, s, dy):
        shape = s.output.shape
        dx, _, _ = b.new_gradient(s.inputs[0], K.PLAIN, fuses=False)
        b.call("softmax_backward", self.log, b.batch, shape[0], prod(shape[1:]), dy, s.y, dx)


class LogSoftmax(Softmax):
    """y_c = x_c - log(sum over channels of exp(x)), at every position."""

    log = True
