"""Pooling: the maximum or the average of each window."""

import math
from typing import NamedTuple

import numpy as np

from .. import shapes
from .._kernels import SAMPLES
from . import programs

# The N C planes of a tensor are pooled as they are, where their rows fill the lanes; else they go side by side into the
# lanes, as samples of one channel, so that none is wasted.


class _Pooling(NamedTuple):
    """A window that slides over the planes of a tensor."""

    x_shape: tuple
    out: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    padding: tuple

    @property
    def planes_in(self):
        """The input as planes."""
        return (math.prod(self.x_shape[:2]), 1, *self.x_shape[2:])

    @property
    def planes_out(self):
        return (math.prod(self.x_shape[:2]), 1, *self.out)

    @property
    def y_shape(self):
        return (*self.x_shape[:2], *self.out)

    @property
    def before(self):
        return tuple(before for before, _ in self.padding)

    @property
    def after(self):
        """Padding after the input, as ``_kernels`` takes it."""
        return (0,) * (3 - len(self.out)) + tuple(after for _, after in self.padding)

    @property
    def window(self):
        """As ``_kernels`` takes it."""
        return shapes.window(self.x_shape[2:], self.out, self.kernel, self.stride, self.dilation, self.before)

    @property
    def planes(self):
        return self.planes_in[0]

    def fills(self, lanes):
        """Whether rows of outputs fill half a vector or more."""
        return 2 * self.out[-1] >= lanes

    def vectors(self, lanes):
        """Vectors that the planes fill side by side."""
        return programs.round_up(self.planes_in[0], lanes) // lanes


def _pooling(x_shape, kernel_size, stride, padding, dilation, ceil_mode):
    size, rank = x_shape[2:], len(x_shape) - 2
    kernel = shapes.per_axis(kernel_size, rank, "kernel_size")
    stride = kernel if stride is None else shapes.per_axis(stride, rank, "stride")
    dilation = shapes.per_axis(dilation, rank, "dilation")
    padding = shapes.resolve_padding(padding, size, kernel, stride, dilation)
    out = shapes.pool_output_shape(size, kernel, stride, padding, dilation, bool(ceil_mode))
    pool = _Pooling(x_shape, out, kernel, stride, dilation, padding)
    shapes.check_size(pool.y_shape, "the output")
    return pool


def _whole_planes(x_shape):
    """One window over each plane."""
    return _pooling(x_shape, x_shape[2:], None, 0, 1, False)


