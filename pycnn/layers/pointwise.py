"""Functions of each value whose slope needs the value itself: they are no part of other kernels, as activations are."""

from math import inf

from .._kernels import POINTWISE
from .base import Layer, number_within, one_shape


class Pointwise(Layer):
    """y = f(x), of any shape."""

    @property
    def function(self):
        """The number of f, and its two parameters, as kernels know them."""
        return (POINTWISE.index(self.kind), 0.0, 0.0)

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def forward(self, b, s):
        x = b.value(s.inputs[0], s.layout)
        b.call("pointwise_forward", self.function, b.size(s.output, s.layout), x, b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x = s.inputs[0]
        dx, _, _ = b.new_gradient(x, s.layout, fuses=False, over=dy)
        arguments = self.function, b.size(x, s.layout)
        b.call("pointwise_backward", *arguments, dy, b.value(x, s.layout), dx)
        if b.second:
            b.call("pointwise_backward", *arguments, dx, b.value(x, s.layout), dx)


class GELU(Pointwise):
    """y = x Phi(x), with the distribution function Phi of a standard normal variable (Hendrycks & Gimpel 2016,
    arXiv:1606.08415).

    Parameters
    ----------
    approximate : str
        ``"none"``, or ``"tanh"``: y = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """

    def __init__(self, approximate="none", name=None):
        super().__init__(name)
        if approximate not in ("none", "tanh"):
            raise ValueError(f'approximate must be "none" or "tanh", got {approximate!r}')
        self.approximate = approximate

    @property
    def kind(self):
        return "gelu" if self.approximate == "none" else "gelu_tanh"


class SiLU(Pointwise):
    """y = x / (1 + exp(-x)), also known as swish (Elfwing et al. 2018, arXiv:1702.03118)."""

    kind = "silu"


class HardSigmoid(Pointwise):
    """y = max(0, min(1, alpha x + beta)).

    Parameters
    ----------
    alpha : float
        Slope, greater than 0. 1/6 is that of PyTorch and of `HardSwish`; ONNX's default is 0.2.
    beta : float
    """

    kind = "hard_sigmoid"

    def __init__(self, alpha=1 / 6, beta=0.5, name=None):
        super().__init__(name)
        self.alpha, self.beta = number_within(alpha, "alpha"), number_within(beta, "beta", above=-inf)

    @property
    def function(self):
        return (POINTWISE.index(self.kind), self.alpha, self.beta)


class HardSwish(Pointwise):
    """y = x max(0, min(1, x / 6 + 1/2)) (Howard et al. 2019, arXiv:1905.02244)."""

    kind = "hard_swish"


class Mish(Pointwise):
    """y = x tanh(log(1 + exp(x))) (Misra 2019, arXiv:1908.08681)."""

    kind = "mish"


class Softsign(Pointwise):
    """y = x / (1 + abs(x))."""

    kind = "softsign"


class Clip(Pointwise):
    """y = max(min, min(max, x)), as Clip of ONNX; ``Clip(0, 6)`` is ReLU6, ``Clip(-1, 1)`` the hard tanh.

    Parameters
    ----------
    min, max : float, optional
        One of them at least, min below max. At them and beyond, the slope is 0.
    """

    kind = "clip"

    def __init__(self, min=None, max=None, name=None):
        super().__init__(name)
        self.min = None if min is None else number_within(min, "min", above=-inf)
        self.max = None if max is None else number_within(max, "max", above=-inf)
        if self.min is None and self.max is None:
            raise ValueError("needs min, max or both")
        low, high = self.function[1:]
        if not low < high:
            raise ValueError(f"min must be less than max, got {min!r} and {max!r}")

    @property
    def function(self):
        return (POINTWISE.index(self.kind), -inf if self.min is None else self.min, inf if self.max is None else self.max)
