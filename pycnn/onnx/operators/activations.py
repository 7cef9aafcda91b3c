"""Activations: functions of each value, and softmax."""

from __future__ import annotations

from math import prod

import numpy as np

from ... import layers as L
from ..flows import axis_number
from .linear import weights

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def applied(g, x, layer):
    """A layer that keeps the shape."""
    return g.flow(g.apply(layer, g.natural(x)), x, x.sample)


def simple(kind):
    """An operator without attributes, as a layer without arguments."""
    return lambda g, x, consumed_inputs=None: applied(g, x, kind(name=g.name()))


def leaky_relu(g, x, alpha=0.01, consumed_inputs=None):
    if alpha > 0:
        return applied(g, x, L.LeakyReLU(alpha, name=g.name()))
    return prelu(g, x, np.float64(alpha))


def prelu(g, x, slope, consumed_inputs=None):
    slope = weights(slope, "slope")
    if slope.ndim == 1 and g.opset < 7 and x.rank > 2:      # then one for each channel
        slope = slope.reshape(-1, *[1] * (x.rank - 2))
    vector = g.per_map(x, slope)
    if vector is None:
        parts = (g.operator(kind, x, np.float64(0)) for kind in ("Max", "Min"))
        return g.operator("Add", next(parts), g.operator("Mul", next(parts), slope))
    layer = L.PReLU(name=g.name())
    g.settings.append((layer, "weight", vector))
    return g.of_maps(g.apply(layer, g.maps(x)), x)


def elu(g, x, alpha=1.0, consumed_inputs=None):
    return applied(g, x, L.ELU(alpha, name=g.name()))


def selu(g, x, alpha=SELU_ALPHA, gamma=SELU_GAMMA, consumed_inputs=None):
    if abs(alpha - SELU_ALPHA) < 1e-4 and abs(gamma - SELU_GAMMA) < 1e-4:      # older opsets round them
        return applied(g, x, L.SELU(name=g.name()))
    return g.operator("Mul", elu(g, x, alpha), np.float64(gamma))


def celu(g, x, alpha=1.0):
    return applied(g, x, L.CELU(alpha, name=g.name()))


def thresholded_relu(g, x, alpha=1.0):
    return applied(g, x, L.ThresholdedReLU(alpha, name=g.name()))


def hard_sigmoid(g, x, alpha=0.2, beta=0.5, consumed_inputs=None):
    return applied(g, x, L.HardSigmoid(alpha, beta, name=g.name()))


def gelu(g, x, approximate="none"):
    return applied(g, x, L.GELU(approximate, name=g.name()))


def swish(g, x, alpha=1.0):
    if alpha == 1:
        return applied(g, x, L.SiLU(name=g.name()))
    return g.operator("Mul", x, applied(g, g.operator("Mul", x, np.float64(alpha)), L.Sigmoid()))


def clip(g, x, low=None, high=None, consumed_inputs=None, **attributes):
    low, high = (attributes.pop(name, None) if value is None else float(np.asarray(weights(value, name)).reshape(()))
                 for name, value in (("min", low), ("max", high)))
    if attributes:
        raise ValueError(f"unknown attributes {', '.join(attributes)}")
    low, high = (None if value is None or np.isinf(value) or abs(value) >= 3.4e38 else value for value in (low, high))
    if low is None and high is None:
        return g.operator("Identity", x)
    if low is None or high is None or low < high:
        if low == 0 and high is None:
            return applied(g, x, L.ReLU(name=g.name()))
        return applied(g, x, L.Clip(low, high, name=g.name()))
    return g.operator("Min", g.operator("Max", x, np.float64(low)), np.float64(high))


def softmax(kind):
    def function(g, x, axis=None):
        if g.opset >= 13:
            axis = x.axis(-1 if axis is None else axis)
            before, n, after = prod(x.sample[:axis]), x.sample[axis], prod(x.sample[axis + 1 :])
            natural = len(x.sample) <= 4
            node = g.natural(x) if natural else g.shaped(x, (before, n, after))
            return g.flow(g.apply(kind(axis if natural else 1, name=g.name()), node), x, x.sample)
        axis = axis_number(1 if axis is None else axis, x.rank) - x.batched     # all axes from there on
        if axis < 0:
            x.axis(0)
        before, n = prod(x.sample[:axis]), prod(x.sample[axis:])
        node = g.shaped(x, (n,)) if before == 1 else g.shaped(x, (before, n))
        return g.flow(g.apply(kind(int(before > 1), name=g.name()), node), x, x.sample)
    return function


OPERATORS = {
    "Celu": celu,
    "Clip": clip,
    "Elu": elu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": simple(L.HardSwish),
    "LeakyRelu": leaky_relu,
    "LogSoftmax": softmax(L.LogSoftmax),
    "Mish": simple(L.Mish),
    "PRelu": prelu,
    "Relu": simple(L.ReLU),
    "Selu": selu,
    "Sigmoid": simple(L.Sigmoid),
    "Softmax": softmax(L.Softmax),
    "Softplus": simple(L.Softplus),
    "Softsign": simple(L.Softsign),
    "Swish": swish,
    "Tanh": simple(L.Tanh),
    "ThresholdedRelu": thresholded_relu,
}
