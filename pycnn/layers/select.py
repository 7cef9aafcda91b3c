"""Values of some places: slices of an axis, places by their numbers, and places that are filled with copies."""

import numpy as np

from ..shapes import check_size, integer
from .base import one_shape
from .binary import unbroadcast
from .function import Computed, checked_shape


class Slice(Computed):
    """y = x at the positions start, start + step, ... before stop of one axis, ``x[start:stop:step]`` (ONNX Slice).

    Parameters
    ----------
    start, stop : int, optional
        Negative numbers count from the end; the ends of the axis where missing.
    step : int
        Not 0; negative goes backwards.
    axis : int
        0 is that of the channels.
    """

    def __init__(self, start=None, stop=None, step=1, axis=0, name=None):
        super().__init__(name)
        self.start = None if start is None else integer(start, "start")
        self.stop = None if stop is None else integer(stop, "stop")
        self.step, self.axis = integer(step, "step"), integer(axis, "axis", 0)
        if not self.step:
            raise ValueError("step must not be 0")

    @property
    def _places(self):
        return (slice(None),) * (1 + self.axis) + (slice(self.start, self.stop, self.step),)

    def output_shape(self, *shapes):
        shape = one_shape(shapes, range(self.axis + 1, 5), f"{self.axis + 1} to 4 axes")
        n = len(range(shape[self.axis])[slice(self.start, self.stop, self.step)])
        if not n:
            raise ValueError(f"{self.start}:{self.stop}:{self.step} leaves nothing of the {shape[self.axis]} positions "
                             f"of axis {self.axis}")
        return (*shape[: self.axis], n, *shape[self.axis + 1 :])

    def function(self, x):
        return x[self._places]

    def gradient(self, dy, x):
        dx = np.zeros_like(x)
        dx[self._places] = dy
        return dx


class Take(Computed):
    """y[..., i, ...] = x[..., indices[i], ...]: positions of one axis that are asked for, in that order (ONNX Gather).

    Parameters
    ----------
    indices : sequence of int
        Negative numbers count from the end. A position may be taken any number of times.
    axis : int
        0 is that of the channels.
    """

    def __init__(self, indices, axis=0, name=None):
        super().__init__(name)
        self.indices = tuple(integer(i, "each of the indices") for i in np.asarray(indices).ravel())
        self.axis = integer(axis, "axis", 0)
        if not self.indices:
            raise ValueError("indices must be at least one number")

    def output_shape(self, *shapes):
        shape = one_shape(shapes, range(self.axis + 1, 5), f"{self.axis + 1} to 4 axes")
        n = shape[self.axis]
        least, most = min(self.indices), max(self.indices)
        if not -n <= least <= most < n:
            raise ValueError(f"indices must be numbers from {-n} to {n - 1}, got {least} to {most}")
        shape = (*shape[: self.axis], len(self.indices), *shape[self.axis + 1 :])
        check_size(shape, "its output")
        return shape

    def function(self, x):
        return np.take(x, self.indices, axis=1 + self.axis)

    def gradient(self, dy, x):
        dx = np.zeros_like(x)
        np.add.at(np.moveaxis(dx, 1 + self.axis, 0), list(self.indices), np.moveaxis(dy, 1 + self.axis, 0))
        return dx


class Expand(Computed):
    """y = x, with the axes of size 1 stretched to those of `shape` (ONNX Expand).

    Parameters
    ----------
    shape : int or tuple of int
        Without the batch: as many sizes as the input has axes, each that of the input, or anything where that is 1.
    """

    def __init__(self, shape, name=None):
        super().__init__(name)
        self.shape = checked_shape(shape)

    def output_shape(self, *shapes):
        shape = one_shape(shapes, (len(self.shape),), f"{len(self.shape)} axes")
        if any(n not in (1, to) for n, to in zip(shape, self.shape)):
            raise ValueError(f"an input of shape {shape} does not stretch to {self.shape}")
        return self.shape

    def function(self, x):
        return np.broadcast_to(x, (len(x), *self.shape))

    def gradient(self, dy, x):
        return unbroadcast(dy, x.shape)
