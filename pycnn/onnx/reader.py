"""`load`: an ONNX file becomes a network."""

from __future__ import annotations

import numpy as np

from .. import layers as L
from ..graph import ordered_nodes
from ..layers.base import InputLayer
from ..network import Network
from ..shapes import integer
from .flows import Flow
from .importer import Importer
from .model import read_model
from .sizes import MixesSamples


def load(source, shapes=None):
    """The network that an ONNX model describes: to predict with, to look into, to freeze, to train on.

    Axis 0 of the model's inputs is the batch, of any size, also where the file says 1. Layers are called as the nodes
    of the file, or as their first output where these have no name, with dots for slashes. Inputs that nothing needs are
    left out.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
    shapes : dict of str to tuple of int, optional
        Input name -> shape without the batch, where the file does not say it: of a network that takes images of any
        height and width, ``{"image": (3, 320, 320)}``.

    Returns
    -------
    Network
        In float64 where the inputs are, else in float32.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no model, when something in it is wrong, and when pycnn has no layers for what it does: in words that
        say what and where. A missing size is one: say it in `shapes`.
    """
    model = read_model(source)
    free = {name: of for name, of in model.inputs.items() if name not in model.initialisers}
    needed = needed_inputs(model, free)
    shapes = {} if shapes is None else dict(shapes)
    unknown = [name for name in shapes if name not in free]
    if unknown:
        raise ValueError(f"shapes for {unknown}; the inputs are {', '.join(free)}")
    if not needed:
        raise ValueError("the outputs of the model depend on no input")
    samples = {name: sample_shape(free[name], shapes.get(name)) for name in needed}
    sizes = {of.shape[0] for of in (free[name] for name in needed) if of.shape}
    batch = sizes.pop() if len(sizes) == 1 else None
    importer = Importer(model, samples, {}, batch if isinstance(batch, int) else None)
    try:
        values = importer.run()
    except MixesSamples as error:
        raise ValueError(f"{error}; a network of pycnn treats the samples of a batch one by one") from error
    return network_of(importer, values, network_dtype(free[name] for name in needed))


def input_names(source):
    """The names of the inputs that a network of the model has."""
    model = read_model(source)
    return needed_inputs(model, [name for name in model.inputs if name not in model.initialisers])


def needed_inputs(model, free):
    """The names of the inputs that an output depends on, in order."""
    needed = set(model.outputs)
    for op in reversed(model.operations):
        if needed.intersection(op.outputs):
            needed.update(op.inputs)
    return [name for name in free if name in needed]


def sample_shape(of, shape):
    """The shape of an input without the batch."""
    what = f"input {of.name!r}"
    if of.dtype == object:
        raise ValueError(f"{what} holds strings")
    if shape is not None:
        shape = shape if np.iterable(shape) else (shape,)
        shape = tuple(integer(n, f"{what}: each size of its shape", 1) for n in shape)
        if of.shape is None:
            return shape
        declared = of.shape[1:]
        if len(shape) != len(declared) or any(isinstance(n, int) and n and n != m for n, m in zip(declared, shape)):
            raise ValueError(f"{what} has the shape {declared} (without the batch) in the file, got {shape} for it")
        return shape
    if of.shape is None or not of.shape:
        raise ValueError(f"{what} has {'no axis of samples' if of.shape == () else 'no shape in the file'}; say its "
                         f"shape without the batch: shapes={{{of.name!r}: (3, 224, 224)}}")
    if any(not isinstance(n, int) or n < 1 for n in of.shape[1:]):
        raise ValueError(f"{what} has the shape {of.shape} in the file, with sizes that may vary; say which the "
                         f"network is to have, without the batch: shapes={{{of.name!r}: (3, 224, 224)}}")
    return of.shape[1:]


def network_dtype(inputs):
    """float64 where an input is, else float32."""
    return "float64" if any(of.dtype == np.float64 for of in inputs) else "float32"


def network_of(importer, values, dtype, listed=False):
    """The network of what an importer made, its parameters set. Several outputs are a dict; a list where `listed`."""
    outputs, seen = {}, set()
    for name, value in values.items():
        flow = value if isinstance(value, Flow) else importer.flowing(value)
        node = importer.natural(flow)
        if node in seen or isinstance(node.layer, InputLayer):
            node = L.Reshape(node.shape)(node)
        seen.add(node)
        outputs[name.replace("/", ".")] = node
    reached = set(ordered_nodes(list(outputs.values())))
    inputs = {name.replace("/", "."): node for name, node in importer.inputs.items() if node in reached}
    if not inputs:
        inputs = {"samples": importer.anchor}
    net = Network(inputs, outputs, dtype=dtype)
    net._form = "list" if listed else "dict" if len(outputs) > 1 else "one"      # the outputs have their names in each
    inside = set(net.layers.values())
    for layer, name, value in importer.settings:
        if layer in inside:
            setattr(layer, name, value)
    for layer in importer.frozen:
        layer.trainable = False
    return net
