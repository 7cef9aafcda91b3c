"""Padding, cropping, upsampling, adaptive averages, and the axes of samples in another order."""

from math import prod

import numpy as np

from .. import resampling, shapes
from .._kernels import PLAIN, SAMPLES
from . import programs


def _planes(shape):
    """The planes of a tensor side by side: so many samples of one channel."""
    return (prod(shape[:2]), 1, *shape[2:])


def _resample(function, x, y_spatial, axes, empty=0.0):
    """The planes of x resampled by the matrices `axes` as ``_kernels`` takes them."""
    y_shape = (*x.shape[:2], *y_spatial)
    shapes.check_size(y_shape, "the output")

    def lay_out(p):
        source, y = p.read(_planes(x.shape), SAMPLES), p.tensor(_planes(y_shape), SAMPLES)
        planes = programs.round_up(prod(x.shape[:2]), p.kernels.lanes) // p.kernels.lanes
        p.program.resample(axes, empty, planes, source, y)
        p.write(y, _planes(y_shape), SAMPLES)

    return programs.run(function, (axes, empty), lay_out, x.dtype, [x], [(y_shape, x.dtype)])[0]


def _forward(function, x, shape_of_output, axes_of, arguments, empty=0.0):
    x = programs.tensor(x, programs.dtype_of(x), "x")
    out = shape_of_output(x.shape[2:], *arguments)
    shapes.check_size((*x.shape[:2], *out), "the output")
    return _resample(function, x, out, resampling.packed(axes_of(x.shape[2:], *arguments)), empty)


def _backward(function, dy, x_shape, shape_of_output, axes_of, arguments):
    x_shape = programs.shape_of(x_shape, "x_shape")
    out = shape_of_output(x_shape[2:], *arguments)
    dy = programs.tensor_of(dy, programs.dtype_of(dy), "dy", (*x_shape[:2], *out))
    axes = resampling.packed(axes_of(x_shape[2:], *arguments), transposed=True)
    return _resample(function, dy, x_shape[2:], axes)


def pad_forward(x, padding, mode="constant", value=0.0):
    """Positions before and after every spatial axis.

    Parameters
    ----------
    x : array_like (N, C, *S)
    padding : int, or one int or pair (before, after) per axis
    mode : "constant", "reflect" or "edge"
        What stands there: `value`; the map mirrored at its border, which is not repeated; the border (as in ONNX Pad).
    value : float

    Returns
    -------
    y : ndarray (N, C, *out)
        With ``n + before + after`` positions an axis.
    """
    return _forward("pad_forward", x, resampling.pad_shape, resampling.pad_axes, (padding, mode),
                    programs.number(value, "value"))


def pad_backward(dy, x_shape, padding, mode="constant"):
    """Gradient of padding: dx of shape `x_shape`, to which every copy of a position adds its dy."""
    return _backward("pad_backward", dy, x_shape, resampling.pad_shape, resampling.pad_axes, (padding, mode))


def crop_forward(x, cropping):
    """x without the first and last positions of its axes: an int, or one int or pair (before, after) per axis."""
    return _forward("crop_forward", x, resampling.crop_shape, resampling.crop_axes, (cropping,))


def crop_backward(dy, x_shape, cropping):
    """Gradient of cropping: dx of shape `x_shape`, 0 where x was cut off."""
    return _backward("crop_backward", dy, x_shape, resampling.crop_shape, resampling.crop_axes, (cropping,))


def upsample_forward(x, scale=None, size=None, mode="nearest", align_corners=False):
    """x at more or fewer positions, ``floor(n scale)`` or `size` of them along each spatial axis.

    Parameters
    ----------
    x : array_like (N, C, *S)
    scale : float or tuple of float, optional
    size : int or tuple of int, optional
        Instead of a scale, which is then ``size / n``.
    mode : "nearest" or "linear"
        Output o takes the input at ``floor(o / scale)``, or lies between two at ``(o + 1/2) / scale - 1/2``.
    align_corners : bool
        Output o lies at ``o (n - 1) / (outputs - 1)``.

    Returns
    -------
    y : ndarray (N, C, *out)
    """
    return _forward("upsample_forward", x, resampling.upsample_shape, resampling.upsample_axes,
                    (scale, size, mode, align_corners))


def upsample_backward(dy, x_shape, scale=None, size=None, mode="nearest", align_corners=False):
    """Gradient of upsampling: dx of shape `x_shape`."""
    return _backward("upsample_backward", dy, x_shape, resampling.upsample_shape, resampling.upsample_axes,
                     (scale, size, mode, align_corners))


def adaptive_avg_pool_forward(x, output_size):
    """``(N, C, *output_size)``: output o of m averages the n inputs from floor(o n / m) to below ceil((o + 1) n / m)."""
    return _forward("adaptive_avg_pool_forward", x, resampling.adaptive_shape, resampling.adaptive_axes, (output_size,))


def adaptive_avg_pool_backward(dy, x_shape):
    """Gradient of `adaptive_avg_pool_forward`: dx of shape `x_shape`."""
    x_shape = programs.shape_of(x_shape, "x_shape")
    dy = programs.tensor(dy, programs.dtype_of(dy), "dy", (len(x_shape),))
    return _backward("adaptive_avg_pool_backward", dy, x_shape, resampling.adaptive_shape, resampling.adaptive_axes,
                     (dy.shape[2:],))


def permute_forward(x, axes):
    """The axes of every sample in another order.

    Parameters
    ----------
    x : array_like
        A batch of samples of 1 to 4 axes.
    axes : tuple of int
        Axis a of a sample of y is axis ``axes[a]`` of one of x, counted without the batch: ``(1, 2, 0)`` makes
        ``(N, H, W, C)`` of ``(N, C, H, W)``.

    Returns
    -------
    y : ndarray
    """
    x = programs.tensor(x, programs.dtype_of(x), "x", (2, 3, 4, 5))
    rank = x.ndim - 1
    axes = tuple(shapes.integer(axis, "each of the axes") for axis in axes)
    if sorted(axes) != list(range(rank)):
        raise ValueError(f"axes must be the numbers from 0 to {rank - 1} in any order, got {axes}")
    y_shape, ones = (len(x), *(x.shape[axis + 1] for axis in axes)), 4 - rank
    size, order = (1,) * ones + x.shape[1:], (*range(ones), *(axis + ones for axis in axes))

    def lay_out(p):
        source, y = p.read(x.shape), p.tensor(y_shape)
        p.program.permute(PLAIN, len(x), size, order, source, y)
        p.write(y, y_shape)

    return programs.run("permute", axes, lay_out, x.dtype, [x], [(y_shape, x.dtype)])[0]


def permute_backward(dy, axes):
    """Gradient of `permute_forward`: the axes put back."""
    axes = tuple(shapes.integer(axis, "each of the axes") for axis in axes)
    return permute_forward(dy, tuple(int(a) for a in np.argsort(axes)))
