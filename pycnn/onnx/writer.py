"""A graph of ONNX in the making: nodes, initialisers and names, and the operators whose form depends on the opset."""

from __future__ import annotations

import numpy as np

from .foreign import need_onnx


class Writer:
    """Takes a graph, layer by layer.

    Parameters
    ----------
    arrays : dict of str to array
        The network's parameters and statistics.
    dtype : numpy dtype
    opset : int
    reserved : iterable of str
        Names that only what is given them explicitly may have.
    words : set of Node
        Inputs that hold numbers of words, as int64.
    stretched : set of Node
        Constants that stand for as many copies as there are samples, in all that reads them.

    Attributes
    ----------
    nodes, initializers : list
        As the package onnx has them.
    """

    def __init__(self, arrays, dtype, opset, reserved, words=(), stretched=()):
        self.onnx = need_onnx()
        self.arrays, self.dtype, self.opset = arrays, np.dtype(dtype), opset
        self.words, self.stretched = words, stretched
        self.nodes, self.initializers = [], []
        self._tensors, self._node_names = set(reserved), set()
        self._known = {}        # what an initialiser holds -> its name
        self._layer = None

    # ---- layers

    def begin(self, layer):
        """The nodes that follow are those of the layer."""
        self._layer, self._first = layer, len(self.nodes)

    def end(self, made, name=None):
        """Gives what the layer has made that name, or the layer's, and returns it; an initialiser keeps its own."""
        if len(self.nodes) == self._first:
            return made
        result = unique(self._layer.name, self._tensors) if name is None else name
        self.nodes[-1].output[0] = result
        return result

    def error(self, text):
        """The ValueError that names the layer."""
        return ValueError(f"{self._layer.name} ({type(self._layer).__name__}): {text}")

    def need(self, opset, what):
        """ValueError unless the opset is at least that one, the first with what is named."""
        if self.opset < opset:
            raise self.error(f"{what} is part of ONNX since opset {opset}; opset={self.opset} is asked for")

    # ---- initialisers

    def array(self, kind):
        """The layer's parameter or statistic."""
        return self.arrays[f"{self._layer.name}/{kind}"]

    def parameter(self, kind, values=None):
        """The initialiser of a parameter: as it is, or in the form given."""
        return self._initializer(self.array(kind) if values is None else values, f"{self._layer.name}/{kind}")

    def constant(self, values, dtype=None):
        """An initialiser of integers, as int64, or of other numbers, in the network's dtype where none is given."""
        return self._initializer(values, f"{self._layer.name}.constant", dtype)

    def number(self, value):
        """An initialiser that holds one number in the network's dtype."""
        return self.constant(float(value))

    def _initializer(self, values, name, dtype=None):
        values = np.asarray(values)
        values = np.asarray(values, np.int64 if values.dtype.kind in "iu" else dtype or self.dtype, order="C")
        key = (name, values.dtype.str, values.shape, values.tobytes())
        if key not in self._known:
            self._known[key] = unique(name, self._tensors)
            self.initializers.append(self.onnx.numpy_helper.from_array(values, self._known[key]))
        return self._known[key]

    # ---- nodes

    def add(self, operator, *inputs, outputs=1, **attributes):
        """Adds a node; returns the name of what it makes, or a list of names for more than one output.

        An empty name stands for an input that is left out; attributes that are None are left out too.
        """
        first = len(self.nodes) == self._first
        name = unique(self._layer.name if first else f"{self._layer.name}.{operator}", self._node_names)
        made = [unique(f"{self._layer.name}.{operator}", self._tensors) for _ in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def scaled(self, x, factor):
        """x times a number."""
        return self.add("Mul", x, self.number(factor))

    def shifted(self, x, summand):
        """x plus a number."""
        return self.add("Add", x, self.number(summand))

    def reshape(self, x, *shape):
        """x in another shape, which is that of a sample."""
        return self.add("Reshape", x, self.constant(np.array([0, *shape])))

    def transpose(self, x, *axes):
        """x with the axes of its samples, counted from 0, in another order."""
        return self.add("Transpose", x, perm=[0, *(axis + 1 for axis in axes)])

    def gather(self, x, indices, axis):
        """Entries of x along an axis; the batch is axis 0."""
        return self.add("Gather", x, self.constant(np.asarray(indices, np.int64)), axis=axis)

    def reduce(self, operator, x, *axes, keep=True):
        """ReduceSum or one of its kind along axes, whether or not they stay with size 1; the batch is axis 0."""
        if self.opset >= (13 if operator == "ReduceSum" else 18):
            return self.add(operator, x, self.constant(list(axes)), keepdims=int(keep))
        return self.add(operator, x, axes=axes, keepdims=int(keep))

    def pad(self, x, pairs, mode="constant", value=0.0):
        """x with more positions (before, after) along each spatial axis."""
        pads = [0, 0, *(before for before, _ in pairs), 0, 0, *(after for _, after in pairs)]
        if self.opset < 11:
            return self.add("Pad", x, pads=pads, mode=mode, value=value)
        return self.add("Pad", x, self.constant(np.array(pads)), self.number(value), mode=mode)

    def slice(self, x, ranges, first=2, step=1):
        """x from begin to end along neighbouring axes; the batch is axis 0."""
        begins, ends = ([of[i] for of in ranges] for i in (0, 1))
        axes = list(range(first, first + len(ranges)))
        if self.opset < 10:
            return self.add("Slice", x, starts=begins, ends=ends, axes=axes)
        steps = [] if step == 1 else [[step] * len(axes)]
        return self.add("Slice", x, *map(self.constant, (begins, ends, axes, *steps)))


def unique(name, taken):
    """The name, with a number behind it where it is taken; from now on it is."""
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name}.{number}"
    taken.add(result)
    return result
