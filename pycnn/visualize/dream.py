"""Deep Dream: an image is changed until it shows more of what the maps of a layer look for."""

from __future__ import annotations

import numpy as np

from ..figures import picture_path
from ..layers.base import number_within
from ..shapes import integer, number_below
from ..view import View
from .images import as_image, image_input, in_channels, resized, share, write_image

SMALLEST = 16           # rows or columns of an octave
GREYNESS = 0.05         # of the identity in the covariance of colours, whose trace is that of the identity
TINY = 1e-30            # keeps a gradient of zero from being divided by its size


def deep_dream(net, image, layer, maps=None, *, factor=None, octaves=5, scale=1.4, steps=12, learning_rate=0.004,
               jitter=16, bands=4, colours=True, seed=0, verbose=1, save=None):
    """Gradient ascent on an image, from coarse to fine, of the mean of squared values at a layer (Mordvintsev, Olah
    and Tyka 2015, Inceptionism).

    At each octave the image is resized, what was dreamt at the last one is added, and each of the `steps` adds
    `learning_rate` times the gradient over its mean absolute value. Before, the gradient is split into bands of
    detail that are made equally strong, without what is coarser than these; and it is turned towards the colours of
    the image: multiplied by the square root of their covariance (as in Olah, Mordvintsev and Schubert 2017, Feature
    Visualization).

    Parameters
    ----------
    net : Network
        With an input of images of 1 or 3 channels, which takes the image's size at that layer.
    image : array
        See `as_image`.
    layer : str
    maps : int or sequence of int, optional
        Chosen maps of the layer.
    factor : float, optional
        By how much the squares of chosen maps count more than those of the others. Where missing, only they count.
    octaves : int
        Sizes of the image, as far as the coarsest has 16 rows and columns and the layer can take it.
    scale : float
        From one size to the next, greater than 1.
    steps : int
        At each octave.
    learning_rate : float
        About how far a value moves in a step.
    jitter : int
        Each step sees the image shifted by up to so many pixels, around its edges; 0 for none.
    bands : int
        Of detail, an octave each; 0 takes the gradient as it is.
    colours : bool
        Whether it is turned towards the image's colours.
    seed : int or numpy.random.Generator
        Of the jitter.
    verbose : int
        1 shows a progress bar.
    save : str or path, optional
        A PNG file to be written.

    Returns
    -------
    array of float32 (C, H, W)
        Of the size of `image` and the channels of the network, values in [0, 1].

    Raises
    ------
    ValueError, TypeError
        When arguments do not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from pycnn.visualize import deep_dream, random_filters
    >>> grey = np.full((3, 64, 64), 0.5)
    >>> deep_dream(random_filters((3, 64, 64)), grey, "filters2", maps=12, verbose=0).shape
    (3, 64, 64)
    """
    from tqdm import tqdm

    image = as_image(image)
    octaves, steps, jitter = integer(octaves, "octaves", 1), integer(steps, "steps", 1), integer(jitter, "jitter", 0)
    scale, learning_rate = number_within(scale, "scale", above=1), number_within(learning_rate, "learning_rate")
    bands = integer(bands, "bands", 0)
    path, rng = picture_path(save), np.random.default_rng(seed)
    if not isinstance(layer, str):
        raise TypeError(f"layer is the name of one, got {layer!r}")
    name, shape = image_input(net, [layer])
    image = in_channels(image, shape[0])

    def view_of(size):
        return View(net, layer, start=name, input_shapes={name: (len(image), *size)})

    views = {image.shape[1:]: view_of(image.shape[1:])}
    for octave in range(1, octaves):
        size = tuple(round(n / scale**octave) for n in image.shape[1:])
        if min(size) < SMALLEST:
            break
        try:
            views[size] = view_of(size)
        except ValueError:      # too small for a kernel
            break
    count = net.graph.find(layer).shape[0]
    weights = weights_of_maps(maps, factor, count)

    def mean_square(values):
        v = values[layer]
        weighted = v * weights.reshape(-1, *[1] * (v.ndim - 2))
        value = np.vdot(weighted, v) / v.size
        weighted *= 2 / v.size
        return value, {layer: weighted}

    mixture = colour_mixture(image) if colours else np.eye(len(image), dtype=np.float32)
    dreamt = np.zeros((len(image), 1, 1), np.float32)
    with tqdm(total=len(views) * steps, desc="dreaming", unit=" steps", leave=False, disable=verbose != 1) as bar:
        for size, view in reversed(views.items()):
            clean = resized(image, size)
            x = np.clip(clean + resized(dreamt, size), 0, 1)
            for _ in range(steps):
                shift = rng.integers(-jitter, jitter + 1, 2)
                value, gradients = view.gradients(np.roll(x, shift, (1, 2))[np.newaxis], mean_square)
                gradient = np.roll(gradients[name][0], -shift, (1, 2))
                gradient = np.tensordot(mixture, equal_bands(gradient, bands) if bands else gradient, 1)
                x += (learning_rate / max(TINY, np.abs(gradient).mean())) * gradient
                np.clip(x, 0, 1, out=x)
                bar.update()
                bar.set_postfix_str(f"mean square {value:.4f}")
            dreamt = x - clean
    write_image(path, x)
    return x


def weights_of_maps(maps, factor, count):
    """What the squares of each of the `count` maps count."""
    if maps is None:
        if factor is not None:
            raise ValueError("factor says how much more the chosen maps count: name maps")
        return np.ones(count, np.float32)
    chosen = [number_below(m, count, "each of maps") for m in ([maps] if np.ndim(maps) == 0 else maps)]
    if not chosen:
        raise ValueError("maps must name one at least")
    if factor is None:
        weights, factor = np.zeros(count, np.float32), 1.0
    else:
        weights = np.ones(count, np.float32)
    weights[chosen] = share(factor, "factor")
    return weights


def equal_bands(gradient, count):
    """The sum of the finest bands of a gradient ``(C, H, W)``, an octave each, with a standard deviation of 1."""
    finest = []
    for _ in range(count):
        coarser = resized(gradient, [-(-n // 2) for n in gradient.shape[1:]])
        band = gradient - resized(coarser, gradient.shape[1:])
        finest.append(band / max(TINY, band.std()))
        gradient = coarser
    total = finest.pop()
    while finest:
        band = finest.pop()
        total = band + resized(total, band.shape[1:])
    return total


def colour_mixture(image):
    """The square root of the covariance of an image's colours, of trace C, with a little of the identity."""
    channels = len(image)
    covariance = np.atleast_2d(np.cov(image.reshape(channels, -1)))
    size = np.trace(covariance)
    covariance = covariance * (channels / size) if size > TINY else np.eye(channels)
    values, vectors = np.linalg.eigh(covariance)
    return ((vectors * np.sqrt(np.maximum(values, 0) + GREYNESS)) @ vectors.T).astype(image.dtype)
