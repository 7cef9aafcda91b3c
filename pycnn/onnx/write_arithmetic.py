"""Arithmetic of tensors as nodes of ONNX: functions, operations of two, matrix products, reductions, constants."""

from .. import layers as L

BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "max": "Max", "min": "Min"}
UNARY = {"abs": "Abs", "ceil": "Ceil", "exp": "Exp", "floor": "Floor", "log": "Log", "neg": "Neg",
         "reciprocal": "Reciprocal", "sign": "Sign", "sqrt": "Sqrt"}
REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}


def unary(w, node, x):
    kind = node.layer.kind
    if kind in ("sign", "trunc"):
        w.need(9, "Sign")
    if kind == "trunc":
        return w.add("Mul", w.add("Sign", x), w.add("Floor", w.add("Abs", x)))
    return w.add(UNARY[kind], x)


COMPARISONS = {         # kind -> (operator, opset since which it compares numbers)
    "equal": ("Equal", 11), "greater": ("Greater", 7), "greater_equal": ("GreaterOrEqual", 12), "less": ("Less", 7),
    "less_equal": ("LessOrEqual", 12),
}


def binary(w, node, a, b):
    kind = node.layer.kind
    if kind in COMPARISONS:
        operator, since = COMPARISONS[kind]
        w.need(since, f"{operator} of numbers")
        return w.add("Cast", w.add(operator, a, b), to=w.onnx.helper.np_dtype_to_tensor_dtype(w.dtype))
    if kind in ("max", "min") and len({i.shape for i in node.inputs}) > 1:
        w.need(8, f"{BINARY[kind]} of tensors that stretch")
    return w.add(BINARY[kind], a, b)


def where(w, node, condition, a, b):
    w.need(9, "Where")
    return w.add("Where", w.add("Cast", condition, to=w.onnx.TensorProto.BOOL), a, b)


def matmul(w, node, a, b):
    return w.add("MatMul", a, b)


def celu(w, node, x):
    alpha = node.layer.alpha
    if w.opset >= 12:
        return w.add("Celu", x, alpha=alpha)
    return w.scaled(w.add("Elu", w.scaled(x, 1 / alpha), alpha=1.0), alpha)


def thresholded_relu(w, node, x):
    w.need(10, "ThresholdedRelu")
    return w.add("ThresholdedRelu", x, alpha=node.layer.alpha)


def reduce(w, node, x):
    layer = node.layer
    none_left = len(layer.axes) == len(node.inputs[0].shape) and not layer.keepdims
    y = w.reduce(REDUCTIONS[layer.kind], x, *(axis + 1 for axis in layer.axes), keep=layer.keepdims or none_left)
    return w.reshape(y, 1) if none_left else y


def constant(w, node, x):
    """An initialiser for what stretches it anyway; else as many copies as there are samples."""
    value = w.parameter("value", w.array("value")[None])
    if node in w.stretched:
        return value
    w.need(8, "Expand")
    samples = w.gather(w.add("Shape", x), [0], axis=0)
    return w.add("Expand", value, w.add("Concat", samples, w.constant(list(node.shape)), axis=0))


WRITERS = {
    L.Unary: unary, L.Binary: binary, L.MatMul: matmul, L.Where: where, L.CELU: celu, L.ThresholdedReLU: thresholded_relu,
    L.Reduce: reduce, L.Constant: constant,
}
