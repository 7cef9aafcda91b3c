"""What the maps of a layer answer to an input."""

from __future__ import annotations

from ..figures import picture_path, write_figure
from ..figures.tiles import bars_figure, grid_figure, strips_figure, tiles_figure
from ..view import View
from .scores import checked_samples

MAPS_SHOWN = 256
ROWS_SHOWN, COLUMNS_SHOWN = 32, 32          # of maps of slices


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
        ``(maps, L)`` are drawn as strips, units of a layer without positions as bars; of maps ``(maps, D, H, W)`` each is
        a row, with a column for each slice along D.

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
    net.graph.find(layer)
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
    shown = maps[:MAPS_SHOWN] if maps.ndim == 3 else maps[:ROWS_SHOWN, :COLUMNS_SHOWN]
    if shown.size < maps.size:
        title += f", the first {' x '.join(map(str, shown.shape[: maps.ndim - 2]))}"
    return tiles_figure(shown, title, "value") if maps.ndim == 3 else grid_figure(shown, title, "value")