def max_pool_forward(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Max pooling: y[n, c, q] = max_t x[n, c, q * stride + t * dilation - before].

    Of equal values the first in row order wins, and of NaN and numbers NaN. Padding never wins.

    Parameters
    ----------
    x : array_like (N, C, *S)
    kernel_size, stride, dilation : int or sequence of int
        The stride defaults to the kernel size.
    padding : as in `conv_forward`
    ceil_mode : bool
        Rounds the size of the output up, see `pycnn.shapes.pool_output_shape`.

    Returns
    -------
    y : ndarray (N, C, *out)
    indices : ndarray of int64 (N, C, *out)
        Where each maximum comes from, as a position in the flattened spatial axes of x (as in PyTorch).

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input, or a window would hold nothing but padding.
    """
    x = programs.tensor(x, programs.dtype_of(x), "x")
    return _max_pool(_pooling(x.shape, kernel_size, stride, padding, dilation, ceil_mode), x)


def max_pool_backward(dy, indices, x_shape, kernel_size=None, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Gradient of max pooling: every dy is added to the dx that its maximum came from.

    Parameters
    ----------
    dy : array_like (N, C, *out)
    indices : array_like of int (N, C, *out)
        As `max_pool_forward` gives them.
    x_shape : tuple of int
        (N, C, *S).
    kernel_size, stride, padding, dilation, ceil_mode : optional
        The window of the forward pass. Where it is given, every dx gathers from the windows that reach it; else every
        dy is scattered by NumPy.

    Returns
    -------
    dx : ndarray (N, C, *S)

    Raises
    ------
    ValueError
        If the shapes do not belong together, or an index lies outside its plane or its window.
    """
    dtype, x_shape = programs.dtype_of(dy), programs.shape_of(x_shape, "x_shape")
    if kernel_size is None:
        return _scatter(shapes.as_tensor(dy, dtype, "dy", len(x_shape)), indices, x_shape)
    pool = _pooling(x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    dy = programs.tensor_of(dy, dtype, "dy", pool.y_shape)
    return _max_pool_gradient(pool, dy, indices)


def global_max_pool_forward(x):
    """Maximum over all spatial axes and its flat position: ``(N, C, *S)`` -> two arrays ``(N, C, 1, ...)``.

    Ties and NaN as in `max_pool_forward`.
    """
    x = programs.tensor(x, programs.dtype_of(x), "x")
    return _max_pool(_whole_planes(x.shape), x)


def global_max_pool_backward(dy, indices, x_shape):
    """Gradient of the maximum over all spatial axes: dx ``(N, C, *S)`` of shape `x_shape`."""
    pool = _whole_planes(programs.shape_of(x_shape, "x_shape"))
    dy = programs.tensor_of(dy, programs.dtype_of(dy), "dy", pool.y_shape)
    return _max_pool_gradient(pool, dy, indices)


def _max_pool(pool, x):
    """y and flat positions."""

    def lay_out(p):
        p.program.max_pool_planes(pool.window, pool.planes, p.slot(), p.slot(), p.slot())

    results = [(pool.y_shape, x.dtype), (pool.y_shape, np.dtype(np.int64))]
    return tuple(programs.run("max_pool_forward", pool, lay_out, x.dtype, [x], results))


def _max_pool_gradient(pool, dy, indices):
    indices = programs.integers_of(indices, "indices", pool.y_shape)

    def lay_out(p):
        astray, slots = p.memory(1), [p.slot() for _ in range(3)]
        p.program.fill(1, 0.0, astray)
        p.program.max_pool_planes_backward(pool.window, pool.planes, *slots, astray)
        p.write(astray, (1,))

    dx, astray = programs.run("max_pool_backward", pool, lay_out, dy.dtype, [dy, indices],
                              [(pool.x_shape, dy.dtype), ((1,), dy.dtype)])
    if astray[0]:
        programs.integers_of(indices, "indices", pool.y_shape, math.prod(pool.x_shape[2:]))
        raise ValueError("indices hold a position outside its window; give the window of the forward pass")
    return dx


def _scatter(dy, indices, x_shape):
    """Adds every dy to the flat position that its index tells."""
    if dy.shape[:2] != x_shape[:2]:
        raise ValueError(f"dy must have shape {x_shape[:2]} and spatial axes, got {dy.shape}")
    planes, size = math.prod(x_shape[:2]), math.prod(x_shape[2:])
    indices = programs.integers_of(indices, "indices", dy.shape, size).reshape(planes, math.prod(dy.shape[2:]))
    indices = indices + size * np.arange(planes)[:, None]
    dx = np.bincount(indices.ravel(), dy.ravel(), planes * size)
    return dx.astype(dy.dtype).reshape(x_shape)


def avg_pool_forward(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Average pooling: y[n, c, q] = sum_t x[n, c, q * stride + t - before] / |window q|.

    |window q| counts the positions of the window in the padded input, or, without `count_include_pad`, in the input
    itself. What hangs over the padded input in ceil_mode is never counted (PyTorch; ONNX since opset 19).

    Parameters
    ----------
    x : array_like (N, C, *S)
    kernel_size, stride, padding, ceil_mode
        As in `max_pool_forward`.
    count_include_pad : bool

    Returns
    -------
    y : ndarray (N, C, *out)

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input, or a window would hold nothing but padding.
    """
    x = programs.tensor(x, programs.dtype_of(x), "x")
    return _avg_pool(_pooling(x.shape, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, x)


def avg_pool_backward(dy, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of average pooling: dx ``(N, C, *S)`` of shape `x_shape`.

    dx[n, c, p] = sum_q,t dy[n, c, q] / |window q| over all q, t with q * stride + t - before = p.
    """
    pool = _pooling(programs.shape_of(x_shape, "x_shape"), kernel_size, stride, padding, 1, ceil_mode)
    dy = programs.tensor_of(dy, programs.dtype_of(dy), "dy", pool.y_shape)
    return _avg_pool_gradient(pool, count_include_pad, dy)


def global_avg_pool_forward(x):
    """Mean over all spatial axes: ``(N, C, *S)`` -> ``(N, C, 1, ...)``."""
    x = programs.tensor(x, programs.dtype_of(x), "x")
    return _avg_pool(_whole_planes(x.shape), True, x)


def global_avg_pool_backward(dy, x_shape):
    """Gradient of the mean over all spatial axes: dx ``(N, C, *S)`` of shape `x_shape`."""
    pool = _whole_planes(programs.shape_of(x_shape, "x_shape"))
    return _avg_pool_gradient(pool, True, programs.tensor_of(dy, programs.dtype_of(dy), "dy", pool.y_shape))


def _avg_pool(pool, count_include_pad, x):
    include = bool(count_include_pad)

    def lay_out(p):
        if pool.fills(p.kernels.lanes):
            p.program.avg_pool_planes(pool.window, pool.after, include, pool.planes, p.slot(), p.slot())
            return
        source, y = p.read(pool.planes_in, SAMPLES), p.tensor(pool.planes_out, SAMPLES)
        p.program.avg_pool_forward(pool.window, pool.after, include, pool.vectors(p.kernels.lanes), source, y)
        p.write(y, pool.planes_out, SAMPLES)

    return programs.run("avg_pool_forward", (pool, include), lay_out, x.dtype, [x], [(pool.y_shape, x.dtype)])[0]


def _avg_pool_gradient(pool, count_include_pad, dy):
    include = bool(count_include_pad)

    def lay_out(p):
        if pool.fills(p.kernels.lanes):
            p.program.avg_pool_planes_backward(pool.window, pool.after, include, pool.planes, p.slot(), p.slot())
            return
        gradient, dx = p.read(pool.planes_out, SAMPLES), p.tensor(pool.planes_in, SAMPLES)
        p.program.avg_pool_backward(pool.window, pool.after, include, False, pool.vectors(p.kernels.lanes), gradient, dx)
        p.write(dx, pool.planes_in, SAMPLES)

    return programs.run("avg_pool_backward", (pool, include), lay_out, dy.dtype, [dy], [(pool.x_shape, dy.dtype)])[0]


def lp_pool_forward(x, p, kernel_size, stride=None, padding=0, ceil_mode=False):
    """y[n, c, q] = (sum_t |x[n, c, q * stride + t - before]|^p)^(1/p), padding counting as 0 (ONNX LpPool).

    Parameters
    ----------
    x : array_like (N, C, *S)
    p : float
        Finite, at least 1.
    kernel_size, stride, padding, ceil_mode
        As in `max_pool_forward`.

    Returns
    -------
    y : ndarray (N, C, *out)
    """
    power, x = programs.number(p, "p", 1), programs.tensor(x, programs.dtype_of(x), "x")
    pool = _pooling(x.shape, kernel_size, stride, padding, 1, ceil_mode)

    def lay_out(p):
        source, y = p.read(pool.planes_in, SAMPLES), p.tensor(pool.planes_out, SAMPLES)
        p.program.lp_pool_forward(pool.window, power, pool.vectors(p.kernels.lanes), source, y)
        p.write(y, pool.planes_out, SAMPLES)

    return programs.run("lp_pool_forward", (pool, power), lay_out, x.dtype, [x], [(pool.y_shape, x.dtype)])[0]


def lp_pool_backward(dy, x, p, kernel_size, stride=None, padding=0, ceil_mode=False):
    """Gradient of `lp_pool_forward`: dx of the shape of x.

    dx[i] = sum_q dy[q] sign(x[i]) (|x[i]| / y[q])^(p-1) over all windows q that hold i; 0 where y[q] is 0.
    """
    power, dtype = programs.number(p, "p", 1), programs.dtype_of(dy, x)
    x = programs.tensor(x, dtype, "x")
    pool = _pooling(x.shape, kernel_size, stride, padding, 1, ceil_mode)
    dy = programs.tensor_of(dy, dtype, "dy", pool.y_shape)

    def lay_out(p):
        gradient, source = p.read(pool.planes_out, SAMPLES), p.read(pool.planes_in, SAMPLES)
        y, dx = p.tensor(pool.planes_out, SAMPLES), p.tensor(pool.planes_in, SAMPLES)
        vectors = pool.vectors(p.kernels.lanes)
        p.program.lp_pool_forward(pool.window, power, vectors, source, y)
        p.program.lp_pool_backward(pool.window, power, False, vectors, gradient, source, y, dx)
        p.write(dx, pool.planes_in, SAMPLES)

    return programs.run("lp_pool_backward", (pool, power), lay_out, dtype, [dy, x], [(x.shape, dtype)])[0]


def max_unpool_forward(x, indices, y_shape, kernel_size=None, stride=None, padding=0):
    """Max unpooling: every x is added to the y that its index tells, the others are 0.

    Parameters
    ----------
    x : array_like (N, C, *out)
    indices : array_like of int (N, C, *out)
        As `max_pool_forward` gives them.
    y_shape : tuple of int
        (N, C, *S), of what was max-pooled.
    kernel_size, stride, padding : optional
        The window of that pooling: faster where it is given.

    Returns
    -------
    y : ndarray (N, C, *S)

    Raises
    ------
    ValueError
        If the shapes do not belong together, or an index lies outside its plane or its window.
    """
    return max_pool_backward(x, indices, y_shape, kernel_size, stride, padding)


def max_unpool_backward(dy, indices):
    """Gradient of max unpooling: dx, of the shape of `indices`, is the dy at the position that each index tells."""
    dy = programs.tensor(dy, programs.dtype_of(dy), "dy")
    shape = np.shape(indices)
    if len(shape) != dy.ndim or shape[:2] != dy.shape[:2]:
        raise ValueError(f"indices must have shape {dy.shape[:2]} and {dy.ndim - 2} spatial axes, got {shape}")
    indices = programs.integers_of(indices, "indices", shape, math.prod(dy.shape[2:]))
    planes = dy.reshape(*dy.shape[:2], math.prod(dy.shape[2:]))
    return np.take_along_axis(planes, indices.reshape(*shape[:2], math.prod(shape[2:])), axis=2).reshape(shape)
