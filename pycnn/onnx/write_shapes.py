"""Layers that join inputs or look at them differently as nodes of ONNX."""

from .. import layers as L


def add(w, node, *xs):
    return w.add("Add" if len(xs) == 2 else "Sum", *xs)


def multiply(w, node, a, b):
    return w.add("Mul", a, b)


def concat(w, node, *xs):
    return w.add("Concat", *xs, axis=node.layer.axis + 1)


def flatten(w, node, x):
    return w.add("Flatten", x, axis=1)


def reshape(w, node, x):
    return w.reshape(x, *node.shape)


def permute(w, node, x):
    return w.transpose(x, *node.layer.axes)


WRITERS = {
    L.Add: add, L.Multiply: multiply, L.Concat: concat, L.Flatten: flatten, L.Reshape: reshape, L.Permute: permute,
}
