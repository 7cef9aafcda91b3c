"""Convolution, transposed convolution and dense layers: forward, and backward to data and to weights.

Three loops over taps do all the work: `_gather` (input to output), `_scatter` (its adjoint, output to input)
and `_correlate` (both to weights). A transposed convolution is these with input and output exchanged.
"""

import numpy as np

from .geometry import (
    check_gradient,
    conv_output_shape,
    conv_transpose_output_shape,
    crop,
    per_axis,
    reach,
    resolve_padding,
    surround,
    taps,
)


def _flat(x, groups):
    """(N, C, *S) as (N, groups, C/groups, positions): the matrices that a tap multiplies."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, np.prod(x.shape[2:], dtype=int))


def _matrices(w, groups):
    """(K, C/groups, *kernel) as (taps, groups, K/groups, C/groups): a matrix for each tap and group."""
    k, c, *kernel = w.shape
    w = w.reshape(groups, k // groups, c, np.prod(kernel, dtype=int))
    return np.ascontiguousarray(np.moveaxis(w, -1, 0))


def _gather(x, w, out, stride, before, dilation, groups):
    """y[n, k, q] = sum_c,t w[k, c, t] x[n, c, stride q + dilation t - before], x being 0 outside itself."""
    sliding = w.shape[2:], out, stride, dilation
    x = surround(x, before, reach(*sliding))
    y = np.zeros((x.shape[0], w.shape[0], *out), x.dtype)
    for matrix, met in zip(_matrices(w, groups), taps(*sliding)):
        y += (matrix @ _flat(x[met], groups)).reshape(y.shape)
    return y


def _scatter(y, w, size, stride, before, dilation, groups):
    """x[n, c, stride q + dilation t - before] += sum_k w[k, c, t] y[n, k, q]; what falls outside is lost."""
    sliding = w.shape[2:], y.shape[2:], stride, dilation
    x = surround(np.zeros((y.shape[0], w.shape[1] * groups, *size), y.dtype), before, reach(*sliding))
    for matrix, met in zip(_matrices(w, groups), taps(*sliding)):
        x[met] += (matrix.swapaxes(-1, -2) @ _flat(y, groups)).reshape(x[met].shape)
    return crop(x, before, size)


def _correlate(y, x, kernel, stride, before, dilation, groups):
    """w[k, c, t] = sum_n,q y[n, k, q] x[n, c, stride q + dilation t - before]."""
    sliding = kernel, y.shape[2:], stride, dilation
    x = surround(x, before, reach(*sliding))
    y_flat = _flat(y, groups)
    matrices = [(y_flat @ _flat(x[met], groups).swapaxes(-1, -2)).sum(axis=0) for met in taps(*sliding)]
    return np.stack(matrices, axis=-1).reshape(y.shape[1], x.shape[1] // groups, *kernel)


def _check_shapes(x_shape, w_shape, groups, x_channels, y_channels, b):
    if len(x_shape) != len(w_shape) or len(x_shape) < 3:
        raise ValueError(f"x (N, C, *S) and w must have one rank, 3 or more; got {x_shape} and {w_shape}")
    if groups < 1 or w_shape[0] % groups:
        raise ValueError(f"the first axis of w {w_shape} must be a multiple of groups, {groups}")
    if x_shape[1] != x_channels:
        raise ValueError(f"w {w_shape} in {groups} groups expects {x_channels} channels; x has {x_shape[1]}")
    if b is not None and b.shape != (y_channels,):
        raise ValueError(f"b must have shape {(y_channels,)}; got {b.shape}")


def _with_bias(y, b):
    return y if b is None else y + b.reshape(-1, *[1] * (y.ndim - 2))


def _bias_gradient(dy):
    return dy.sum(axis=(0, *range(2, dy.ndim)))


# ---- convolution ---------------------------------------------------------------------------------------


def _conv_geometry(x_shape, w_shape, stride, padding, dilation, groups, b=None):
    """Size of the output, and (stride, padding before, dilation, groups) as the loops take them."""
    _check_shapes(x_shape, w_shape, groups, w_shape[1] * groups, w_shape[0], b)
    size, kernel, rank = x_shape[2:], w_shape[2:], len(x_shape) - 2
    out = conv_output_shape(size, kernel, stride, padding, dilation)
    before = tuple(pad[0] for pad in resolve_padding(padding, size, kernel, stride, dilation))
    return out, (per_axis(stride, rank, "stride"), before, per_axis(dilation, rank, "dilation"), groups)


def conv_forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Convolution (cross-correlation, as ONNX Conv and PyTorch have it).

    y[n, k, q] = b[k] + sum_c,t w[k, c, t] x[n, c, stride q + dilation t - before], x being 0 outside
    itself. With groups, an output channel reads only the C/groups input channels of its own group.

    Parameters
    ----------
    x : array (N, C, *S)
    w : array (K, C/groups, *kernel)
    b : array (K,), optional
    stride, dilation : int, or a tuple with one for each spatial axis
    padding : see `resolve_padding`
    groups : int

    Returns
    -------
    y : array (N, K, *out), see `conv_output_shape`

    Raises
    ------
    ValueError
        If the shapes do not belong together, or the kernel does not fit the padded input.
    """
    out, sliding = _conv_geometry(x.shape, w.shape, stride, padding, dilation, groups, b)
    return _with_bias(_gather(x, w, out, *sliding), b)


