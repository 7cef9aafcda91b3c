"""Gradient ascent on the inputs of a network, its weights fixed."""

from __future__ import annotations

import numpy as np

from ..layers import Embedding
from ..layers.base import number_within
from ..progress import shown
from ..shapes import as_tensor, integer
from .regularizers import Regularizer

TINY = 1e-30        # keeps a gradient of zero from being divided by its size
LARGEST = 1e18      # of settings: squares of it are finite in float32


class Ascent:
    """Moves images towards greater values of an objective, each at its own pace: the gradient of each is scaled to a root mean
    square of 1, so that `learning_rate` is how far a pixel moves in a step. An image whose gradient is zero, because rectifiers
    are silent on the way, moves by the deconvnet's rule (see `View`), which wakes them.

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
        self._waking = view.by_rule("deconvnet")
        self.regularizers, self.learning_rate = regularizers, learning_rate
        self.value_range, self.rng = value_range, rng
        self._objective = lambda values: (None, gradients(values))

    def step(self, number):
        """Step number `number`, counted from 0.

        Returns
        -------
        bool
            Whether any image moved.
        """
        undo = [r.before(self.x[name], self.rng) for r in self.regularizers for name in self.moved]
        gradients = self.view.gradients(self.x, self._objective)[1]
        sizes = self._sizes(gradients)
        silent = np.all([size < TINY for size in sizes.values()], axis=0)
        if silent.any():
            waking = self._waking.gradients(self.x, self._objective)[1]
            for name in self.moved:
                gradients[name][silent] = waking[name][silent]
            sizes = self._sizes(gradients)
        for name in self.moved:
            x, gradient = self.x[name], gradients[name]
            scale = (self.learning_rate / np.maximum(sizes[name], TINY)).astype(x.dtype)
            change = gradient.reshape(len(x), -1) * scale[:, np.newaxis]
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
        return any(size.max() > TINY for size in sizes.values())

    def _sizes(self, gradients):
        """The root mean square of each image's gradient, by the names of what is moved."""
        flat = {name: gradients[name].reshape(len(gradients[name]), -1) for name in self.moved}
        return {name: root_mean_square(g) for name, g in flat.items()}


def root_mean_square(rows):
    """The root mean square of each row; in float64 where squares are beyond the range of the rows' type."""
    with np.errstate(over="ignore"):
        squares = np.einsum("ni,ni->n", rows, rows)
    if not ((squares > 1e-25) & (squares < np.inf)).all():
        squares = np.einsum("ni,ni->n", rows, rows, dtype=np.float64)
    return np.sqrt(squares / rows.shape[1])


def checked_ascent(steps, learning_rate, regularizers, value_range):
    """The common settings of ascents, checked: (steps, learning_rate, regularizers, value_range)."""
    steps, learning_rate = integer(steps, "steps", 1), number_within(learning_rate, "learning_rate", LARGEST)
    if not isinstance(regularizers, (tuple, list)):
        raise TypeError(f"regularizers is a list of them, got {regularizers!r}")
    regularizers = list(regularizers)
    for r in regularizers:
        if not isinstance(r, Regularizer):
            raise TypeError(f"regularizers are objects such as L2Decay() or Blur(), got {r!r}")
    if value_range is not None:
        if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
            raise TypeError(f"value_range is (least, greatest), got {value_range!r}")
        low, high = (number_within(v, "each end of value_range", LARGEST, -LARGEST) for v in value_range)
        if low >= high:
            raise ValueError(f"value_range is (least, greatest), got {value_range!r}")
        value_range = low, high
    return steps, learning_rate, regularizers, value_range


def ascend(ascent, steps, title, verbose):
    """Takes so many steps.

    Raises
    ------
    ValueError
        When no image ever moved.
    """
    moved = [ascent.step(number) for number in shown(range(steps), title, "step", verbose)]
    if not any(moved):
        raise ValueError(f"{', '.join(ascent.view.output_shapes)}: no gradient reaches the input {', '.join(ascent.moved)}")


def starting_inputs(view, count, value_range, start, fixed, rng, contrast=0.1):
    """Where an ascent of `count` images begins.

    Parameters
    ----------
    start : array or dict of str to array
        ``(*shape)`` or ``(count, *shape)``; of inputs that are missing, noise.
    fixed : dict of str to array
        Inputs that stay as they are.

    Returns
    -------
    x : dict of str to array (count, *shape)
    moved : list of str
        The inputs that are not fixed.
    """
    if not isinstance(fixed, (dict, type(None))):
        raise TypeError(f"fixed is a dict by the names of inputs, got {fixed!r}")
    shapes, fixed = view.input_shapes, dict(fixed or {})
    moved = [name for name in shapes if name not in fixed]
    if not moved:
        raise ValueError("all inputs are fixed: none is left to move")
    if start is not None and not isinstance(start, dict):
        if len(moved) > 1:
            raise ValueError(f"the inputs {', '.join(moved)} are moved: start is a dict by their names")
        start = {moved[0]: start}
    given = {**fixed, **(start or {})}
    unknown = [name for name in given if name not in shapes]
    if unknown:
        raise ValueError(f"there is no input {unknown[0]!r}; the inputs are {', '.join(shapes)}")
    x = {}
    for name, shape in shapes.items():
        if name in given:
            array = as_tensor(given[name], view.dtype, f"input {name!r}")
            if array.shape not in (shape, (count, *shape)):
                raise ValueError(f"input {name!r} is given as {array.shape}, expects {shape} or {(count, *shape)}")
            if not np.isfinite(array).all():
                raise ValueError(f"input {name!r} has values that are not finite")
            if name in moved and value_range and not (value_range[0] <= array.min() and array.max() <= value_range[1]):
                raise ValueError(f"input {name!r} starts with values from {array.min():g} to {array.max():g}, outside "
                                 f"value_range {value_range}")
            x[name] = np.array(np.broadcast_to(array, (count, *shape)))
        elif any(isinstance(layer, Embedding) for layer in view._picky[name]):
            raise ValueError(f"input {name!r} holds numbers of words, which no gradient can move: name them in fixed")
        else:
            x[name] = noise((count, *shape), value_range, view.dtype, rng, contrast)
    view.check_inputs(x)
    return x, moved


def noise(shape, value_range, dtype, rng, contrast):
    """Normal noise around the middle of the range (around 0 where there is none), within it."""
    low, high = value_range or (-0.5, 0.5)
    values = (low + high) / 2 + contrast * (high - low) * rng.standard_normal(shape)
    return (values if value_range is None else values.clip(low, high)).astype(dtype)
