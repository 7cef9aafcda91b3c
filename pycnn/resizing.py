"""The matrices of ONNX's Resize: where an output of an axis lies among the inputs, and how it is interpolated there."""

from __future__ import annotations

import math

import numpy as np

from .resampling import AxisMatrix, copied

MODES = ("nearest", "linear", "cubic")
COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
               "tf_crop_and_resize")
ROUNDINGS = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def places(n, m, scale, coordinates, roi):
    """Where m outputs lie among n inputs, which have the places 0 to n - 1."""
    o, whole = np.arange(m), n * scale
    if coordinates == "align_corners":
        return o * ((n - 1) / (whole - 1)) if whole != 1 else np.zeros(m)
    if coordinates == "asymmetric":
        return o / scale
    if coordinates == "tf_crop_and_resize":
        begin, end = roi
        step = (end - begin) * (n - 1)
        return begin * (n - 1) + (o * (step / (whole - 1)) if whole != 1 else step / 2)
    if coordinates == "pytorch_half_pixel" and m == 1:
        return np.array([-0.5])
    shift = n / 2 * (1 - m / whole) if coordinates == "half_pixel_symmetric" else 0.0
    return shift + (o + 0.5) / scale - 0.5


def triangle(x):
    return np.maximum(0, 1 - np.abs(x))


def cubic(a):
    """Keys' kernel (1981)."""
    def weight(x):
        x = np.abs(x)
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return weight


def axis_matrix(n, m, scale, mode, coordinates, rounding, coefficient, exclude_outside, antialias, roi):
    """The matrix of one axis with n inputs and m outputs.

    Parameters
    ----------
    scale : float
    mode, coordinates, rounding : one of `MODES`, `COORDINATES`, `ROUNDINGS`
    coefficient : float
        a of the cubic kernel.
    exclude_outside : bool
        Whether taps outside of the inputs are left out, instead of reading the border.
    antialias : bool
        Whether the kernel is as wide as an output where there are fewer of them.
    roi : tuple of float
        Begin and end of what tf_crop_and_resize takes, of 0 to 1; outputs outside of the inputs have no tap.
    """
    at = places(n, m, scale, coordinates, roi)
    inside = (at >= 0) & (at <= n - 1) if coordinates == "tf_crop_and_resize" else np.ones(m, bool)
    if mode == "nearest":
        index = np.clip(ROUNDINGS[rounding](at), 0, n - 1).astype(np.int64)
        return copied(np.where(inside, index, -1), n)
    kernel, reach = (triangle, 1) if mode == "linear" else (cubic(coefficient), 2)
    narrow = min(scale, 1.0) if antialias else 1.0
    first = math.floor(-reach / narrow) + 1
    index = np.floor(at)[:, None] + np.arange(first, 2 - first)
    weight = kernel((index - at[:, None]) * narrow)
    if exclude_outside:
        weight = np.where((index >= 0) & (index < n), weight, 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    output = np.broadcast_to(np.arange(m)[:, None], index.shape)
    taken = np.clip(index, 0, n - 1).astype(np.int64)
    return AxisMatrix.of_taps(n, m, output[inside].ravel(), taken[inside].ravel(), weight[inside].ravel())
