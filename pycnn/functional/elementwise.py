"""Activations, softmax, and tensors joined element by element or end to end."""

import math

import numpy as np

from .. import _kernels, shapes
from . import programs

_DEFAULT_ALPHA = {"leaky_relu": 0.01, "elu": 1.0}


def _activation(kind, alpha):
    """(number, alpha) as ``_kernels`` takes it."""
    if kind not in _kernels.ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(_kernels.ACTIVATIONS)}, got {kind!r}")
    default = _DEFAULT_ALPHA.get(kind, 0.0)
    return _kernels.ACTIVATIONS.index(kind), default if alpha is None else programs.number(alpha, f"{kind}: alpha", 0)


def _elementwise(kernel, leading, arrays):
    """The result of a kernel that takes `leading`, the addresses of arrays of one shape, and that of such a result."""
    shape, dtype = arrays[0].shape, arrays[0].dtype

    def lay_out(p):
        sources, y = [p.read(shape) for _ in arrays], p.tensor(shape)
        getattr(p.program, kernel)(*leading, *sources, y)
        p.write(y, shape)

    return programs.run(kernel, leading, lay_out, dtype, arrays, [(shape, dtype)])[0]


def activation_forward(x, kind, alpha=None):
    """Activation function of every element; the shape stays.

    ===========  ==================================  ==============================
    kind         f(x)                                f'(x), from y = f(x)
    ===========  ==================================  ==============================
    identity     x                                   1
    relu         max(x, 0)                           1 if y > 0 else 0
    leaky_relu   x if x > 0 else alpha x             1 if y > 0 else alpha
    elu          x if x > 0 else alpha (e^x - 1)     1 if y > 0 else y + alpha
    sigmoid      1 / (1 + e^-x)                      y (1 - y)
    tanh         tanh(x)                             1 - y^2
    scaled_tanh  1.7159 tanh(2 x / 3)                1.7159 2/3 (1 - (y/1.7159)^2)
    softplus     log(1 + e^x)                        1 - e^-y
    selu         S x if x > 0 else S A (e^x - 1)     S if y > 0 else y + S A
    ===========  ==================================  ==============================

    The scaled tanh is that of LeCun et al. 1998; S = 1.0507009873554805 and A = 1.6732632423543772 are those of Klambauer et
    al. 2017, arXiv:1706.02515. alpha is 0.01 for leaky_relu and 1 for elu if it is not given.

    Raises
    ------
    ValueError
        If there is no such kind, or alpha is negative.
    """
    activation, x = _activation(kind, alpha), shapes.as_tensor(x, programs.dtype_of(x), "x")
    return _elementwise("activation_forward", (activation, x.size), [x])


def activation_backward(dy, y, kind, alpha=None):
    """Gradient of an activation from its OUTPUT y: dx = f'(x) dy, see `activation_forward`."""
    dtype, activation = programs.dtype_of(dy, y), _activation(kind, alpha)
    y = shapes.as_tensor(y, dtype, "y")
    return _elementwise("activation_backward", (activation, y.size), [programs.tensor_of(dy, dtype, "dy", y.shape), y])


def softmax(x, axis=1):
    """Softmax y_i = exp(x_i) / sum_j exp(x_j) along one axis, with the maximum taken off first."""
    return _softmax(False, x, axis)


def softmax_backward(dy, y, axis=1):
    """Gradient of softmax from its output: dx_i = y_i (dy_i - sum_j dy_j y_j)."""
    return _softmax_gradient(False, dy, y, axis)


def log_softmax(x, axis=1):
    """Logarithm of softmax, y_i = x_i - log sum_j exp(x_j), with the maximum taken off first."""
    return _softmax(True, x, axis)


def log_softmax_backward(dy, y, axis=1):
    """Gradient of log_softmax from its output: dx_i = dy_i - exp(y_i) sum_j dy_j."""
    return _softmax_gradient(True, dy, y, axis)


def _softmax(log, x, axis):
    x = shapes.as_tensor(x, programs.dtype_of(x), "x")
    return _elementwise("softmax_forward", (log, *_lines(x.shape, axis)), [x])


def _softmax_gradient(log, dy, y, axis):
    dtype = programs.dtype_of(dy, y)
    y = shapes.as_tensor(y, dtype, "y")
    dy = programs.tensor_of(dy, dtype, "dy", y.shape)
    return _elementwise("softmax_backward", (log, *_lines(y.shape, axis)), [dy, y])


def _axis(axis, rank):
    """An axis counted from the front."""
    axis = shapes.integer(axis, "axis")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for an array of {rank} axes")
    return axis % rank


