"""A pycnn network as a flat list of operations that any library can follow, each with its weights."""

from typing import NamedTuple

from pycnn import layers as L
from pycnn.layers.base import InputLayer
from pycnn.shapes import per_axis

KINDS = {
    L.Conv: "conv", L.ConvTranspose: "conv_transpose", L.Dense: "dense", L.BatchNorm: "batch_norm",
    L.MaxPool: "max_pool", L.AvgPool: "avg_pool", L.GlobalAvgPool: "global_avg_pool", L.Flatten: "flatten",
    L.ReLU: "relu", L.Sigmoid: "sigmoid", L.Tanh: "tanh", L.Add: "add",
}


class Operation(NamedTuple):
    """output = kind(inputs); the names of values are unique."""

    kind: str
    name: str
    inputs: tuple
    output: str
    attributes: dict
    weights: dict       # name -> array, in pycnn's shapes


def operations(net):
    """Of a network with one input and one output. Fused activations are operations of their own.

    Weights are copies: while somebody holds a view of a parameter, pycnn packs its weights in every prediction.
    """
    found, value_of, arrays = [], {}, {**net.parameters, **net.statistics}
    for number, node in enumerate(net.graph.nodes):
        layer, name = node.layer, f"v{number}"
        value_of[node] = name
        if isinstance(layer, InputLayer):
            continue
        activation = getattr(layer, "activation", None)
        weights = {key.removeprefix(f"{layer.name}/"): value.copy() for key, value in arrays.items()
                   if key.startswith(f"{layer.name}/")}
        kind, attributes = described(layer, node.inputs[0].shape)
        output = f"{name}_linear" if activation else name
        found.append(Operation(kind, layer.name, tuple(value_of[i] for i in node.inputs), output, attributes, weights))
        if activation:
            found.append(Operation(activation, f"{layer.name}_{activation}", (output,), name, {}, {}))
    return found


def described(layer, shape):
    """The kind and the attributes of a layer over that shape."""
    rank = len(shape) - 1
    sizes = {}
    if isinstance(layer, (L.Conv, L.ConvTranspose, L.MaxPool, L.AvgPool)):
        kernel = per_axis(layer.kernel_size, rank, "kernel_size")
        sizes = {"kernel": kernel, "stride": per_axis(kernel if layer.stride is None else layer.stride, rank, "stride"),
                 "padding": per_axis(layer.padding, rank, "padding", 0)}     # the peers pad alike on both sides
    if isinstance(layer, (L.Conv, L.ConvTranspose)):
        sizes |= {"dilation": per_axis(layer.dilation, rank, "dilation"), "groups": layer.groups}
    if isinstance(layer, L.BatchNorm):
        sizes = {"epsilon": layer.epsilon, "momentum": layer.momentum}
    return KINDS[type(layer)], sizes
