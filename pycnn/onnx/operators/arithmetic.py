"""Arithmetic of two and more tensors, and functions of each value that are no activations."""

from __future__ import annotations

import numpy as np

from ... import layers as L
from ..flows import Flow, axis_number, given
from ..folding import broadcast_as_before_7
from .activations import applied

FASTER = {"add": L.Add, "mul": L.Multiply}     # of tensors of one shape


def binary(kind):
    def function(g, a, b, axis=None, broadcast=0, consumed_inputs=None):
        if broadcast and axis is not None:
            b = aligned_as_before_7(g, a, b, axis)
        for x, value, swapped in ((a, b, False), (b, a, True)):
            if isinstance(x, Flow) and not isinstance(value, Flow):
                done = with_constant(g, kind, x, np.asarray(value), swapped)
                if done is not None:
                    return done
        return pair(g, kind, a, b)
    return function


def aligned_as_before_7(g, a, b, axis):
    """The second operand, its axes set where opsets below 7 say."""
    if not isinstance(b, Flow):
        return broadcast_as_before_7(np.empty((1,) * a.rank), b, 1, axis)
    ones = a.rank - axis_number(axis, a.rank) - b.rank
    return g.flow(b.node, b, (*b.sample, *(1,) * ones))


def with_constant(g, kind, x, value, swapped):
    """What scales or shifts maps, as part of the layer before or as one; None where that cannot be."""
    scale = shift = None
    vector = g.per_map(x, value)
    if vector is not None and kind in ("add", "sub"):
        scale = -np.ones_like(vector) if kind == "sub" and swapped else None
        shift = -vector if kind == "sub" and not swapped else vector
    elif vector is not None and kind == "mul":
        scale = vector
    elif vector is not None and kind == "div" and not swapped and np.all(vector):
        scale = 1 / vector
    else:
        return None
    if x.readers == 1 and x.node in g.affine and x.node.shape[0] == x.shape[1]:
        return g.flow(g.affine[x.node](scale, shift), x, x.sample)
    node = g.maps(x)
    if len(node.shape) == 1 or kind == "div":
        return None
    maps = node.shape[0]
    layer = L.Conv(maps, 1, groups=maps, bias=shift is not None, name=g.name(),
                   weight_init="ones" if scale is None else given(scale.reshape(maps, *[1] * len(node.shape))),
                   bias_init="zeros" if shift is None else given(shift))
    if value.size == 1:
        g.frozen.append(layer)
    return g.of_maps(g.apply(layer, node), x)


def pair(g, kind, a, b):
    """Two tensors with broadcasting."""
    rank = max(x.rank if isinstance(x, Flow) else x.ndim for x in (a, b))
    a, b = (g.stretched(x, rank) for x in (a, b))
    if a.sample == b.sample and kind in FASTER:
        shape = g.natural(a).shape
        return g.flow(g.apply(FASTER[kind](name=g.name()), *(g.shaped(x, shape) for x in (a, b))), a, a.sample)
    shapes = g.merged(a.sample, b.sample)
    node = g.apply(L.Binary(kind, name=g.name()), *map(g.shaped, (a, b), shapes))
    return g.flow(node, a, np.broadcast_shapes(a.sample, b.sample))


def total(g, *xs, consumed_inputs=None):
    first = xs[0]
    alike = all(isinstance(x, Flow) and x.shape == first.shape for x in xs)
    if len(xs) > 1 and alike:
        shape = g.natural(first).shape
        return g.flow(g.apply(L.Add(name=g.name()), *(g.shaped(x, shape) for x in xs)), first, first.sample)
    return combined("Add")(g, *xs)


def combined(kind):
    """A binary operator on any number of tensors."""
    def function(g, first, *others, consumed_inputs=None):
        for other in others:
            first = g.operator(kind, first, other)
        return first if others else g.operator("Identity", first)
    return function


def mean(g, *xs, consumed_inputs=None):
    return g.operator("Mul", total(g, *xs), np.float64(1 / len(xs)))


def extreme(kind):
    def function(g, first, *others, consumed_inputs=None):
        for other in others:
            first = pair(g, kind, first, other)
        return first if others else g.operator("Identity", first)
    return function


def power(g, a, b, **attributes):
    if not isinstance(b, Flow) and np.size(b) == 1:
        exponent = float(np.reshape(b, ()))
        if exponent == 1:
            return g.operator("Identity", a)
        if exponent == 2:
            return pair(g, "mul", a, a)
        if exponent == 0.5:
            return applied(g, a, L.Unary("sqrt", name=g.name()))
    return binary("pow")(g, a, b, **attributes)


def unary(kind):
    return lambda g, x, consumed_inputs=None: applied(g, x, L.Unary(kind, name=g.name()))


def cast(g, x, to, saturate=1, round_mode="up"):
    import onnx

    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))
    if dtype.kind in "iu":
        return applied(g, x, L.Unary("trunc", name=g.name()))
    if dtype.name not in ("bfloat16", "float16", "float32", "float64"):     # the network computes in its own type
        raise ValueError(f"a cast to {dtype} is not supported where the tensor depends on the inputs of the network")
    return g.operator("Identity", x)


OPERATORS = {
    "Abs": unary("abs"),
    "Add": binary("add"),
    "Cast": cast,
    "Ceil": unary("ceil"),
    "Div": binary("div"),
    "Exp": unary("exp"),
    "Floor": unary("floor"),
    "Log": unary("log"),
    "Max": extreme("max"),
    "Mean": mean,
    "Min": extreme("min"),
    "Mul": binary("mul"),
    "Neg": unary("neg"),
    "Pow": power,
    "Reciprocal": unary("reciprocal"),
    "Sign": unary("sign"),
    "Sqrt": unary("sqrt"),
    "Sub": binary("sub"),
    "Sum": total,
}
