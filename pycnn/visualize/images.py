"""Photographs as the functions here take them: checked, in the channels that a network reads, in other sizes."""

from __future__ import annotations

import io

import numpy as np

from ..files import write_whole
from ..layers.base import number_within

LUMINANCE = (0.299, 0.587, 0.114)   # of red, green and blue (ITU-R BT.601)


def as_image(image, what="image"):
    """One image as float32 ``(C, H, W)`` in [0, 1].

    Parameters
    ----------
    image : array
        Of floats: ``(C, H, W)``, or ``(H, W)`` in grey, values in [0, 1]. Of uint8: ``(H, W, C)`` or ``(H, W)`` as
        scikit-image and Pillow give them, or ``(C, H, W)``, values from 0 to 255. C is 1 or 3.
    what : str
        How an error names it.

    Returns
    -------
    array of float32 (C, H, W)
        A copy.

    Raises
    ------
    TypeError, ValueError
        When it is no such array.

    Examples
    --------
    >>> import numpy as np
    >>> from pycnn.visualize import as_image
    >>> as_image(np.full((4, 5, 3), 255, np.uint8)).shape
    (3, 4, 5)
    """
    a = np.asarray(image)
    if a.dtype != np.uint8 and a.dtype.kind != "f":
        raise TypeError(f"{what} is an array of floats in [0, 1] or of uint8, got {a.dtype}")
    shape = a.shape
    if a.ndim == 2:
        a = a[np.newaxis]
    elif a.ndim == 3 and a.dtype == np.uint8 and a.shape[0] not in (1, 3) and a.shape[2] in (1, 3):
        a = a.transpose(2, 0, 1)
    if a.ndim != 3 or a.shape[0] not in (1, 3) or not a.size:
        raise ValueError(f"{what} is (C, H, W) with C 1 or 3, or (H, W), or of uint8 (H, W, C); "
                         f"got {a.dtype} of shape {shape}")
    if a.dtype == np.uint8:
        return np.divide(a, 255, dtype=np.float32, order="C")
    if not (a.min() >= 0 and a.max() <= 1):
        raise ValueError(f"{what} has values from {a.min():g} to {a.max():g}, expects floats in [0, 1] (or uint8)")
    return np.array(a, np.float32, order="C")


def in_channels(image, channels):
    """An image ``(C, H, W)`` in one channel, its luminance, or in three."""
    if len(image) == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=0)
    return np.tensordot(np.array([LUMINANCE], image.dtype), image, 1)


def resized(image, size):
    """An image in another size: each pixel a mean of its neighbours, by a triangle on pixels of the coarser image.

    Parameters
    ----------
    image : array (C, H, W)
    size : (int, int)
        Rows and columns.

    Returns
    -------
    array (C, *size)
    """
    rows, columns = (triangles(n, m).astype(image.dtype) for n, m in zip(image.shape[1:], size))
    return rows @ image @ columns.T


def triangles(inputs, outputs):
    """The matrix ``(outputs, inputs)`` that resizes one axis."""
    places = (np.arange(outputs) + 0.5) * (inputs / outputs) - 0.5
    reach = max(1.0, inputs / outputs)
    weights = np.maximum(0.0, 1 - np.abs(places[:, np.newaxis] - np.arange(inputs)) / reach)
    return weights / weights.sum(axis=1, keepdims=True)


def image_input(net, layers):
    """The name and shape of the one input of images that the layers read.

    Raises
    ------
    ValueError
        When there is none, or more than one.
    """
    needed, stack = set(), [net.graph.find(name) for name in layers]
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack.extend(node.inputs)
    found = {name: node.shape for name, node in net.graph.inputs.items() if node in needed}
    if len(found) != 1 or any(len(shape) != 3 or shape[0] not in (1, 3) for shape in found.values()):
        raise ValueError(f"what is looked at must depend on one input of images (C, H, W), C being 1 or 3; "
                         f"it depends on {found}")
    return next(iter(found.items()))


def named_layers(layers, what):
    """One name or several -> a list of names without repetitions, at least one."""
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    if not names:
        raise ValueError(f"{what} must name a layer at least")
    return names


def share(value, what):
    """A number of at least 0."""
    return 0.0 if value == 0 and not isinstance(value, bool) else number_within(value, what)


def write_image(path, image):
    """Writes an image ``(C, H, W)`` in [0, 1] as PNG, pixel by pixel; nothing where the path is None."""
    if path is None:
        return
    from matplotlib.image import imsave

    pixels = np.rint(in_channels(np.clip(image, 0, 1), 3).transpose(1, 2, 0) * 255).astype(np.uint8)
    picture = io.BytesIO()
    imsave(picture, np.ascontiguousarray(pixels), format="png")
    write_whole(path, picture.getvalue())
