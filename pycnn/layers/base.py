"""What every layer is: a declaration with a name, parameters and trainable flags, and the node that one use of it makes."""

from __future__ import annotations

import inspect
import math
import numbers
import sys
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from .._kernels import ACTIVATIONS
from ..shapes import check_size, integer


class Node:
    """One use of a layer: the symbolic tensor that it makes of its inputs.

    Attributes
    ----------
    layer : Layer
    inputs : tuple of Node
    shape : tuple of int
        Without the batch.
    """

    __slots__ = ("layer", "inputs", "shape")

    def __init__(self, layer, inputs):
        self.layer, self.inputs = layer, inputs
        try:
            self.shape = layer.output_shape(*(i.shape for i in inputs))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{self.label}: {error}") from None
        check_size(self.shape, f"{self.label}: its output")

    @property
    def label(self):
        return self.layer.name or type(self.layer).__name__

    def __repr__(self):
        return f"<{self.label} {self.shape}>"


@dataclass
class ParameterSpec:
    """What a layer says of a parameter: its shape, how it starts, how many inputs and outputs each value joins, and how
    finely it can be frozen."""

    shape: tuple
    initializer: Callable | str
    fan_in: int | np.ndarray = 1        # or an array that broadcasts to the shape
    fan_out: int | np.ndarray = 1
    switches: int = 1                   # leading axes whose entries can be frozen one by one: maps, or maps and sources


@dataclass(eq=False)
class Stored:
    """A tensor where it lives: a piece of one of its storage's flat vectors."""

    name: str
    shape: tuple
    storage: object
    offset: int

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def value(self):
        """The tensor itself, as a view that can be read and written."""
        return self.vector[self.offset : self.offset + self.size].reshape(self.shape)


class Statistic(Stored):
    """What a layer has seen of its input and keeps with it, such as a running mean. It is not learned."""

    @property
    def vector(self):
        return self.storage.seen


@dataclass(eq=False)
class Parameter(Stored):
    """A tensor that is learned."""

    learns: np.ndarray = field(repr=False)  # which entries of the leading axes are trainable

    @property
    def vector(self):
        return self.storage.values

    def trainable_ranges(self):
        """Half-open ranges of the flat vector that may change."""
        each = self.size // max(1, self.learns.size)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.learns.ravel().astype(np.int8), [0]])))
        return [(self.offset + int(a) * each, self.offset + int(b) * each) for a, b in edges.reshape(-1, 2)]


