"""What a classifier takes for what."""

from __future__ import annotations

from ..checks import check_samples, checked_labels
from ..figures import draw_confusion, new_figure, picture_path, write_figure
from ..metrics import confusion_counts
from ..view import View
from .scores import score_node


def confusion_matrix(net, x, y, names=None, save=None):
    """How often each class was taken for each.

    Parameters
    ----------
    net : Network
        With one output of scores ``(classes,)``.
    x : array, list or dict of array
        Each ``(N, *shape)``.
    y : array of int (N,)
        The true classes.
    names : list of str, optional
        Of the classes, for the picture; their numbers where missing.
    save : str or path, optional
        A PNG file to be written.

    Returns
    -------
    array of int (classes, classes)
        Rows are true classes, columns those that the network named.

    Raises
    ------
    ValueError, TypeError
        When the network has another output, or an argument does not fit it.
    """
    path = picture_path(save)
    shapes = list(net.output_shapes.values())
    if len(shapes) != 1 or len(shapes[0]) != 1:
        raise ValueError(f"confusion_matrix needs a network of one output of scores (classes,), got {net.output_shapes}")
    (classes,), arrays = shapes[0], net.check_inputs(x)
    labels = checked_labels(y, (classes,), "y")
    check_samples(arrays, [labels])
    if names is not None and len(names) != classes:
        raise ValueError(f"names are one for each of the {classes} classes, got {len(names)}")
    scores, = View(net)(x).values()
    counts = confusion_counts(labels, (score_node(net, None)[1] * scores).argmax(1), classes)
    write_figure(path, lambda: confusion_figure(counts, [str(name) for name in (range(classes) if names is None else names)]))
    return counts


def confusion_figure(counts, names):
    """The matrix as a matplotlib figure."""
    figure = new_figure(7, 6.4)
    draw_confusion(figure, counts, names)
    return figure
