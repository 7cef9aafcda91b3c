"""Folding: operators on tensors that are known while loading, in NumPy and with their true types."""

from __future__ import annotations

from math import prod

import numpy as np

from .sizes import MixesSamples, Size, simplified, vector

LARGEST = 2**27     # elements of a sample, or of an array that an operator makes of few
MOST_PLACES = 2**22 # that are taken one by one


def computed(op, inputs, opset):
    """What an operation makes of known inputs: a tuple of arrays, of objects where they hold sizes that depend on N."""
    results = FUNCTIONS[op.kind](opset, *inputs, **op.attributes)
    return tuple(map(tidy, results if isinstance(results, (tuple, list)) else (results,)))


def tidy(array):
    return simplified(np.asarray(array))


def limited(shape):
    """A shape that an array may have which is made of few values."""
    if any(isinstance(n, Size) for n in shape):
        raise MixesSamples(f"an array of shape {tuple(shape)} depends on the number of samples N")
    shape = tuple(map(int, shape))
    if any(n < 0 for n in shape):
        raise ValueError(f"got the negative size {min(shape)} in the shape {shape}")
    if prod(shape) > LARGEST:
        raise ValueError(f"an array of shape {shape} is larger than the {LARGEST} values that are supported")
    return shape


def few(count):
    """`count`, if so many places can be taken one by one."""
    if count > MOST_PLACES:
        raise ValueError(f"{count} places are more than the {MOST_PLACES} that are supported")
    return count


def sizes(array):
    """A vector of sizes as a list of int and Size."""
    array = np.asarray(array)
    if array.ndim != 1 or array.dtype.kind not in "iuO":
        raise ValueError(f"a shape is a vector of integers, got an array of shape {array.shape} and type {array.dtype}")
    return [n if isinstance(n, Size) else int(n) for n in array]


def axis_of(axis, rank):
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"axis {axis} is none of a tensor with {rank} axes")
    return int(axis) % max(rank, 1)


def axes_of(given, attribute, rank):
    """Axes of an input (opset 13) or of an attribute, in order; None where both are missing."""
    axes = attribute if given is None else np.asarray(given).ravel().tolist()
    return None if axes is None else sorted(axis_of(axis, rank) for axis in axes)


# ---- element by element


def broadcast_as_before_7(a, b, broadcast, axis):
    """The second operand, its axes set where opsets below 7 say."""
    if broadcast and axis is not None:
        return b.reshape(b.shape + (1,) * (a.ndim - axis_of(axis, a.ndim) - b.ndim))
    return b


def binary(function):
    def fold(opset, a, b, axis=None, broadcast=0, consumed_inputs=None, **attributes):
        b = broadcast_as_before_7(a, b, broadcast, axis)
        limited(np.broadcast_shapes(a.shape, b.shape))
        result = function(a, b, **attributes)
        return result
    return fold


def variadic(function):
    def fold(opset, first, *others, consumed_inputs=None):
        for other in others:
            limited(np.broadcast_shapes(first.shape, other.shape))
            first = function(first, other)
        return first
    return fold


def unary(function):
    def fold(opset, x, consumed_inputs=None):
        with np.errstate(all="ignore"):
            return np.asarray(function(x)).astype(x.dtype, copy=False)
    return fold


def divide(a, b):
    if object in (a.dtype, b.dtype):
        return np.floor_divide(a, b)
    if a.dtype.kind not in "iu":
        with np.errstate(all="ignore"):
            return a / b
    if not np.all(b):
        raise ValueError("division by zero")
    quotient = np.floor_divide(np.abs(a), np.abs(b)) * np.sign(a) * np.sign(b) if a.dtype.kind == "i" else a // b
    return quotient.astype(a.dtype)


def power(a, b):
    with np.errstate(all="ignore"):
        return np.power(a, b.astype(a.dtype) if a.dtype.kind == "f" else b).astype(a.dtype)


def modulo(a, b, fmod=0):
    with np.errstate(all="ignore"):
        return np.fmod(a, b) if fmod else np.mod(a, b)


