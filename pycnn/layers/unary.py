"""Functions of each value, in NumPy."""

import numpy as np

from .base import number_within, one_shape
from .function import Computed, one_of

KINDS = {      # kind -> (function, derivative)
    "abs": (np.abs, np.sign),
    "ceil": (np.ceil, np.zeros_like),
    "exp": (np.exp, np.exp),
    "floor": (np.floor, np.zeros_like),
    "log": (np.log, lambda x: 1 / x),
    "neg": (np.negative, lambda x: -np.ones_like(x)),
    "reciprocal": (np.reciprocal, lambda x: -1 / (x * x)),
    "sign": (np.sign, np.zeros_like),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "trunc": (np.trunc, np.zeros_like),
}


class Unary(Computed):
    """y = f(x), of any shape.

    Parameters
    ----------
    kind : {"abs", "ceil", "exp", "floor", "log", "neg", "reciprocal", "sign", "sqrt", "trunc"}
    """

    def __init__(self, kind, name=None):
        super().__init__(name)
        self.kind = one_of(kind, KINDS, "kind")

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def function(self, x):
        with np.errstate(all="ignore"):
            return KINDS[self.kind][0](x)

    def gradient(self, dy, x):
        with np.errstate(all="ignore"):
            return dy * KINDS[self.kind][1](x)


class CELU(Computed):
    """y = max(0, x) + min(0, alpha (exp(x / alpha) - 1)) (Barron 2017, arXiv:1704.07483).

    Parameters
    ----------
    alpha : float
        Greater than 0.
    """

    def __init__(self, alpha=1.0, name=None):
        super().__init__(name)
        self.alpha = number_within(alpha, "alpha")

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def function(self, x):
        return np.maximum(x, 0) + self.alpha * np.expm1(np.minimum(x, 0) / self.alpha)

    def gradient(self, dy, x):
        return dy * np.exp(np.minimum(x, 0) / self.alpha)


class ThresholdedReLU(Computed):
    """y = x where x > alpha, else 0 (Konda et al. 2015, arXiv:1402.3337).

    Parameters
    ----------
    alpha : float
    """

    def __init__(self, alpha=1.0, name=None):
        super().__init__(name)
        self.alpha = number_within(alpha, "alpha", above=-np.inf)

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def function(self, x):
        return np.where(x > self.alpha, x, 0)

    def gradient(self, dy, x):
        return np.where(x > self.alpha, dy, 0)
