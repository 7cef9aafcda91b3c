"""Normalisation as nodes of ONNX."""

from math import prod

import numpy as np

from .. import layers as L


def of_channels(values, shape):
    """One number for each channel, in a shape that broadcasts over samples of that shape."""
    return values.reshape(-1, *[1] * (len(shape) - 1))


def batch_norm(w, node, x):
    layer = node.layer
    known = (w.parameter(kind) for kind in ("weight", "bias", "running_mean", "running_var"))
    return w.add("BatchNormalization", x, *known, epsilon=layer.epsilon, momentum=1 - layer.momentum)


def instance_norm(w, node, x):
    return w.add("InstanceNormalization", x, w.parameter("weight"), w.parameter("bias"), epsilon=node.layer.epsilon)


def group_norm(w, node, x):
    layer, shape = node.layer, node.shape
    if w.opset >= 21 and len(shape) > 1:
        return w.add("GroupNormalization", x, w.parameter("weight"), w.parameter("bias"), epsilon=layer.epsilon,
                     num_groups=layer.groups)
    return of_groups(w, node, x, layer.groups, *(of_channels(w.array(kind), shape) for kind in ("weight", "bias")))


def layer_norm(w, node, x):
    if w.opset >= 17:
        return w.add("LayerNormalization", x, w.parameter("weight"), w.parameter("bias"), axis=1,
                     epsilon=node.layer.epsilon)
    return of_groups(w, node, x, 1, w.array("weight"), w.array("bias"))


def of_groups(w, node, x, groups, weight, bias):
    """Groups of values normalised as if each were one map, then weighed."""
    x = w.reshape(x, groups, prod(node.shape) // groups)
    ones, zeros = (w.constant(np.full(groups, value, w.dtype)) for value in (1, 0))
    x = w.reshape(w.add("InstanceNormalization", x, ones, zeros, epsilon=node.layer.epsilon), *node.shape)
    return w.add("Add", w.add("Mul", x, w.parameter("weight", weight)), w.parameter("bias", bias))


def local_response_norm(w, node, x):
    """By LRN where runtimes take it: on maps of two axes, and with an odd size; else with averages over channels."""
    layer, shape = node.layer, node.shape
    if layer.size % 2 == 0:
        maps = w.reshape(x, 1, shape[0], prod(shape[1:]))
        pads = [(layer.size - 1) // 2, 0, layer.size // 2, 0]
        averages = w.add("AveragePool", w.add("Mul", maps, maps), kernel_shape=[layer.size, 1], pads=pads,
                         count_include_pad=1)
        divisor = w.add("Pow", w.shifted(w.scaled(averages, layer.alpha), layer.k), w.number(layer.beta))
        return w.reshape(w.add("Div", maps, divisor), *shape)
    flat = len(shape) != 3
    if flat:
        x = w.reshape(x, shape[0], prod(shape[1:]), 1)
    y = w.add("LRN", x, size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
    return w.reshape(y, *shape) if flat else y


WRITERS = {
    L.BatchNorm: batch_norm, L.InstanceNorm: instance_norm, L.GroupNorm: group_norm, L.LayerNorm: layer_norm,
    L.LocalResponseNorm: local_response_norm,
}
