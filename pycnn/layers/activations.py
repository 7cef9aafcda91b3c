"""Activations as layers of their own; `Conv` and `Dense` also take them by name."""

from .base import Layer, activation_code, number_within, one_shape


class Activation(Layer):
    """y = f(x), of any shape. Behind a Conv or Dense without one, it becomes part of that kernel."""

    kind = "identity"

    @property
    def code(self):
        return activation_code(self.kind, getattr(self, "alpha", None))

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def forward(self, b, s):
        x = b.value(s.inputs[0], s.layout)
        y = b.new_value(s.output, s.layout)
        b.call("activation_forward", self.code, b.size(s.output, s.layout), x, y)

    def backward(self, b, s, dy):
        # The plan has multiplied dy by f'(x), as it does for every edge whose producer ends with an activation.
        b.pass_gradient(s.inputs[0], dy, s.layout)


class ReLU(Activation):
    """y = max(0, x)."""

    kind = "relu"


class LeakyReLU(Activation):
    """y = x where x > 0, else alpha x (Maas et al. 2013).

    Parameters
    ----------
    alpha : float
        Slope below zero, greater than 0.
    """

    kind = "leaky_relu"

    def __init__(self, alpha=0.01, name=None):
        super().__init__(name)
        self.alpha = number_within(alpha, "alpha")


class ELU(Activation):
    """y = x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016, arXiv:1511.07289).

    Parameters
    ----------
    alpha : float
        Greater than 0.
    """

    kind = "elu"

    def __init__(self, alpha=1.0, name=None):
        super().__init__(name)
        self.alpha = number_within(alpha, "alpha")


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x))."""

    kind = "sigmoid"


class Tanh(Activation):
    """y = tanh(x)."""

    kind = "tanh"


class ScaledTanh(Activation):
    """y = 1.7159 tanh(2x/3) (LeCun et al. 1998, appendix A)."""

    kind = "scaled_tanh"


class Softplus(Activation):
    """y = log(1 + exp(x))."""

    kind = "softplus"


class SELU(Activation):
    """y = S x where x > 0, else S A (exp(x) - 1), S = 1.0507009873554805 and A = 1.6732632423543772, which keep mean 0 and
    variance 1 (Klambauer et al. 2017, arXiv:1706.02515)."""

    kind = "selu"
