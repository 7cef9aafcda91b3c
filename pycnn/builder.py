"""What a plan is written with: layers call kernels by name, on buffers and edges."""

from __future__ import annotations

import itertools

import numpy as np

from . import _kernels as K
from .arena import Buffer
from .stages import IDENTITY, RECTIFIER, Edge, Gradient, Stage


class Builder:
    """What layers call: kernels by name, on buffers and edges.

    Attributes
    ----------
    batch : int
    training : bool
        Whether layers work as in training, and may learn.
    backward : bool
        Whether a backward pass will follow, as it does in training.
    spatial_layout : int
        The layout of maps, SAMPLES or CHANNELS.
    kernels : pycnn._kernels.Kernels
    rectified : str
        How gradients pass rectifiers: where their input was positive ("gradient"), where it and the gradient are ("guided"),
        or where the gradient is ("deconvnet").
    second : bool
        Whether the backward pass is one of second derivatives: `factor`, `factor_parameter` and `factor_buffer` are then
        squares, and `gradient` is where the optimizer's curvature lives.
    draws : int
        Address of the state of random draws, for kernels that take one.
    """

    def __init__(self, kernels, batch, training, backward, spatial_layout, storage, rows, draws, second=False,
                 rectified="gradient"):
        self.kernels, self.batch, self.second = kernels, batch, second
        self.training, self.backward, self.rectified = training, backward, rectified
        self.draws, self._streams = draws, itertools.count()
        self._squares = {}          # what has been squared -> its buffer
        self._spare = set()         # buffers of finished gradients that only their stage reads
        self.spatial_layout, self.storage, self.rows = spatial_layout, storage, rows
        self.prepared, self.calls, self.buffers = [], [], []
        self.learned = {}           # layer -> whether its gradient has been written once
        self.label = ""

    # ---- sizes

    def whole_vectors(self, count):
        """So many lanes that they hold `count`."""
        return -(-count // self.kernels.lanes) * self.kernels.lanes

    def tensor_size(self, layout, channels, positions):
        """Reals of a tensor of the whole batch, lanes that nobody uses included."""
        n = self.whole_vectors(self.batch) if layout == K.SAMPLES else self.batch
        c = self.whole_vectors(channels) if layout == K.CHANNELS else channels
        return n * c * positions

    def size(self, edge, layout):
        return self.tensor_size(layout, edge.channels, edge.positions)

    def planes(self, layout, channels):
        """Planes of vectors in a tensor of so many channels."""
        return self.tensor_size(layout, channels, 1) // self.kernels.lanes

    def layout_of_maps(self, edge):
        """The layout in which an edge's maps are worked on: its own, but that of all maps where it is plain."""
        return self.spatial_layout if edge.layout == K.PLAIN and len(edge.shape) > 1 else edge.layout

    # ---- calls

    def buffer(self, size):
        """Memory for `size` reals."""
        new = Buffer(max(1, size))
        self.buffers.append(new)
        return new

    def call(self, kernel, *arguments):
        """Appends a kernel call. Arguments are numbers, tuples of numbers, buffers, slots, or None for NULL."""
        self.calls.append((self.label, kernel, arguments))

    def prepare(self, kernel, *arguments):
        """Like `call`, of a kernel that reads parameters and statistics only."""
        (self.calls if self.training else self.prepared).append((self.label, kernel, arguments))

    def call_python(self, function, given, made):
        """Appends a call of ``function(*given, *made)``, where both are lists of (buffer, shape of a sample) of plain values."""
        buffers, shapes = zip(*given, *made)
        self.calls.append((self.label, "python", (function, list(buffers), shapes, len(given))))

    def new_stream(self):
        """The number of a stream of random draws of its own."""
        return next(self._streams)

    # ---- values

    def value(self, edge, layout):
        """The edge's value in `layout`, imported, reordered or made again where it is not there."""
        if layout not in edge.values:
            n, c, s = self.batch, edge.channels, edge.positions
            new = self.buffer(self.size(edge, layout))
            if edge.remake and edge.remake[0] == layout:
                self.call(*edge.remake[1:], new)
                edge.values[layout] = new
                return new
            if edge.source is not None:
                self.call("import_tensor", layout, n, c, s, edge.source, self.rows, new)
            else:
                origin = edge.layout if K.PLAIN in (edge.layout, layout) else K.PLAIN
                self.call("reorder", origin, layout, False, n, c, s, self.value(edge, origin), new)
            edge.values[layout] = new
        return edge.values[layout]

    def new_value(self, edge, layout):
        """Memory for the value that a stage makes."""
        edge.layout = layout
        edge.values[layout] = self.buffer(self.size(edge, layout))
        return edge.values[layout]

    def value_made_again(self, edge, layout, kernel, *arguments):
        """Memory for the value that a stage makes by a cheap kernel, whose last argument it is. It is not kept for the
        backward pass, but made again."""
        edge.remake = (layout, kernel, *arguments) if self.backward else None
        self.call(kernel, *arguments, self.new_value(edge, layout))

    def alias_value(self, edge, of, layout):
        """The edge is another look at `of`."""
        edge.layout = layout
        edge.values[layout] = self.value(of, layout)
        if of.uses == 1:
            edge.activation = of.activation

    def inner_stage(self, s, shape):
        """A stage of the same layer and inputs whose output, of `shape`, only that layer knows."""
        return Stage(s.layer, s.inputs, Edge(shape, uses=1, needs_gradient=s.output.needs_gradient), IDENTITY)

    # ---- parameters

    def parameter(self, layer, name):
        """Address of a parameter, or None where the layer has none of that name."""
        p = layer._parameters.get(name)
        return None if p is None else self.storage.address(p)

    def statistic(self, layer, name):
        """Address of what a layer keeps of what it has seen."""
        return self.storage.statistic_address(layer._statistics[name])

    def gradient(self, layer, name):
        """Address of a parameter's gradient, or None."""
        p = layer._parameters.get(name)
        if p is None:
            return None
        return self.storage.curvature_address(p) if self.second else self.storage.gradient_address(p)

    def learns(self, layer):
        """Whether the layer's gradient is wanted."""
        return self.training and any(p.learns.any() for p in layer._parameters.values()) and layer.trainable

    def learning_maps(self, layer):
        """For kernels: a byte for each map, whether its gradient is wanted; None if that of all is."""
        maps = layer.learning_maps()
        return None if maps.all() else maps.astype(np.uint8).tobytes()

    def learning_entries(self, layer, *names):
        """For kernels: a byte for each entry of the parameters' masks, one parameter behind the other."""
        masks = [layer._parameters[name].learns for name in names if name in layer._parameters]
        maps = 0 if None not in names and all(n in layer._parameters for n in names) else len(layer.learning_maps())
        return np.concatenate([*(mask.ravel() for mask in masks), np.zeros(maps, bool)]).astype(np.uint8).tobytes()

    def linear_parameters(self, s):
        """Addresses of weight and bias (or None) of a stage, the normalisation behind it folded into them."""
        weight, bias = (self.parameter(s.layer, name) for name in ("weight", "bias"))
        if s.norm is None:
            return weight, bias
        if s.folded:
            return s.folded
        p, maps = s.layer._parameters["weight"], s.output.channels
        statistics = s.norm.known_statistics(self, maps)
        s.folded = self.buffer(p.size), self.buffer(maps)
        self.prepare("batch_norm_fold", maps, p.size // maps, statistics, self.parameter(s.norm, "weight"),
                     self.parameter(s.norm, "bias"), weight, bias, *s.folded)
        return s.folded

    # ---- factors of derivatives

    def factor(self, edge, layout):
        """The edge's value, by which a backward pass multiplies."""
        return self.factor_buffer(self.value(edge, layout), self.size(edge, layout))

    def factor_parameter(self, layer, name):
        """A parameter, by which a backward pass multiplies."""
        p = layer._parameters[name]
        if not self.second:
            return self.storage.address(p)
        return self._squared(p.name, self.storage.address(p), p.size)

    def factor_weight(self, s):
        """The weight of a stage, the normalisation behind it folded into it, by which a backward pass multiplies."""
        return s.folded[0] if s.folded else self.factor_parameter(s.layer, "weight")

    def factor_buffer(self, buffer, size):
        """What a stage keeps for its backward pass, which multiplies by it."""
        return self._squared(buffer, buffer, size) if self.second else buffer

    def _squared(self, key, of, size):
        if key not in self._squares:
            self._squares[key] = self.buffer(size)
            self.call("multiply", size, of, of, self._squares[key])
        return self._squares[key]

    def accumulates(self, layer):
        """Whether a gradient adds to what an earlier use of a shared layer left."""
        again = layer in self.learned
        self.learned[layer] = True
        return again

    # ---- gradients

    def new_gradient(self, edge, layout, fuses=True, over=None):
        """Memory for a contribution to an edge's gradient: (buffer, activation to multiply by, value to take it at).

        A kernel that cannot multiply passes `fuses=False`. One that may write its result over the gradient it reads, of the
        same size, passes that as `over`.
        """
        multiplied = fuses and edge.uses == 1 and not self.second and not self._ruled(edge)
        new = over if over in self._spare else self.buffer(self.size(edge, layout))
        edge.gradients.append(Gradient(new, layout, multiplied, True))
        return (new, *(self._mask(edge, layout) if multiplied else (IDENTITY, None)))

    def last_gradient(self, edge, layout):
        """`new_gradient` for a kernel that can add the contributions of others too: a fourth result is that sum, or None."""
        others = edge.gradients
        apart = self.second or self._ruled(edge) or any(g.layout != layout for g in others)
        if not others or len(others) + 1 < edge.uses or apart:
            return (*self.new_gradient(edge, layout), None)
        added = others[0].buffer
        if len(others) > 1:
            added = self.buffer(self.size(edge, layout))
            self.call("sum", self.size(edge, layout), [g.buffer for g in others], added)
        new = self.buffer(self.size(edge, layout))
        edge.gradients = [Gradient(new, layout, True, True)]
        return (new, *self._mask(edge, layout), added)

    def _mask(self, edge, layout):
        """(activation whose f' an edge's gradient is multiplied by, value to take it at)"""
        return (IDENTITY, None) if edge.activation == IDENTITY else (edge.activation, self.value(edge, layout))

    def _ruled(self, edge):
        """Whether another rule than that of derivatives holds for the gradient of an edge."""
        return self.rectified != "gradient" and edge.activation == RECTIFIER

    def pass_gradient(self, edge, dy, layout, multiplied=False):
        """Contributes `dy` itself; `multiplied` says whether f' of the edge's producer is in it."""
        if edge.needs_gradient:
            self._spare.discard(dy)
            edge.gradients.append(Gradient(dy, layout, multiplied, False))

    def finished_gradient(self, edge, layout):
        """The sum of all contributions, in `layout`, multiplied by f' of the producer's activation; None without any."""
        parts = []
        for g in edge.gradients:
            if g.layout != layout:
                for to in ([K.PLAIN, layout] if K.PLAIN not in (g.layout, layout) else [layout]):
                    new = self.buffer(self.size(edge, to))
                    self.call("reorder", g.layout, to, True, self.batch, edge.channels, edge.positions, g.buffer, new)
                    g = Gradient(new, to, g.multiplied, True)
            parts.append(g)
        if not parts:
            return None
        total = parts[0]
        if len(parts) > 1:
            total = Gradient(self.buffer(self.size(edge, layout)), layout, False, True)
            self.call("sum", self.size(edge, layout), [g.buffer for g in parts], total.buffer)
        if edge.activation != IDENTITY and not total.multiplied:
            size, dy = self.size(edge, layout), total.buffer
            dx = dy if total.exclusive else self.buffer(size)
            if self._ruled(edge):
                self.call("activation_forward", RECTIFIER, size, dy, dx)
                dy = dx
            if self.rectified != "deconvnet" or not self._ruled(edge):
                y = self.value(edge, layout)
                for _ in range(1 + self.second):
                    self.call("activation_backward", edge.activation, size, dy, y, dx)
                    dy = dx
            total = Gradient(dx, layout, True, True)
        if total.exclusive:
            self._spare.add(total.buffer)
        return total.buffer
