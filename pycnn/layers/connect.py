"""Maps that read several layers, each with a receptive field and a table of connections of its own."""

from __future__ import annotations

from ..connections import check_sources, checked_table
from ..shapes import integer
from . import activations
from .base import Node
from .conv import Conv
from .merge import Add
from .pooling import SumPool
from .subsample import SoftMaxPool

RULES = ("conv", "sum", "softmax")
ACTIVATIONS = {kind.kind: kind for kind in (activations.ReLU, activations.LeakyReLU, activations.ELU, activations.Sigmoid,
                                            activations.Tanh, activations.ScaledTanh, activations.Softplus, activations.SELU)}
OPTIONS = ("connections", "kernel_size", "stride", "trainable")


def Connect(maps, sources, rule="conv", activation=None, bias=True, weight_init="default", name="Connect"):
    """A layer whose maps read several layers at once (as any layer of N. Chumerin's myCNN).

    Each source becomes a layer of its own, named ``<name>.<source>``, whose weights can be read, frozen and counted like any
    other's; their sum, with the bias of the first and the activation, is the result.

    Parameters
    ----------
    maps : int
        Feature maps of the result.
    sources : dict of Node to dict
        What to read, and how: ``kernel_size`` (needed), ``stride`` (1 for ``"conv"``, else the kernel size),
        ``connections`` (boolean ``(maps, maps of the source)``, all where missing) and ``trainable`` (True).
    rule : {"conv", "sum", "softmax"}
        What a connection computes: a convolution; a weight times the sum of each window; or the average of each window
        weighted by softmax(a x), a being the connection's sharpness (no bias and no activation).
    activation : str, optional
    bias : bool
    weight_init : str or callable
        See `pycnn.initializers`.
    name : str
        Also the name of the layer that adds.

    Returns
    -------
    Node

    Raises
    ------
    ValueError
        When connections give maps of different sizes, naming them, or a map reads nothing.
    """
    maps = integer(maps, f"{name}: maps", 1)
    if rule not in RULES:
        raise ValueError(f"{name}: rule must be one of {', '.join(RULES)}, got {rule!r}")
    if not isinstance(sources, dict) or not sources:
        raise ValueError(f"{name}: sources is a dict from tensors to the options of their connections")
    if activation is not None and (activation not in ACTIVATIONS or rule == "softmax"):
        raise ValueError(f"{name}: no activation {activation!r} with rule {rule!r}; known are {', '.join(ACTIVATIONS)}, "
                         f"and none for softmax")
    parts = {}
    reads = 0
    for number, (source, options) in enumerate(sources.items()):
        label = f"{name}.{checked_source(name, source, options, number)}"
        table = options.get("connections")
        table = checked_table([[True] * source.shape[0]] * maps if table is None else table, maps)
        check_sources(table, source.shape[0])
        reads = reads + table.any(axis=1)
        parts[label] = connected(label, source, rule, maps, table, options, bias and not parts, weight_init)
    check_sizes(name, parts)
    if not reads.all():
        raise ValueError(f"{name}: map {int((reads == 0).argmax())} reads nothing")
    nodes = list(parts.values())
    if len(nodes) == 1 and activation is None:
        return nodes[0]
    total = nodes[0] if len(nodes) == 1 else Add(name=name if activation is None else f"{name}.sum")(nodes)
    return total if activation is None else ACTIVATIONS[activation](name=name)(total)


def checked_source(name, source, options, number):
    """What the source is called; TypeError or ValueError if it or its options are none."""
    if not isinstance(source, Node):
        raise TypeError(f"{name}: source {number} is a {type(source).__name__}, not a tensor made by Input or a layer")
    unknown = [key for key in options if key not in OPTIONS]
    if unknown or "kernel_size" not in options:
        raise ValueError(f"{name}: the options of a source are {', '.join(OPTIONS)}, kernel_size needed; got {list(options)}")
    return source.layer.name or f"source{number}"


def connected(label, source, rule, maps, table, options, bias, weight_init):
    """The maps as far as they read one source."""
    kernel, stride = options["kernel_size"], options.get("stride")
    if rule == "softmax":
        layer = SoftMaxPool(kernel, stride, connections=table, name=label)
    elif rule == "sum":
        source = SumPool(kernel, stride, name=f"{label}.sum")(source)
        layer = Conv(maps, 1, connections=table, bias=bias, weight_init=weight_init, name=label)
    else:
        layer = Conv(maps, kernel, 1 if stride is None else stride, connections=table, bias=bias, weight_init=weight_init,
                     name=label)
    layer.trainable = options.get("trainable", True)
    return layer(source)


def check_sizes(name, parts):
    """ValueError unless all connections give maps of one size."""
    (first, node), *others = parts.items()
    for label, other in others:
        if other.shape != node.shape:
            sizes = ["x".join(map(str, n.shape[1:])) for n in (node, other)]
            raise ValueError(f"{name}: connection {first} gives maps of {sizes[0]}, {label} of {sizes[1]}; they must agree")
