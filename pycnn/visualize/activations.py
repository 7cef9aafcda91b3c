"""The inputs that filters, neurons and outputs like best."""

from __future__ import annotations

from math import prod

import numpy as np

from ..shapes import integer
from ..view import View
from .ascent import Ascent, checked_ascent, noise
from .regularizers import Blur, Jitter, L2Decay

USUAL = (L2Decay(0.01), Blur(every=4, sigma=0.5), Jitter(1))


def maximize_activation(net, layer, maps=None, neuron=None, *, regularizers=USUAL, steps=200, learning_rate=0.05,
                        value_range=(0.0, 1.0), start=None, fixed=None, input_shapes=None, seed=0, verbose=1, save=None):
    """The inputs that maps of a layer, or single neurons, like best, by gradient ascent on the input (Erhan et al. 2009,
    Visualizing higher-layer features of a deep network).

    What is maximised is the sum of a map of the layer's values over all positions, or the value of a neuron; all maps at once,
    an image each. The gradient of each image is scaled to a root mean square of 1.

    Parameters
    ----------
    net : Network
    layer : str
        Name of a layer, whose values may have positions ``(C, ...)`` or not ``(C,)``.
    maps : int or list of int, optional
        Which maps, or units of a layer without positions; all where missing.
    neuron : tuple of int or list of such, optional
        Instead of maps: a neuron's place ``(map, *position)``, or several.
    regularizers : list of Regularizer
        See `pycnn.visualize.regularizers`: L1, L2Decay, TotalVariation, Blur, ClipSmallNorms, ClipSmallContributions, Jitter.
    steps : int
    learning_rate : float
        How far a value moves in a step, as a root mean square.
    value_range : (float, float) or None
        What values of the input are clipped to.
    start : array (*shape) or (N, *shape), optional
        Where the ascent begins, the same for all or for each map; noise around the middle of the range where missing. A dict by
        name for networks of several inputs.
    fixed : dict of str to array (*shape), optional
        Inputs that stay as they are, by name. All others are moved.
    input_shapes : tuple of int, or dict of str to tuple of int, optional
        Another size of the input, see `View`.
    seed : int or numpy.random.Generator
    verbose : int
        1 shows a progress bar.
    save : str, optional
        Where to write a sheet of the images, PNG.

    Returns
    -------
    array (N, *shape), or dict of such
        An input for each map, in `value_range`; a dict by name, where several inputs are moved.

    Raises
    ------
    ValueError, TypeError
        For an unknown layer, a map or neuron that it does not have, or settings that cannot be used; and when no gradient
        reaches the input.
    """
    steps, learning_rate, regularizers, value_range = checked_ascent(steps, learning_rate, regularizers, value_range)
    view = View(net, layer, input_shapes=input_shapes)
    places = chosen_places(view.output_shapes[layer], layer, maps, neuron)
    weights = np.zeros((len(places), *view.output_shapes[layer]), net.dtype)
    for row, place in zip(weights, places):
        row[place] = 1
    images = maximize(view, lambda values: {layer: weights}, len(places), regularizers, steps, learning_rate, value_range,
                      start, fixed, seed, verbose, f"maximize {layer}")
    if save is not None:
        titles = [f"{layer} {', '.join(map(str, np.atleast_1d(place)))}" for place in places]
        save_images(images, titles, value_range, save)
    return images


def maximize(view, gradients, count, regularizers, steps, learning_rate, value_range, start, fixed, seed, verbose, title):
    """Ascends from `count` images; see `maximize_activation`. Images that no gradient reaches begin again, from other noise."""
    rng = np.random.default_rng(seed)
    x, moved = starting_images(view, count, value_range, start, fixed, rng)
    ascent = Ascent(view, gradients, x, moved, regularizers, learning_rate, value_range, rng)
    numbers = range(steps)
    if verbose:
        from tqdm import tqdm
        numbers = tqdm(numbers, desc=title, unit="step", leave=False)
    ever = np.zeros(count, bool)
    for number in numbers:
        alive = ascent.step(number)
        ever |= alive
        if start is None and not alive.all():
            for name in moved:
                again = noise((int((~alive).sum()), *x[name].shape[1:]), value_range, x[name].dtype, rng, contrast=0.5)
                x[name][~alive] = again if value_range is None else np.clip(again, *value_range)
    if not ever.any():
        raise ValueError(f"{', '.join(view.output_shapes)}: no gradient reaches the input {', '.join(moved)}")
    return x if len(moved) > 1 else x[moved[0]]


def starting_images(view, count, value_range, start, fixed, rng):
    """(inputs by name, names of those that move)."""
    fixed = dict(fixed or {})
    shapes = view.input_shapes
    unknown = [name for name in fixed if name not in shapes]
    if unknown:
        raise ValueError(f"fixed has {unknown}; the inputs are {list(shapes)}")
    moved = [name for name in shapes if name not in fixed]
    if not moved:
        raise ValueError("all inputs are fixed: none is left to move")
    if start is not None and not isinstance(start, dict):
        if len(moved) > 1:
            raise ValueError(f"the inputs {moved} are moved: start is a dict by their names")
        start = {moved[0]: start}
    given = {**fixed, **(start or {})}
    unknown = [name for name in given if name not in shapes]
    if unknown:
        raise ValueError(f"start has {unknown}; the inputs are {list(shapes)}")
    x = {}
    for name, shape in shapes.items():
        if name in given:
            array = np.asarray(given[name])
            if array.shape not in (shape, (count, *shape)):
                raise ValueError(f"input {name!r} is given as {array.shape}, expects {shape} or {(count, *shape)}")
            x[name] = np.array(np.broadcast_to(array, (count, *shape)), view.dtype)
        else:
            x[name] = noise((count, *shape), value_range, view.dtype, rng)
    view.check_inputs(x)
    return x, moved


def chosen_places(shape, layer, maps, neuron):
    """Indices of what is maximised, in a layer's values of one sample."""
    if neuron is None:
        maps = range(shape[0]) if maps is None else np.atleast_1d(maps).tolist()
        places = [(integer(m, "a map"),) for m in maps]
    else:
        if maps is not None:
            raise ValueError("either maps or neuron, not both")
        several = isinstance(neuron, list) and any(np.ndim(n) for n in neuron)
        places = [tuple(integer(i, "a neuron's place") for i in np.atleast_1d(n)) for n in (neuron if several else [neuron])]
        for place in places:
            if len(place) != len(shape):
                raise ValueError(f"{layer}: a neuron's place is {len(shape)} numbers in {shape}, got {place}")
    if not places:
        raise ValueError("there is nothing to maximise: maps is empty")
    for place in places:
        if not all(0 <= i < size for i, size in zip(place, shape)):
            raise ValueError(f"{layer}: {place if neuron is not None else f'map {place[0]}'} is outside its shape {shape}")
    return [place[0] if neuron is None else place for place in places]
