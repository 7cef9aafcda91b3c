"""A choice between two tensors, value by value."""

import numpy as np

from ..shapes import check_size
from .binary import unbroadcast
from .function import Computed


class Where(Computed):
    """y = a where the condition is not 0, else b; axes of size 1 stretch, as of `Binary` (ONNX Where).

    Called on a condition, such as `Binary` makes by a comparison, a and b, with equally many axes. No gradient goes to the
    condition.
    """

    def output_shape(self, *shapes):
        if len(shapes) != 3:
            raise ValueError(f"takes three inputs, a condition and two tensors, got {len(shapes)}")
        if len(set(map(len, shapes))) > 1 or any(len(set(sizes) - {1}) > 1 for sizes in zip(*shapes)):
            raise ValueError(f"its inputs must have equally many axes, each of equal sizes or of 1, got "
                             f"{', '.join(map(str, shapes))}")
        shape = tuple(map(max, *shapes))
        check_size(shape, "its output")
        return shape

    def function(self, condition, a, b):
        return np.where(condition, a, b)

    def gradient(self, dy, condition, a, b):
        chosen = condition != 0
        return None, unbroadcast(np.where(chosen, dy, 0), a.shape), unbroadcast(np.where(chosen, 0, dy), b.shape)