def _lines(shape, axis):
    """(outer, axis, inner) sizes around an axis."""
    axis = _axis(axis, len(shape))
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def add(*arrays):
    """Sum of one or more arrays of one shape."""
    if not arrays:
        raise ValueError("add needs at least one array")
    arrays = _alike(arrays)
    shape, dtype = arrays[0].shape, arrays[0].dtype

    def lay_out(p):
        sources, y = [p.read(shape) for _ in arrays], p.tensor(shape)
        p.program.sum(math.prod(shape), sources, y)
        p.write(y, shape)

    return programs.run("sum", (), lay_out, dtype, arrays, [(shape, dtype)])[0]


def add_backward(dy, count=2):
    """Gradients of a sum of `count` arrays: a tuple of that many copies of dy."""
    dy = shapes.as_tensor(dy, programs.dtype_of(dy), "dy")
    return tuple(dy.copy() for _ in range(shapes.integer(count, "count", 1)))


def multiply(a, b):
    """Product of two arrays of one shape, element by element."""
    a, b = _alike((a, b))
    return _elementwise("multiply", (a.size,), [a, b])


def multiply_backward(dy, a, b):
    """Gradients of a product: (da, db) = (dy b, dy a)."""
    return multiply(dy, b), multiply(dy, a)


def concat(arrays, axis=1):
    """Arrays one after the other along one axis; their other sizes agree."""
    if not len(arrays):
        raise ValueError("concat needs at least one array")
    dtype = programs.dtype_of(*arrays)
    arrays = [shapes.as_tensor(a, dtype, f"array {i}") for i, a in enumerate(arrays)]
    axis = _axis(axis, arrays[0].ndim)
    around = [(*a.shape[:axis], *a.shape[axis + 1 :]) for a in arrays]
    if any(a.ndim != arrays[0].ndim or other != around[0] for a, other in zip(arrays, around)):
        raise ValueError(f"arrays that differ along axis {axis} only are expected, got {[a.shape for a in arrays]}")
    shape = (*arrays[0].shape[:axis], sum(a.shape[axis] for a in arrays), *arrays[0].shape[axis + 1 :])
    arrays = [a for a in arrays if a.size]
    if not arrays:
        return np.zeros(shape, dtype)

    def lay_out(p):
        sources, y = [p.read(a.shape) for a in arrays], p.tensor(shape)
        runs = _runs([a.shape[axis] for a in arrays], shape, axis, p.kernels.real_size)
        for source, (blocks, length, stride, offset) in zip(sources, runs):
            p.program.copy_blocks(blocks, length, length, stride, source, y + offset)
        p.write(y, shape)

    return programs.run("concat", axis, lay_out, dtype, arrays, [(shape, dtype)])[0]


def concat_backward(dy, sizes, axis=1):
    """Gradients of a concatenation: a tuple of the parts of dy, `sizes` long along the axis."""
    dtype = programs.dtype_of(dy)
    dy = shapes.as_tensor(dy, dtype, "dy")
    axis, sizes = _axis(axis, dy.ndim), tuple(shapes.integer(n, "a size", 0) for n in sizes)
    if sum(sizes) != dy.shape[axis]:
        raise ValueError(f"sizes {sizes} must add up to {dy.shape[axis]}")
    parts = [(*dy.shape[:axis], n, *dy.shape[axis + 1 :]) for n in sizes]

    def lay_out(p):
        source = p.read(dy.shape)
        for shape, (blocks, length, stride, offset) in zip(parts, _runs(sizes, dy.shape, axis, p.kernels.real_size)):
            part = p.tensor(shape)
            p.program.copy_blocks(blocks, length, stride, length, source + offset, part)
            p.write(part, shape)

    return tuple(programs.run("concat_backward", (axis, sizes), lay_out, dtype, [dy],
                              [(shape, dtype) for shape in parts]))


def _alike(arrays):
    """Arrays of one shape, all of one dtype."""
    dtype = programs.dtype_of(*arrays)
    arrays = [shapes.as_tensor(a, dtype, f"array {i}") for i, a in enumerate(arrays)]
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"arrays of one shape are expected, got {[a.shape for a in arrays]}")
    return arrays


def _runs(sizes, shape, axis, real_size):
    """Where each part of a concatenation lies: (blocks, length, stride of the blocks, offset of the first in bytes)."""
    outer, whole, inner = _lines(shape, axis)
    offset = 0
    for n in sizes:
        yield outer, n * inner, whole * inner, offset * real_size
        offset += n * inner
