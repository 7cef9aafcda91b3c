"""Sheets: many small images, maps or filters in one picture."""

from __future__ import annotations

import math

import numpy as np

from .canvas import new_figure

FILTERS_SHOWN = 64


def rows_of_images(rows, title=None, columns=()):
    """Rows of images, one below the other, so that images that belong together form a column.

    Parameters
    ----------
    rows : dict of str to array (N, C, H, W)
        By the name of the row; C is 1 or 3, values in [0, 1], and N the same for all.
    title : str, optional
    columns : sequence of str, optional
        What is written above each column.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        When matplotlib is missing.
    """
    across = len(next(iter(rows.values())))
    figure = new_figure(across + 1, len(rows) + 0.5)
    lines = figure.subplots(len(rows), across, squeeze=False)
    for axes, name in zip(lines[0], columns):
        axes.set_title(name, fontsize=10)
    for line, (name, images) in zip(lines, rows.items()):
        for axes, image in zip(line, images):
            axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=12)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def draw_image(axes, image, title, spread=False):
    """One input on axes of matplotlib's: an image ``(1, H, W)`` in grey, ``(3, H, W)`` in colour, values in [0, 1] or, with
    `spread`, from the least to the greatest; of other channels the mean; sequences ``(C, L)`` as strips; vectors as lines."""
    values = np.asarray(image, np.float64)
    low, high = (values.min(), values.max()) if spread else (0.0, 1.0)
    values = (values - low) / max(high - low, 1e-12)
    axes.set(xticks=[], yticks=[])
    axes.axis("on")
    axes.set_title(title, fontsize=9)
    if values.ndim == 1:
        axes.plot(values, linewidth=1)
    elif values.ndim == 2:
        axes.imshow(values, cmap="gray", vmin=0, vmax=1, aspect="auto")
    else:
        while values.ndim > 3:      # of volumes, the middle
            values = values[:, values.shape[1] // 2]
        tile = values.transpose(1, 2, 0) if len(values) == 3 else values.mean(0)
        axes.imshow(tile.clip(0, 1), cmap="gray", vmin=0, vmax=1)


def draw_filters(part, name, weight):
    """A sheet of filters: in colour where there are three channels, else one tile for each filter and channel."""
    colour = weight.shape[1] == 3
    tiles = weight.transpose(0, 2, 3, 1) if colour else weight.reshape(-1, *weight.shape[2:])
    shown = tiles[:FILTERS_SHOWN]
    limit = float(np.abs(shown).max()) or 1.0
    axes = part.subplots()
    axes.axis("off")
    picture = axes.imshow(sheet(shown / (2 * limit) + 0.5 if colour else shown), cmap="RdBu_r", vmin=-limit, vmax=limit)
    if not colour:
        part.colorbar(picture, ax=axes, orientation="horizontal", shrink=0.6, pad=0.03, label="weight")
    count = f"{len(shown)} of {len(tiles)}" if len(shown) < len(tiles) else str(len(tiles))
    axes.set_title(f"{name}: {count} filters {'x'.join(map(str, weight.shape[2:]))}")


def draw_images(part, images, across, title):
    """A sheet of images ``(N, C, H, W)`` in [0, 1], of one channel or three, with so many in a row."""
    axes = part.subplots()
    axes.axis("off")
    tiles = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    axes.imshow(sheet(tiles, across), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title)


def sheet(tiles, across=None, gap=1):
    """Tiles ``(T, R, S)`` or ``(T, R, S, 3)`` with empty (or white) lines between them, `gap` of them between rows:
    `across` in a row, or in a nearly square picture."""
    count, rows, columns, *channels = tiles.shape
    across = across or math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    picture = np.full((down * (rows + gap) - gap, across * (columns + 1) - 1, *channels), 1.0 if channels else np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // across * (rows + gap), i % across * (columns + 1)
        picture[top : top + rows, left : left + columns] = tile
    return picture
