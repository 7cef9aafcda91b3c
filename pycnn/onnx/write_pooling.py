"""Pooling and subsampling as nodes of ONNX."""

from math import prod

import numpy as np

from .. import layers as L
from .windows import gathered, taps_of_windows
from .write_activations import activated


class Window:
    """The window of a pooling over maps of that shape.

    Attributes
    ----------
    kernel, stride, dilation, out : tuple of int
    padding : list of (int, int)
    overhang : list of int
        How far the last window of each axis reaches beyond the padding.
    pads : list of int
        All before, then all after, as many as the windows need.
    taps : int
    """

    def __init__(self, layer, shape):
        rank = len(shape) - 1
        sizes, after = layer.geometry(shape)
        n, out, self.kernel, self.stride, self.dilation, before = (size[3 - rank:] for size in sizes)
        reach = [(o - 1) * s + d * (k - 1) + 1 - length - begin for length, o, k, s, d, begin in
                 zip(n, out, self.kernel, self.stride, self.dilation, before)]
        after = after[3 - rank:]
        self.out = out
        self.padding = list(zip(before, after))
        self.overhang = [max(0, r - a) if layer.ceil_mode else 0 for r, a in zip(reach, after)]
        ends = [max(0, r) if layer.ceil_mode else a for r, a in zip(reach, after)]
        self.pads = [*before, *ends]
        self.taps = prod(self.kernel)

    def attributes(self, w, since, operator):
        """Those of the operator, which has had dilations since that opset."""
        attributes = {"kernel_shape": self.kernel, "strides": self.stride, "pads": self.pads}
        if any(d > 1 and k > 1 for d, k in zip(self.dilation, self.kernel)):
            w.need(since, f"{operator} with dilations")
            attributes["dilations"] = self.dilation
        return attributes


def max_pool(w, node, x):
    window = Window(node.layer, node.inputs[0].shape)
    return maxima(w, window, x)


def maxima(w, window, x, outputs=1):
    return w.add("MaxPool", x, outputs=outputs, **window.attributes(w, 10, "MaxPool"))


def max_pool_places(w, node, x):
    """The second output of MaxPool, whose places are counted over the whole batch."""
    layer, shape = node.layer, node.inputs[0].shape
    w.need(10, "Mod")
    window = Window(L.MaxPool(layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode), shape)
    attributes = window.attributes(w, 10, "MaxPool")
    _, places = w.add("MaxPool", x, outputs=2, storage_order=int(layer.columns_first), **attributes)
    places = w.add("Mod", places, w.constant(np.array(prod(shape))))
    return w.add("Cast", places, to=w.onnx.helper.np_dtype_to_tensor_dtype(w.dtype))


def avg_pool(w, node, x):
    window = Window(node.layer, node.inputs[0].shape)
    attributes = window.attributes(w, 19, "AveragePool")
    if node.layer.count_include_pad and any(window.overhang):       # which the divisor leaves out
        x = w.pad(x, window.padding)
        attributes["pads"] = [0] * len(window.out) + window.overhang
        return w.add("AveragePool", x, count_include_pad=0, **attributes)
    return w.add("AveragePool", x, count_include_pad=int(node.layer.count_include_pad), **attributes)


def averages(w, window, x):
    """Of each window, whose padding counts."""
    return w.add("AveragePool", x, count_include_pad=1, **window.attributes(w, 19, "AveragePool"))


def sum_pool(w, node, x):
    window = Window(node.layer, node.inputs[0].shape)
    return w.scaled(averages(w, window, x), window.taps)


def lp_pool(w, node, x):
    window, p = Window(node.layer, node.inputs[0].shape), node.layer.p
    if p == int(p):
        return w.add("LpPool", x, p=int(p), **window.attributes(w, 18, "LpPool"))
    powers = w.add("Pow", w.add("Abs", x), w.number(p))
    return w.add("Pow", w.scaled(averages(w, window, powers), window.taps), w.number(1 / p))


def max_unpool(w, node, x, pooled):
    """By the operator of that name where windows neither overlap nor leave a rest; else by adding to zeros."""
    shape = node.inputs[1].shape
    window = Window(node.layer, shape)
    w.need(8, "MaxPool with the places of the maxima")
    _, places = maxima(w, window, pooled, outputs=2)
    covered = [(o - 1) * s + k for o, s, k in zip(window.out, window.stride, window.kernel)]
    apart = all(s >= k for s, k in zip(window.stride, window.kernel))
    if apart and covered == list(shape[1:]) and not any(window.pads):
        w.need(9, "MaxUnpool")
        return w.add("MaxUnpool", x, places, kernel_shape=window.kernel, strides=window.stride)
    w.need(16, "ScatterElements that adds, which unpooling needs where windows overlap, are padded or leave a rest,")
    flat = w.constant(np.array([-1]))
    sizes = w.add("Shape", pooled)
    zero = w.onnx.numpy_helper.from_array(np.zeros(1, w.dtype))
    zeros = w.add("Reshape", w.add("ConstantOfShape", sizes, value=zero), flat)
    total = w.add("ScatterElements", zeros, *(w.add("Reshape", i, flat) for i in (places, x)), axis=0, reduction="add")
    return w.add("Reshape", total, sizes)


def global_avg_pool(w, node, x):
    return w.add("Flatten", w.add("GlobalAveragePool", x), axis=1)


def global_max_pool(w, node, x):
    return w.add("Flatten", w.add("GlobalMaxPool", x), axis=1)


def subsample(w, node, x):
    layer = node.layer
    window = Window(layer, node.inputs[0].shape)
    of_maps = (-1, *[1] * len(window.out))
    coefficient = w.array("coefficient") * window.taps
    y = w.add("Mul", averages(w, window, x), w.parameter("coefficient", coefficient.reshape(of_maps)))
    if layer.has_bias:
        y = w.add("Add", y, w.parameter("bias", w.array("bias").reshape(of_maps)))
    return activated(w, y, layer.activation)


def softmax_pool(w, node, x):
    """Each window as an axis, along which it is weighed by a softmax; then the sum over the maps that a map reads."""
    layer, shape = node.layer, node.inputs[0].shape
    window, spatial = Window(layer, shape), shape[1:]
    table = layer._table(shape[0])
    pairs = np.argwhere(table)
    if layer.connections is not None:
        x = w.gather(x, pairs[:, 1], axis=1)
    patches = gathered(w, x, len(pairs), spatial, taps_of_windows(spatial, window.out, window.kernel, window.stride,
                                                                 window.dilation))
    sharp = w.add("Mul", patches, w.parameter("sharpness", w.array("sharpness").reshape(-1, 1, 1)))
    if w.opset >= 13:
        share = w.add("Softmax", sharp, axis=2)
    else:       # along the last axis alone
        share = w.transpose(w.add("Softmax", w.transpose(sharp, 0, 2, 1), axis=3), 0, 2, 1)
    y = w.reduce("ReduceSum", w.add("Mul", patches, share), 2, keep=False)
    if layer.connections is not None:
        reads = np.zeros((len(table), len(pairs)))
        reads[pairs[:, 0], np.arange(len(pairs))] = 1
        y = w.add("MatMul", w.constant(reads), y)
    return w.reshape(y, *node.shape)


WRITERS = {
    L.MaxPool: max_pool, L.MaxPoolPlaces: max_pool_places, L.AvgPool: avg_pool, L.SumPool: sum_pool, L.LPPool: lp_pool,
    L.MaxUnpool: max_unpool,
    L.GlobalAvgPool: global_avg_pool, L.GlobalMaxPool: global_max_pool, L.Subsample: subsample,
    L.SoftMaxPool: softmax_pool,
}
