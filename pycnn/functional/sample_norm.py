"""Normalisation of each sample by itself, and of channels by their neighbours."""

from math import prod

from .. import shapes
from .._kernels import PLAIN
from . import programs

RANKS = (2, 3, 4, 5)


def _forward(x, weight, bias, sizes, epsilon):
    """y, given what divides x: (layout, n, maps, groups, positions)."""
    layout = sizes[0]

    def lay_out(p):
        source, gamma, beta = p.read(x.shape, layout), p.read(weight.shape), p.read(bias.shape)
        statistics, y = p.memory(p.kernels.group_norm_statistics_size(*sizes)), p.tensor(x.shape, layout)
        p.program.group_norm_forward(*sizes, epsilon, programs.IDENTITY, source, gamma, beta, statistics, y)
        p.write(y, x.shape, layout)

    results = [(x.shape, x.dtype)]
    return programs.run("group_norm_forward", (sizes, epsilon), lay_out, x.dtype, [x, weight, bias], results)[0]


def _backward(dy, x, weight, sizes, epsilon):
    layout = sizes[0]

    def lay_out(p):
        gradient, source, gamma = p.read(x.shape, layout, gradient=True), p.read(x.shape, layout), p.read(weight.shape)
        statistics, y = p.memory(p.kernels.group_norm_statistics_size(*sizes)), p.tensor(x.shape, layout)
        partial = p.memory(p.kernels.group_norm_partial_size(*sizes))
        dx, dgamma, dbeta = p.tensor(x.shape, layout), p.memory(weight.size), p.memory(weight.size)
        p.program.group_norm_forward(*sizes, epsilon, programs.IDENTITY, source, gamma, gamma, statistics, y)
        p.program.group_norm_backward_weights(*sizes, gradient, source, statistics, partial)
        p.program.group_norm_reduce_weights(*sizes, False, partial, dgamma, dbeta)
        p.program.group_norm_backward_data(*sizes, gradient, source, statistics, gamma, dx)
        p.write(dx, x.shape, layout)
        p.write(dgamma, weight.shape)
        p.write(dbeta, weight.shape)

    results = [(shape, x.dtype) for shape in (x.shape, weight.shape, weight.shape)]
    return tuple(programs.run("group_norm_backward", (sizes, epsilon), lay_out, x.dtype, [dy, x, weight], results))


def _checked(x, epsilon, vectors, groups, ranks=RANKS, **others):
    """(x, vectors (C,), sizes, epsilon) in one dtype, for groups of channels; a group for each where `groups` is None."""
    dtype = programs.dtype_of(x, *vectors.values(), *others.values())
    x = programs.tensor(x, dtype, "x", ranks)
    layout, n, c, positions = programs.map_sizes(x.shape)
    groups = c if groups is None else shapes.integer(groups, "groups", 1)
    if c % groups:
        raise ValueError(f"the {c} channels of x do not divide into {groups} groups")
    vectors = [programs.tensor_of(v, dtype, what, (c,)) for what, v in vectors.items()]
    return x, vectors, (layout, n, c, groups, positions), programs.number(epsilon, "epsilon", 0)


