"""Where the parameters of a network live: one flat vector, and beside it their gradients and the optimizer's state.

What layers keep of what they have seen (statistics) is a vector of its own.
"""

from __future__ import annotations

import weakref

import numpy as np

from .layers.base import Parameter, Statistic

CURVATURE = "curvature"     # the state in which second derivatives are kept
ALIGNMENT = 64      # bytes; every parameter begins on a cache line


def aligned_vector(size, dtype):
    """A vector of zeros that begins on a cache line, with one vector register of slack behind it."""
    dtype = np.dtype(dtype)
    memory = np.zeros(size * dtype.itemsize + 2 * ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + size * dtype.itemsize].view(dtype)


class Lease:
    """A vector handed out to be read and written. Every view of it keeps the lease alive."""

    def __init__(self, vector):
        self._vector = vector
        self.__array_interface__ = vector.__array_interface__


class Storage:
    """The flat vectors of a network's parameters.

    Parameters
    ----------
    layers : dict of str to (Layer, dict of str to ParameterSpec, dict of str to (shape, first value))
        What each learns, and what it keeps of what it has seen.
    dtype : numpy dtype
        float32 or float64.

    Attributes
    ----------
    parameters : dict of str to Parameter
        By names such as ``"C1/weight"``.
    values : numpy.ndarray
        All parameters, one after the other.
    statistics : dict of str to Statistic
        By names such as ``"BN1/running_mean"``.
    seen : numpy.ndarray
        All statistics, one after the other.
    version : int
        Changes whenever a trainable flag does.
    seed : int
        From which layers draw at random, below 2^64.
    """

    def __init__(self, layers, dtype):
        for layer, specs, statistics in layers.values():
            layer.check_unset([*specs, *statistics])
        self.dtype = np.dtype(dtype)
        self.version = self.seed = 0
        self.parameters: dict[str, Parameter] = {}
        self.statistics: dict[str, Statistic] = {}
        self.layers = [layer for layer, _, _ in layers.values()]
        size = seen = 0
        for name, (layer, specs, statistics) in layers.items():
            for kind, spec in specs.items():
                learns = np.ones(spec.shape[: spec.switches], bool)
                parameter = Parameter(f"{name}/{kind}", tuple(spec.shape), self, size, learns)
                self.parameters[parameter.name] = parameter
                size += self._room(parameter)
            for kind, (shape, _) in statistics.items():
                statistic = Statistic(f"{name}/{kind}", tuple(shape), self, seen)
                self.statistics[statistic.name] = statistic
                seen += self._room(statistic)
        self._values, self._seen = aligned_vector(size, self.dtype), aligned_vector(seen, self.dtype)
        self._leases, self._writes = weakref.WeakSet(), 0
        self._gradients = None
        self._state: dict[str, np.ndarray] = {}
        for name, (layer, specs, statistics) in layers.items():
            layer.join({kind: self.parameters[f"{name}/{kind}"] for kind in specs},
                       {kind: self.statistics[f"{name}/{kind}"] for kind in statistics})
            for kind, (_, first) in statistics.items():
                self.statistics[f"{name}/{kind}"].value[...] = first

    def _room(self, tensor):
        """Numbers that a tensor takes, so that the next begins on a cache line."""
        step = ALIGNMENT // self.dtype.itemsize
        return -(-tensor.size // step) * step

    @property
    def values(self):
        return self._handed_out(self._values)

    @property
    def seen(self):
        return self._handed_out(self._seen)

    def _handed_out(self, vector):
        lease = Lease(vector)
        self._leases.add(lease)
        self.note_write()
        return np.asarray(lease)

    def note_write(self):
        """Says that parameters or statistics may have been written."""
        self._writes += 1

    def state_of_values(self):
        """A number that changes whenever parameters or statistics may have been written; None while somebody holds a view of
        them, and may write any time."""
        return None if len(self._leases) else self._writes

    @property
    def gradients(self):
        """The gradients of all parameters, made when first asked for."""
        if self._gradients is None:
            self._gradients = aligned_vector(len(self._values), self.dtype)
        return self._gradients

    def state(self, name):
        """A vector of the optimizer's, zero at first."""
        if name not in self._state:
            self._state[name] = aligned_vector(len(self._values), self.dtype)
        return self._state[name]

    def reset_state(self):
        """Sets the optimizer's vectors to zero."""
        for vector in self._state.values():
            vector[:] = 0

    def piece(self, vector, parameter):
        """The part of a flat vector that belongs to a parameter, in its shape."""
        return vector[parameter.offset : parameter.offset + parameter.size].reshape(parameter.shape)

    def trainable_ranges(self):
        """Half-open ranges of the flat vectors that may change, in order."""
        return [r for layer in self.layers for p in layer._parameters.values() if layer.trainable
                for r in p.trainable_ranges()]

    # ---- addresses, for a plan

    @property
    def values_address(self):
        return self._values.ctypes.data

    @property
    def gradients_address(self):
        return self.gradients.ctypes.data

    def state_address(self, name):
        return self.state(name).ctypes.data

    def curvature_address(self, parameter):
        return self.state_address(CURVATURE) + parameter.offset * self.dtype.itemsize

    def statistic_address(self, statistic):
        return self._seen.ctypes.data + statistic.offset * self.dtype.itemsize

    def address(self, parameter):
        return self.values_address + parameter.offset * self.dtype.itemsize

    def gradient_address(self, parameter):
        return self.gradients_address + parameter.offset * self.dtype.itemsize
