"""Normalisations, and dropout."""

from __future__ import annotations

import numpy as np

from ... import layers as L
from ..flows import Flow, given
from .linear import scaled, weights

TINY = 1e-30    # stands for an epsilon of 0, which pycnn's layers do not take


def batch_normalization(g, x, scale, bias, mean, var, epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1, is_test=1,
                        consumed_inputs=None):
    if training_mode:
        return of_this_batch(g, x, scale, bias, mean, var, epsilon, momentum)
    scale, bias, mean, var = map(weights, (scale, bias, mean, var), ("scale", "bias", "mean", "variance"))
    node, name = g.maps(x), g.name()
    channels = node.shape[:1]
    for what, value in (("scale", scale), ("bias", bias), ("mean", mean), ("variance", var)):
        if value.shape != channels:
            raise ValueError(f"a {what} of shape {value.shape} does not fit the {channels[0]} channels of the input")
    if not spatial:
        raise ValueError("only statistics for each channel are supported")
    rate = 1 - momentum

    def made(w, b):
        layer = L.BatchNorm(epsilon or TINY, rate if 0 < rate <= 1 else 0.1, given(w), given(b), name=name)
        g.settings += [(layer, "running_mean", mean), (layer, "running_var", var)]
        new = g.apply(layer, node)
        g.affine[new] = lambda scale=None, shift=None: made(*scaled(w, b, scale, shift))
        return new

    return g.of_maps(made(scale, bias), x)


def of_this_batch(g, x, scale, bias, mean, var, epsilon, momentum):
    """With the statistics of the batch, and what the running ones become."""
    axes = [axis for axis in range(x.rank) if axis != 1]
    y, own_mean, own_var, _ = standardised(g, x, axes, epsilon)
    ones = [1] * (x.rank - 2)
    y = g.operator("Add", g.operator("Mul", y, scale.reshape(-1, *ones)), bias.reshape(-1, *ones))

    def running(own, old):
        new = g.operator("Mul", g.operator("Reshape", own, np.array([-1])), np.float64(1 - momentum))
        return g.operator("Add", new, old * old.dtype.type(momentum))

    return y, running(own_mean, mean), running(own_var, var)


def standardised(g, x, axes, epsilon):
    """Along some axes: (x less its mean, by its standard deviation; the mean; the variance; one by the deviation)."""
    mean = g.operator("ReduceMean", x, axes=axes)
    rest = g.operator("Sub", x, mean)
    var = g.operator("ReduceMean", g.operator("Mul", rest, rest), axes=axes)
    factor = g.operator("Reciprocal", g.operator("Sqrt", g.operator("Add", var, np.float64(epsilon))))
    return g.operator("Mul", rest, factor), mean, var, factor


def instance_normalization(g, x, scale, bias, epsilon=1e-5, consumed_inputs=None):
    layer = L.InstanceNorm(epsilon or TINY, given(weights(scale, "scale")), given(weights(bias, "bias")), name=g.name())
    return g.of_maps(g.apply(layer, g.maps(x)), x)


def group_normalization(g, x, scale, bias, num_groups, epsilon=1e-5, stash_type=1):
    node = g.maps(x)
    scale, bias = weights(scale, "scale"), weights(bias, "bias")
    if g.opset < 21 and len(scale) == num_groups:       # then of each group
        scale, bias = (np.repeat(value, node.shape[0] // num_groups) for value in (scale, bias))
    layer = L.GroupNorm(num_groups, epsilon or TINY, given(scale), given(bias), name=g.name())
    return g.of_maps(g.apply(layer, node), x)


def layer_normalization(g, x, scale, bias=None, axis=-1, epsilon=1e-5, stash_type=1):
    first = x.axis(axis)
    known = not isinstance(scale, Flow) and not isinstance(bias, Flow)
    if x.batched and first == 0 and known and not any(g.operation.outputs[1:]) and 1 <= len(x.sample) <= 4:
        w, b = (np.broadcast_to(0.0 if value is None else value, x.sample) for value in (scale, bias))
        layer = L.LayerNorm(epsilon or TINY, given(w), given(b), name=g.name())
        return g.flow(g.apply(layer, g.natural(x)), x)
    y, mean, _, factor = standardised(g, x, list(range(first + x.batched, x.rank)), epsilon)
    y = g.operator("Mul", y, scale)
    return y if bias is None else g.operator("Add", y, bias), mean, factor


def lrn(g, x, size, alpha=1e-4, beta=0.75, bias=1.0):
    return g.of_maps(g.apply(L.LocalResponseNorm(size, alpha, beta, bias, name=g.name()), g.maps(x)), x)


def dropout(g, x, ratio=None, training_mode=None, seed=0, is_test=1, consumed_inputs=None):
    p = 0.5 if ratio is None else float(np.asarray(weights(ratio, "ratio")).reshape(()))
    if training_mode is not None and np.any(training_mode) and p > 0:
        raise ValueError("only the form that predictions use is supported")
    if not 0 <= p < 1:
        raise ValueError(f"the ratio must be a probability less than 1, got {p}")
    y = g.flow(g.apply(L.Dropout(p, name=g.name()), g.natural(x)), x, x.sample)
    if not any(g.operation.outputs[1:]):
        return y
    return y, g.flow(g.flowing(np.ones((1,) * x.batched + x.sample)).node, x, x.sample)


OPERATORS = {
    "BatchNormalization": batch_normalization,
    "Dropout": dropout,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
}