class Layer:
    """Base of all layers.

    A subclass says what comes out of it (`output_shape`), what it learns (`parameters`), and which kernels its passes
    call (`forward`, `backward`, on the builder of a plan). It keeps its constructor's arguments as attributes of the same names, but
    for a flag whether it has a parameter: `bias` is kept as `has_bias`, since ``layer.bias`` is the parameter itself.

    Parameters
    ----------
    name : str, optional
        Unique in its network; made up where missing.
    """

    fuses_activation = False    # its kernel can end with an activation
    fuses_pool = False          # or with max pooling
    activation = None           # name of the activation it ends with
    passes_curvature = True     # whether its backward pass works on second derivatives too (see Builder.factor)

    def __init__(self, name=None):
        self.name = None if name is None else checked_name(name, "a layer's name")
        self._trainable = True
        self._sealed = False        # whether it is part of a network
        self._parameters: dict[str, Parameter] = {}
        self._statistics: dict[str, Statistic] = {}

    def __call__(self, *inputs):
        """The node that this layer makes of its inputs (nodes, or one list of them)."""
        if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = tuple(inputs[0])
        for i in inputs:
            if not isinstance(i, Node):
                raise TypeError(f"{self.name or type(self).__name__}: call it with tensors made by Input or a layer, "
                                f"not {type(i).__name__}; a Network is what takes arrays")
        return Node(self, tuple(inputs))

    def output_shape(self, *input_shapes):
        """Shape of the output, without the batch."""
        raise NotImplementedError

    def parameters(self, *input_shapes):
        """What the layer learns: dict of name to ParameterSpec."""
        return {}

    def statistics(self, *input_shapes):
        """What the layer keeps of what it has seen: dict of name to (shape, first value)."""
        return {}

    def check_input(self, x):
        """ValueError unless the layer can take these values of an input of the network, ``(N, *shape)``."""

    def count_connections(self, *input_shapes):
        """How many pairs of values the layer joins, biases included."""
        return 0

    def forward(self, b, s):
        """Calls the kernels of the forward pass of stage `s` on builder `b`."""
        raise NotImplementedError

    def backward(self, b, s, dy):
        """Calls the kernels of the backward pass; `dy` is the gradient of the stage's output."""
        raise NotImplementedError

    def update(self, b, s, guard, scale):
        """Calls the kernels that update the layer's statistics after a training step, unless what lies at the addresses
        `guard` or `scale`, the loss and the factor of its gradient, is not finite."""

    def fuses_norm(self, shape):
        """Whether a normalisation can be folded into its weights, given the shape of its input."""
        return False

    def fuses_sum(self, shape):
        """Whether its kernel can add another tensor to its result, given the shape of its input."""
        return False

    def layout(self, b, s):
        """The layout in which the stage does its work: that of its input."""
        return s.inputs[0].layout

    def config(self):
        """The constructor's arguments, as JSON-able data."""
        own = vars(self)
        names = [n for n in inspect.signature(type(self).__init__).parameters if n not in ("self", "name")]
        values = {n: own[n] if n in own else own[f"has_{n}"] for n in names}
        return {n: "default" if n.endswith("_init") and callable(v) else to_json(v) for n, v in values.items()}

    # ---- what a built network adds: parameters and their flags

    def count_parameters(self, trainable=False):
        """How many parameters it has, or can learn; none before it is part of a network."""
        if not trainable:
            return sum(p.size for p in self._parameters.values())
        ranges = [r for p in self._parameters.values() for r in p.trainable_ranges()] if self.trainable else []
        return sum(end - begin for begin, end in ranges)

    def __getattr__(self, name):
        stored = self._stored(name)
        if stored is not None:
            return stored.value
        raise AttributeError(f"{type(self).__name__} {self.__dict__.get('name')!r} has no attribute {name!r}")

    def _stored(self, name):
        """The parameter or statistic of that name, or None."""
        return self.__dict__.get("_parameters", {}).get(name) or self.__dict__.get("_statistics", {}).get(name)

    def __setattr__(self, name, value):
        stored = self._stored(name)
        if stored is not None:
            stored.value[...] = value
        elif self.__dict__.get("_sealed") and not name.startswith("_") and name != "trainable":
            raise AttributeError(f"{self.name}: {name} is fixed once the layer is part of a network; make a new layer")
        else:
            super().__setattr__(name, value)

    def check_unset(self, kinds):
        """ValueError if a parameter was set before there was one."""
        for kind in kinds:
            if kind in vars(self):
                raise ValueError(f"{self.name}: {kind!r} was set before the network was made; set it in the network")

    def join(self, parameters, statistics):
        """Becomes part of a network, which keeps its parameters and statistics."""
        self._parameters, self._statistics, self._sealed = parameters, statistics, True

    @property
    def trainable(self):
        """Whether the layer learns. May be set at any time, also between two batches."""
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        self._trainable = bool(value)
        self._flags_changed()

    @property
    def trainable_maps(self):
        """Which feature maps learn, wholly or in part: a boolean mask (maps,), a copy."""
        return self.learning_maps() & self._trainable

    def learning_maps(self):
        """`trainable_maps`, as if the layer itself were not frozen."""
        masks = [self.of_maps(kind, p.learns) for kind, p in self._parameters.items()]
        return np.logical_or.reduce(masks) if masks else np.zeros(0, bool)

    def of_maps(self, kind, learns):
        """Which maps a parameter's mask lets learn."""
        return learns.reshape(len(learns), -1).any(axis=1)

    def entries_of_maps(self, kind, maps):
        """Which entries of a parameter's mask belong to the maps of that mask."""
        return maps

    def entry_of_connection(self, target, source):
        """(parameter, entry of its mask) of the connection by which map `target` reads map `source`."""
        raise ValueError("its maps have no connections of their own")

    def freeze(self, maps=None, connections=None):
        """Stops learning: of the whole layer, of feature maps, or of single connections.

        Parameters
        ----------
        maps : int, sequence of int or boolean mask, optional
        connections : sequence of (map, source map), optional
            Their weights stop, the maps' biases go on.
        """
        self._switch(maps, connections, False)

    def unfreeze(self, maps=None, connections=None):
        """Goes on learning: of the whole layer with all it has, of feature maps, or of single connections."""
        self._switch(maps, connections, True)

    def _switch(self, maps, connections, trainable):
        label = self.name or type(self).__name__
        if maps is None and connections is None:
            self._trainable = trainable
            if trainable:
                for parameter in self._parameters.values():
                    parameter.learns[...] = True
            self._flags_changed()
            return
        if not self._parameters:
            raise ValueError(f"{label}: there are no maps to freeze or unfreeze; a layer has its parameters once a network "
                             f"is made of it")
        count = len(self.learning_maps())
        mask = np.zeros(count, bool)
        entries = []
        if maps is not None:
            maps = np.atleast_1d(np.asarray(maps))
            of_all = maps.dtype.kind == "b" and maps.shape == (count,)
            if not of_all and maps.size and (maps.dtype.kind not in "iu" or not 0 <= maps.min() <= maps.max() < count):
                raise ValueError(f"{label}: maps must be numbers from 0 to {count - 1}, got {maps.tolist()}")
            mask[maps if maps.size else []] = True
        for pair in () if connections is None else connections:
            try:
                target, source = (integer(i, "a map") for i in pair)
                entries.append(self.entry_of_connection(target, source))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{label}: connections are pairs (map, source map); got {pair!r}: {error}") from None
        if trainable and not self._trainable:       # what was frozen as a whole goes on piece by piece
            for parameter in self._parameters.values():
                parameter.learns[...] = False
            self._trainable = True
        for kind, parameter in self._parameters.items():
            parameter.learns[self.entries_of_maps(kind, mask)] = trainable
        for kind, entry in entries:
            self._parameters[kind].learns[entry] = trainable
        self._flags_changed()

    def _flags_changed(self):
        for parameter in self._parameters.values():
            parameter.storage.version += 1

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.config().items())
        return f"{type(self).__name__}({arguments})"


