"""A bias for each value of a sample."""

from math import prod

from .._kernels import PLAIN
from . import programs

RANKS = (2, 3, 4, 5)


def bias_forward(x, bias):
    """y[n] = x[n] + bias, with a bias for each value of a sample.

    Parameters
    ----------
    x : array_like (N, C) or (N, C, *S)
    bias : array_like (C,) or (C, *S)

    Returns
    -------
    y : ndarray, of the shape of x
    """
    dtype = programs.dtype_of(x, bias)
    x = programs.tensor(x, dtype, "x", RANKS)
    bias = programs.tensor_of(bias, dtype, "bias", x.shape[1:])
    n, elements = len(x), bias.size

    def lay_out(p):
        source, b, y = p.read((n, elements)), p.read((1, elements)), p.tensor((n, elements))
        p.program.bias_forward(PLAIN, n, elements, programs.IDENTITY, source, b, y)
        p.write(y, (n, elements))

    return programs.run("bias_forward", (), lay_out, dtype, [x, bias], [(x.shape, dtype)])[0]


def bias_backward(dy):
    """Gradients of `bias_forward`: dx, which is dy, and dbias ``(C, *S)``, its sum over the batch."""
    dtype = programs.dtype_of(dy)
    dy = programs.tensor(dy, dtype, "dy", RANKS)
    n, elements = len(dy), prod(dy.shape[1:])

    def lay_out(p):
        gradient, db = p.read((n, elements)), p.memory(elements)
        p.program.bias_backward_weights(PLAIN, n, elements, False, gradient, db)
        p.write(db, (1, elements))

    return dy.copy(), programs.run("bias_backward", (), lay_out, dtype, [dy], [(dy.shape[1:], dtype)])[0]
