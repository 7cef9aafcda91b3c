"""Gradient ascent on the inputs of a network, its weights fixed."""

from __future__ import annotations

import numpy as np

from ..layers.base import number_within
from ..shapes import integer
from .regularizers import Regularizer

TINY = 1e-30        # keeps a gradient of zero from being divided by its size


class Ascent:
    """Moves images towards greater values of an objective, each at its own pace: the gradient of each is scaled to a root mean
    square of 1, so that `learning_rate` is how far a pixel moves in a step.

    Parameters
    ----------
    view : View
        At whose layers the objective is.
    gradients : callable
        ``gradients(values) -> dict``: the objective's gradients by the values at the layers, see `View.gradients`.
    x : dict of str to array (N, *shape)
        Where it starts, by the names of the inputs; moved in place.
    moved : list of str
        The inputs that are moved; the others stay.
    regularizers : list of Regularizer
    learning_rate : float
    value_range : (float, float) or None
        What values are clipped to after each step.
    rng : numpy.random.Generator
    """

    def __init__(self, view, gradients, x, moved, regularizers, learning_rate, value_range, rng):
        self.view, self.x, self.moved = view, x, moved
        self.regularizers, self.learning_rate = regularizers, learning_rate
        self.value_range, self.rng = value_range, rng
        self._objective = lambda values: (None, gradients(values))

    def step(self, number):
        """Step number `number`, counted from 0.

        Returns
        -------
        array of bool (N,)
            Which images have a gradient: those without do not move.
        """
        alive = False
        undo = [r.before(self.x[name], self.rng) for r in self.regularizers for name in self.moved]
        of_inputs = self.view.gradients(self.x, self._objective)[1]
        for name in self.moved:
            x, gradient = self.x[name], of_inputs[name]
            flat = gradient.reshape(len(x), -1)
            sizes = np.sqrt(np.einsum("ni,ni->n", flat, flat) / flat.shape[1])
            scale = (self.learning_rate / np.maximum(sizes, TINY)).astype(x.dtype)
            alive = alive | (sizes > TINY)
            change = flat * scale[:, np.newaxis]
            for slope in (r.slope(x) for r in self.regularizers):
                if slope is not None:
                    change -= self.learning_rate * slope.reshape(change.shape)
            x.reshape(change.shape)[...] += change
            for r in self.regularizers:
                r.after(x, gradient, number)
            if self.value_range is not None:
                np.clip(x, *self.value_range, out=x)
        for back in undo:
            if back:
                back()
        return alive


def checked_ascent(steps, learning_rate, regularizers, value_range):
    """The common settings of ascents, checked: (steps, learning_rate, regularizers, value_range)."""
    steps, learning_rate = integer(steps, "steps", 1), number_within(learning_rate, "learning_rate")
    regularizers = list(regularizers)
    for r in regularizers:
        if not isinstance(r, Regularizer):
            raise TypeError(f"regularizers are objects such as L2Decay() or Blur(), got {r!r}")
    if value_range is not None:
        low, high = (number_within(v, "each end of value_range", above=-np.inf) for v in value_range)
        if low >= high:
            raise ValueError(f"value_range is (least, greatest), got {value_range!r}")
        value_range = low, high
    return steps, learning_rate, regularizers, value_range


def noise(shape, value_range, dtype, rng, contrast=0.1):
    """Images of noise around the middle of the range (around 0 where there is none)."""
    low, high = value_range or (-0.5, 0.5)
    return ((low + high) / 2 + contrast * (high - low) * rng.standard_normal(shape)).astype(dtype)
