"""The dense (fully connected) layer."""

from math import prod

from .. import _kernels as K
from ..shapes import integer
from .base import Layer, ParameterSpec, activation_code, one_shape


class Dense(Layer):
    """y = f(W x + b).

    Input ``(C,)``, output ``(units,)``; weight ``(units, C)``, bias ``(units,)``.

    Parameters
    ----------
    units : int
        Outputs.
    activation : str, optional
    bias : bool
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    fuses_activation = True

    def __init__(self, units, activation=None, bias=True, weight_init="default", bias_init="zeros", name=None):
        super().__init__(name)
        self.units = integer(units, "units", 1)
        self.activation, self.has_bias = activation, bool(bias)
        self.weight_init, self.bias_init = weight_init, bias_init
        activation_code(activation)

    def output_shape(self, *shapes):
        one_shape(shapes, (1,), "(C,); put a Flatten before it")
        return (self.units,)

    def parameters(self, shape):
        specs = {"weight": ParameterSpec((self.units, shape[0]), self.weight_init, shape[0], self.units, switches=2)}
        if self.has_bias:
            specs["bias"] = ParameterSpec((self.units,), self.bias_init, shape[0], self.units)
        return specs

    def entry_of_connection(self, target, source):
        units, inputs = self._parameters["weight"].shape
        if not (0 <= target < units and 0 <= source < inputs):
            raise ValueError(f"it has {units} units and {inputs} inputs")
        return "weight", (target, source)

    def count_connections(self, shape):
        return self.units * (shape[0] + self.has_bias)

    def fuses_norm(self, shape):
        return True

    def layout(self, b, s):
        return K.PLAIN

    def forward(self, b, s):
        dense_forward(b, s)

    def backward(self, b, s, dy):
        dense_backward(self, b, s, dy)


def dense_forward(b, s):
    """The kernels of y = f(W x + b), x being all values of a sample."""
    x, y = b.value(s.inputs[0], K.PLAIN), b.new_value(s.output, K.PLAIN)
    b.call("dense_forward", b.batch, prod(s.inputs[0].shape), s.output.channels, s.activation, x, *b.linear_parameters(s), y)


def dense_backward(layer, b, s, dy):
    """The kernels of its gradients."""
    x, inputs, units = s.inputs[0], prod(s.inputs[0].shape), s.output.channels
    if b.learns(layer):
        b.call("dense_backward_weights", b.batch, inputs, units, b.accumulates(layer), b.learning_maps(layer), dy,
               b.factor(x, K.PLAIN), b.gradient(layer, "weight"), b.gradient(layer, "bias"))
    if x.needs_gradient:
        dx, activation, mask = b.new_gradient(x, K.PLAIN)
        b.call("dense_backward_data", b.batch, inputs, units, activation, dy, b.factor_weight(s), mask, dx)
