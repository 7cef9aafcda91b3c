"""Layers that join inputs or look at them differently as nodes of ONNX."""

from .. import layers as L


def add(w, node, *xs):
    return w.add("Add" if len(xs) == 2 else "Sum", *xs)


def multiply(w, node, a, b):
    return w.add("Mul", a, b)


def concat(w, node, *xs):
    return w.add("Concat", *xs, axis=1 + node.layer.axis)


def flatten(w, node, x):
    return w.add("Flatten", x, axis=1)


def reshape(w, node, x):
    return w.reshape(x, *node.shape)


def permute(w, node, x):
    return w.transpose(x, *node.layer.axes)


def expand(w, node, x):
    w.need(8, "Expand")
    return w.add("Expand", x, w.constant([1, *node.shape]))


def slice_(w, node, x):
    layer = node.layer
    n = node.inputs[0].shape[layer.axis]
    begin, end, step = slice(layer.start, layer.stop, layer.step).indices(n)
    if step != 1:
        w.need(10, "Slice with steps")
    return w.slice(x, [(begin, end if end >= 0 else -n - 1)], 1 + layer.axis, step)


def take(w, node, x):
    n = node.inputs[0].shape[node.layer.axis]
    return w.gather(x, [i % n for i in node.layer.indices], axis=1 + node.layer.axis)


WRITERS = {
    L.Add: add, L.Multiply: multiply, L.Concat: concat, L.Flatten: flatten, L.Reshape: reshape, L.Permute: permute,
    L.Expand: expand, L.Slice: slice_, L.Take: take,
}