class InputLayer(Layer):
    """Where a network's input enters."""

    def __init__(self, shape, name=None):
        super().__init__(name)
        shape = shape if isinstance(shape, (tuple, list)) else (shape,)
        self.shape = tuple(integer(size, "each size of an input", 1) for size in shape)
        if not 1 <= len(self.shape) <= 4:
            raise ValueError(f"an input has 1 to 4 axes besides the batch, got {self.shape}")

    def output_shape(self):
        return self.shape


def checked_name(name, what):
    """`name`, if it is a name that tensors in a file can have."""
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"{what} is a non-empty string without '/', not {name!r}")
    return name


def to_json(value):
    """Tuples and arrays as lists, numpy scalars as Python's."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [to_json(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def activation_code(activation, alpha=None):
    """The number and parameter by which kernels know an activation's name."""
    if activation is None:
        return (0, 0.0)
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; known are {', '.join(ACTIVATIONS)}; GELU, SiLU, HardSigmoid, "
                         f"HardSwish, Mish, Softsign, Clip and PReLU are layers of their own")
    default = {"leaky_relu": 0.01, "elu": 1.0}.get(activation, 0.0)
    return (ACTIVATIONS.index(activation), default if alpha is None else float(alpha))


def one_shape(shapes, axes, expects):
    """The shape of the only input, whose number of axes is among `axes`."""
    if len(shapes) != 1:
        raise ValueError(f"takes one input, got {len(shapes)}")
    if len(shapes[0]) not in axes:
        raise ValueError(f"got an input of shape {shapes[0]} (without the batch), expects {expects}")
    return shapes[0]


def number_within(value, what, most=math.inf, above=0):
    """`value` as a float, if it is a finite number greater than `above` and at most `most`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a number, got {value!r}")
    if not (above < value <= most and abs(value) <= sys.float_info.max):
        bounds = [f"greater than {above}"] * (above > -math.inf) + [f"at most {most}"] * (most < math.inf)
        raise ValueError(f"{what} must be a finite number{' ' * bool(bounds)}{' and '.join(bounds)}, got {value!r}")
    return float(value)
