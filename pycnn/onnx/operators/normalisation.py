"""Normalisations, and dropout."""

from __future__ import annotations

import numpy as np

from ... import layers as L
from ..flows import given
from .linear import weights

TINY = 1e-30    # stands for an epsilon of 0, which pycnn's layers do not take


def batch_normalization(g, x, scale, bias, mean, var, epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1, is_test=1,
                        consumed_inputs=None):
    scale, bias, mean, var = map(weights, (scale, bias, mean, var), ("scale", "bias", "mean", "variance"))
    node, name = g.maps(x), g.name()
    channels = node.shape[:1]
    for what, value in (("scale", scale), ("bias", bias), ("mean", mean), ("variance", var)):
        if value.shape != channels:
            raise ValueError(f"a {what} of shape {value.shape} does not fit the {channels[0]} channels of the input")
    if training_mode or not spatial:
        raise ValueError("only the form that predictions use, with statistics for each channel, is supported")
    rate = 1 - momentum

    def made(w, b):
        layer = L.BatchNorm(epsilon or TINY, rate if 0 < rate <= 1 else 0.1, given(w), given(b), name=name)
        g.settings += [(layer, "running_mean", mean), (layer, "running_var", var)]
        new = g.apply(layer, node)
        g.affine[new] = lambda s=None, t=None: made(w if s is None else w * s, (b if s is None else b * s) + (0 if t is None else t))
        return new

    return g.of_maps(made(scale, bias), x)


def lrn(g, x, size, alpha=1e-4, beta=0.75, bias=1.0):
    return g.of_maps(g.apply(L.LocalResponseNorm(size, alpha, beta, bias, name=g.name()), g.maps(x)), x)


def dropout(g, x, ratio=None, training_mode=None, seed=0, is_test=1, consumed_inputs=None, **attributes):
    p = attributes.get("ratio", 0.5) if ratio is None else float(np.asarray(ratio).reshape(()))
    if training_mode is not None and np.any(training_mode) and p > 0:
        raise ValueError("only the form that predictions use is supported")
    y = g.flow(g.apply(L.Dropout(min(p, 1 - 1e-6), name=g.name()), g.natural(x)), x, x.sample)
    if len(g.operation.outputs) > 1:
        return y, np.broadcast_to(True, (1,) * x.rank if x.batched else x.sample)
    return y


OPERATORS = {
    "BatchNormalization": batch_normalization,
    "Dropout": dropout,
    "LRN": lrn,
}
