"""Capsules as nodes of ONNX: votes are a convolution with a group for each capsule, and routing is written out."""

from math import prod

import numpy as np

from .. import layers as L
from .write_filters import linear_conv

SMALLEST = float(np.finfo(np.float32).tiny)


def squares(w, x, axis, keep=True):
    """The sum of squares along an axis."""
    return w.reduce("ReduceSum", w.add("Mul", x, x), axis, keep=keep)


def squashed(w, x, axis):
    """|x| / (1 + |x|^2) x, with capsules along that axis."""
    square = squares(w, x, axis)
    return w.add("Mul", x, w.add("Div", w.add("Sqrt", square), w.shifted(square, 1.0)))


def squash(w, node, x):
    return squashed(w, x, 2)


def length(w, node, x):
    return w.add("Sqrt", squares(w, x, 2, keep=False))


def primary_capsules(w, node, x):
    layer = node.layer
    maps = w.reshape(linear_conv(w, node, x), layer.capsules, layer.dimension, -1)
    return squashed(w, w.reshape(w.transpose(maps, 0, 2, 1), *node.shape), 2)


def capsules(w, node, u):
    """Sabour et al. 2017, procedure 1: i counts the capsules below, j those here, d their coordinates."""
    layer = node.layer
    inputs, outputs, dimension, size = w.array("weight").shape
    weight = w.array("weight").reshape(inputs * outputs * dimension, size, 1)
    votes = w.add("Conv", w.reshape(u, inputs * size, 1), w.parameter("weight", weight), kernel_shape=[1], group=inputs)
    votes = w.reshape(votes, inputs, outputs, dimension)
    v, logits = agreed(w, w.scaled(votes, 1 / outputs)), None       # the softmax of zeros
    for _ in range(layer.iterations - 1):
        agreement = w.reduce("ReduceSum", w.add("Mul", votes, v), 3)
        logits = agreement if logits is None else w.add("Add", logits, agreement)
        v = agreed(w, w.add("Mul", votes, over_capsules(w, logits)))
    return w.reshape(v, outputs, dimension)


def agreed(w, votes):
    """What weighed votes (N, i, j, d) make of the capsules j."""
    return squashed(w, w.reduce("ReduceSum", votes, 1), 3)


def over_capsules(w, logits):
    """The softmax of (N, i, j, 1) over j."""
    if w.opset >= 13:
        return w.add("Softmax", logits, axis=2)
    return w.transpose(w.add("Softmax", w.transpose(logits, 0, 2, 1), axis=3), 0, 2, 1)


def mask(w, node, x, target=None):
    """Where the target, or else the length, is greatest: MaxUnpool of ones at the first of the greatest."""
    count = node.inputs[0].shape[0]
    w.need(9, "MaxUnpool, by which one capsule is chosen,")
    key = squares(w, x, 2, keep=False)
    if target is not None:
        key = w.add("Add", *chosen_keys(w, target, key))
    greatest, place = w.add("MaxPool", w.reshape(key, 1, count), outputs=2, kernel_shape=[count], strides=[count])
    one = w.shifted(w.scaled(greatest, 0.0), 1.0)
    chosen = w.add("MaxUnpool", one, place, kernel_shape=[count], strides=[count])
    return w.reshape(w.add("Mul", x, w.reshape(chosen, count, 1)), prod(node.shape))


def chosen_keys(w, target, key):
    """The target of samples that have one, 0 for the others; and the key of those, 0 for the former."""
    most = w.add("Relu", w.reduce("ReduceMax", target, 1))
    named = w.add("Div", most, w.add("Max", most, w.number(SMALLEST)))     # 1, or 0 where there is none
    return w.add("Mul", target, named), w.add("Mul", key, w.shifted(w.scaled(named, -1.0), 1.0))


WRITERS = {
    L.PrimaryCapsules: primary_capsules, L.Capsules: capsules, L.Squash: squash, L.Length: length, L.Mask: mask,
}
