"""A tensor that is learnt, or fixed, and the same whatever the input holds."""

from math import prod

from .. import _kernels as K
from .base import Layer, ParameterSpec
from .function import checked_shape


class Constant(Layer):
    """y = value, the same in every sample.

    Called on any tensor, of which only the number of samples counts: it gets no gradient. Output and value of the shape
    `shape`. `Binary` and `MatMul` join it with others; ``trainable = False`` keeps it as it is.

    Parameters
    ----------
    shape : int or tuple of int
        Without the batch: 1 to 4 sizes.
    value_init : str or callable
        See `pycnn.initializers`.
    """

    passes_curvature = False

    def __init__(self, shape, value_init="zeros", name=None):
        super().__init__(name)
        self.shape, self.value_init = checked_shape(shape), value_init

    def output_shape(self, *shapes):
        if len(shapes) != 1:
            raise ValueError(f"takes one input, got {len(shapes)}")
        return self.shape

    def parameters(self, shape):
        return {"value": ParameterSpec(self.shape, self.value_init)}

    def layout(self, b, s):
        return K.PLAIN

    def forward(self, b, s):
        size = prod(self.shape)
        b.call("copy_blocks", b.batch, size, 0, size, b.parameter(self, "value"), b.new_value(s.output, K.PLAIN))

    def backward(self, b, s, dy):
        if b.learns(self):
            b.call("bias_backward_weights", K.PLAIN, b.batch, prod(self.shape), b.accumulates(self), dy,
                   b.gradient(self, "value"))
