"""Maximum and average pooling, over windows and over everything."""

import numpy as np

from .geometry import (
    check_gradient,
    crop,
    per_axis,
    pool_output_shape,
    reach,
    resolve_padding,
    surround,
    taps,
)


def _pool_geometry(size, kernel, stride, padding, dilation, ceil_mode):
    """Size of the output, (kernel, out, stride, dilation) as `taps` takes them, and (before, after) pairs."""
    rank = len(size)
    stride = kernel if stride is None else stride
    out = pool_output_shape(size, kernel, stride, padding, dilation, ceil_mode)
    pads = resolve_padding(padding, size, kernel, stride, dilation)
    kernel, stride = per_axis(kernel, rank, "kernel_size"), per_axis(stride, rank, "stride")
    sliding = kernel, out, stride, per_axis(dilation, rank, "dilation")
    if not _window_sums(np.ones(size, int), [before for before, _ in pads], sliding).all():
        raise ValueError(f"a window of {kernel} would hold nothing but padding: padding {pads} is too much")
    return out, sliding, pads


def _window_sums(x, before, sliding):
    """sum_t x[stride q + dilation t - before] for every window q, x being 0 outside itself."""
    x = surround(x, before, reach(*sliding))
    return sum(x[met] for met in taps(*sliding))


def max_pool_forward(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Max pooling: y[n, c, q] = max_t x[n, c, stride q + dilation t - before].

    Of equal values the first in row order wins; NaN wins over numbers; padding never wins.

    Parameters
    ----------
    x : array (N, C, *S)
    kernel_size, stride, dilation : int, or a tuple with one for each spatial axis
        The stride defaults to kernel_size.
    padding : see `resolve_padding`
    ceil_mode : bool, see `pool_output_shape`

    Returns
    -------
    y : array (N, C, *out)
    indices : int64 array (N, C, *out)
        Where the maximum comes from: a position in the flattened spatial axes of x, as in PyTorch.

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input, or a window would hold nothing but padding.

    Examples
    --------
    >>> y, indices = max_pool_forward(np.array([[[3.0, 1.0, 2.0, 2.0]]]), 2)
    >>> y.tolist(), indices.tolist()
    ([[[3.0, 2.0]]], [[[0, 2]]])
    """
    size = x.shape[2:]
    out, sliding, pads = _pool_geometry(size, kernel_size, stride, padding, dilation, ceil_mode)
    before = [pad[0] for pad in pads]
    positions = np.arange(np.prod(size)).reshape(size)
    positions = surround(positions, before, reach(*sliding), value=-1)
    x = surround(x, before, reach(*sliding))
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    indices = np.full(y.shape, -1, np.int64)
    for met in taps(*sliding):
        value, position = x[met], positions[met]
        greater = (value > y) | (np.isnan(value) & ~np.isnan(y))
        wins = (position >= 0) & (greater | (indices < 0))
        y = np.where(wins, value, y)
        indices = np.where(wins, position, indices)
    return y, indices


def max_pool_backward(dy, indices, x_shape):
    """Gradient of max pooling: every dy is added to the dx ``(N, C, *S)`` that its maximum came from."""
    planes, positions, windows = (np.prod(s, dtype=int) for s in (x_shape[:2], x_shape[2:], dy.shape[2:]))
    dx = np.zeros((planes, positions), dy.dtype)
    np.add.at(dx, (np.arange(planes)[:, None], indices.reshape(planes, windows)), dy.reshape(planes, windows))
    return dx.reshape(x_shape)


def _avg_pool_geometry(size, kernel, stride, padding, ceil_mode, count_include_pad):
    """Size of the output, arguments of `taps`, padding before, and the number that each window divides by."""
    out, sliding, pads = _pool_geometry(size, kernel, stride, padding, 1, ceil_mode)
    before = [pad[0] for pad in pads]
    if count_include_pad:
        counts = _window_sums(np.pad(np.ones(size, int), pads, constant_values=1), [0] * len(size), sliding)
    else:
        counts = _window_sums(np.ones(size, int), before, sliding)
    return out, sliding, before, counts


def avg_pool_forward(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Average pooling: y[n, c, q] = sum_t x[n, c, stride q + t - before] / |q|.

    |q| counts the positions of window q in the padded input, or, without count_include_pad, in the input
    itself. What hangs over the padded input in ceil_mode is never counted (PyTorch, ONNX since opset 19).

    Parameters
    ----------
    x : array (N, C, *S)
    kernel_size, stride : int, or a tuple with one for each spatial axis
        The stride defaults to kernel_size.
    padding : see `resolve_padding`
    ceil_mode : bool, see `pool_output_shape`
    count_include_pad : bool

    Returns
    -------
    y : array (N, C, *out)

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input, or a window would hold nothing but padding.
    """
    _, sliding, before, counts = _avg_pool_geometry(
        x.shape[2:], kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _window_sums(x, before, sliding) / counts.astype(x.dtype)


def avg_pool_backward(
        dy, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of average pooling: dx ``(N, C, *S)`` of shape `x_shape`.

    dx[n, c, p] = sum_q,t dy[n, c, q] / |q| over all q, t with stride q + t - before = p.
    """
    out, sliding, before, counts = _avg_pool_geometry(
        x_shape[2:], kernel_size, stride, padding, ceil_mode, count_include_pad)
    check_gradient(dy, (*x_shape[:2], *out))
    share = dy / counts.astype(dy.dtype)
    dx = surround(np.zeros(x_shape, dy.dtype), before, reach(*sliding))
    for met in taps(*sliding):
        dx[met] += share
    return crop(dx, before, x_shape[2:])


def global_avg_pool_forward(x):
    """Mean over all spatial axes: ``(N, C, *S)`` -> ``(N, C, 1, ...)``."""
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


def global_avg_pool_backward(dy, x_shape):
    """Gradient of the mean over all spatial axes: dx ``(N, C, *S)`` of shape `x_shape`."""
    return np.broadcast_to(dy / np.prod(x_shape[2:], dtype=dy.dtype), x_shape).copy()


def global_max_pool_forward(x):
    """Maximum over all spatial axes and its flat position: ``(N, C, *S)`` -> two arrays ``(N, C, 1, ...)``.

    Ties and NaN as in `max_pool_forward`.
    """
    flat = x.reshape(*x.shape[:2], np.prod(x.shape[2:], dtype=int))
    indices = flat.argmax(axis=2, keepdims=True)
    shape = (*x.shape[:2], *[1] * (x.ndim - 2))
    return np.take_along_axis(flat, indices, axis=2).reshape(shape), indices.reshape(shape)


def global_max_pool_backward(dy, indices, x_shape):
    """Gradient of the maximum over all spatial axes: dx ``(N, C, *S)`` of shape `x_shape`."""
    return max_pool_backward(dy, indices, x_shape)


def lp_pool_forward(x, p, kernel_size, stride=None, padding=0, ceil_mode=False):
    """y[n, c, q] = (sum_t |x[n, c, stride q + t - before]|^p)^(1/p), padding counting as 0 (ONNX LpPool).

    Examples
    --------
    >>> lp_pool_forward(np.array([[[3.0, -4.0, 0.0, 0.0]]]), 2, 2).tolist()
    [[[5.0, 0.0]]]
    """
    _, sliding, pads = _pool_geometry(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    return _window_sums(np.abs(x) ** p, [before for before, _ in pads], sliding) ** (1 / p)


def lp_pool_backward(dy, x, p, kernel_size, stride=None, padding=0, ceil_mode=False):
    """Gradient of `lp_pool_forward`: dx[i] = sum_q dy[q] sign(x[i]) (|x[i]| / y[q])^(p-1), 0 where y[q] is 0."""
    _, sliding, pads = _pool_geometry(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    before = [pad[0] for pad in pads]
    y = lp_pool_forward(x, p, kernel_size, stride, padding, ceil_mode)
    divisor = np.where(y == 0, 1, y)
    x_around = surround(x, before, reach(*sliding))
    dx = np.zeros_like(x_around)
    for met in taps(*sliding):
        dx[met] += dy * np.sign(x_around[met]) * (np.abs(x_around[met]) / divisor) ** (p - 1)
    return crop(dx, before, x.shape[2:])


def max_unpool_forward(x, indices, y_shape):
    """Max unpooling: every x is added to the y ``(N, C, *S)`` at the flat position that its index tells."""
    return max_pool_backward(x, indices, y_shape)


def max_unpool_backward(dy, indices):
    """Gradient of max unpooling: every dx is the dy at its position."""
    flat = dy.reshape(*dy.shape[:2], -1)
    return np.take_along_axis(flat, indices.reshape(*indices.shape[:2], -1), axis=2).reshape(indices.shape)
