"""An ONNX graph becomes a graph of pycnn: what is known while loading is computed, what is not becomes layers.

A tensor is either known, and then a NumPy array of its true type, or it depends on the inputs, and then a `Flow`: a
node of pycnn beside the shape that ONNX gives it. Axis 0 of a flow is the batch of the network, which pycnn's shapes
leave out. A network can also be made of one sample that holds whole tensors, batch and all, for models that mix their
samples.
"""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import replace
from math import prod

import numpy as np

from .. import layers as L
from ..graph import Input
from . import folding
from .flows import Flow, given
from .operators import OPERATORS
from .sizes import MixesSamples

FAULTS = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)     # of what a file says


class Importer:
    """Makes nodes of pycnn of the operations of a model; what the functions of `operators` work with.

    Parameters
    ----------
    model : Model
    shapes : dict of str to tuple of int
        Input name -> shape, without the batch where `batched`.
    known : dict of str to ndarray
        Inputs whose value is known.
    batch : int, optional
        How many samples the model was written for, where it says so.
    batched : bool
        Whether axis 0 of the inputs is the network's batch.

    Attributes
    ----------
    inputs, values : dict of str to Node; to Flow or ndarray
    settings : list of (layer, str, ndarray)
        Parameters and statistics that are to be set once there is a network.
    frozen : list of layer
        Layers that are not to learn.
    affine : dict of Node to function
        For a node that can be made again with maps scaled and shifted: what makes it.
    budget : int
        How many values more may be made of those in the file.
    """

    def __init__(self, model, shapes, known, batch=None, batched=True):
        self.model, self.batch, self.batched, self.opset = model, batch, batched, model.opset
        self.settings, self.frozen, self.affine = [], [], {}
        self._names = Counter()
        self.operation, self._named = None, False
        self.budget = 2 * folding.LARGEST + 8 * sum(a.size for a in model.initialisers.values())
        self.readers = Counter(name for op in model.operations for name in op.inputs)
        self.readers.update(list(model.outputs))
        self.inputs = {}
        self.values = {**model.initialisers, **known}
        for name, shape in shapes.items():
            node = self.checked(Input(shape or (1,)) if len(shape) <= 4 else Input((prod(shape),)), name)
            self.inputs[name] = node
            self.values[name] = Flow(node, tuple(shape), batched, self.readers[name])
        self.anchor = next(iter(self.inputs.values())) if self.inputs else Input((1,))

    def run(self):
        """Takes all operations in order, and returns the values of the outputs by name."""
        for op in self.model.operations:
            self.operation, self._named = op, False
            try:
                results = self._results(op, [self._value(name) for name in op.inputs])
            except FAULTS as error:
                kind = type(error) if isinstance(error, MixesSamples) else ValueError
                raise kind(f"{op.label}: {error}") from error
            for name, value in zip(op.outputs, results):
                if name:
                    self.values[name] = replace(value, readers=self.readers[name]) if isinstance(value, Flow) else value
        return {name: self._value(name) for name in self.model.outputs}

    def _value(self, name):
        if not name:
            return None
        if name not in self.values:
            raise ValueError(f"the tensor {name!r} has no value")
        return self.values[name]

    def _results(self, op, inputs):
        if op.domain:
            raise ValueError(f"operators of the domain {op.domain!r} are not supported")
        known = not any(isinstance(value, Flow) for value in inputs)
        if known and op.kind in folding.FUNCTIONS:
            results = folding.computed(op, inputs, self.opset)
            for array in results:
                self.spend(array.size if array.base is None else 0)
        elif op.kind in OPERATORS:
            function = OPERATORS[op.kind]
            if known and inputs:
                inputs = [self.flowing(inputs[0]), *inputs[1:]]
            inspect.signature(function).bind(self, *inputs, **op.attributes)
            results = function(self, *inputs, **op.attributes)
        elif op.kind in folding.FUNCTIONS:
            raise ValueError("this operator is supported only where its inputs do not depend on those of the network")
        else:
            raise ValueError("this operator is not supported")
        results = results if isinstance(results, tuple) else (results,)
        if len(results) < len(op.outputs) and any(op.outputs[len(results):]):
            raise ValueError(f"its output {op.outputs[len(results)]!r} is not supported")
        return results

    # ---- what operators make nodes with

    def is_read_by_others(self, name, kind):
        """Whether an output, or anything but operators of that kind, reads a tensor."""
        return name in self.model.outputs or any(name in op.inputs and op.kind != kind for op in self.model.operations)

    def name(self):
        """The name of the operation, for the first layer that asks; None for others."""
        if self._named:
            return None
        self._named = True
        return self.unique(self.operation.name or next(filter(None, self.operation.outputs)))

    def unique(self, name):
        """A name that a layer can have, and no other layer has."""
        base = name.replace("/", ".").strip(".") or "layer"
        self._names[base] += 1
        return base if self._names[base] == 1 else self.unique(f"{base}.{self._names[base]}")

    def checked(self, node, name=None):
        """A node that is not absurdly large."""
        if prod(node.shape) > folding.LARGEST:
            raise ValueError(f"{name + ': ' if name else ''}a tensor of shape {node.shape} is larger than the "
                             f"{folding.LARGEST} values that are supported")
        return node

    def apply(self, layer, *nodes):
        """The node that a layer makes."""
        node = self.checked(layer(*nodes))
        self.spend(sum(prod(spec.shape) for spec in layer.parameters(*(n.shape for n in nodes)).values()))
        return node

    def spend(self, count):
        """ValueError if what a few bytes of a file describe grows beyond measure."""
        self.budget -= count
        if self.budget < 0:
            raise ValueError("the constants and parameters that the model makes of little are larger than is supported")

    def flow(self, node, like, sample=None):
        """What a node holds, batched like another flow."""
        return Flow(node, node.shape if sample is None else tuple(sample), like.batched)

    def shaped(self, flow, shape):
        """The node of a flow with that shape of a sample."""
        node, shape = flow.node, tuple(shape)
        while node.shape != shape and isinstance(node.layer, L.Reshape):
            node = node.inputs[0]
        return node if node.shape == shape else self.apply(L.Reshape(shape), node)

    def maps(self, flow):
        """The node of a flow ``(N, C, ...)`` as pycnn has maps, ``(C, ...)``."""
        if flow.batched:
            shape = flow.sample
        elif flow.sample and flow.sample[0] == 1:
            shape = flow.sample[1:]
        else:
            raise MixesSamples(f"it works on samples, and the tensor of shape {flow.shape} is taken as one sample")
        if not 1 <= len(shape) <= 4:
            raise ValueError(f"got a tensor of shape {flow.shape}, expects (N, C) and at most three axes more")
        return self.shaped(flow, shape)

    def of_maps(self, node, like):
        """The flow ``(N, C, ...)`` of a node of maps."""
        return Flow(node, node.shape if like.batched else (1, *node.shape), like.batched)

    def natural(self, flow):
        """The node of a flow in the flow's own shape, where pycnn has as many axes."""
        return self.shaped(flow, flow.sample or (1,)) if len(flow.sample) <= 4 else flow.node

    def operator(self, kind, *inputs, **attributes):
        """What another operator makes of flows and arrays."""
        if any(isinstance(value, Flow) for value in inputs):
            return OPERATORS[kind](self, *inputs, **attributes)
        return np.asarray(folding.FUNCTIONS[kind](self.opset, *map(np.asarray, inputs), **attributes))

    def per_map(self, flow, value):
        """A known value that is one number for each channel of a flow ``(N, C, ...)``, or for all, as a vector
        ``(C,)``; None for others."""
        value, shape = np.asarray(value), flow.shape
        if not 2 <= flow.rank <= 5 or value.ndim > flow.rank or (not flow.batched and shape[0] != 1):
            return None
        sizes = (1,) * (flow.rank - value.ndim) + value.shape
        if sizes[0] != 1 or sizes[1] not in (1, shape[1]) or any(n != 1 for n in sizes[2:]):
            return None
        return np.broadcast_to(value.reshape(-1).astype(np.float64), shape[1])

    def stretched(self, value, rank):
        """A flow with so many axes, of a flow or of a known value, with axes of size 1 before those it has."""
        if not isinstance(value, Flow):
            value = np.asarray(value)
            return self.flowing(value.reshape((1,) * (rank - value.ndim) + value.shape))
        if rank > value.rank and value.batched:
            raise MixesSamples(f"the samples of an input of shape {value.shape} meet another axis of one with {rank} "
                               f"axes")
        return Flow(value.node, (1,) * (rank - value.rank) + value.sample, value.batched)

    def merged(self, a, b, most=4):
        """Shapes of two samples that stretch to each other; neighbouring axes that do so alike are joined where they
        are too many."""
        np.broadcast_shapes(a, b)
        if len(a) <= most:
            return (a, b) if a or most < 4 else ((1,), (1,))
        joined = []
        for m, n in zip(a, b):
            if m == n == 1:
                continue
            if joined and (joined[-1][0] != 1, joined[-1][1] != 1) == (m != 1, n != 1):
                joined[-1] = (joined[-1][0] * m, joined[-1][1] * n)
            else:
                joined.append((m, n))
        if len(joined) > most:
            raise ValueError(f"shapes {a} and {b} stretch to each other along too many axes")
        return tuple(zip(*joined)) or ((1,), (1,))

    def flowing(self, value):
        """A flow of a known value, the same for every sample."""
        value = np.asarray(value)
        if self.batched and (not value.ndim or value.shape[0] != 1):
            raise MixesSamples(f"a constant of shape {value.shape} has no axis of samples")
        sample = value.shape[1:] if self.batched else value.shape
        if not value.size:
            raise ValueError(f"a tensor of shape {value.shape} holds nothing")
        physical = sample if 1 <= len(sample) <= 4 else (max(1, value.size),)
        layer = L.Constant(physical, value_init=given(value.reshape(physical)), name=self.unique("constant"))
        if value.size == 1 or value.dtype.kind != "f":
            self.frozen.append(layer)
        return Flow(self.apply(layer, self.anchor), sample, self.batched)
