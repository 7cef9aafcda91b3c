"""A network of filters that nobody trained, at many scales: enough to tell textures apart."""

from __future__ import annotations

import numpy as np

from .. import layers as L
from ..graph import Input
from ..network import Network
from ..shapes import integer

FEWEST = 4                              # filters side by side across the coarsest scale: fewer have little to average
AXES = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])     # light, red-green, yellow-blue
COLOURS = (1.0, 0.6, 0.6)               # standard deviation of a filter along these


def random_filters(shape=(3, 512, 512), maps=64, size=7, scales=6, seed=0):
    """One layer of random filters at each scale of an image pyramid, all of them outputs.

    Ustyuzhaninov et al. 2016 (arXiv:1606.00021) find that the Gram matrices of one layer of random filters of 3x3 to
    55x55 are enough for textures. Here the filters stay small and the image shrinks: a filter 7x7 on an image of a
    sixteenth of the size sees 112x112 pixels. They are Gabor functions of random direction, wavelength, phase and
    colour, like the filters that networks learn in their first layer, as these fit the spectrum of photographs better
    than white noise. One in four is noise of 3x3, for the finest grain.

    Parameters
    ----------
    shape : tuple of int
        ``(C, H, W)``, C 1 or 3. A `View` of it takes any H and W that leave the coarsest scale `size` pixels.
    maps : int
        Filters at each scale, at least 4.
    size : int
        Of the filters, odd, at least 3.
    scales : int
        At most; each is half as large as the one before, the coarsest at least four times as large as the filters.
    seed : int or numpy.random.Generator

    Returns
    -------
    Network
        With the layers filters1, filters2, filters4, ..., named by how many pixels lie between two positions. Each is a
        convolution with a rectifier, without padding.

    Raises
    ------
    ValueError
        When the image is smaller than the filters.

    Examples
    --------
    >>> from pycnn.visualize import random_filters
    >>> random_filters((3, 128, 128)).output_shapes
    {'filters1': (64, 122, 122), 'filters2': (64, 57, 57), 'filters4': (64, 24, 24)}
    """
    maps, size, scales = integer(maps, "maps", 4), integer(size, "size", 3), integer(scales, "scales", 1)
    image = Input(shape, name="image")
    if len(image.shape) != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"random filters read images (C, H, W), C being 1 or 3, got {shape}")
    if size % 2 == 0:
        raise ValueError(f"size must be odd, got {size}")
    if min(image.shape[1:]) < size:
        raise ValueError(f"filters {size}x{size} need an image of that size at least, got {image.shape}")
    rng, channels = np.random.default_rng(seed), image.shape[0]
    h, outputs, values = image, {}, {}
    for number in range(scales):
        step = 2**number
        if number:
            if min(h.shape[1:]) < 2 * FEWEST * size + 2:
                break
            h = L.AvgPool(2, stride=1, name=f"smooth{step}")(h)     # with the next two: 1 3 3 1 along each axis
            h = L.AvgPool(2, stride=1, name=f"smoother{step}")(h)
            h = L.AvgPool(2, name=f"half{step}")(h)
        name = f"filters{step}"
        outputs[name] = L.Conv(maps, size, activation="relu", name=name)(h)
        weight = np.concatenate([noise_filters(maps // 4, channels, size, rng),
                                 gabor_filters(maps - maps // 4, channels, size, rng)])
        weight /= np.sqrt(np.square(weight).sum(axis=(1, 2, 3), keepdims=True))
        values[f"{name}/weight"] = weight
        values[f"{name}/bias"] = -0.5 * weight.sum(axis=(1, 2, 3))      # no answer to a grey of 1/2
    net = Network(image, outputs, name="random filters", seed=0)
    for name, value in values.items():
        net.parameters[name][...] = value
    return net


def noise_filters(count, channels, size, rng):
    """Normal noise of 3x3 in the middle, without a mean: ``(count, channels, size, size)``."""
    weight, middle = np.zeros((count, channels, size, size)), slice(size // 2 - 1, size // 2 + 2)
    noise = rng.standard_normal((count, channels, 3, 3))
    weight[:, :, middle, middle] = noise - noise.mean(axis=(2, 3), keepdims=True)
    return weight


def gabor_filters(count, channels, size, rng):
    """Waves under a Gaussian, in random colours; one in five has a mean: ``(count, channels, size, size)``."""
    x = np.arange(size) - (size - 1) / 2
    angle, phase = rng.uniform(0, np.pi, count), rng.uniform(0, 2 * np.pi, count)
    wavelength = np.exp(rng.uniform(np.log(2.2), np.log(1.2 * size), count))
    width = np.minimum(rng.uniform(0.25, 0.6, count) * wavelength, size / 4)
    length = width * rng.uniform(0.5, 2, count)
    angle, phase, wavelength, width, length = (
        a[:, np.newaxis, np.newaxis] for a in (angle, phase, wavelength, width, length))
    along = np.cos(angle) * x + np.sin(angle) * x[:, np.newaxis]
    across = np.cos(angle) * x[:, np.newaxis] - np.sin(angle) * x
    waves = np.exp(-0.5 * ((along / width) ** 2 + (across / length) ** 2))
    waves *= np.cos(2 * np.pi * along / wavelength + phase)
    means = np.where(rng.random(count) < 0.2, 0.0, waves.mean(axis=(1, 2)))
    waves -= means[:, np.newaxis, np.newaxis]
    colours = np.ones((count, 1)) if channels == 1 else (rng.standard_normal((count, 3)) * COLOURS) @ AXES
    return colours[:, :, np.newaxis, np.newaxis] * waves[:, np.newaxis]
