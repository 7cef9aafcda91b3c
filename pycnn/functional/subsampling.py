"""The layers of LeNet-5 and myCNN: subsampling, soft-max pooling and radial basis functions."""

import numpy as np

from .. import shapes
from .._kernels import ONE, SAMPLES
from ..connections import check_sources, checked_table
from . import programs


def _geometry(x_shape, kernel_size, stride):
    """(window, shape of the output's positions) of windows without padding."""
    rank = len(x_shape) - 2
    kernel = shapes.per_axis(kernel_size, rank, "kernel_size")
    stride = shapes.per_axis(kernel if stride is None else stride, rank, "stride")
    ones, none = (1,) * rank, ((0, 0),) * rank
    out = shapes.pool_output_shape(x_shape[2:], kernel, stride, none, ones, False)
    return shapes.window(x_shape[2:], out, kernel, stride, ones, (0,) * rank), out


def subsample_forward(x, coefficient, bias, kernel_size, stride=None):
    """S-layer: y[n, c, q] = coefficient[c] (sum of window q of x[n, c]) + bias[c] (LeCun et al. 1998, section II.B).

    Parameters
    ----------
    x : array_like (N, C, *S)
    coefficient, bias : array_like (C,)
    kernel_size, stride : int or tuple of int
        The stride defaults to the kernel size.

    Returns
    -------
    y : ndarray (N, C, *out)

    Raises
    ------
    ValueError
        If the window does not fit.
    """
    dtype = programs.dtype_of(x, coefficient, bias)
    x = programs.tensor(x, dtype, "x")
    n, c = x.shape[:2]
    coefficient = programs.tensor_of(coefficient, dtype, "coefficient", (c,))
    bias = programs.tensor_of(bias, dtype, "bias", (c,))
    window, out = _geometry(x.shape, kernel_size, stride)
    positions = int(np.prod(out))

    def lay_out(p):
        source, a, b = p.read(x.shape, SAMPLES), p.read((c,)), p.read((c,))
        sums, y = p.tensor((n, c, *out), SAMPLES), p.tensor((n, c, *out), SAMPLES)
        planes = -(-n // p.kernels.lanes) * c
        p.program.avg_pool_forward(window, (0, 0, 0), ONE, planes, source, sums)
        p.program.scale_maps_forward(SAMPLES, n, c, positions, programs.IDENTITY, sums, a, b, y)
        p.write(y, (n, c, *out), SAMPLES)

    return programs.run("subsample_forward", (window,), lay_out, dtype, [x, coefficient, bias], [((n, c, *out), dtype)])[0]


def subsample_backward(dy, x, coefficient, kernel_size, stride=None):
    """Gradients of an S-layer: dx ``(N, C, *S)``, and of coefficient and bias ``(C,)``."""
    dtype = programs.dtype_of(dy, x, coefficient)
    x = programs.tensor(x, dtype, "x")
    n, c = x.shape[:2]
    coefficient = programs.tensor_of(coefficient, dtype, "coefficient", (c,))
    window, out = _geometry(x.shape, kernel_size, stride)
    dy = programs.tensor_of(dy, dtype, "dy", (n, c, *out))
    sizes = (SAMPLES, n, c, int(np.prod(out)))

    def lay_out(p):
        gradient, source, a = p.read(dy.shape, SAMPLES, gradient=True), p.read(x.shape, SAMPLES), p.read((c,))
        sums, scaled = p.tensor(dy.shape, SAMPLES), p.tensor(dy.shape, SAMPLES)
        dx, da, db = p.tensor(x.shape, SAMPLES), p.memory(c), p.memory(c)
        planes = -(-n // p.kernels.lanes) * c
        p.program.avg_pool_forward(window, (0, 0, 0), ONE, planes, source, sums)
        p.program.scale_maps_backward_weights(*sizes, False, gradient, sums, da, db)
        p.program.scale_maps_backward_data(*sizes, gradient, a, scaled)
        p.program.avg_pool_backward(window, (0, 0, 0), ONE, False, planes, scaled, dx)
        p.write(dx, x.shape, SAMPLES)
        p.write(da, (c,))
        p.write(db, (c,))

    results = [(x.shape, dtype), ((c,), dtype), ((c,), dtype)]
    return tuple(programs.run("subsample_backward", (window,), lay_out, dtype, [dy, x, coefficient], results))


def _soft_maxima(x, sharpness, kernel_size, stride, connections, *others):
    """Checked (x, sharpness, shape of y, key, connections as kernels know them)."""
    dtype = programs.dtype_of(x, sharpness, *others)
    x = programs.tensor(x, dtype, "x")
    n, c = x.shape[:2]
    table = np.eye(c, dtype=bool) if connections is None else checked_table(connections, None)
    check_sources(table, c)
    pairs = tuple(map(tuple, np.argwhere(table).tolist()))
    window, out = _geometry(x.shape, kernel_size, stride)
    sharpness = programs.tensor_of(sharpness, dtype, "sharpness", (len(pairs),))
    y_shape = (n, len(table), *out)
    return x, sharpness, y_shape, (window, pairs, len(table)), (n, c, len(table), pairs, window, None)


def softmax_pool_forward(x, sharpness, kernel_size, stride=None, connections=None):
    """M-layer: y[n, k, q] = sum over connections e into k of F(window q of x[n, source e], sharpness[e]).

    F(x, a) = sum_i x_i exp(a x_i) / sum_i exp(a x_i): the average at a = 0, the maximum for a -> inf (N. Chumerin, myCNN).

    Parameters
    ----------
    x : array_like (N, C, *S)
    sharpness : array_like (connections,)
        In the order of ``numpy.argwhere(connections)``.
    kernel_size, stride : int or tuple of int
        The stride defaults to the kernel size.
    connections : array_like of bool (K, C), optional
        Each map reads its own where missing.

    Returns
    -------
    y : ndarray (N, K, *out)
    """
    x, sharpness, y_shape, key, table = _soft_maxima(x, sharpness, kernel_size, stride, connections)

    def lay_out(p):
        source, a, y = p.read(x.shape, SAMPLES), p.read(sharpness.shape), p.tensor(y_shape, SAMPLES)
        p.program.softmax_pool_forward(table, source, a, y)
        p.write(y, y_shape, SAMPLES)

    return programs.run("softmax_pool_forward", key, lay_out, x.dtype, [x, sharpness], [(y_shape, x.dtype)])[0]


def softmax_pool_backward(dy, x, sharpness, kernel_size, stride=None, connections=None):
    """Gradients of an M-layer: dx ``(N, C, *S)`` and d_sharpness ``(connections,)``.

    dF/dx_i = p_i (1 + a (x_i - F)) and dF/da = sum_i p_i (x_i - F)^2, with p = softmax(a x).
    """
    x, sharpness, y_shape, key, table = _soft_maxima(x, sharpness, kernel_size, stride, connections, dy)
    dy = programs.tensor_of(dy, x.dtype, "dy", y_shape)

    def lay_out(p):
        gradient, source = p.read(y_shape, SAMPLES, gradient=True), p.read(x.shape, SAMPLES)
        a, dx, da = p.read(sharpness.shape), p.tensor(x.shape, SAMPLES), p.memory(len(sharpness))
        p.program.softmax_pool_backward_data(table, False, gradient, source, a, dx)
        p.program.softmax_pool_backward_weights(table, False, False, gradient, source, a, da)
        p.write(dx, x.shape, SAMPLES)
        p.write(da, sharpness.shape)

    results = [(x.shape, x.dtype), (sharpness.shape, x.dtype)]
    return tuple(programs.run("softmax_pool_backward", key, lay_out, x.dtype, [dy, x, sharpness], results))


def rbf_forward(x, centers):
    """y[n, k] = sum_c (x[n, c] - centers[k, c])^2 of x ``(N, C)`` (LeCun et al. 1998, eq. 7)."""
    dtype = programs.dtype_of(x, centers)
    x, centers = programs.tensor(x, dtype, "x", (2,)), programs.tensor(centers, dtype, "centers", (2,))
    (n, c), k = x.shape, len(centers)
    centers = programs.tensor_of(centers, dtype, "centers", (k, c))

    def lay_out(p):
        source, w, y = p.read(x.shape), p.read(centers.shape), p.tensor((n, k))
        p.program.rbf_forward(n, c, k, source, w, y)
        p.write(y, (n, k))

    return programs.run("rbf_forward", (), lay_out, dtype, [x, centers], [((n, k), dtype)])[0]


def rbf_backward(dy, x, centers):
    """Gradients of the squared distances: dx ``(N, C)`` and d_centers ``(K, C)``."""
    dtype = programs.dtype_of(dy, x, centers)
    x, centers = programs.tensor(x, dtype, "x", (2,)), programs.tensor(centers, dtype, "centers", (2,))
    (n, c), k = x.shape, len(centers)
    centers, dy = programs.tensor_of(centers, dtype, "centers", (k, c)), programs.tensor_of(dy, dtype, "dy", (n, k))

    def lay_out(p):
        gradient, source, w = p.read(dy.shape), p.read(x.shape), p.read(centers.shape)
        dx, dw = p.tensor((n, c)), p.tensor((k, c))
        p.program.rbf_backward_data(n, c, k, False, gradient, 0, source, w, dx)
        p.program.rbf_backward_weights(n, c, k, False, False, gradient, source, w, dw)
        p.write(dx, (n, c))
        p.write(dw, (k, c))

    results = [((n, c), dtype), ((k, c), dtype)]
    return tuple(programs.run("rbf_backward", (), lay_out, dtype, [dy, x, centers], results))
