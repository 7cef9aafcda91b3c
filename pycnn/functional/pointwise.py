"""Functions of each value whose slope needs the value itself, and rectifiers with a slope for each channel."""

import math

from .. import _kernels, shapes
from . import programs
from .elementwise import _elementwise

_PARAMETERS = {"hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5}, "clip": {"min": -math.inf, "max": math.inf}}


def _function(kind, given):
    """(number, a, b) as ``_kernels`` takes it."""
    if kind not in _kernels.POINTWISE:
        raise ValueError(f"kind must be one of {', '.join(_kernels.POINTWISE)}, got {kind!r}")
    known = _PARAMETERS.get(kind, {})
    for name in given:
        if name not in known:
            raise TypeError(f"{kind} has {f'the parameters {chr(32).join(known)}' if known else 'no parameters'}, got {name!r}")
    values = {name: programs.number(value, f"{kind}: {name}") for name, value in given.items()}
    a, b = {**known, **values}.values() if known else (0.0, 0.0)
    if kind == "hard_sigmoid" and a <= 0:
        raise ValueError(f"hard_sigmoid: alpha must be greater than 0, got {a}")
    if kind == "clip" and not a < b:
        raise ValueError(f"clip: min must be less than max, got {a} and {b}")
    return _kernels.POINTWISE.index(kind), a, b


def pointwise_forward(x, kind, **parameters):
    """Function of every element, y = f(x); the shape stays. Phi is the normal distribution.

    ============  ====================================================  ==================================
    kind          f(x)                                                  parameters
    ============  ====================================================  ==================================
    gelu          x Phi(x)
    gelu_tanh     x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    silu          x / (1 + e^-x)
    hard_sigmoid  max(0, min(1, alpha x + beta))                        alpha=1/6, beta=1/2
    hard_swish    x max(0, min(1, x / 6 + 1/2))
    mish          x tanh(log(1 + e^x))
    softsign      x / (1 + abs(x))
    clip          max(min, min(max, x))                                 min=-infinity, max=infinity
    ============  ====================================================  ==================================

    Raises
    ------
    ValueError
        If there is no such kind, or min is not less than max.
    """
    function, x = _function(kind, parameters), shapes.as_tensor(x, programs.dtype_of(x), "x")
    return _elementwise("pointwise_forward", (function, x.size), [x])


def pointwise_backward(dy, x, kind, **parameters):
    """Gradient of `pointwise_forward` from its input x: dx = f'(x) dy. Where a clipped function bends, the slope is 0."""
    dtype, function = programs.dtype_of(dy, x), _function(kind, parameters)
    x = shapes.as_tensor(x, dtype, "x")
    return _elementwise("pointwise_backward", (function, x.size), [programs.tensor_of(dy, dtype, "dy", x.shape), x])


def _checked(x, weight, **others):
    dtype = programs.dtype_of(x, weight, *others.values())
    x = programs.tensor(x, dtype, "x", (2, 3, 4, 5))
    return x, programs.tensor_of(weight, dtype, "weight", x.shape[1:2]), programs.map_sizes(x.shape)


def prelu_forward(x, weight):
    """y = x where x > 0, else weight x, of x ``(N, C, *S)`` and a weight for each channel ``(C,)`` (He et al. 2015,
    arXiv:1502.01852)."""
    x, weight, sizes = _checked(x, weight)

    def lay_out(p):
        source, slope, y = p.read(x.shape, sizes[0]), p.read(weight.shape), p.tensor(x.shape, sizes[0])
        p.program.prelu_forward(*sizes, source, slope, y)
        p.write(y, x.shape, sizes[0])

    return programs.run("prelu_forward", (), lay_out, x.dtype, [x, weight], [(x.shape, x.dtype)])[0]


def prelu_backward(dy, x, weight):
    """Gradients of `prelu_forward`: dx of the shape of x, and dweight ``(C,)``."""
    x, weight, sizes = _checked(x, weight, dy=dy)
    dy = programs.tensor_of(dy, x.dtype, "dy", x.shape)

    def lay_out(p):
        gradient, source = p.read(x.shape, sizes[0], gradient=True), p.read(x.shape, sizes[0])
        slope, dx, dweight = p.read(weight.shape), p.tensor(x.shape, sizes[0]), p.memory(weight.size)
        partial = p.memory(p.kernels.prelu_partial_size(*sizes))
        p.program.prelu_backward(*sizes, gradient, source, slope, dx, partial)
        p.program.prelu_reduce_weights(*sizes, False, partial, dweight)
        p.write(dx, x.shape, sizes[0])
        p.write(dweight, weight.shape)

    results = [(x.shape, x.dtype), (weight.shape, x.dtype)]
    return tuple(programs.run("prelu_backward", (), lay_out, x.dtype, [dy, x, weight], results))
