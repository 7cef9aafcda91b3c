"""Where the maxima of windows lie."""

import numpy as np

from .function import Computed
from .pooling import MaxPool


class MaxPoolPlaces(Computed):
    """y = the place of each window's maximum among all values of a sample, in row order: the second output of
    ONNX MaxPool.

    Input ``(C, ...)``, output of the shape that ``MaxPool`` makes. No gradient goes through it.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As in `MaxPool`.
    columns_first : bool
        Whether places of a map are counted in column order.
    """

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, columns_first=False,
                 name=None):
        super().__init__(name)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.ceil_mode, self.columns_first = bool(ceil_mode), bool(columns_first)

    def _pool(self):
        return MaxPool(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def output_shape(self, *shapes):
        return self._pool().output_shape(*shapes)

    def function(self, x):
        shape = x.shape[1:]
        spatial, (_, out, kernel, stride, dilation, before) = shape[1:], self._pool().geometry(shape)[0]
        best = place = None
        padded = (1,) * (3 - len(spatial)) + spatial
        x = x.reshape(len(x), shape[0], *padded)
        offsets = np.arange(shape[0]).reshape(-1, 1, 1, 1) * int(np.prod(padded))
        strides = np.cumprod((1, *padded[:-1])) if self.columns_first else np.cumprod((1, *padded[:0:-1]))[::-1]
        for tap in np.ndindex(*kernel):
            at = [np.arange(o) * s + t * d - b for o, s, t, d, b in zip(out, stride, tap, dilation, before)]
            d, h, w = ((0 <= i) & (i < n) for i, n in zip(np.ix_(*at), padded))
            there = d & h & w
            at = np.ix_(*(np.clip(i, 0, n - 1) for i, n in zip(at, padded)))
            value = np.where(there, x[:, :, at[0], at[1], at[2]], -np.inf)
            number = offsets + sum(i * int(step) for i, step in zip(at, strides))
            number = np.broadcast_to(number, value.shape)
            better = value > best if best is not None else np.ones(value.shape, bool)
            best = value if best is None else np.where(better, value, best)
            place = number if place is None else np.where(better, number, place)
        return place.reshape(len(x), *self.output_shape(shape))

    def gradient(self, dy, x):
        return np.zeros_like(x)
