"""Sheets of numbered maps or filters on one colour scale, and maps without two axes as strips and bars."""

from __future__ import annotations

import math

import numpy as np

from .canvas import new_figure
from .sheets import sheet

TILE, GRID_TILE = 0.85, 0.5     # width of a tile, in inches
LABEL = 0.2                     # height of the number above it
ACROSS_MOST = 16                # tiles in a row


def tiles_figure(tiles, title, unit, *, colour=False):
    """Tiles in a nearly square picture, numbered, on one scale.

    Parameters
    ----------
    tiles : array (T, R, S), or (T, R, S, 3) where `colour`
    title, unit : str
        What stands above the picture, and beside the scale.
    colour : bool
        Whether the tiles are shown in colours of their own: numbers around 0, of which grey is 0.

    Returns
    -------
    matplotlib.figure.Figure
    """
    count, rows, columns = tiles.shape[:3]
    across = min(ACROSS_MOST, math.ceil(math.sqrt(count)))
    height = TILE * min(2.0, max(0.3, rows / columns))
    gap = max(1, math.ceil(rows * LABEL / height))
    down = math.ceil(count / across) * (height + LABEL)
    figure = new_figure(max(3.2, across * TILE + 1.0), max(1.6, down + 0.6))
    axes = draw_sheet(figure, tiles, across, gap, unit, colour)
    for i in range(count):
        left, top = i % across * (columns + 1), i // across * (rows + gap)
        axes.text(left - 0.5, top - 0.5 - 0.1 * gap, str(i), fontsize=7, va="bottom")
    figure.suptitle(title, fontsize=11)
    return figure


def grid_figure(tiles, title, unit):
    """Tiles ``(rows, columns, R, S)`` on one scale; the numbers of rows and columns stand at the edges."""
    down, across, rows, columns = tiles.shape
    height = GRID_TILE * min(2.0, max(0.3, rows / columns))
    figure = new_figure(max(3.2, across * GRID_TILE + 1.3), max(1.6, down * height + 0.8))
    axes = draw_sheet(figure, tiles.reshape(-1, rows, columns), across, 1, unit)
    for i in range(down):
        axes.text(-0.8, i * (rows + 1) + (rows - 1) / 2, str(i), fontsize=8, ha="right", va="center")
    for j in range(across):
        axes.text(j * (columns + 1) + (columns - 1) / 2, -0.8, str(j), fontsize=8, ha="center", va="bottom")
    figure.suptitle(title, fontsize=11)
    return figure


def draw_sheet(figure, tiles, across, gap, unit, colour=False):
    """Draws tiles, with a scale beside them unless they are in colours of their own; returns the axes."""
    axes, options = figure.subplots(), colour_scale(tiles)
    axes.axis("off")
    if colour:
        tiles, options = 0.5 + tiles / (2 * options["vmax"]), {}
    picture = axes.imshow(sheet(tiles, across, gap), aspect="auto", interpolation="nearest", **options)
    if not colour:
        tall = figure.get_size_inches()[1]
        figure.colorbar(picture, ax=axes, label=unit, shrink=min(1.0, 4 / tall), aspect=max(8, min(25, 6 * tall)))
    return axes


def strips_figure(values, title, across="position", down="map", unit="value"):
    """Values ``(rows, columns)`` as strips of colour, one below the other."""
    figure = new_figure(min(12, max(5, values.shape[1] / 8)), min(14, max(1.8, 0.14 * len(values) + 1.0)))
    axes = figure.subplots()
    picture = axes.imshow(values, aspect="auto", interpolation="nearest", **colour_scale(values))
    axes.set(xlabel=across, ylabel=down, title=title)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    figure.colorbar(picture, ax=axes, label=unit)
    return figure


def bars_figure(values, title):
    """Values ``(units,)`` as bars."""
    figure = new_figure(min(14, max(4, 0.12 * len(values) + 1)), 2.8)
    axes = figure.subplots()
    axes.bar(np.arange(len(values)), values, width=0.85, color=np.where(values < 0, "#4393c3", "#d6604d"))
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.set(xlabel="unit", ylabel="value", title=title, xlim=(-0.8, len(values) - 0.2))
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def colour_scale(values):
    """Options of imshow: from 0 up where nothing is negative, else blue below 0 and red above, on one scale."""
    limit = float(np.nanmax(np.abs(values))) or 1.0
    if np.nanmin(values) < 0:
        return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    return {"cmap": "viridis", "vmin": 0.0, "vmax": limit}
