"""A graph and a batch become a flat list of kernel calls over one arena.

A plan is made in four passes:

1. *Stages.* Nodes in order; what a kernel can do as it stores its result becomes part of it: the sum with a shortcut, an
   activation, max pooling, and in predictions a normalisation.
2. *Calls.* Each stage's layer calls kernels forward, the losses follow, then the stages in reverse, then the optimizer.
   Buffers are symbols so far; edges between stages are reordered where two stages want different layouts.
3. *Arena.* Each buffer lives from its first to its last call; buffers that never live together share memory.
4. *Program.* The calls again, with addresses, as C steps. Running them is one call that allocates nothing. Where nothing is
   learned, what depends on parameters alone (weights packed for the kernels) comes first, and is left out as long as nobody
   can have written a parameter since.

Gradients that nobody needs are never called for: below the lowest layer that learns, of frozen maps, and of inputs nobody
asked for.

Second derivatives (the Gauss-Newton diagonal of LeCun et al. 1998, appendix C) come from the same backward pass on squares:
where a gradient is multiplied by a weight, a value or f', a second derivative is multiplied by its square.

The gradient of an edge whose producer ends with an activation is that of the value *before* the activation. Where one
kernel alone makes that gradient, it multiplies by f'(x) as it stores; otherwise the plan adds a step that does.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from math import prod

import numpy as np

from . import _kernels as K
from . import config
from .layers.activations import Activation
from .layers.base import InputLayer, activation_code
from .layers.conv import Conv
from .layers.conv_transpose import ConvTranspose
from .layers.merge import Add
from .layers.norm import BatchNorm
from .layers.pooling import MaxPool
from .layers.softmax import Softmax
from .layouts import pass_cycles
from .storage import ALIGNMENT, aligned_vector
from .threads import ThreadChoice

IDENTITY = (0, 0.0)
LAYOUT_NAMES = {K.PLAIN: "plain", K.SAMPLES: "lanes are samples", K.CHANNELS: "lanes are channels"}
LAYOUT_ARGUMENTS = {    # of kernels that take layouts: which arguments they are, from source to target
    "dropout": (0,), "gaussian_noise": (0,), "import_tensor": (0,), "export_tensor": (0,), "reorder": (0, 1), "conv_pack": (1,), "conv_forward": (2, 1),
    "conv_backward_data": (1, 2), "conv_backward_weights": (2, 1), "conv_reduce_weights": (1,),
    "bias_forward": (0,), "bias_backward_weights": (0,),
    "batch_norm_sums": (0,), "batch_norm_forward": (0,), "batch_norm_backward_sums": (0,), "batch_norm_backward_data": (0,),
    "embedding_forward": (0,), "embedding_backward": (0,),
    "group_norm_forward": (0,), "group_norm_backward_data": (0,), "group_norm_backward_weights": (0,),
    "prelu_forward": (0,), "prelu_backward": (0,),
}
PASSES = (K.FORWARD, K.BACKWARD_DATA, K.BACKWARD_WEIGHTS)
HYPER_SIZE = 16     # doubles of the control block that an optimizer reads; behind them the limit and norm of the gradient


class Buffer:
    """Memory of the arena that lives from its first to its last call."""

    __slots__ = ("size", "first", "last", "offset")

    def __init__(self, size):
        self.size, self.first, self.last, self.offset = size, None, None, None

    def at(self, begin):
        """The same memory, from real number `begin` on."""
        return Piece(self, begin)


@dataclass
class Piece:
    buffer: Buffer
    begin: int


@dataclass
class Slot:
    """An array of the caller's: the number of its pointer among the program's slots."""

    number: int


@dataclass
class Gradient:
    """What one consumer contributes to the gradient of an edge."""

    buffer: Buffer
    layout: int
    multiplied: bool        # by f' of the producer's activation
    exclusive: bool         # nobody else reads the buffer


@dataclass(eq=False)
class Edge:
    """A tensor between stages."""

    shape: tuple
    source: Slot | None = None                              # of an input: where the caller's array comes in
    layout: int = K.PLAIN
    values: dict = field(default_factory=dict)              # layout -> Buffer
    activation: tuple = IDENTITY                            # that the producer ends with
    uses: int = 0                                           # stages and losses that read it
    needs_gradient: bool = False
    gradients: list = field(default_factory=list)
    remake: tuple | None = None                             # layout, kernel and arguments but the last that make it again
    slope: Buffer | None = None                             # in a pass of second derivatives: the loss' first ones

    @property
    def channels(self):
        return self.shape[0]

    @property
    def positions(self):
        return prod(self.shape[1:])


class Stage:
    """A layer at work, with what its kernel ends with: y = pool(activation(norm(layer(x)) + added)).

    `inputs` are all edges that it reads, `added` among them as the last.
    """

    def __init__(self, layer, inputs, output, activation, norm=None, added=None, pool=None):
        self.layer, self.inputs, self.output = layer, inputs, output
        self.activation, self.norm, self.added, self.pool = activation, norm, added, pool
        self.layout = K.PLAIN


class Builder:
    """What layers call: kernels by name, on buffers and edges.

    Attributes
    ----------
    batch : int
    training : bool
        Whether a backward pass will follow.
    spatial_layout : int
        The layout of maps, SAMPLES or CHANNELS.
    kernels : pycnn._kernels.Kernels
    second : bool
        Whether the backward pass is one of second derivatives: `factor`, `factor_parameter` and `factor_buffer` are then
        squares, and `gradient` is where the optimizer's curvature lives.
    draws : int
        Address of the state of random draws, for kernels that take one.
    """

    def __init__(self, kernels, batch, training, spatial_layout, storage, rows, draws, second=False):
        self.kernels, self.batch, self.training, self.second = kernels, batch, training, second
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
        edge.remake = (layout, kernel, *arguments) if self.training else None
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
        p, maps = s.layer._parameters["weight"], s.output.channels
        statistics = s.norm.known_statistics(self, maps)
        folded = self.buffer(p.size), self.buffer(maps)
        self.prepare("batch_norm_fold", maps, p.size // maps, statistics, self.parameter(s.norm, "weight"),
                     self.parameter(s.norm, "bias"), weight, bias, *folded)
        return folded

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
        multiplied = fuses and edge.uses == 1 and not self.second
        new = over if over in self._spare else self.buffer(self.size(edge, layout))
        edge.gradients.append(Gradient(new, layout, multiplied, True))
        return (new, *(self._mask(edge, layout) if multiplied else (IDENTITY, None)))

    def last_gradient(self, edge, layout):
        """`new_gradient` for a kernel that can add the contributions of others too: a fourth result is that sum, or None."""
        others = edge.gradients
        if not others or len(others) + 1 < edge.uses or self.second or any(g.layout != layout for g in others):
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
            y = self.value(edge, layout)
            dx = total.buffer if total.exclusive else self.buffer(self.size(edge, layout))
            self.call("activation_backward", edge.activation, self.size(edge, layout), total.buffer, y, dx)
            if self.second:
                self.call("activation_backward", edge.activation, self.size(edge, layout), dx, y, dx)
            total = Gradient(dx, layout, True, True)
        if total.exclusive:
            self._spare.add(total.buffer)
        return total.buffer


# ---- stages ------------------------------------------------------------------------------------------------------


def needed_nodes(graph, targets):
    """The nodes that `targets` depend on, in order."""
    needed, stack = set(targets), list(targets)
    while stack:
        for source in stack.pop().inputs:
            if source not in needed:
                needed.add(source)
                stack.append(source)
    return [node for node in graph.nodes if node in needed]


@dataclass
class Absorbed:
    """The nodes behind another that become part of its kernel, in this order; None where there is none."""

    norm: object = None
    add: object = None
    activation: object = None
    pool: object = None

    def nodes(self):
        return [node for node in (self.norm, self.add, self.activation, self.pool) if node is not None]


def absorbed_by(node, consumers, targets, edges, training):
    """What becomes part of the kernel of `node`. `edges` are those of the nodes that are done."""
    layer, shape, found = node.layer, node.inputs[0].shape, Absorbed()

    def follower(kind):
        of = found.nodes()[-1] if found.nodes() else node
        only = consumers[of][0] if len(consumers[of]) == 1 and of not in targets else None
        return only if only is not None and isinstance(only.layer, kind) else None

    if activation_code(layer.activation) == IDENTITY:
        if layer.fuses_norm(shape) and not training:
            found.norm = follower(BatchNorm)
        if layer.fuses_sum(shape):
            add = follower(Add)
            found.add = add if add and len(add.inputs) == 2 and any(other in edges for other in add.inputs) else None
        if layer.fuses_activation:
            found.activation = follower(Activation)
    if layer.fuses_pool and not found.add and len(node.shape) <= 3:
        found.pool = follower(MaxPool)
    return found


def build_stages(nodes, targets, sources, training):
    """Stages in order, and the edge of each node that ends one. `sources` are the slots of input nodes."""
    consumers = {node: [] for node in nodes}
    for node in nodes:
        for source in node.inputs:
            consumers[source].append(node)
    edges, stages, taken = {}, [], set()
    for node in nodes:
        if node in taken:
            continue
        if isinstance(node.layer, InputLayer):
            edges[node] = Edge(node.shape, source=sources[node])
            continue
        absorbed = absorbed_by(node, consumers, targets, edges, training)
        taken.update(absorbed.nodes())
        code = IDENTITY
        if isinstance(node.layer, Activation):
            code = node.layer.code
        elif absorbed.activation:
            code = absorbed.activation.layer.code
        elif node.layer.fuses_activation:
            code = activation_code(node.layer.activation)
        last = [node, *absorbed.nodes()][-1]
        inputs = [edges[source] for source in node.inputs]
        added = None
        if absorbed.add:
            added = next(edges[other] for other in absorbed.add.inputs if other in edges)
            inputs.append(added)
        edges[last] = Edge(last.shape, activation=code)
        for edge in inputs:
            edge.uses += 1
        stages.append(Stage(node.layer, inputs, edges[last], code, absorbed.norm and absorbed.norm.layer, added,
                            absorbed.pool and absorbed.pool.layer))
    return stages, edges


def choose_spatial_layout(nodes, kernels, batch, training):
    """SAMPLES or CHANNELS, whichever takes the convolutions less time.

    Lanes of samples are wasted by a batch that does not fill them, in every pass alike; lanes of channels by the filters
    forward and backward_weights, and by the channels of the input in backward_data. Where both are full, CHANNELS is faster.
    """
    samples = channels = 0.0
    for node in nodes:
        if not isinstance(node.layer, (Conv, ConvTranspose)) or getattr(node.layer, "connections", None) is not None:
            continue
        passes = list(PASSES if training else PASSES[:1])
        if training and isinstance(node.inputs[0].layer, InputLayer):
            passes.remove(K.BACKWARD_DATA)
        conv = node.layer.descriptor(batch, node.inputs[0].shape)
        for which in passes:
            if isinstance(node.layer, ConvTranspose):       # its passes are those of the convolution backwards
                which = {K.FORWARD: K.BACKWARD_DATA, K.BACKWARD_DATA: K.FORWARD}.get(which, which)
            cycles = pass_cycles(kernels, conv, which)
            samples, channels = samples + cycles[0], channels + cycles[1]
    return K.SAMPLES if samples < channels else K.CHANNELS


# ---- the arena ---------------------------------------------------------------------------------------------------


def set_lives(calls, prepared):
    """Sets the first and last of all calls that use a buffer. The first `prepared` of them are not made in every run: what
    they leave for the others lives on."""
    for i, (_, _, arguments) in enumerate(calls):
        for argument in arguments:
            for a in argument if isinstance(argument, list) else (argument,):
                buffer = a.buffer if isinstance(a, Piece) else a
                if isinstance(buffer, Buffer):
                    buffer.first = i if buffer.first is None else buffer.first
                    buffer.last = len(calls) if buffer.first < prepared <= i else i


def place_buffers(buffers, real_size):
    """Sets the offset of each buffer, in bytes; returns the bytes of the arena.

    Largest first, each at the lowest place that is free as long as it lives. A vector of slack follows every buffer.
    """
    placed, total = [], 0
    for buffer in sorted((b for b in buffers if b.first is not None), key=lambda b: -b.size):
        size = -(-buffer.size * real_size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        offset = 0
        for begin, end, other in placed:
            if other.first <= buffer.last and buffer.first <= other.last and begin < offset + size and offset < end:
                offset = end
        buffer.offset = offset
        placed.append((offset, offset + size, buffer))
        placed.sort(key=lambda p: p[0])
        total = max(total, offset + size)
    return total


def described_layouts(kernel, arguments):
    """The layouts among a call's arguments, in words."""
    names = [LAYOUT_NAMES[arguments[i]] for i in LAYOUT_ARGUMENTS.get(kernel, ())]
    return " -> ".join(dict.fromkeys(names))


