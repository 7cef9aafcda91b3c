"""One picture of a trained classifier: how it learned, what it confuses, and what its first layer looks for."""

from __future__ import annotations

import math

import numpy as np

FILTERS_SHOWN = 64


def training_figure(net, history, x, labels, *, class_names=None, title=None):
    """Curves of the training, the confusion matrix, and the first layer's filters.

    Parameters
    ----------
    net : Network
        With one output of scores ``(classes,)``.
    history : History
        What `fit` returned; its lists may be empty.
    x : array (N, *shape), or list or dict of array
        Inputs of the confusion matrix.
    labels : array of int (N,)
    class_names : list of str, optional
        By default the numbers of the classes.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        To be saved with ``savefig``.

    Raises
    ------
    ImportError
        When matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install pycnn[plot]") from None
    filters = first_filters(net)
    figure = Figure(figsize=(17 if filters is not None else 12, 6), layout="constrained")
    parts = figure.subfigures(1, 3 if filters is not None else 2, width_ratios=[5, 7, 5][: 3 if filters is not None else 2])
    draw_curves(parts[0], history)
    confusion = confusion_matrix(np.asarray(labels), net.predict(x).argmax(1), net.output_shapes[net.output_names[0]][0])
    draw_confusion(parts[1], confusion, class_names or [str(i) for i in range(len(confusion))])
    if filters is not None:
        draw_filters(parts[2], *filters)
    if title:
        figure.suptitle(title, fontsize=15)
    return figure


def confusion_matrix(labels, predicted, classes):
    """How often each class (row) was taken for each class (column): an array of int (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def first_filters(net):
    """Name and weight ``(K, C, R, S)`` of the first two-dimensional convolution, or None."""
    for name, layer in net.layers.items():
        weight = getattr(layer, "weight", None)
        if weight is not None and np.ndim(weight) == 4:
            return name, weight
    return None


def draw_curves(part, history):
    """Loss and, where there is one, accuracy of each epoch."""
    kinds = [kind for kind in ("loss", "accuracy") if kind in history] or ["loss"]
    for axes, kind in zip(np.atleast_1d(part.subplots(len(kinds), 1, sharex=True)), kinds):
        marker = "o" if len(history.epoch) < 15 else None
        for key, label in ((kind, "training"), (f"val_{kind}", "validation")):
            if key in history:
                axes.plot(history.epoch, history[key], label=label, marker=marker, markersize=3)
        if kind in history and kind == "loss" and min(history[kind]) > 0:
            axes.set_yscale("log")
        axes.set_title(kind.capitalize())
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    axes.set_xlabel("epoch")


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
                axes.text(j, i, count, ha="center", va="center", fontsize=size, color="white" if shares[i, j] > 0.5 else "black")
        long = max(map(len, names)) > 3
        axes.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right, total = np.trace(confusion), confusion.sum()
    axes.set_title(f"Confusion matrix: {right:,} of {total:,} right ({right / max(1, total):.1%})")


def draw_filters(part, name, weight):
    """A sheet of filters: in colour where there are three channels, else one picture for each filter and channel."""
    colour = weight.shape[1] == 3
    tiles = weight.transpose(0, 2, 3, 1) if colour else weight.reshape(-1, *weight.shape[2:])
    shown = tiles[:FILTERS_SHOWN]
    limit = float(np.abs(shown).max()) or 1.0
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    grid = part.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for i, (axes, tile) in enumerate(zip(grid.flat, shown)):
        picture = tile / (2 * limit) + 0.5 if colour else tile
        axes.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
        if len(shown) <= 16:
            axes.set_title(str(i), fontsize=9)
    part.suptitle(f"Filters of {name}: {'x'.join(map(str, weight.shape[2:]))}" + (
        f", {len(shown)} of {len(tiles)}" if len(shown) < len(tiles) else "") + ("" if colour else ", red +, blue \N{MINUS SIGN}"))
