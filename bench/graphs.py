"""A pycnn network as a flat list of operations that any library can follow, each with its weights."""

from typing import NamedTuple

from pycnn import layers as L
from pycnn.layers.base import InputLayer
from pycnn.shapes import per_axis


class Operation(NamedTuple):
    """output = kind(inputs); the names of values are unique."""

    kind: str
    name: str
    inputs: tuple
    output: str
    attributes: dict
    weights: dict       # name -> array, in pycnn's shapes


def operations(net):
    """Of a network with one input and one output. Fused activations are operations of their own."""
    found, value_of = [], {}
    for number, node in enumerate(net.graph.nodes):
        layer, name = node.layer, f"v{number}"
        value_of[node] = name
        if isinstance(layer, InputLayer):
            continue
        activation = getattr(layer, "activation", None)
        weights = {key.partition("/")[2]: value for key, value in net.parameters.items() if key.startswith(f"{layer.name}/")}
        kind, attributes = described(layer, node.inputs[0].shape)
        output = f"{name}_linear" if activation else name
        found.append(Operation(kind, layer.name, tuple(value_of[i] for i in node.inputs), output, attributes, weights))
        if activation:
            found.append(Operation(activation, f"{layer.name}_{activation}", (output,), name, {}, {}))
    return found


def described(layer, shape):
    """The kind and the attributes of a layer over that shape."""
    rank = len(shape) - 1
    if isinstance(layer, L.Conv):
        kernel, stride, padding, dilation = layer._axes(shape)
        return "conv", dict(kernel=kernel, stride=stride, padding=one_sided(padding), dilation=dilation, groups=layer.groups)
    if isinstance(layer, (L.MaxPool, L.AvgPool)):
        kernel = per_axis(layer.kernel_size, rank, "kernel_size")
        stride = per_axis(kernel if layer.stride is None else layer.stride, rank, "stride")
        padding = per_axis(layer.padding, rank, "padding", 0)
        kind = "max_pool" if isinstance(layer, L.MaxPool) else "avg_pool"
        return kind, dict(kernel=kernel, stride=stride, padding=padding)
    return {
        L.Dense: "dense", L.Flatten: "flatten", L.ReLU: "relu", L.Sigmoid: "sigmoid", L.Tanh: "tanh", L.Add: "add",
        L.GlobalAvgPool: "global_avg_pool",
    }[type(layer)], {}


def one_sided(padding):
    """(before, after) pairs that are alike -> one number an axis."""
    assert all(before == after for before, after in padding), f"the peers pad alike on both sides, not {padding}"
    return tuple(before for before, _ in padding)