def conv_backward_data(dy, w, x_shape, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradient of a convolution with respect to its input: dx ``(N, C, *S)`` of shape `x_shape`.

    dx[n, c, p] = sum_k,q,t w[k, c, t] dy[n, k, q] where stride q + dilation t - before = p.
    """
    out, sliding = _conv_geometry(x_shape, w.shape, stride, padding, dilation, groups)
    check_gradient(dy, (x_shape[0], w.shape[0], *out))
    return _scatter(dy, w, x_shape[2:], *sliding)


def conv_backward_weights(dy, x, w_shape, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradients of a convolution with respect to w and b: dw of shape `w_shape` and db ``(K,)``.

    dw[k, c, t] = sum_n,q dy[n, k, q] x[n, c, stride q + dilation t - before];  db[k] = sum_n,q dy[n, k, q].
    """
    out, sliding = _conv_geometry(x.shape, w_shape, stride, padding, dilation, groups)
    check_gradient(dy, (x.shape[0], w_shape[0], *out))
    return _correlate(dy, x, w_shape[2:], *sliding), _bias_gradient(dy)


# ---- transposed convolution ----------------------------------------------------------------------------


def _conv_transpose_geometry(x_shape, w_shape, stride, padding, output_padding, dilation, groups, b=None):
    """Size of the output, and (stride, padding before, dilation, groups) as the loops take them."""
    _check_shapes(x_shape, w_shape, groups, w_shape[0], w_shape[1] * groups, b)
    size, kernel, rank = x_shape[2:], w_shape[2:], len(x_shape) - 2
    out = conv_transpose_output_shape(size, kernel, stride, padding, dilation, output_padding)
    before = tuple(pad[0] for pad in resolve_padding(padding, out, kernel, stride, dilation))
    return out, (per_axis(stride, rank, "stride"), before, per_axis(dilation, rank, "dilation"), groups)


def conv_transpose_forward(x, w, b=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Transposed convolution: the adjoint of a convolution from K channels to C, plus a bias.

    y[n, k, p] = b[k] + sum_c,q,t w[c, k, t] x[n, c, q] where stride q + dilation t - before = p.
    Each input lays a copy of the kernel on the output, and copies that overlap add up. Padding is cut off the
    output. output_padding extends the area that is computed, at its end; it does not append zeros.

    Parameters
    ----------
    x : array (N, C, *S)
    w : array (C, K/groups, *kernel)
    b : array (K,), optional
    stride, dilation, output_padding : int, or a tuple with one for each spatial axis
    padding : see `resolve_padding`; ``"same"`` makes the output in * stride
    groups : int

    Returns
    -------
    y : array (N, K, *out), see `conv_transpose_output_shape`

    Raises
    ------
    ValueError
        If the shapes do not belong together, output_padding is too large, or nothing is left of the output.
    """
    out, sliding = _conv_transpose_geometry(
        x.shape, w.shape, stride, padding, output_padding, dilation, groups, b)
    return _with_bias(_scatter(x, w, out, *sliding), b)


def conv_transpose_backward_data(
        dy, w, x_shape, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Gradient of a transposed convolution with respect to its input: dx ``(N, C, *S)`` of shape `x_shape`.

    dx[n, c, q] = sum_k,t w[c, k, t] dy[n, k, stride q + dilation t - before]: a convolution.
    """
    out, sliding = _conv_transpose_geometry(
        x_shape, w.shape, stride, padding, output_padding, dilation, groups)
    check_gradient(dy, (x_shape[0], w.shape[1] * groups, *out))
    return _gather(dy, w, x_shape[2:], *sliding)


def conv_transpose_backward_weights(
        dy, x, w_shape, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Gradients of a transposed convolution with respect to w and b: dw of shape `w_shape` and db ``(K,)``.

    dw[c, k, t] = sum_n,q x[n, c, q] dy[n, k, stride q + dilation t - before];  db[k] = sum_n,p dy[n, k, p].
    """
    out, sliding = _conv_transpose_geometry(
        x.shape, w_shape, stride, padding, output_padding, dilation, groups)
    check_gradient(dy, (x.shape[0], w_shape[1] * groups, *out))
    return _correlate(x, dy, w_shape[2:], *sliding), _bias_gradient(dy)


# ---- dense ---------------------------------------------------------------------------------------------


def dense_forward(x, w, b=None):
    """Dense layer y = x w^T + b: x ``(N, C)``, w ``(K, C)``, b ``(K,)`` or None, y ``(N, K)``."""
    return x @ w.T if b is None else x @ w.T + b


def dense_backward_data(dy, w):
    """Gradient of a dense layer with respect to its input: dx = dy w, ``(N, C)``."""
    return dy @ w


def dense_backward_weights(dy, x):
    """Gradients of a dense layer with respect to w and b: dw = dy^T x, ``(K, C)``, and db = sum_n dy[n]."""
    return dy.T @ x, dy.sum(axis=0)
