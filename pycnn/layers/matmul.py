"""Products of matrices that are tensors both."""

import numpy as np

from ..shapes import check_size
from .binary import unbroadcast
from .function import Computed


class MatMul(Computed):
    """y = a b, the product of the matrices in the last two axes, as ``numpy.matmul`` (ONNX MatMul).

    Inputs ``(..., M, K)`` and ``(..., K, N)`` with equally many axes, two at least, output ``(..., M, N)``. Leading
    axes agree, or are 1 in one of them and stretch. `Dense` is the layer for one vector a sample and learnt weights.
    """

    def output_shape(self, *shapes):
        if len(shapes) != 2:
            raise ValueError(f"takes two inputs, got {len(shapes)}")
        a, b = shapes
        fits = len(a) == len(b) >= 2 and a[-1] == b[-2]
        if not fits or any(m != n and 1 not in (m, n) for m, n in zip(a[:-2], b[:-2])):
            raise ValueError(f"expects (..., M, K) and (..., K, N), got {a} and {b}")
        shape = (*map(max, a[:-2], b[:-2]), a[-2], b[-1])
        check_size(shape, "its output")
        return shape

    def function(self, a, b):
        return np.matmul(a, b)

    def gradient(self, dy, a, b):
        da, db = np.matmul(dy, np.swapaxes(b, -1, -2)), np.matmul(np.swapaxes(a, -1, -2), dy)
        return unbroadcast(da, a.shape), unbroadcast(db, b.shape)
