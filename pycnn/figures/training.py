"""How a classifier learned, what it confuses, and what its first layer looks for, in one picture."""

from __future__ import annotations

import numpy as np

from ..layers import Conv
from ..metrics import confusion_counts
from .canvas import new_figure
from .confusion import draw_confusion
from .curves import draw_curves
from .sheets import draw_filters


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
    confusion = confusion_counts(np.asarray(labels), net.predict(x).argmax(1), classes)
    draw_confusion(parts["confusion"], confusion, class_names or [str(i) for i in range(classes)])
    if "filters" in parts:
        draw_filters(parts["filters"], *filters)
    if title:
        figure.suptitle(title, fontsize=15)
    return figure


def first_filters(net):
    """Name and weight ``(K, C, R, S)`` of the first two-dimensional convolution, or None."""
    for name, layer in net.layers.items():
        if isinstance(layer, Conv) and layer.weight.ndim == 4:
            return name, layer.weight
    return None
