"""Arithmetic of two tensors, whose axes of size 1 stretch."""

import numpy as np

from ..shapes import check_size
from .function import Computed, one_of


def power_gradient(dy, a, b):
    y = np.power(a, b)
    return dy * b * np.power(a, b - 1), dy * y * np.log(np.where(a > 0, a, 1))


def no_gradient(dy, a, b):
    return np.zeros_like(dy), np.zeros_like(dy)


KINDS = {      # kind -> (function, gradient to both operands)
    "add": (np.add, lambda dy, a, b: (dy, dy)),
    "sub": (np.subtract, lambda dy, a, b: (dy, -dy)),
    "mul": (np.multiply, lambda dy, a, b: (dy * b, dy * a)),
    "div": (np.divide, lambda dy, a, b: (dy / b, -dy * a / (b * b))),
    "pow": (np.power, power_gradient),
    "max": (np.maximum, lambda dy, a, b: (dy * (a >= b), dy * (a < b))),
    "min": (np.minimum, lambda dy, a, b: (dy * (a <= b), dy * (a > b))),
    "equal": (np.equal, no_gradient),
    "greater": (np.greater, no_gradient),
    "greater_equal": (np.greater_equal, no_gradient),
    "less": (np.less, no_gradient),
    "less_equal": (np.less_equal, no_gradient),
}


class Binary(Computed):
    """y = a op b, value by value, with broadcasting: where one of them has size 1 along an axis, it counts for all
    positions of the other (ONNX Add, Sub, Mul, Div, Pow, Max, Min).

    Two inputs with equally many axes, output with the larger size of each. `Add` and `Multiply`, of inputs of one
    shape, are faster.

    Parameters
    ----------
    kind : {"add", "sub", "mul", "div", "pow", "max", "min", "equal", "greater", "greater_equal", "less", "less_equal"}
        Of equal values, the first is the greatest and the least, and gets the gradient. Comparisons are 1 or 0.
    """

    def __init__(self, kind, name=None):
        super().__init__(name)
        self.kind = one_of(kind, KINDS, "kind")

    def output_shape(self, *shapes):
        if len(shapes) != 2:
            raise ValueError(f"takes two inputs, got {len(shapes)}")
        a, b = shapes
        if len(a) != len(b) or any(m != n and 1 not in (m, n) for m, n in zip(a, b)):
            raise ValueError(f"its inputs must have equally many axes, each of equal sizes or of 1 in one of them, "
                             f"got {a} and {b}")
        shape = tuple(map(max, a, b))
        check_size(shape, "its output")
        return shape

    def function(self, a, b):
        with np.errstate(all="ignore"):
            return KINDS[self.kind][0](a, b)

    def gradient(self, dy, a, b):
        with np.errstate(all="ignore"):
            da, db = KINDS[self.kind][1](dy, a, b)
        return unbroadcast(da, a.shape), unbroadcast(db, b.shape)


def unbroadcast(gradient, shape):
    """The gradient of what was stretched to it from that shape."""
    axes = tuple(i for i, (m, n) in enumerate(zip(gradient.shape, shape)) if n == 1 and m != 1)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient
