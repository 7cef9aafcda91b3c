"""The matrices of resampling: which inputs each output of an axis is the weighted sum of.

Padding, cropping, upsampling and adaptive averages are all such a matrix along each spatial axis. One here knows its
transpose, by which a gradient goes back, and the matrix of its squares, by which second derivatives do.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np

from . import shapes

PAD_MODES = ("constant", "reflect", "edge")
UPSAMPLE_MODES = ("nearest", "linear")


@dataclass(frozen=True)
class AxisMatrix:
    """A sparse matrix ``(outputs, inputs)`` by rows: output o has the taps ``begin[o] <= t < begin[o + 1]``.

    Attributes
    ----------
    inputs : int
    begin : ndarray of int64 (outputs + 1,)
    index : ndarray of int64 (taps,)
        The input of each tap.
    weight : ndarray of float64 (taps,)
    """

    inputs: int
    begin: np.ndarray
    index: np.ndarray
    weight: np.ndarray

    @classmethod
    def of_taps(cls, inputs, outputs, output, index, weight):
        """From taps in any order; those of one output and input add up, and those of no weight are left out."""
        cells, place = np.unique(np.asarray(output) * inputs + index, return_inverse=True)
        weight = np.bincount(place.ravel(), np.broadcast_to(weight, place.shape).ravel(), len(cells))
        cells, weight = cells[weight != 0], weight[weight != 0]
        begin = np.searchsorted(cells, np.arange(outputs + 1) * inputs)
        return cls(inputs, begin.astype(np.int64), (cells % inputs).astype(np.int64), weight)

    @property
    def outputs(self):
        return len(self.begin) - 1

    def transposed(self, squared=False):
        """The transpose; of the matrix of squares where `squared`."""
        output = np.repeat(np.arange(self.outputs), np.diff(self.begin))
        weight = self.weight**2 if squared else self.weight
        return AxisMatrix.of_taps(self.outputs, self.inputs, self.index, output, weight)

    def packed(self):
        """As ``_kernels`` takes it, and hashable: (inputs, outputs, bytes of begin, of index, of weight)."""
        return self.inputs, self.outputs, self.begin.tobytes(), self.index.tobytes(), self.weight.tobytes()


def packed(axes, transposed=False, squared=False):
    """Matrices of one to three spatial axes as ``_kernels`` takes those of depth, height and width."""
    axes = [copied(np.arange(1), 1)] * (3 - len(axes)) + list(axes)
    return tuple((a.transposed(squared) if transposed else a).packed() for a in axes)


def copied(index, inputs):
    """Output o is input ``index[o]``, or has no tap where that is negative."""
    output = np.flatnonzero(index >= 0)
    return AxisMatrix.of_taps(inputs, len(index), output, index[output], 1.0)


# ---- the matrices of each kind, one for each axis of a spatial shape, and what they make of the shape ----------------


def pad_shape(spatial, padding, mode="constant"):
    """The spatial shape that `pad_axes` leads to."""
    return tuple(n + sum(pair) for n, pair in zip(spatial, _paddings(spatial, padding, mode)))


def pad_axes(spatial, padding, mode="constant"):
    """Positions before and after each axis: without a tap, mirrored at the border (which is not repeated), or its copies.

    Parameters
    ----------
    spatial : tuple of int
    padding : int, or one int or pair (before, after) per axis
    mode : "constant", "reflect" or "edge"
    """
    axes = []
    for n, (before, after) in zip(spatial, _paddings(spatial, padding, mode)):
        index = np.arange(-before, n + after)
        if mode == "reflect":
            index = n - 1 - np.abs(n - 1 - np.abs(index))
        elif mode == "edge":
            index = np.clip(index, 0, n - 1)
        axes.append(copied(np.where(index < n, index, -1), n))
    return axes


def crop_shape(spatial, cropping):
    """The spatial shape that `crop_axes` leads to."""
    return tuple(end - begin for begin, end in _kept(spatial, cropping))


def crop_axes(spatial, cropping):
    """Without the first and last positions of each axis: `cropping` is an int, or one int or pair per axis."""
    return [copied(np.arange(*kept), n) for n, kept in zip(spatial, _kept(spatial, cropping))]


def upsample_shape(spatial, scale=None, size=None, mode="nearest", align_corners=False):
    """The spatial shape that `upsample_axes` leads to."""
    check_upsampling(scale, size, mode, align_corners)
    if scale is None:
        return shapes.per_axis(size, len(spatial), "size")
    out = tuple(math.floor(n * s) for n, s in zip(spatial, _scales(scale, len(spatial))))
    if min(out) < 1:
        raise ValueError(f"a scale of {scale} leaves nothing of {'x'.join(map(str, spatial))} positions")
    return out


def check_upsampling(scale, size, mode, align_corners):
    """ValueError for arguments of `upsample_axes` that fit no input."""
    if mode not in UPSAMPLE_MODES:
        raise ValueError(f"mode must be one of {', '.join(UPSAMPLE_MODES)}, got {mode!r}")
    if align_corners and mode != "linear":
        raise ValueError('align_corners goes with mode="linear"')
    if (scale is None) == (size is None):
        raise ValueError(f"give either a scale or a size, got scale={scale!r} and size={size!r}")


def upsample_axes(spatial, scale=None, size=None, mode="nearest", align_corners=False):
    """As many positions as ``floor(n scale)``, or `size`, along each axis.

    Output o takes the input at ``floor(o / scale)`` ("nearest"), or lies between two inputs, at
    ``(o + 1/2) / scale - 1/2`` ("linear") or with `align_corners` at ``o (n - 1) / (outputs - 1)``: as in PyTorch, and
    in ONNX Resize with the coordinates asymmetric (rounded down), half_pixel and align_corners. A `size` has the scale
    ``size / n``.
    """
    out = upsample_shape(spatial, scale, size, mode, align_corners)
    scales = [None] * len(spatial) if scale is None else _scales(scale, len(spatial))
    if mode == "nearest":
        return [_nearest(*axis) for axis in zip(spatial, out, scales)]
    return [_linear(*axis, align_corners) for axis in zip(spatial, out, scales)]


def adaptive_shape(spatial, output_size):
    """The spatial shape that `adaptive_axes` leads to."""
    return shapes.per_axis(output_size, len(spatial), "output_size")


def adaptive_axes(spatial, output_size):
    """Averages from ``floor(o n / m)`` to ``ceil((o + 1) n / m)``, for m outputs along each axis."""
    axes = []
    for n, m in zip(spatial, adaptive_shape(spatial, output_size)):
        begin, end = np.arange(m) * n // m, -(-(np.arange(m) + 1) * n // m)
        count = end - begin
        output = np.repeat(np.arange(m), count)
        index = np.arange(len(output)) - np.repeat(np.cumsum(count) - count - begin, count)
        axes.append(AxisMatrix.of_taps(n, m, output, index, np.repeat(1 / count, count)))
    return axes


def _nearest(n, m, scale):
    o = np.arange(m)
    index = o * n // m if scale is None else np.floor(o / scale).astype(np.int64)
    return copied(np.minimum(index, n - 1), n)


def _linear(n, m, scale, align_corners):
    o = np.arange(m)
    if align_corners:
        at = o * (n - 1) / max(1, m - 1)
    else:
        at = np.maximum(0, (o + 0.5) * (n / m if scale is None else 1 / scale) - 0.5)
    below = np.minimum(at.astype(np.int64), n - 1)
    above, share = np.minimum(below + 1, n - 1), at - below
    taps = np.concatenate([below, above]), np.concatenate([1 - share, share])
    return AxisMatrix.of_taps(n, m, np.concatenate([o, o]), *taps)


def _paddings(spatial, padding, mode):
    """(before, after) of each axis."""
    if mode not in PAD_MODES:
        raise ValueError(f"mode must be one of {', '.join(PAD_MODES)}, got {mode!r}")
    pairs = _pairs(spatial, padding, "padding")
    for n, pair in zip(spatial, pairs):
        if mode == "reflect" and max(pair) >= n:
            raise ValueError(f"a padding that reflects must be smaller than its axis, got {pair} with {n} positions")
    return pairs


def _kept(spatial, cropping):
    """(begin, end) of what is left of each axis."""
    kept = []
    for n, (before, after) in zip(spatial, _pairs(spatial, cropping, "cropping")):
        if before + after >= n:
            raise ValueError(f"a cropping of {(before, after)} leaves nothing of {n} positions")
        kept.append((before, n - after))
    return kept


def _pairs(spatial, value, what):
    """(before, after) of each axis, of an int, or one int or pair per axis."""
    if isinstance(value, str):
        raise TypeError(f"{what} must be integers, got {value!r}")
    try:
        pairs = shapes.resolve_padding(value, spatial, 1, 1, 1)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("padding", what)) from None
    shapes.per_axis([size for pair in pairs for size in pair], 2 * len(pairs), what, 0)
    return pairs


def _scales(scale, rank):
    """A finite scale greater than 0 for each axis."""
    values = tuple(scale) if isinstance(scale, (tuple, list, np.ndarray)) else (scale,) * rank
    if len(values) != rank:
        raise ValueError(f"scale has {len(values)} values; expected one number or {rank} (one per spatial axis)")
    for s in values:
        if isinstance(s, (bool, np.bool_)) or not isinstance(s, numbers.Real):
            raise TypeError(f"scale must be a number, got {s!r}")
        if not 0 < s <= shapes.LARGEST_SIZE:
            raise ValueError(f"scale must be greater than 0 and at most {shapes.LARGEST_SIZE}, got {s}")
    return values
