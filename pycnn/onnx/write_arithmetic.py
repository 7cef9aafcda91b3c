"""Arithmetic, reductions, places that are taken and constants as nodes of ONNX."""

import numpy as np

from .. import layers as L

INTEGERS = 7        # ONNX's number of the type int64
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "max": "Max", "min": "Min"}


def binary(w, node, a, b):
    if node.layer.kind in ("max", "min"):
        w.need(8, f"{BINARY[node.layer.kind]} of two shapes")
    return w.add(BINARY[node.layer.kind], a, b)


def unary(w, node, x):
    kind = node.layer.kind
    if kind == "trunc":
        w.need(9, "a cast of whole numbers")
        return w.add("Cast", w.add("Cast", x, to=INTEGERS), to=w.onnx.helper.np_dtype_to_tensor_dtype(w.dtype))
    if kind == "sign":
        w.need(9, "Sign")
    return w.add(kind.capitalize(), x)


def celu(w, node, x):
    alpha = node.layer.alpha
    return w.scaled(w.add("Elu", w.scaled(x, 1 / alpha), alpha=1.0), alpha)


def thresholded_relu(w, node, x):
    w.need(10, "ThresholdedRelu")
    return w.add("ThresholdedRelu", x, alpha=node.layer.alpha)


def matmul(w, node, a, b):
    return w.add("MatMul", a, b)


def reduce(w, node, x):
    layer = node.layer
    operator, axes = f"Reduce{layer.kind.capitalize()}", [axis + 1 for axis in layer.axes]
    keep = layer.keepdims or len(axes) == len(node.inputs[0].shape)
    if w.opset >= (13 if layer.kind == "sum" else 18):
        y = w.add(operator, x, w.constant(np.array(axes)), keepdims=int(keep))
    else:
        y = w.add(operator, x, axes=axes, keepdims=int(keep))
    return w.reshape(y, 1) if keep and not layer.keepdims else y


def slices(w, node, x):
    layer = node.layer
    start, stop, step = slice(layer.start, layer.stop, layer.step).indices(node.inputs[0].shape[layer.axis])
    stop = -(2**31) if stop < 0 else stop
    if w.opset >= 10:
        return w.add("Slice", x, *(w.constant(np.array([n])) for n in (start, stop, layer.axis + 1, step)))
    if step != 1:
        w.need(10, "Slice with steps")
    return w.add("Slice", x, starts=[start], ends=[stop], axes=[layer.axis + 1])


def take(w, node, x):
    n = node.inputs[0].shape[node.layer.axis]
    return w.gather(x, np.array(node.layer.indices) % n, node.layer.axis + 1)


def expand(w, node, x):
    w.need(8, "Expand")
    return w.add("Expand", x, w.constant(np.array([1, *node.shape])))


def constant(w, node, x):
    """The value, stretched to as many samples as x has."""
    w.need(8, "Expand")
    batch = w.gather(w.add("Shape", x), [0], 0)
    shape = w.add("Concat", batch, w.constant(np.array(node.shape)), axis=0)
    return w.add("Expand", w.parameter("value", w.array("value")[None]), shape)


WRITERS = {
    L.Binary: binary, L.Unary: unary, L.CELU: celu, L.ThresholdedReLU: thresholded_relu, L.MatMul: matmul, L.Reduce: reduce,
    L.Slice: slices, L.Take: take, L.Expand: expand, L.Constant: constant,
}
