"""What the maps of a layer answer to an input."""

from __future__ import annotations

import numpy as np

from ..figures import picture_path, write_figure
from ..figures.tiles import bars_figure, strips_figure, tiles_figure
from ..view import View
from .scores import checked_samples

MAPS_SHOWN = 256


def feature_maps(net, x, layer, save=None):
    """What each map of a layer answers to an input.

    Parameters
    ----------
    net : Network
    x : array, list or dict of array
        One sample of each input, ``shape``; or several, ``(N, *shape)``.
    layer : str
    save : str or path, optional
        A PNG file to be written, with the maps of the first sample: numbered, and on one scale of colours. Maps
        ``(maps, L)`` are drawn as strips, units of a layer without positions as bars, and of maps ``(maps, D, H, W)`` the
        slices along D side by side.

    Returns
    -------
    array (maps, H, W) or (N, maps, H, W)
        The values as they are, in any range; of a layer of another number of axes ``(maps, ...)`` likewise.

    Raises
    ------
    ValueError, TypeError
        When there is no such layer, an array does not fit the network, or nothing can be written to `save`.

    Examples
    --------
    >>> import numpy as np
    >>> from pycnn.models import lenet5
    >>> feature_maps(lenet5(), np.zeros((1, 28, 28)), "C3").shape
    (16, 10, 10)
    """
    path = picture_path(save)
    view = View(net, layer)
    given, single = checked_samples(net, x)
    values = view(given)[layer]
    if path and not len(values):
        raise ValueError("there is no sample to draw the maps of")
    write_figure(path, lambda: maps_figure(values[0], f"{layer}: {' × '.join(map(str, values.shape[1:]))}"))
    return values[0] if single else values


def maps_figure(maps, title):
    """The picture of the maps of one sample, ``(maps,)`` to ``(maps, D, H, W)``."""
    if maps.ndim == 1:
        return bars_figure(maps, title)
    if maps.ndim == 2:
        return strips_figure(maps, title)
    if maps.ndim == 4:
        maps = slices_side_by_side(maps)
    shown = maps[:MAPS_SHOWN]
    if len(shown) < len(maps):
        title += f", the first {len(shown)}"
    return tiles_figure(shown, title, "value")


def slices_side_by_side(tiles):
    """Tiles ``(T, D, R, S)`` as ``(T, R, D * (S + 1) - 1)``, with empty lines between the slices."""
    lines = np.full((*tiles.shape[:3], 1), np.nan, tiles.dtype)
    wide = np.concatenate([tiles, lines], axis=3)
    return wide.transpose(0, 2, 1, 3).reshape(len(tiles), tiles.shape[2], -1)[..., :-1]
