"""The inputs that filters, neurons and outputs like best."""

from __future__ import annotations

import numpy as np

from ..figures import draw_image, new_figure, picture_path, write_figure
from ..shapes import integer
from ..view import View
from .ascent import Ascent, ascend, checked_ascent, starting_inputs
from .regularizers import Blur, Jitter, L2Decay

USUAL = (L2Decay(0.01), Blur(every=4, sigma=0.5), Jitter(1))


def maximize_activation(net, layer, maps=None, neuron=None, *, regularizers=USUAL, steps=200, learning_rate=0.05,
                        value_range=None, start=None, fixed=None, input_shapes=None, seed=0, verbose=1, save=None):
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
    value_range : (float, float), optional
        What values of the input are clipped to; without it, the regularizers alone keep them small.
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
        Where to write a sheet of the images, PNG, each shown from its least to its greatest value.

    Returns
    -------
    array (N, *shape), or dict of such
        An input for each map; a dict by name, where several inputs are moved.

    Raises
    ------
    ValueError, TypeError
        For an unknown layer, a map or neuron that it does not have, or settings that cannot be used; and when no gradient
        reaches the input.
    """
    path = picture_path(save)
    steps, learning_rate, regularizers, value_range = checked_ascent(steps, learning_rate, regularizers, value_range)
    net.graph.find(layer)
    view = View(net, layer, input_shapes=input_shapes)
    places = chosen_places(view.output_shapes[layer], layer, maps, neuron)
    weights = np.zeros((len(places), *view.output_shapes[layer]), net.dtype)
    for row, place in zip(weights, places):
        row[place] = 1
    rng = np.random.default_rng(seed)
    x, moved = starting_inputs(view, len(places), value_range, start, fixed, rng)
    ascent = Ascent(view, lambda values: {layer: weights}, x, moved, regularizers, learning_rate, value_range, rng)
    ascend(ascent, steps, f"maximize {layer}", verbose)
    titles = [", ".join(map(str, np.atleast_1d(place))) for place in places]
    write_figure(path, lambda: sheet_of_images(x[moved[0]], titles, f"What {layer} likes best"))
    return x if len(moved) > 1 else x[moved[0]]


def sheet_of_images(images, titles, title):
    """A matplotlib figure of inputs, each shown from its least to its greatest value."""
    across = min(len(images), max(4, round((1.6 * len(images)) ** 0.5)))
    down = -(-len(images) // across)
    figure = new_figure(1.1 * across, 1.3 * down + 0.4)
    for axes in figure.subplots(down, across, squeeze=False).ravel():
        axes.axis("off")
    for axes, image, name in zip(figure.axes, images, titles):
        draw_image(axes, image, name, spread=True)
    figure.suptitle(title)
    return figure


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
