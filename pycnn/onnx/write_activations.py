"""Activations and other functions of single values as nodes of ONNX.

A writer of a layer, here and in the files beside, is ``write(w, node, *inputs)``: it adds nodes to the writer `w` for
one use of a layer (`node`) on tensors of those names, of which the last makes the result.
"""

from math import pi, sqrt

from .. import layers as L
from ..layers.base import activation_code
from ..layers.reshape import inverse

SIMPLE = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus", "selu": "Selu"}
WITH_ALPHA = {"leaky_relu": "LeakyRelu", "elu": "Elu"}
SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}


def activated(w, x, kind, alpha=None):
    """f(x) of an activation by name; x itself for none."""
    if kind is None:
        return x
    if kind == "scaled_tanh":
        return w.scaled(w.add("Tanh", w.scaled(x, 2 / 3)), 1.7159)
    if kind in WITH_ALPHA:
        return w.add(WITH_ALPHA[kind], x, alpha=activation_code(kind, alpha)[1])
    return w.add(SIMPLE[kind], x, **(SELU if kind == "selu" else {}))


def activation(w, node, x):
    return activated(w, x, node.layer.kind, getattr(node.layer, "alpha", None))


def gelu(w, node, x):
    if w.opset >= 20:
        return w.add("Gelu", x, approximate=node.layer.approximate)
    if node.layer.approximate == "tanh":
        cube = w.add("Mul", w.add("Mul", x, x), x)
        inner = w.scaled(w.add("Add", x, w.scaled(cube, 0.044715)), sqrt(2 / pi))
        gate = w.add("Tanh", inner)
    else:
        w.need(9, "Erf, of which GELU is made,")
        gate = w.add("Erf", w.scaled(x, sqrt(0.5)))
    return w.add("Mul", w.scaled(x, 0.5), w.shifted(gate, 1.0))


def silu(w, node, x):
    return w.add("Mul", x, w.add("Sigmoid", x))


def hard_sigmoid(w, node, x):
    return w.add("HardSigmoid", x, alpha=node.layer.alpha, beta=node.layer.beta)


def hard_swish(w, node, x):
    if w.opset >= 14:
        return w.add("HardSwish", x)
    return w.add("Mul", x, w.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def mish(w, node, x):
    if w.opset >= 18:
        return w.add("Mish", x)
    return w.add("Mul", x, w.add("Tanh", w.add("Softplus", x)))


def softsign(w, node, x):
    return w.add("Softsign", x)


def clip(w, node, x):
    low, high = node.layer.min, node.layer.max
    if w.opset < 11:
        return w.add("Clip", x, min=low, max=high)
    bounds = ["" if bound is None else w.number(bound) for bound in (low, high)]
    return w.add("Clip", x, *(bounds if bounds[1] else bounds[:1]))


def prelu(w, node, x):
    slopes = w.array("weight")
    return w.add("PRelu", x, w.parameter("weight", slopes.reshape(-1, *[1] * (len(node.shape) - 1))))


def softmax(w, node, x):
    """Along an axis, which before opset 13 had to be the last one to be one alone."""
    operator = "LogSoftmax" if node.layer.log else "Softmax"
    axis, rank = node.layer.axis, len(node.shape)
    if w.opset >= 13 or axis == rank - 1:
        return w.add(operator, x, axis=1 + axis)
    order = [*(i for i in range(rank) if i != axis), axis]
    return w.transpose(w.add(operator, w.transpose(x, *order), axis=rank), *inverse(order))


def dropout(w, node, x):
    """As a prediction has it: nothing is dropped."""
    if node.layer.maps:
        return w.add("Identity", x)
    if w.opset < 12:
        return w.add("Dropout", x, ratio=node.layer.p)
    return w.add("Dropout", x, w.number(node.layer.p))


def noise(w, node, x):
    """As a prediction has it: nothing is added."""
    return w.add("Identity", x)


WRITERS = {
    L.ReLU: activation, L.LeakyReLU: activation, L.ELU: activation, L.Sigmoid: activation, L.Tanh: activation,
    L.ScaledTanh: activation, L.Softplus: activation, L.SELU: activation, L.GELU: gelu, L.SiLU: silu,
    L.HardSigmoid: hard_sigmoid, L.HardSwish: hard_swish, L.Mish: mish, L.Softsign: softsign, L.Clip: clip,
    L.PReLU: prelu, L.Softmax: softmax, L.LogSoftmax: softmax, L.Dropout: dropout, L.GaussianNoise: noise,
}
