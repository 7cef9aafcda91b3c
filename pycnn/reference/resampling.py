"""Padding, cropping, upsampling and adaptive averages; unpooling; the axes of samples in another order."""

import math

import numpy as np

from .geometry import per_axis


def _along_axes(x, matrices):
    """y[n, c, q] = sum_p A1[q1, p1] A2[q2, p2] ... x[n, c, p], a matrix for each spatial axis."""
    for axis, matrix in enumerate(matrices, start=2):
        x = np.moveaxis(np.tensordot(matrix.astype(x.dtype), x, (1, axis)), 0, axis)
    return x


def _transposed(matrices):
    return [matrix.T for matrix in matrices]


def _pairs(padding, rank):
    """(before, after) of each spatial axis."""
    padding = padding if isinstance(padding, (tuple, list)) else (padding,) * rank
    return [tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in padding]


def pad_forward(x, padding, mode="constant", value=0.0):
    """Positions before and after every spatial axis of x ``(N, C, *S)``.

    Parameters
    ----------
    padding : int, or one int or pair (before, after) per axis
    mode : "constant", "reflect" (the border is not repeated) or "edge"

    Examples
    --------
    >>> pad_forward(np.array([[[1.0, 2.0, 3.0]]]), ((2, 1),), mode="reflect").tolist()
    [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]
    """
    pairs = [(0, 0), (0, 0), *_pairs(padding, x.ndim - 2)]
    return np.pad(x, pairs, mode, **({"constant_values": value} if mode == "constant" else {}))


def pad_backward(dy, x_shape, padding, mode="constant"):
    """Gradient of padding: dx of shape `x_shape`, to which every copy of a position adds its dy."""
    positions = np.pad(np.arange(math.prod(x_shape[2:])).reshape(x_shape[2:]), _pairs(padding, len(x_shape) - 2), mode,
                       **({"constant_values": -1} if mode == "constant" else {}))
    dx = np.zeros((*x_shape[:2], math.prod(x_shape[2:])), dy.dtype)
    np.add.at(dx, (..., positions[positions >= 0]), dy[:, :, positions >= 0])
    return dx.reshape(x_shape)


def crop_forward(x, cropping):
    """x without the first and last positions of its axes: an int, or one int or pair (before, after) per axis."""
    kept = [slice(before, n - after) for n, (before, after) in zip(x.shape[2:], _pairs(cropping, x.ndim - 2))]
    return x[(..., *kept)].copy()


def crop_backward(dy, x_shape, cropping):
    """Gradient of cropping: dx of shape `x_shape`, 0 where x was cut off."""
    return np.pad(dy, [(0, 0), (0, 0), *_pairs(cropping, len(x_shape) - 2)])


def _upsampling_matrix(n, scale, size, mode, align_corners):
    """The matrix (outputs, n) along one axis."""
    outputs = math.floor(n * scale) if size is None else size
    matrix = np.zeros((outputs, n))
    for o in range(outputs):
        step = n / size if scale is None else 1 / scale
        if mode == "nearest":
            place = o * n // size if scale is None else math.floor(o / scale)
            matrix[o, min(place, n - 1)] = 1
            continue
        place = o * (n - 1) / max(1, outputs - 1) if align_corners else max(0.0, (o + 0.5) * step - 0.5)
        below = min(math.floor(place), n - 1)
        matrix[o, below] += 1 - (place - below)
        matrix[o, min(below + 1, n - 1)] += place - below
    return matrix


def _upsampling_matrices(spatial, scale, size, mode, align_corners):
    each = [value if isinstance(value, (tuple, list)) else (value,) * len(spatial) for value in (scale, size)]
    return [_upsampling_matrix(n, s, m, mode, align_corners) for n, s, m in zip(spatial, *each)]


def upsample_forward(x, scale=None, size=None, mode="nearest", align_corners=False):
    """x ``(N, C, *S)`` at ``floor(n scale)`` or `size` positions along each spatial axis.

    Output o takes the input at floor(o / scale) ("nearest"), or lies between two inputs at (o + 1/2) / scale - 1/2
    ("linear"), or with align_corners at o (n - 1) / (outputs - 1).

    Examples
    --------
    >>> x = np.array([[[0.0, 4.0]]])
    >>> upsample_forward(x, 2).tolist(), upsample_forward(x, 2, mode="linear").tolist()
    ([[[0.0, 0.0, 4.0, 4.0]]], [[[0.0, 1.0, 3.0, 4.0]]])
    """
    return _along_axes(x, _upsampling_matrices(x.shape[2:], scale, size, mode, align_corners))


def upsample_backward(dy, x_shape, scale=None, size=None, mode="nearest", align_corners=False):
    """Gradient of upsampling: dx of shape `x_shape`."""
    return _along_axes(dy, _transposed(_upsampling_matrices(x_shape[2:], scale, size, mode, align_corners)))


def _averaging_matrix(n, outputs):
    matrix = np.zeros((outputs, n))
    for o in range(outputs):
        begin, end = math.floor(o * n / outputs), math.ceil((o + 1) * n / outputs)
        matrix[o, begin:end] = 1 / (end - begin)
    return matrix


def adaptive_avg_pool_forward(x, output_size):
    """``(N, C, *output_size)``: output o of m averages the n inputs from floor(o n / m) to below ceil((o + 1) n / m)."""
    sizes = per_axis(output_size, x.ndim - 2, "output_size")
    return _along_axes(x, [_averaging_matrix(n, m) for n, m in zip(x.shape[2:], sizes)])


def adaptive_avg_pool_backward(dy, x_shape):
    """Gradient of `adaptive_avg_pool_forward`: dx of shape `x_shape`."""
    return _along_axes(dy, [_averaging_matrix(n, m).T for n, m in zip(x_shape[2:], dy.shape[2:])])


def permute_forward(x, axes):
    """The axes of every sample in another order: axis a of a sample of y is axis axes[a] of one of x."""
    return x.transpose(0, *(axis + 1 for axis in axes)).copy()


def permute_backward(dy, axes):
    """Gradient of `permute_forward`: the axes put back."""
    return permute_forward(dy, np.argsort(axes))
