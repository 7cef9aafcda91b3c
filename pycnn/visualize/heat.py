"""Attributions as pictures: in colours, and laid over the images that they explain."""

from __future__ import annotations

import numpy as np

from ..figures import colour_map, rows_of_images, write_figure
from ..layers.base import number_within

SHOWN = 20      # images of a sheet


def overlay(image, heat, *, alpha=0.8, colours="turbo"):
    """A heat map laid over its image: the stronger it is, the more of its colour covers the image, which is shown in
    grey.

    Parameters
    ----------
    image : array (C, H, W) or (N, C, H, W)
        Values in [0, 1]; others are shown from their least to their greatest, in each image. Of channels other than 1
        or 3 the mean is shown.
    heat : array (H, W), (C, H, W), (N, H, W) or (N, C, H, W)
        An attribution: channels are summed, then magnitudes divided by the greatest of each image.
    alpha : float
        How much of the colour covers the image where the heat is greatest, above 0 and at most 1.
    colours : str
        A colour map of matplotlib's, for heat of one sign; heat of both signs is blue where negative and red where
        positive.

    Returns
    -------
    array (3, H, W) or (N, 3, H, W)
        float32 in [0, 1].

    Raises
    ------
    ValueError
        When their sizes do not agree.
    ImportError
        When matplotlib is missing.
    """
    alpha = number_within(alpha, "alpha", 1)
    image, heat = np.asarray(image, np.float32), np.asarray(heat, np.float32)
    single = image.ndim == 3
    image = image[np.newaxis] if single else image
    if image.ndim != 4:
        raise ValueError(f"image must be (C, H, W) or (N, C, H, W), got {image.shape}")
    heat = heat[np.newaxis] if single else heat
    if heat.ndim not in (3, 4) or (len(heat), *heat.shape[-2:]) != (len(image), *image.shape[2:]):
        raise ValueError(f"heat of shape {heat.shape[single:]} does not lie over an image of shape "
                         f"{image.shape[single:]}")
    if not np.isfinite(image).all() or not np.isfinite(heat).all():
        raise ValueError("image or heat has values that are not finite")
    grey = shown(image).mean(1, keepdims=True)
    cover = alpha * np.abs(scaled(heat))[:, np.newaxis]
    laid = (1 - cover) * grey + cover * in_colour(heat, colours)
    return laid[0] if single else laid


def in_colour(heat, colours="inferno"):
    """Heat ``(N, H, W)`` or ``(N, C, H, W)``, scaled in each image, as colours ``(N, 3, H, W)``; see `overlay`."""
    values = scaled(heat)
    if values.size and values.min() < 0:
        values, colours = 0.5 + 0.5 * values, "RdBu_r"
    return np.moveaxis(colour_map(colours)(values)[..., :3], 3, 1).astype(np.float32)


def scaled(heat):
    """Channels summed, and divided by the greatest magnitude of each image; zeros stay."""
    heat = heat.sum(1) if heat.ndim == 4 else heat
    greatest = np.abs(heat).max((1, 2), keepdims=True)
    return heat / np.where(greatest > 0, greatest, 1)


def shown(images):
    """Images ``(N, C, H, W)`` as they can be shown: C is 1 or 3, and values in [0, 1]."""
    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdims=True)
    if images.size and (images.min() < 0 or images.max() > 1):
        least, greatest = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
        images = (images - least) / np.where(greatest > least, greatest - least, 1)
    return images


def write_sheet(path, images, heat, title, targets):
    """Writes the first images above their heat, and the number of the class above each; nothing where the path is
    None."""
    images, heat, names = images[:SHOWN], heat[:SHOWN], [str(target) for target in targets[:SHOWN]]
    write_figure(path, lambda: rows_of_images({"image": shown(images), title: in_colour(heat)}, columns=names))
