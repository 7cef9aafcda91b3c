"""Pictures of trained networks: how a classifier learned, what it confuses, what its first layer looks for; and what a
network makes of images."""

from __future__ import annotations

import math

import numpy as np

from .layers import Conv

FILTERS_SHOWN = 64


def training_figure(net, history, x, labels, *, class_names=None, title=None, held_out="validation"):
    """Curves of the training, the confusion matrix, and the filters of the first two-dimensional convolution.

    Parameters
    ----------
    net : Network
        With one output of scores ``(classes,)``.
    history : History
        What `fit` returned; there are no curves where it is empty.
    x : array (N, *shape), or list or dict of array
        Inputs of the confusion matrix.
    labels : array of int (N,)
    class_names : list of str, optional
        By default the numbers of the classes.
    title : str, optional
    held_out : str
        What the curves call the data that the network was tried on after each epoch.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved with ``savefig``.

    Raises
    ------
    ImportError
        When matplotlib is missing.
    """
    filters = first_filters(net)
    widths = {"curves": 5 if history.epoch else 0, "confusion": 7, "filters": 5 if filters is not None else 0}
    widths = {name: width for name, width in widths.items() if width}
    figure = new_figure(sum(widths.values()), 6)
    row = figure.subfigures(1, len(widths), width_ratios=list(widths.values()), squeeze=False)[0]
    parts = dict(zip(widths, row))
    if "curves" in parts:
        draw_curves(parts["curves"], history, held_out)
    classes = net.output_shapes[net.output_names[0]][0]
    confusion = confusion_matrix(np.asarray(labels), net.predict(x).argmax(1), classes)
    draw_confusion(parts["confusion"], confusion, class_names or [str(i) for i in range(classes)])
    if "filters" in parts:
        draw_filters(parts["filters"], *filters)
    if title:
        figure.suptitle(title, fontsize=15)
    return figure


def new_figure(width, height):
    """A matplotlib figure of so many inches; ImportError with the remedy, where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install pycnn[plot]") from None
    return Figure(figsize=(width, height), layout="constrained")


def rows_of_images(rows, title=None):
    """Rows of images, one below the other, so that images that belong together form a column.

    Parameters
    ----------
    rows : dict of str to array (N, C, H, W)
        By the name of the row; C is 1 or 3, values in [0, 1], and N the same for all.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        When matplotlib is missing.
    """
    columns = len(next(iter(rows.values())))
    figure = new_figure(columns + 1, len(rows) + 0.5)
    for line, (name, images) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items()):
        for axes, image in zip(line, images):
            axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=12)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def confusion_matrix(labels, predicted, classes):
    """How often each class (row) was taken for each class (column): an array of int (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def first_filters(net):
    """Name and weight ``(K, C, R, S)`` of the first two-dimensional convolution, or None."""
    for name, layer in net.layers.items():
        if isinstance(layer, Conv) and layer.weight.ndim == 4:
            return name, layer.weight
    return None


def draw_curves(part, history, held_out):
    """Loss and, where there is one, accuracy of each epoch."""
    kinds = [kind for kind in ("loss", "accuracy") if kind in history]
    for axes, kind in zip(np.atleast_1d(part.subplots(len(kinds), 1, sharex=True)), kinds):
        marker = "o" if len(history.epoch) < 15 else None
        for key, label in ((kind, "training"), (f"val_{kind}", held_out)):
            if key in history:
                axes.plot(history.epoch, history[key], label=label, marker=marker, markersize=3)
        if kind == "loss" and min(history[kind]) > 0:
            axes.set_yscale("log")
        axes.set_title(kind.capitalize())
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def draw_confusion(part, confusion, names):
    """The confusion matrix, with numbers where the classes are few enough to read them."""
    axes = part.subplots()
    shares = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    few = len(names) <= 20
    if few:
        size = 10 if len(names) <= 10 else 7
        for (i, j), count in np.ndenumerate(confusion):
            if count:
                ink = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, count, ha="center", va="center", fontsize=size, color=ink)
        long = max(map(len, names)) > 3
        axes.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right, total = np.trace(confusion), confusion.sum()
    axes.set_title(f"Confusion matrix: {right:,} of {total:,} right ({right / max(1, total):.1%})")


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


def sheet(tiles, across=None):
    """Tiles ``(T, R, S)`` or ``(T, R, S, 3)`` with empty (or white) lines between them: `across` in a row, or in a nearly
    square picture."""
    count, rows, columns, *channels = tiles.shape
    across = across or math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    picture = np.full((down * (rows + 1) - 1, across * (columns + 1) - 1, *channels), 1.0 if channels else np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // across * (rows + 1), i % across * (columns + 1)
        picture[top : top + rows, left : left + columns] = tile
    return picture
