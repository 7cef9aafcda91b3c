"""How parameters start: functions of a shape, its fans and a random generator."""

from __future__ import annotations

import numpy as np


def zeros(shape, fan_in, fan_out, rng):
    """All zero."""
    return np.zeros(shape)


def ones(shape, fan_in, fan_out, rng):
    """All one."""
    return np.ones(shape)


def uniform_within(limit):
    """Uniform in +-limit(fan_in, fan_out)."""
    def initialize(shape, fan_in, fan_out, rng):
        bound = limit(fan_in, fan_out)
        return rng.uniform(-bound, bound, shape)
    return initialize


def normal_of(deviation):
    """Normal with the standard deviation deviation(fan_in, fan_out)."""
    def initialize(shape, fan_in, fan_out, rng):
        return rng.normal(0.0, deviation(fan_in, fan_out), shape)
    return initialize


INITIALIZERS = {
    "zeros": zeros,
    "ones": ones,
    # Normal with mean 0 and standard deviation 1.
    "normal": normal_of(lambda i, o: 1.0),
    # Uniform in +-1/sqrt(fan_in), as PyTorch starts its layers.
    "default": uniform_within(lambda i, o: 1 / np.sqrt(i)),
    # Uniform in +-2.4/fan_in (LeCun et al. 1998, Gradient-based learning applied to document recognition).
    "lecun_1998": uniform_within(lambda i, o: 2.4 / i),
    # Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, eq. 16.
    "glorot_uniform": uniform_within(lambda i, o: np.sqrt(6 / (i + o))),
    "glorot_normal": normal_of(lambda i, o: np.sqrt(2 / (i + o))),
    # He et al. 2015, arXiv:1502.01852, eq. 10.
    "he_uniform": uniform_within(lambda i, o: np.sqrt(6 / i)),
    "he_normal": normal_of(lambda i, o: np.sqrt(2 / i)),
}


def initial_value(spec, rng):
    """The first value of a parameter.

    Parameters
    ----------
    spec : ParameterSpec
        Its `initializer` is a name in `INITIALIZERS` or a function (shape, fan_in, fan_out, rng) -> array.
    rng : numpy.random.Generator
    """
    initializer = spec.initializer
    if isinstance(initializer, str):
        if initializer not in INITIALIZERS:
            raise ValueError(f"unknown initializer {initializer!r}; known are {', '.join(INITIALIZERS)}")
        initializer = INITIALIZERS[initializer]
    value = np.asarray(initializer(spec.shape, spec.fan_in, spec.fan_out, rng))
    if value.shape != tuple(spec.shape):
        raise ValueError(f"the initializer made an array of shape {value.shape}, not {tuple(spec.shape)}")
    return value