# ---- the plan ----------------------------------------------------------------------------------------------------


class Plan:
    """What a graph does with one batch, compiled.

    Parameters
    ----------
    graph : Graph
    storage : Storage
        Where the parameters live.
    kernels : pycnn._kernels.Kernels
    batch : int
    losses : dict of str to (Loss, float), optional
        Output name -> loss and its weight.
    gradients : bool
        Whether to call the backward pass.
    input_gradients : tuple of str
        Inputs whose gradient is wanted.
    optimizer : Optimizer, optional
        Updates the parameters at the end; `clip` limits the norm of their gradient first.
    outputs : tuple of str
        Outputs whose value is wanted.
    second : bool
        Whether the backward pass is one of second derivatives.

    Attributes
    ----------
    draws : numpy.ndarray
        State of random draws: the storage's seed, and the number of the optimizer's step.
    control : numpy.ndarray
        What the optimizer reads: ``[scale, lr, ...]``, and from `HYPER_SIZE` on the limit and the norm of the gradient.
    results : numpy.ndarray
        ``(losses + 1, 2)``: loss and correct predictions of each output, and their total.
    arena_bytes : int
    learned : list of Layer
        Those whose gradient the plan computes.

    Notes
    -----
    The arrays of `run`, in order: the inputs, rows of them (or None), the targets, class weights (or None), the wanted
    outputs, the wanted input gradients.
    """

    def __init__(self, graph, storage, kernels, batch, *, losses=None, gradients=False, input_gradients=(), optimizer=None,
                 clip=False, outputs=(), second=False):
        losses = losses or {}
        self.batch, self.kernels, self.storage = batch, kernels, storage
        self._choice, self._updates = ThreadChoice(), optimizer is not None
        self.control = np.zeros(HYPER_SIZE + 2)
        self.control[0] = 1.0
        self.results = np.zeros((len(losses) + 1, 2))

        count = len(graph.inputs)
        slots = {"inputs": range(count), "rows": count, "targets": range(count + 1, count + 1 + len(losses))}
        slots["class_weights"] = count + 1 + len(losses)
        slots["outputs"] = range(slots["class_weights"] + 1, slots["class_weights"] + 1 + len(outputs))
        slots["gradients"] = range(slots["outputs"].stop, slots["outputs"].stop + len(input_gradients))
        self._written = frozenset([*slots["outputs"], *slots["gradients"]])

        scored = {name: self._scored_node(graph.outputs[name], loss) for name, (loss, _) in losses.items()}
        targets = list(dict.fromkeys([*scored.values(), *(graph.outputs[name] for name in outputs)]))
        nodes = needed_nodes(graph, targets)
        sources = {node: Slot(i) for node, i in zip(graph.inputs.values(), slots["inputs"])}
        stages, edges = build_stages(nodes, set(targets), sources, gradients)
        layout = choose_spatial_layout(nodes, kernels, batch, gradients)
        self.draws = np.array([storage.seed, 0], np.uint64)
        self._draws_at = np.array([self.draws.ctypes.data], np.uintp)
        b = Builder(kernels, batch, gradients, layout, storage, Slot(slots["rows"]), self._draws_at.ctypes.data, second)
        for node in scored.values():
            edges[node].uses += 1
        self._mark_gradients(b, graph, stages, edges, input_gradients)

        for stage in stages:
            b.label = stage.layer.name
            stage.layout = stage.layer.layout(b, stage)
            stage.layer.forward(b, stage)
        for name, slot in zip(outputs, slots["outputs"]):
            b.label = name
            self._export(b, edges[graph.outputs[name]], slot)
        for i, (name, (loss, weight)) in enumerate(losses.items()):
            b.label = name
            self._call_loss(b, edges[scored[name]], loss, weight, Slot(slots["targets"][i]), Slot(slots["class_weights"]),
                            self.results[i].ctypes.data)
        if losses:
            b.label = "total"
            b.call("total_loss", len(losses), self.results.ctypes.data, self.results[-1].ctypes.data)
        if gradients:
            for stage in stages:
                if stage.output.remake:
                    stage.output.values.clear()
            for stage in reversed(stages):
                b.label = stage.layer.name
                if stage.output.needs_gradient and stage.output.gradients:
                    if second and not stage.layer.passes_curvature:
                        raise ValueError(f"{b.label}: {type(stage.layer).__name__} has no second derivatives for SDLM")
                    stage.layer.backward(b, stage, b.finished_gradient(stage.output, stage.layout))
            for name, slot in zip(input_gradients, slots["gradients"]):
                b.label = name
                self._export_gradient(b, edges.get(graph.inputs[name]), slot)
        self.learned = list(b.learned)
        if optimizer is not None:
            b.label = "update"
            self._call_optimizer(b, optimizer, clip)
            for stage in stages:
                b.label = stage.layer.name
                stage.layer.update(b, stage, self.results[-1].ctypes.data, self.control.ctypes.data)
        self._compile(b, slots["gradients"].stop)
        self._expect_sizes(graph, losses, outputs, input_gradients, slots)

    @staticmethod
    def _scored_node(node, loss):
        """Where the loss takes hold: below a last Softmax, if it is one of scores."""
        return node.inputs[0] if loss.on_scores and type(node.layer) is Softmax else node

    @staticmethod
    def _mark_gradients(b, graph, stages, edges, input_gradients):
        for name in input_gradients:
            if graph.inputs[name] in edges:
                edges[graph.inputs[name]].needs_gradient = True
        for stage in stages:
            stage.output.needs_gradient = b.training and (b.learns(stage.layer) or any(x.needs_gradient for x in stage.inputs))

    @staticmethod
    def _export(b, edge, slot):
        layout = edge.layout if edge.source is None else K.PLAIN
        b.call("export_tensor", layout, b.batch, edge.channels, edge.positions, b.value(edge, layout), Slot(slot))

    @staticmethod
    def _export_gradient(b, edge, slot):
        if edge is None or not edge.gradients:
            return
        layout = edge.gradients[0].layout
        b.call("export_tensor", layout, b.batch, edge.channels, edge.positions, b.finished_gradient(edge, layout), Slot(slot))

    @staticmethod
    def _call_loss(b, edge, loss, weight, target, class_weights, result):
        y = b.value(edge, K.PLAIN)
        dy = b.new_gradient(edge, K.PLAIN, fuses=False)[0] if edge.needs_gradient else None
        if b.second:
            edge.slope = loss.call_second(b, edge.shape, weight, y, target, dy, result)
        else:
            loss.call(b, edge.shape, weight, y, target, class_weights, dy, result)

    def _call_optimizer(self, b, optimizer, clip):
        ranges = [r for layer in self.learned for p in layer._parameters.values() for r in p.trainable_ranges()]
        if not ranges:
            return
        hyper, storage = self.control.ctypes.data, self.storage
        if clip:
            limit = hyper + 8 * HYPER_SIZE
            b.call("clip_norm", sorted(ranges), limit, storage.gradients_address, hyper, limit + 8)
        b.call(optimizer.kernel, sorted(ranges), hyper, self.results[-1].ctypes.data, storage.values_address,
               storage.gradients_address, *(storage.state_address(name) for name in optimizer.state))

    def _compile(self, b, slot_count):
        calls, self._prepared = [*b.prepared, *b.calls], len(b.prepared)
        self._prepared_at = None        # the storage's state when those calls were last made
        set_lives(calls, self._prepared)
        self.arena_bytes = place_buffers(b.buffers, self.kernels.real_size)
        self._arena = aligned_vector(self.arena_bytes, np.uint8)
        base, real_size = self._arena.ctypes.data, self.kernels.real_size
        self.program = K.Program(self.kernels, slot_count)

        def resolve(a):
            if isinstance(a, Buffer):
                return base + a.offset
            if isinstance(a, Piece):
                return base + a.buffer.offset + a.begin * real_size
            if isinstance(a, Slot):
                return self.program.slot(a.number)
            if isinstance(a, list):
                return [resolve(x) for x in a]
            return 0 if a is None else a

        def array(buffer, shape):
            size = self.batch * prod(shape)
            return self._arena[buffer.offset : buffer.offset + size * real_size].view(self.storage.dtype).reshape(-1, *shape)

        for _, kernel, arguments in calls:
            if kernel == "python":
                function, buffers, of_samples, given = arguments
                arrays = [*map(array, buffers, of_samples)]
                for read_only in arrays[:given]:
                    read_only.flags.writeable = False
                self.program.python(function, arrays)
            else:
                getattr(self.program, kernel)(*map(resolve, arguments))
        self._steps = [(label, kernel, described_layouts(kernel, arguments)) for label, kernel, arguments in calls]

    def _expect_sizes(self, graph, losses, outputs, input_gradients, slots):
        """How large the arrays of `run` are at least. Of inputs that is one sample, since rows may choose among any number."""
        real, n = self.kernels.real_size, self.batch
        self._inputs, self._rows = slots["inputs"], slots["rows"]
        for node, slot in zip(graph.inputs.values(), slots["inputs"]):
            self.program.expect(slot, real * prod(node.shape))
        self.program.expect(slots["rows"], 8 * n, optional=True)
        for (name, (loss, _)), slot in zip(losses.items(), slots["targets"]):
            shape = graph.outputs[name].shape
            self.program.expect(slot, n * (8 * prod(shape[1:]) if loss.labels else real * prod(shape)))
            if loss.labels:
                self.program.expect(slots["class_weights"], real * shape[0], optional=True)
        written = [graph.outputs[name] for name in outputs] + [graph.inputs[name] for name in input_gradients]
        for node, slot in zip(written, [*slots["outputs"], *slots["gradients"]]):
            self.program.expect(slot, n * real * prod(node.shape))

    def run(self, arrays):
        """Runs all steps on the caller's arrays, in the order of the slots; None for one that is not there."""
        if len(arrays) > self._rows and arrays[self._rows] is None:
            for i in self._inputs:
                if arrays[i] is not None and len(arrays[i]) < self.batch:
                    raise ValueError(f"input {i} has {len(arrays[i])} samples, the plan is one of {self.batch}")
        if self._updates:
            self.storage.note_write()
        state = self.storage.state_of_values()
        begin = self._prepared if state is not None and state == self._prepared_at else 0
        self._choice.run(self.program, config.get_num_threads(), arrays, self._written, begin)
        self._prepared_at = state

    def __str__(self):
        """The steps in order, and the bytes of the arena."""
        kinds = Counter(kernel for _, kernel, _ in self._steps)
        lines = [f"batch {self.batch}, {self.kernels.isa}, {self.kernels.lanes} lanes: {len(self._steps)} steps "
                 f"({sum(kinds[k] for k in ('reorder', 'import_tensor', 'export_tensor'))} of them reorders), "
                 f"arena {self.arena_bytes:,} bytes"]
        width = max((len(label) for label, _, _ in self._steps), default=0)
        for i, (label, kernel, layouts) in enumerate(self._steps):
            lines.append(f"{i:4d}  {label:{width}s}  {kernel:22s}  {self.program.tasks(i):4d} tasks  {layouts}".rstrip())
        return "\n".join(lines)
