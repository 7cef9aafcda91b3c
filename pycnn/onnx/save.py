"""Networks written as ONNX."""

from __future__ import annotations

import os

from .. import config
from ..files import write_whole
from ..layers import Binary, Constant, Embedding, Lambda, MatMul
from ..layers.base import InputLayer
from ..network import Network
from ..shapes import integer
from . import (
    write_activations,
    write_arithmetic,
    write_capsules,
    write_filters,
    write_norms,
    write_pooling,
    write_resampling,
    write_shapes,
)
from .foreign import need_onnx
from .writer import Writer

FAMILIES = (write_activations, write_arithmetic, write_capsules, write_filters, write_norms, write_pooling,
            write_resampling, write_shapes)
WRITERS = {kind: write for family in FAMILIES for kind, write in family.WRITERS.items()}
LOWEST_OPSET, USUAL_OPSET, LOWEST_IR = 7, 20, 4
LARGEST_FILE = 2**31 - 1        # bytes that a protocol buffer can have


def save(net, path, opset=USUAL_OPSET):
    """Writes a network to an ONNX file, for predictions: ONNX Runtime and others give what `net.predict` does.

    The file has the network's inputs and outputs, by name, with a batch of any size, and its parameters, as
    initialisers named ``"C1/weight"``. An input that only `Embedding` layers read holds int64. What concerns training
    is not in it: flags, the optimizer, what noise and dropout of maps do.

    Parameters
    ----------
    net : Network
    path : str or path-like
        The file appears whole or not at all.
    opset : int
        Version of ONNX's operators, from 7 to the newest that the package onnx knows. Layers without an operator of
        their own in it are written as several others.

    Raises
    ------
    ImportError
        When the package onnx is missing: ``pip install pycnn[onnx]``.
    ValueError
        When a layer, which is named, cannot be written: a `Lambda`, a class of the user's own, or one whose operators
        came with a later opset. Nothing has been written then.

    Examples
    --------
    >>> import pycnn.onnx
    >>> from pycnn.models import lenet5
    >>> pycnn.onnx.save(lenet5(), "lenet5.onnx")        # doctest: +SKIP
    """
    if not isinstance(net, Network):
        raise TypeError(f"save takes a Network, not {type(net).__name__}")
    path = os.fspath(path)
    onnx = need_onnx()
    newest = onnx.defs.onnx_opset_version()
    opset = integer(opset, "opset", LOWEST_OPSET)
    if opset > newest:
        raise ValueError(f"opset must be at most {newest}, the newest that onnx {onnx.__version__} knows; got {opset}")
    model = as_model(net, opset)
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, model.SerializeToString())


def as_model(net, opset):
    """The network as a ModelProto."""
    helper = need_onnx().helper
    ends = (*net.input_names, *net.output_names)
    words = {node for node in net.graph.inputs.values() if holds_words(net.graph, node)}
    stretched = {node for node in net.graph.nodes if isinstance(node.layer, Constant) and is_stretched(net.graph, node)}
    w = Writer({**net.parameters, **net.statistics}, net.dtype, opset, ends, words, stretched)
    size = sum(array.nbytes for array in w.arrays.values())
    if size > LARGEST_FILE:
        raise ValueError(f"its parameters are {size:,} bytes; an ONNX file has at most {LARGEST_FILE:,}")
    write_graph(w, net.graph)
    real = helper.np_dtype_to_tensor_dtype(net.dtype)
    inputs, outputs = ([helper.make_tensor_value_info(name, w.onnx.TensorProto.INT64 if node in words else real,
                                                      ["N", *node.shape]) for name, node in ends.items()]
                       for ends in (net.graph.inputs, net.graph.outputs))
    graph = helper.make_graph(w.nodes, net.name or "network", inputs, outputs, w.initializers)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="pycnn", producer_version=config.version(),
                             ir_version=max(LOWEST_IR, helper.find_min_ir_version_for(opsets)))


def write_graph(w, graph):
    """Writes the layers, each after what it reads."""
    tensors = {node: name for name, node in graph.inputs.items()}
    names = {}      # of tensors that are outputs
    for name, node in graph.outputs.items():
        names.setdefault(node, name)
    for node in graph.nodes:
        if not isinstance(node.layer, InputLayer):
            w.begin(node.layer)
            made = writer_of(w, node.layer)(w, node, *(tensors[i] for i in node.inputs))
            tensors[node] = w.end(made, names.get(node))
    for name, node in graph.outputs.items():
        if tensors[node] != name:       # an input, or known by another name already
            w.begin(node.layer)
            w.end(w.add("Identity", tensors[node]), name)


def writer_of(w, layer):
    """The function that writes a layer; ValueError if there is none."""
    if type(layer) in WRITERS:
        return WRITERS[type(layer)]
    if isinstance(layer, Lambda):
        raise w.error("a Lambda holds functions, which ONNX cannot express; build it of layers, or leave it out")
    raise w.error("ONNX export knows the layers of pycnn.layers, and not this class")


def holds_words(graph, node):
    """Whether embeddings read an input, and nothing else does."""
    kinds = {type(other.layer) for other in readers(graph, node)}
    return kinds == {Embedding} and not is_output(graph, node)


def is_stretched(graph, node):
    """Whether all that reads a constant joins it with a tensor that has a batch."""
    joined = (isinstance(other.layer, (Binary, MatMul)) and
              not all(isinstance(i.layer, Constant) for i in other.inputs) for other in readers(graph, node))
    return all(joined) and not is_output(graph, node)


def readers(graph, node):
    return [other for other in graph.nodes if node in other.inputs]


def is_output(graph, node):
    return node in graph.outputs.values()
