"""Dropout and noise."""

from math import prod

import numpy as np

from .._kernels import PLAIN
from ..shapes import integer
from . import programs

RANKS = (2, 3, 4, 5)
STATE = (2,)        # the key, and the number of the run


def dropout(x, p=0.5, *, seed, maps=False):
    """y = 0 with probability p, else x / (1 - p). Its gradient is the same function of dy, with the same seed.

    Parameters
    ----------
    x : array_like (N, C) or (N, C, *S)
    p : float
        At least 0 and less than 1.
    seed : int
        From 0 to 2^64 - 1. What is dropped depends on it, the sample and the place in the sample only.
    maps : bool
        Whether whole maps are dropped instead of single values.
    """
    p = programs.number(p, "p", 0)
    if p >= 1:
        raise ValueError(f"p must be a probability less than 1, got {p}")

    def call(program, sizes, state, source, y):
        program.dropout(PLAIN, *sizes, bool(maps), p, 1 / (1 - p), 0, state, source, y)

    return _drawn("dropout", x, (p, bool(maps)), seed, call)


def gaussian_noise(x, deviation, *, seed):
    """y = x + deviation times noise of the standard normal distribution.

    Parameters
    ----------
    x : array_like (N, C) or (N, C, *S)
    deviation : float
        At least 0.
    seed : int
        From 0 to 2^64 - 1. The noise depends on it, the sample and the place in the sample only.
    """
    deviation = programs.number(deviation, "deviation", 0)

    def call(program, sizes, state, source, y):
        program.gaussian_noise(PLAIN, *sizes, deviation, 0, state, source, y)

    return _drawn("gaussian_noise", x, (deviation,), seed, call)


def _drawn(name, x, parameters, seed, call):
    x = programs.tensor(x, programs.dtype_of(x), "x", RANKS)
    if integer(seed, "seed", 0) >= 2**64:
        raise ValueError(f"seed must be less than 2^64, got {seed}")

    def lay_out(p):
        state, source, y = p.slot(), p.read(x.shape), p.tensor(x.shape)
        call(p.program, (*x.shape[:2], prod(x.shape[2:])), state, source, y)
        p.write(y, x.shape)

    state = np.array([seed, 0], np.uint64)
    return programs.run(name, parameters, lay_out, x.dtype, [state, x], [(x.shape, x.dtype)])[0]