def mean(opset, *xs, consumed_inputs=None):
    return (variadic(np.add)(opset, *xs) / xs[0].dtype.type(len(xs))).astype(xs[0].dtype)


def clip(opset, x, low=None, high=None, min=None, max=None, consumed_inputs=None):
    low, high = min if low is None else low, max if high is None else high
    x = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else np.minimum(x, np.asarray(high, x.dtype))


def relu(opset, x, consumed_inputs=None):
    return np.maximum(x, x.dtype.type(0))


def cast(opset, x, to, saturate=1, round_mode="up"):
    import onnx

    if isinstance(to, str):
        to = onnx.TensorProto.DataType.Value(to)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))
    if x.dtype == object:
        if dtype.kind not in "iu":
            raise ValueError(f"a size that depends on the number of samples cannot be cast to {dtype}")
        return x
    if x.dtype.kind in "OSU" or dtype == object or dtype.name.startswith("float8"):
        raise ValueError(f"a cast from {x.dtype} to {dtype} is not supported")
    with np.errstate(all="ignore"):
        return x.astype(dtype)


# ---- shapes


def shape_of(opset, x, start=0, end=None):
    return vector(x.shape[start:end])


def size_of(opset, x):
    return np.asarray(x.size, np.int64)


def reshape(opset, x, shape=None, allowzero=0, consumed_inputs=None, **attributes):
    target = attributes.pop("shape", None) if shape is None else sizes(shape)
    if attributes or target is None:
        raise ValueError(f"got the attributes {attributes}" if attributes else "the shape is missing")
    target = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(target)]
    return x.reshape(target)


def flatten(opset, x, axis=1):
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def transpose(opset, x, perm=None):
    return np.transpose(x, perm)


def squeeze(opset, x, given=None, axes=None):
    axes = axes_of(given, axes, x.ndim)
    return np.squeeze(x, None if axes is None else tuple(axes))


def with_ones(shape, axes):
    """A shape with axes of size 1 at those places of the result."""
    rank = len(shape) + len(axes)
    places = [axis_of(axis, rank) for axis in axes]
    if len(set(places)) < len(places):
        raise ValueError(f"the axes {axes} are not different ones")
    rest = iter(shape)
    return [1 if i in places else next(rest) for i in range(rank)]


def unsqueeze(opset, x, given=None, axes=None):
    axes = axes if given is None else np.asarray(given).ravel().tolist()
    return x.reshape(with_ones(x.shape, axes))


def concat(opset, *xs, axis=1):
    return np.concatenate(xs, axis=axis)


def split_sizes(total, count, split):
    """The sizes of the pieces of an axis."""
    if split is not None:
        pieces = [int(n) for n in np.asarray(split).ravel()]
        if count and len(pieces) != count:
            raise ValueError(f"{len(pieces)} sizes for {count} pieces")
        if sum(pieces) != total or min(pieces, default=0) < 0:
            raise ValueError(f"pieces of {pieces} do not make up the {total} positions of the axis")
        return pieces
    if not count:
        raise ValueError("the number of pieces is missing")
    each = -(-total // count)
    pieces = [each] * (total // each if each else count)
    return pieces + [total - sum(pieces)] * (len(pieces) < count)


def split_of(opset, x, given=None, axis=0, split=None, num_outputs=None):
    pieces = split_sizes(x.shape[axis], num_outputs, split if given is None else given)
    return np.split(x, np.cumsum(pieces)[:-1], axis=axis)


def slices(rank, starts, ends, axes=None, steps=None):
    """The slices of all axes that Slice takes."""
    starts, ends = sizes(starts), sizes(ends)
    axes = list(range(len(starts))) if axes is None else [axis_of(a, rank) for a in np.asarray(axes).tolist()]
    steps = [1] * len(starts) if steps is None else sizes(steps)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= rank or len(set(axes)) < len(axes) or 0 in steps:
        raise ValueError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} are no slices of {rank} axes")
    found = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps):
        # An end at or below the least int32 stands for the beginning of the axis, with the first position taken.
        found[axis] = slice(start, None if step < 0 and not isinstance(end, Size) and end < -(2**30) else end, step)
    return tuple(found)