def group_norm_forward(x, weight, bias, groups, epsilon=1e-5):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, over each group of a sample's channels and all positions (Wu &
    He 2018, arXiv:1803.08494).

    Parameters
    ----------
    x : array_like (N, C) or (N, C, *S)
    weight, bias : array_like (C,)
    groups : int
        A group is C / groups neighbouring channels.
    epsilon : float
        At least 0.
    """
    x, vectors, sizes, epsilon = _checked(x, epsilon, {"weight": weight, "bias": bias}, groups)
    return _forward(x, *vectors, sizes, epsilon)


def group_norm_backward(dy, x, weight, groups, epsilon=1e-5):
    """Gradients of `group_norm_forward`: dx of the shape of x, dweight and dbias ``(C,)``."""
    x, vectors, sizes, epsilon = _checked(x, epsilon, {"weight": weight}, groups, dy=dy)
    return _backward(programs.tensor_of(dy, x.dtype, "dy", x.shape), x, *vectors, sizes, epsilon)


def instance_norm_forward(x, weight, bias, epsilon=1e-5):
    """`group_norm_forward` of x ``(N, C, *S)`` with a group for each channel (Ulyanov et al. 2016, arXiv:1607.08022)."""
    x, vectors, sizes, epsilon = _checked(x, epsilon, {"weight": weight, "bias": bias}, None, RANKS[1:])
    return _forward(x, *vectors, sizes, epsilon)


def instance_norm_backward(dy, x, weight, epsilon=1e-5):
    """Gradients of `instance_norm_forward`: dx of the shape of x, dweight and dbias ``(C,)``."""
    x, vectors, sizes, epsilon = _checked(x, epsilon, {"weight": weight}, None, RANKS[1:], dy=dy)
    return _backward(programs.tensor_of(dy, x.dtype, "dy", x.shape), x, *vectors, sizes, epsilon)


def _checked_layer(x, epsilon, others, **arrays):
    dtype = programs.dtype_of(x, *others.values(), *arrays.values())
    x = programs.tensor(x, dtype, "x", RANKS)
    others = [programs.tensor_of(v, dtype, what, x.shape[1:]) for what, v in others.items()]
    return x, others, (PLAIN, len(x), prod(x.shape[1:]), 1, 1), programs.number(epsilon, "epsilon", 0)


def layer_norm_forward(x, weight, bias, epsilon=1e-5):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, over all values of a sample (Ba et al. 2016,
    arXiv:1607.06450).

    Parameters
    ----------
    x : array_like (N, C) or (N, C, *S)
    weight, bias : array_like (C,) or (C, *S)
        One of each for every value of a sample.
    epsilon : float
        At least 0.
    """
    x, others, sizes, epsilon = _checked_layer(x, epsilon, {"weight": weight, "bias": bias})
    return _forward(x, *others, sizes, epsilon)


def layer_norm_backward(dy, x, weight, epsilon=1e-5):
    """Gradients of `layer_norm_forward`: dx of the shape of x, dweight and dbias of that of a sample."""
    x, others, sizes, epsilon = _checked_layer(x, epsilon, {"weight": weight}, dy=dy)
    return _backward(programs.tensor_of(dy, x.dtype, "dy", x.shape), x, *others, sizes, epsilon)


# ---- channels by their neighbours --------------------------------------------------------------------------------------


def _response(size, alpha, beta, k):
    """(size, alpha, beta, k), checked."""
    size = shapes.per_axis(size, 1, "size")[0]
    alpha, beta, k = (programs.number(v, what, 0) for v, what in ((alpha, "alpha"), (beta, "beta"), (k, "k")))
    if k == 0:
        raise ValueError("k must be greater than 0")
    return size, alpha, beta, k


def local_response_norm_forward(x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """y_c = x_c / (k + alpha / size * the sum of x^2 over channels c - floor((size - 1) / 2) ... c + floor(size / 2))^beta, of
    x ``(N, C, *S)`` (Krizhevsky et al. 2012, section 3.3; LRN of ONNX)."""
    response = _response(size, alpha, beta, k)
    x = programs.tensor(x, programs.dtype_of(x), "x", RANKS)
    sizes = (*x.shape[:2], prod(x.shape[2:]))

    def lay_out(p):
        source, y = p.read(x.shape), p.tensor(x.shape)
        p.program.local_response_forward(response, *sizes, source, y)
        p.write(y, x.shape)

    results = [(x.shape, x.dtype)]
    return programs.run("local_response_norm_forward", response, lay_out, x.dtype, [x], results)[0]


def local_response_norm_backward(dy, x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Gradient of `local_response_norm_forward`: dx of the shape of x."""
    response, dtype = _response(size, alpha, beta, k), programs.dtype_of(dy, x)
    x = programs.tensor(x, dtype, "x", RANKS)
    dy, sizes = programs.tensor_of(dy, dtype, "dy", x.shape), (*x.shape[:2], prod(x.shape[2:]))

    def lay_out(p):
        gradient, source, dx = p.read(x.shape), p.read(x.shape), p.tensor(x.shape)
        p.program.local_response_backward(response, *sizes, gradient, source, dx)
        p.write(dx, x.shape)

    results = [(x.shape, dtype)]
    return programs.run("local_response_norm_backward", response, lay_out, dtype, [dy, x], results)[0]
