"""Softmax over the channels, or along another axis."""

from math import prod

from .. import _kernels as K
from ..shapes import integer
from .base import Layer, one_shape


class Softmax(Layer):
    """y_c = exp(x_c) / sum over channels of exp(x), at every position.

    As the last layer under a cross-entropy loss, the loss works on the scores below it.

    Parameters
    ----------
    axis : int
        Over which the sum is taken: that of the channels, 0, or a later one.
    """

    log = False
    passes_curvature = False

    def __init__(self, axis=0, name=None):
        super().__init__(name)
        self.axis = integer(axis, "axis", 0)

    def output_shape(self, *shapes):
        return one_shape(shapes, range(self.axis + 1, 5), f"{self.axis + 1} to 4 axes")

    def layout(self, b, s):
        return K.PLAIN

    def _sizes(self, b, s):
        shape = s.output.shape
        return b.batch * prod(shape[: self.axis]), shape[self.axis], prod(shape[self.axis + 1 :])

    def forward(self, b, s):
        s.y = b.new_value(s.output, K.PLAIN)
        b.call("softmax_forward", self.log, *self._sizes(b, s), b.value(s.inputs[0], K.PLAIN), s.y)

    def backward(self, b, s, dy):
        dx, _, _ = b.new_gradient(s.inputs[0], K.PLAIN, fuses=False)
        b.call("softmax_backward", self.log, *self._sizes(b, s), dy, s.y, dx)


class LogSoftmax(Softmax):
    """y_c = x_c - log(sum over channels of exp(x)), at every position.

    Parameters
    ----------
    axis : int
        As in `Softmax`.
    """

    log = True