def slice_of(opset, x, *given, **attributes):
    return x[slices(x.ndim, *given, **attributes)]


def gather(opset, x, indices, axis=0):
    limited(x.shape[: axis_of(axis, x.ndim)] + indices.shape + x.shape[axis_of(axis, x.ndim) + 1 :])
    return np.take(x, indices.astype(np.int64), axis=axis)


def expand(opset, x, shape):
    return np.broadcast_to(x, limited(np.broadcast_shapes(x.shape, limited(sizes(shape)))))


def constant_of_shape(opset, shape, value=None):
    value = np.zeros(1, np.float32) if value is None else value
    if value.size != 1:
        raise ValueError(f"the value must be one number, got an array of shape {value.shape}")
    return np.broadcast_to(value.reshape(()), limited(sizes(shape)))


def constant(opset, value=None, value_float=None, value_floats=None, value_int=None, value_ints=None):
    if value is not None:
        return value
    for given in (value_float, value_floats):
        if given is not None:
            return np.array(given, np.float32)
    for given in (value_int, value_ints):
        if given is not None:
            return np.array(given, np.int64)
    raise ValueError("a constant of a kind that is not supported")


def arange(opset, start, limit, delta):
    start, limit, delta = (n.reshape(())[()] for n in (start, limit, delta))
    limited((max(0, int(np.ceil((limit - start) / delta))),))
    return np.arange(start, limit, delta, dtype=type(start))


def tile(opset, x, repeats):
    repeats = [int(n) for n in np.asarray(repeats).ravel()]
    limited([n * r for n, r in zip(x.shape, repeats)])
    return np.tile(x, repeats)


def where(opset, condition, x, y):
    limited(np.broadcast_shapes(condition.shape, x.shape, y.shape))
    return np.where(condition, x, y)


def reduction(function):
    def fold(opset, x, given=None, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = axes_of(given, axes, x.ndim)
        if not axes:
            if noop_with_empty_axes:
                return x
            axes = range(x.ndim)
        return function(x, axis=tuple(axes), keepdims=bool(keepdims)).astype(x.dtype)
    return fold


def maximum(x, axis, keepdims):
    least = False if x.dtype == bool else -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return np.max(x, axis=axis, keepdims=keepdims, initial=least)


def minimum(x, axis, keepdims):
    most = True if x.dtype == bool else np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max
    return np.min(x, axis=axis, keepdims=keepdims, initial=most)


FUNCTIONS = {
    "Abs": unary(np.abs),
    "Add": binary(np.add),
    "And": binary(np.logical_and),
    "Cast": cast,
    "Ceil": unary(np.ceil),
    "Clip": clip,
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Div": binary(divide),
    "Equal": binary(np.equal),
    "Exp": unary(np.exp),
    "Expand": expand,
    "Flatten": flatten,
    "Floor": unary(np.floor),
    "Gather": gather,
    "Greater": binary(np.greater),
    "GreaterOrEqual": binary(np.greater_equal),
    "Identity": lambda opset, x: x,
    "Less": binary(np.less),
    "LessOrEqual": binary(np.less_equal),
    "Log": unary(np.log),
    "Max": variadic(np.maximum),
    "Mean": mean,
    "Min": variadic(np.minimum),
    "Mod": binary(modulo),
    "Mul": binary(np.multiply),
    "Neg": unary(np.negative),
    "Not": lambda opset, x: np.logical_not(x),
    "Or": binary(np.logical_or),
    "Pow": binary(power),
    "Range": arange,
    "ReduceMax": reduction(maximum),
    "ReduceMean": reduction(np.mean),
    "ReduceMin": reduction(minimum),
    "ReduceProd": reduction(np.prod),
    "ReduceSum": reduction(np.sum),
    "Relu": relu,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": size_of,
    "Slice": slice_of,
    "Split": split_of,
    "Sqrt": unary(np.sqrt),
    "Squeeze": squeeze,
    "Sub": binary(np.subtract),
    "Sum": variadic(np.add),
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": where,
}
