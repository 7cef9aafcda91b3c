"""One number of many: sums, means, maxima and minima along axes."""

from math import prod

import numpy as np

from ..shapes import integer
from .base import one_shape
from .function import Computed, one_of

KINDS = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}


class Reduce(Computed):
    """y = the mean, sum, maximum or minimum along some axes (ONNX ReduceMean, ReduceSum, ReduceMax, ReduceMin).

    Input of 1 to 4 axes, output without those that are reduced; ``(1,)`` where none is left. `GlobalAvgPool` and
    `GlobalMaxPool`, over all positions, are faster.

    Parameters
    ----------
    kind : {"mean", "sum", "max", "min"}
        The gradient of an extreme is shared by all values that are equal to it.
    axes : int or tuple of int
        0 is that of the channels.
    keepdims : bool
        Whether the axes stay, with size 1.
    """

    def __init__(self, kind, axes, keepdims=False, name=None):
        super().__init__(name)
        axes = axes if isinstance(axes, (tuple, list)) else (axes,)
        self.kind, self.keepdims = one_of(kind, KINDS, "kind"), bool(keepdims)
        self.axes = tuple(integer(axis, "each of the axes", 0) for axis in axes)
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes must be different ones, at least one, got {self.axes}")

    @property
    def _of_arrays(self):
        return tuple(axis + 1 for axis in self.axes)

    def output_shape(self, *shapes):
        shape = one_shape(shapes, range(max(self.axes) + 1, 5), f"{max(self.axes) + 1} to 4 axes")
        if self.keepdims:
            return tuple(1 if axis in self.axes else n for axis, n in enumerate(shape))
        return tuple(n for axis, n in enumerate(shape) if axis not in self.axes) or (1,)

    def function(self, x):
        y = KINDS[self.kind](x, axis=self._of_arrays, keepdims=True)
        return y.reshape(len(x), *self.output_shape(x.shape[1:]))

    def gradient(self, dy, x):
        dy = np.expand_dims(dy.reshape([n for i, n in enumerate(x.shape) if i not in self._of_arrays]), self._of_arrays)
        if self.kind in ("max", "min"):
            equal = x == KINDS[self.kind](x, axis=self._of_arrays, keepdims=True)
            return dy * equal / equal.sum(axis=self._of_arrays, keepdims=True)
        scale = prod(x.shape[axis] for axis in self._of_arrays) if self.kind == "mean" else 1
        return np.broadcast_to(dy / scale, x.shape)
