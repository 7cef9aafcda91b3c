"""A graph becomes stages, and edges between them: layers at work, with what their kernels do as they store their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from . import _kernels as K
from .arena import Buffer, Slot
from .layers.activations import Activation
from .layers.base import InputLayer, activation_code
from .layers.conv import Conv
from .layers.conv_transpose import ConvTranspose
from .layers.merge import Add
from .layers.norm import BatchNorm
from .layers.pooling import MaxPool
from .layouts import pass_cycles

IDENTITY, RECTIFIER = activation_code(None), activation_code("relu")


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
        self.folded = None      # weight and bias with the normalisation in them, once they are made


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


def absorbed_by(node, consumers, targets, edges, training, pools):
    """What becomes part of the kernel of `node`: no pooling without `pools`. `edges` are those of the nodes that are done."""
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
    if pools and layer.fuses_pool and not found.add and len(node.shape) <= 3:
        found.pool = follower(MaxPool)
    return found


def build_stages(nodes, targets, sources, training, pools=True):
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
        absorbed = absorbed_by(node, consumers, targets, edges, training, pools)
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


def choose_spatial_layout(nodes, kernels, batch, passes, to_inputs):
    """SAMPLES or CHANNELS, whichever takes the convolutions less time.

    Lanes of samples are wasted by a batch that does not fill them, in every pass alike; lanes of channels by the filters
    forward and backward_weights, and by the channels of the input in backward_data. Where both are full, CHANNELS is faster.
    `to_inputs` says whether gradients of the inputs are wanted.
    """
    samples = channels = 0.0
    for node in nodes:
        if not isinstance(node.layer, (Conv, ConvTranspose)) or getattr(node.layer, "connections", None) is not None:
            continue
        conv = node.layer.descriptor(batch, node.inputs[0].shape)
        for which in passes:
            if which == K.BACKWARD_DATA and not to_inputs and isinstance(node.inputs[0].layer, InputLayer):
                continue
            if isinstance(node.layer, ConvTranspose):       # its passes are those of the convolution backwards
                which = {K.FORWARD: K.BACKWARD_DATA, K.BACKWARD_DATA: K.FORWARD}.get(which, which)
            cycles = pass_cycles(kernels, conv, which)
            samples, channels = samples + cycles[0], channels + cycles[1]
    return K.SAMPLES if samples < channels else K.CHANNELS
