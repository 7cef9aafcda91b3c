"""Capsules, vectors whose length counts, and routing by agreement (Sabour, Frosst & Hinton 2017, arXiv:1710.09829).

Capsules are ``(N, capsules, dimension)``.
"""

from math import prod

import numpy as np

from .. import shapes
from .._kernels import SAMPLES
from . import programs


def squash_forward(x):
    """y = |x|^2 / (1 + |x|^2) x / |x|, 0 at 0: the direction of each capsule, with a length below 1.

    Parameters
    ----------
    x : array_like (N, capsules, dimension)

    Returns
    -------
    ndarray, of the shape of x
    """
    x = _capsules(x, programs.dtype_of(x), "x")
    return _squash(x, x.shape[1], x.shape[2], x.shape)


def squash_backward(dy, x):
    """The gradient of `squash_forward` to x, 0 at 0."""
    x = _capsules(x, programs.dtype_of(dy, x), "x")
    dy = programs.tensor_of(dy, x.dtype, "dy", x.shape)
    return _squash_backward(dy, x, x.shape[1], x.shape[2])


def primary_capsules_forward(maps, dimension):
    """Squashed capsules, of which map ``kind * dimension + d`` has coordinate d.

    Parameters
    ----------
    maps : array_like (N, kinds * dimension, *S)
    dimension : int

    Returns
    -------
    ndarray (N, kinds * positions, dimension)
    """
    maps, dimension, shape = _checked_maps(maps, dimension, programs.dtype_of(maps))
    return _squash(maps, maps.shape[1] // dimension, dimension, shape)


def primary_capsules_backward(dy, maps, dimension):
    """The gradient of `primary_capsules_forward` to the maps."""
    maps, dimension, shape = _checked_maps(maps, dimension, programs.dtype_of(dy, maps))
    dy = programs.tensor_of(dy, maps.dtype, "dy", shape)
    return _squash_backward(dy, maps, maps.shape[1] // dimension, dimension)


def length_forward(x):
    """The length of each capsule, ``(N, capsules)``."""
    x = _capsules(x, programs.dtype_of(x), "x")

    def lay_out(p):
        source, y = p.read(x.shape, SAMPLES), p.tensor(x.shape[:2], SAMPLES)
        p.program.length_forward(_groups(p, len(x), x.shape[1]), x.shape[2], source, y)
        p.write(y, x.shape[:2], SAMPLES)

    return programs.run("length_forward", (), lay_out, x.dtype, [x], [(x.shape[:2], x.dtype)])[0]


def length_backward(dy, x):
    """The gradient of `length_forward` to x: dy x / |x|, 0 at 0."""
    x = _capsules(x, programs.dtype_of(dy, x), "x")
    dy = programs.tensor_of(dy, x.dtype, "dy", x.shape[:2])

    def lay_out(p):
        gradient, source = p.read(dy.shape, SAMPLES, gradient=True), p.read(x.shape, SAMPLES)
        dx = p.tensor(x.shape, SAMPLES)
        p.program.length_backward(_groups(p, len(x), x.shape[1]), x.shape[2], gradient, source, dx)
        p.write(dx, x.shape, SAMPLES)

    return programs.run("length_backward", (), lay_out, x.dtype, [dy, x], [(x.shape, x.dtype)])[0]


def mask_forward(x, target=None):
    """Keeps one capsule of each sample, and makes the others zero.

    Parameters
    ----------
    x : array_like (N, capsules, dimension)
    target : array_like (N, capsules), optional
        The capsule is the one where this is greatest, or the longest one where this is nowhere above zero, or missing.

    Returns
    -------
    y : ndarray (N, capsules * dimension)
    kept : ndarray of int64 (N,)
        The numbers of those capsules.
    """
    x = _capsules(x, programs.dtype_of(x, target), "x")
    n, count, size = x.shape
    if target is not None:
        target = programs.tensor_of(target, x.dtype, "target", (n, count))

    def lay_out(p):
        source, named = p.read(x.shape, SAMPLES), 0 if target is None else p.read(target.shape, SAMPLES)
        y, kept = p.tensor((n, count * size), SAMPLES), p.memory(n)
        p.program.mask_forward(n, count, size, source, named, y, kept)
        p.write(y, (n, count * size), SAMPLES)
        p.write(kept, (1, n))

    integer = np.dtype(f"i{x.itemsize}")
    y, kept = programs.run("mask_forward", (target is None,), lay_out, x.dtype, programs.given(x, target),
                           [((n, count * size), x.dtype), ((n,), integer)])
    return y, kept.astype(np.int64)


def mask_backward(dy, kept, x_shape):
    """The gradient of `mask_forward` to x: dy in the capsule that was kept, 0 in the others."""
    n, count, size = shape = programs.shape_of(x_shape, "x_shape", (3,))
    dy = programs.tensor_of(dy, programs.dtype_of(dy), "dy", (n, count * size))
    kept = programs.integers_of(kept, "kept", (n,), count).astype(f"i{dy.itemsize}")

    def lay_out(p):
        gradient, numbers, dx = p.read(dy.shape, SAMPLES, gradient=True), p.read((1, n)), p.tensor(shape, SAMPLES)
        p.program.mask_backward(n, count, size, gradient, numbers, dx)
        p.write(dx, shape, SAMPLES)

    return programs.run("mask_backward", (), lay_out, dy.dtype, [dy, kept], [(shape, dy.dtype)])[0]


def capsules_forward(u, weight, iterations=3):
    """Routing by agreement: in each iteration, with votes u_ij = weight_ij u_i and b = 0 at first,

    c_ij = softmax over j of b_ij,  v_j = squash(sum over i of c_ij u_ij),  b_ij += u_ij . v_j.

    Parameters
    ----------
    u : array_like (N, I, E)
    weight : array_like (I, J, D, E)
    iterations : int

    Returns
    -------
    ndarray (N, J, D)
        v of the last iteration.
    """
    u, weight, iterations, shape = _checked_routing(u, weight, iterations, programs.dtype_of(u, weight))

    def lay_out(p):
        routing, values, w = (*u.shape, *shape[1:], iterations), p.read(u.shape, SAMPLES), p.read(weight.shape)
        p.write(_route(p, routing, values, w)[-1], shape, SAMPLES)

    return programs.run("capsules_forward", (iterations,), lay_out, u.dtype, [u, weight], [(shape, u.dtype)])[0]


def capsules_backward(dv, u, weight, iterations=3):
    """Gradients of `capsules_forward`, through all of the routing: du ``(N, I, E)`` and dweight ``(I, J, D, E)``."""
    u, weight, iterations, shape = _checked_routing(u, weight, iterations, programs.dtype_of(dv, u, weight))
    dv = programs.tensor_of(dv, u.dtype, "dv", shape)

    def lay_out(p):
        routing = (*u.shape, *shape[1:], iterations)
        gradient, values = p.read(shape, SAMPLES, gradient=True), p.read(u.shape, SAMPLES)
        w, du, dw = p.read(weight.shape), p.tensor(u.shape, SAMPLES), p.tensor(weight.shape)
        sums, traces, _ = _route(p, routing, values, w)
        p.program.route_backward(routing, gradient, values, w, sums, traces)
        p.program.route_gradients(routing, False, values, w, traces, du, dw)
        p.write(du, u.shape, SAMPLES)
        p.write(dw, weight.shape)

    results = [(u.shape, u.dtype), (weight.shape, u.dtype)]
    return tuple(programs.run("capsules_backward", (iterations,), lay_out, u.dtype, [dv, u, weight], results))


def _capsules(x, dtype, what):
    return programs.tensor(x, dtype, what, (3,))


def _groups(p, n, count):
    """So many capsules of every vector of samples."""
    return -(-n // p.kernels.lanes) * count


def _route(p, routing, u, w):
    """Addresses of what routing leaves for the backward pass, and of its result."""
    n, _, _, outputs, size, iterations = routing
    sums, traces, v = (p.tensor((n, times * outputs, size), SAMPLES) for times in (iterations, 2 * iterations, 1))
    p.program.route_forward(routing, u, w, sums, traces, v)
    return sums, traces, v


def _checked_routing(u, weight, iterations, dtype):
    """(u, weight, iterations, shape of v)"""
    u, iterations = _capsules(u, dtype, "u"), shapes.integer(iterations, "iterations", 1)
    weight = shapes.as_tensor(weight, dtype, "weight", 4)
    n, inputs, size = u.shape
    if weight.shape[0] != inputs or weight.shape[3] != size or 0 in weight.shape:
        raise ValueError(f"weight must have shape ({inputs}, capsules, dimension, {size}), got {weight.shape}")
    return u, weight, iterations, (n, *weight.shape[1:3])


def _checked_maps(maps, dimension, dtype):
    """(maps, dimension, shape of their capsules)"""
    maps, dimension = programs.tensor(maps, dtype, "maps"), shapes.integer(dimension, "dimension", 1)
    n, channels, positions = programs.plain_sizes(maps.shape)
    if channels % dimension:
        raise ValueError(f"{channels} maps do not divide into capsules of dimension {dimension}")
    return maps, dimension, (n, channels // dimension * positions, dimension)


def _squash(x, kinds, size, result):
    """Squashed capsules, in the shape `result`, of maps (N, kinds * size, positions)."""
    positions = prod(x.shape[1:]) // (kinds * size)

    def lay_out(p):
        source, y = p.read(x.shape, SAMPLES), p.tensor(result, SAMPLES)
        p.program.squash_forward(_groups(p, len(x), kinds), size, positions, source, y)
        p.write(y, result, SAMPLES)

    return programs.run("squash_forward", (kinds, size), lay_out, x.dtype, [x], [(result, x.dtype)])[0]


def _squash_backward(dy, x, kinds, size):
    positions = prod(x.shape[1:]) // (kinds * size)

    def lay_out(p):
        gradient, source = p.read(dy.shape, SAMPLES, gradient=True), p.read(x.shape, SAMPLES)
        dx = p.tensor(x.shape, SAMPLES)
        p.program.squash_backward(_groups(p, len(x), kinds), size, positions, gradient, source, dx)
        p.write(dx, x.shape, SAMPLES)

    return programs.run("squash_backward", (kinds, size), lay_out, x.dtype, [dy, x], [(x.shape, x.dtype)])[0]
