"""The weights of a layer's filters."""

from __future__ import annotations

import numpy as np

from ..figures import picture_path, write_figure
from ..figures.tiles import grid_figure, strips_figure, tiles_figure
from ..layers import RBF, Conv, ConvTranspose, Dense, Flatten
from .maps import COLUMNS_SHOWN, ROWS_SHOWN

TILES_SHOWN = 256                           # filters, where each has one tile


def filters(net, layer, save=None):
    """The weights by which each map of a layer reads its input.

    Parameters
    ----------
    net : Network
    layer : str
        A `Conv` or what is made of one, `ConvTranspose`, `Dense` or `RBF`.
    save : str or path, optional
        A PNG file to be written: a numbered sheet on one scale of colours. Filters that read three channels are shown in
        colour (grey is 0; red, green and blue are the channels); of several channels a filter is a row, a channel a
        column; a dense layer is one matrix.

    Returns
    -------
    array (maps, channels, *kernel)
        A copy. With a table of connections, 0 where a map does not read a channel. A dense layer's filters are
        ``(units, inputs)``, or ``(units, C, H, W)`` where it reads maps through a `Flatten`.

    Raises
    ------
    ValueError, TypeError
        When there is no such layer, it has no filters, or nothing can be written to `save`.

    Examples
    --------
    >>> from pycnn.models import lenet5
    >>> filters(lenet5(), "C3").shape, filters(lenet5(), "C5").shape
    ((16, 6, 5, 5), (120, 16, 5, 5))
    """
    path = picture_path(save)
    weight = filters_of(net, layer)
    write_figure(path, lambda: filters_figure(weight, layer))
    return weight


def filters_of(net, name):
    """A layer's weights as ``(maps, channels, *kernel)``; a copy."""
    uses = [node for node in net.graph.nodes if node.layer.name == name]
    node = uses[0] if uses else net.graph.find(name)        # all uses have the same weights
    layer = node.layer
    if isinstance(layer, Conv):
        if layer.connections is None:
            return layer.weight.copy()
        weight = np.zeros((*np.shape(layer.connections), *layer.weight.shape[1:]), layer.weight.dtype)
        weight[np.nonzero(layer.connections)] = layer.weight
        return weight
    if isinstance(layer, ConvTranspose):
        groups, (channels, maps, *kernel) = layer.groups, layer.weight.shape
        weight = layer.weight.reshape(groups, channels // groups, maps, *kernel)
        return np.ascontiguousarray(weight.swapaxes(1, 2)).reshape(groups * maps, channels // groups, *kernel)
    if isinstance(layer, (Dense, RBF)):
        below = node.inputs[0]
        shape = below.inputs[0].shape if isinstance(below.layer, Flatten) else below.shape
        return layer.weight.reshape(len(layer.weight), *shape).copy()
    raise ValueError(f"{name}: a {type(layer).__name__} has no filters; Conv, ConvTranspose, Dense and RBF have")


def filters_figure(weight, layer):
    """The sheet of filters ``(maps, inputs)`` or ``(maps, channels, *kernel)``."""
    title = f"{layer}: {len(weight)} filters {' × '.join(map(str, weight.shape[1:]))}"
    if weight.ndim == 2:
        return strips_figure(weight, title, "input", "unit", "weight")
    if weight.ndim == 3:                    # a tile has a line for each channel
        return tiles_figure(*first(weight[:TILES_SHOWN], len(weight), title), "weight")
    if weight.ndim == 4 and weight.shape[1] == 3:
        colours = weight.transpose(0, 2, 3, 1)[:TILES_SHOWN]
        return tiles_figure(*first(colours, len(weight), title), "weight", colour=True)
    if weight.ndim == 5 and weight.shape[1] == 1:
        weight = weight[:, 0]               # a column for each slice
    elif weight.ndim == 5:
        maps, channels = weight.shape[:2]
        slices = slices_side_by_side(weight.reshape(-1, *weight.shape[2:]))
        weight = slices.reshape(maps, channels, *slices.shape[1:])
    if weight.shape[1] == 1:
        return tiles_figure(*first(weight[:TILES_SHOWN, 0], len(weight), title), "weight")
    shown = weight[:ROWS_SHOWN, :COLUMNS_SHOWN]
    shown, title = first(shown, len(weight), title)
    if shown.shape[1] < weight.shape[1]:
        title += f", columns to {shown.shape[1] - 1}"
    return grid_figure(shown, title, "weight")


def first(shown, count, title):
    """What is shown, and the title, which says so where that is not all."""
    return shown, title if len(shown) == count else f"{title}, the first {len(shown)}"


def slices_side_by_side(tiles):
    """Tiles ``(T, D, R, S)`` as ``(T, R, D * (S + 1) - 1)``, with empty lines between the slices."""
    lines = np.full((*tiles.shape[:3], 1), np.nan, tiles.dtype)
    wide = np.concatenate([tiles, lines], axis=3)
    return wide.transpose(0, 2, 1, 3).reshape(len(tiles), tiles.shape[2], -1)[..., :-1]
