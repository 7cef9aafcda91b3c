"""A graph and a batch become a flat list of kernel calls over one arena.

A plan is made in four passes:

1. *Stages* (stages.py). Nodes in order; what a kernel can do as it stores its result becomes part of it: the sum with a shortcut, an
   activation, max pooling, and in predictions a normalisation.
2. *Calls* (builder.py). Each stage's layer calls kernels forward, the losses follow, then the stages in reverse, then the optimizer.
   Buffers are symbols so far; edges between stages are reordered where two stages want different layouts.
3. *Arena* (arena.py). Each buffer lives from its first to its last call; buffers that never live together share memory.
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

from collections import Counter, OrderedDict
from math import prod

import numpy as np

from . import _kernels as K
from . import config
from .arena import Buffer, Piece, Slot, place_buffers, set_lives
from .builder import Builder
from .layers.softmax import Softmax
from .stages import build_stages, choose_spatial_layout, needed_nodes
from .storage import aligned_vector
from .threads import ThreadChoice

LAYOUT_NAMES = {K.PLAIN: "plain", K.SAMPLES: "lanes are samples", K.CHANNELS: "lanes are channels"}
LAYOUT_ARGUMENTS = {    # of kernels that take layouts: which arguments they are, from source to target
    "dropout": (0,), "gaussian_noise": (0,), "import_tensor": (0,), "export_tensor": (0,), "reorder": (0, 1),
    "conv_pack": (1,), "conv_forward": (2, 1),
    "conv_backward_data": (1, 2), "conv_backward_weights": (2, 1), "conv_reduce_weights": (1,),
    "bias_forward": (0,), "bias_backward_weights": (0,),
    "batch_norm_sums": (0,), "batch_norm_forward": (0,), "batch_norm_backward_sums": (0,), "batch_norm_backward_data": (0,),
    "embedding_forward": (0,), "embedding_backward": (0,),
    "group_norm_forward": (0,), "group_norm_backward_data": (0,), "group_norm_backward_weights": (0,),
    "prelu_forward": (0,), "prelu_backward": (0,),
}
PLANS_KEPT = 16
HYPER_SIZE = 16     # doubles of the control block that an optimizer reads; behind them the limit and norm of the gradient


def described_layouts(kernel, arguments):
    """The layouts among a call's arguments, in words."""
    names = [LAYOUT_NAMES[arguments[i]] for i in LAYOUT_ARGUMENTS.get(kernel, ())]
    return " -> ".join(dict.fromkeys(names))


class Plans:
    """The plans used last of those that work on a storage."""

    def __init__(self, storage):
        self.storage, self.kept = storage, OrderedDict()

    def plan(self, key, make):
        """The plan of that key, made where it is not kept, or where flags or settings have changed since."""
        key = (*key, self.storage.version, config.get_winograd())
        if key not in self.kept:
            while len(self.kept) >= PLANS_KEPT:
                self.kept.popitem(last=False)
            self.kept[key] = make()
        self.kept.move_to_end(key)
        return self.kept[key]


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
    objective : (tuple of str, callable), optional
        Outputs, and ``function(*values, *gradients)`` of their arrays ``(batch, *shape)``, which fills in the gradients that the
        backward pass starts from. Layers work as in predictions then, and learn nothing.
    rectified : {"gradient", "guided", "deconvnet"}
        How gradients pass rectifiers; see `Builder`.

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
                 clip=False, outputs=(), second=False, objective=((), None), rectified="gradient"):
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
        judged = [graph.outputs[name] for name in objective[0]]
        targets = list(dict.fromkeys([*scored.values(), *(graph.outputs[name] for name in outputs), *judged]))
        nodes = needed_nodes(graph, targets)
        backward = gradients or bool(judged)
        sources = {node: Slot(i) for node, i in zip(graph.inputs.values(), slots["inputs"])}
        stages, edges = build_stages(nodes, set(targets), sources, gradients, rectified == "gradient")
        passes = [K.FORWARD, *[K.BACKWARD_DATA] * backward, *[K.BACKWARD_WEIGHTS] * gradients]
        layout = choose_spatial_layout(nodes, kernels, batch, passes, bool(input_gradients))
        self.draws = np.array([storage.seed, 0], np.uint64)
        self._draws_at = np.array([self.draws.ctypes.data], np.uintp)
        b = Builder(kernels, batch, gradients, backward, layout, storage, Slot(slots["rows"]), self._draws_at.ctypes.data,
                    second, rectified)
        for node in [*scored.values(), *judged]:
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
        if judged:
            b.label = "objective"
            self._call_objective(b, [edges[node] for node in judged], objective[1])
        if backward:
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
        of_scores = type(node.layer) is Softmax and node.layer.axis == 0
        return node.inputs[0] if loss.on_scores and of_scores else node

    @staticmethod
    def _mark_gradients(b, graph, stages, edges, input_gradients):
        for name in input_gradients:
            if graph.inputs[name] in edges:
                edges[graph.inputs[name]].needs_gradient = True
        for stage in stages:
            stage.output.needs_gradient = b.backward and (b.learns(stage.layer) or any(x.needs_gradient for x in stage.inputs))

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

    @staticmethod
    def _call_objective(b, edges, function):
        given = [(b.value(edge, K.PLAIN), edge.shape) for edge in edges]
        b.call_python(function, given, [(b.new_gradient(edge, K.PLAIN, fuses=False)[0], edge.shape) for edge in edges])

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
