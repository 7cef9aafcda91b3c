"""Points of a plane, in a colour for each label."""

from __future__ import annotations

import numpy as np

from .canvas import new_figure


def scatter_figure(points, labels, names, title):
    """Points ``(N, 2)``; those of a label in one colour, with its name in the key and at their middle.

    Parameters
    ----------
    points : array (N, 2)
    labels : array of int (N,) or None
    names : list of str or None
        By label; the labels themselves where None.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(7.5 if labels is not None else 6, 6)
    axes = figure.subplots()
    if labels is None:
        axes.scatter(*points.T, s=9, alpha=0.7)
    else:
        from matplotlib import colormaps

        kinds = np.unique(labels)
        colours = colormaps["tab10" if len(kinds) <= 10 else "tab20" if len(kinds) <= 20 else "turbo"]
        for i, kind in enumerate(kinds):
            own, name = points[labels == kind], str(kind) if names is None else names[kind]
            colour = colours(i if len(kinds) <= 20 else i / len(kinds))
            axes.scatter(*own.T, s=9, alpha=0.7, color=colour, label=name)
            axes.annotate(name, np.median(own, axis=0), ha="center", va="center", fontsize=10, fontweight="bold",
                          bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colour, "alpha": 0.75})
        figure.legend(loc="outside right upper", fontsize=9, markerscale=2)
    axes.set(xticks=[], yticks=[], title=title)
    return figure
