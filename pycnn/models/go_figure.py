"""Go boards with stones, and what a network thinks of each point."""

from __future__ import annotations

import numpy as np

from ..figures import draw_curves, new_figure
from .go import move_probabilities

COLUMNS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"   # of a board, without I
WOOD, LINE, CHOICE, PLAYED = "#e3b968", "#5b4320", "#1f6fb5", "#c8281e"
WRITTEN = 0.04          # probabilities from here on are written on the board
SHOWN = 0.004           # and from here on shown
STAGES = (0.08, 0.2, 0.32, 0.45, 0.6, 0.8)      # of a game, as parts of the moves until a board is nearly full


def draw_board(axes, stones, probabilities=None, played=None, last=None, title=None):
    """A board with stones; on empty points the likelier a move, the larger and darker a disc.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    stones : array of int (size, size)
        1 for a black stone, -1 for a white one, else 0.
    probabilities : array (size, size), optional
        Of moves. Those of at least 4 % are written, in per cent.
    played : int, optional
        The point that was played, which gets a red ring.
    last : int, optional
        The point of the move before, which gets a mark.
    title : str, optional
    """
    from matplotlib.patches import Circle, Rectangle

    size = len(stones)

    def disc(center, radius, height, linewidth=0, **look):
        axes.add_patch(Circle(center, radius, zorder=height, linewidth=linewidth, **look))

    axes.add_patch(Rectangle((-0.8, -0.8), size + 0.6, size + 0.6, facecolor=WOOD, edgecolor=LINE))
    for i in range(size):
        axes.plot([0, size - 1], [i, i], color=LINE, linewidth=0.7, zorder=1)
        axes.plot([i, i], [0, size - 1], color=LINE, linewidth=0.7, zorder=1)
        for text, where in ((COLUMNS[i], (i, size)), (str(size - i), (-1.15, i))):
            axes.text(*where, text, ha="center", va="center", fontsize=6.5, color="#555555")
    for row, column in star_points(size):
        disc((column, row), 0.1, 1, color=LINE)
    for row, column in np.argwhere(stones):
        black = stones[row, column] > 0
        disc((column + 0.05, row + 0.06), 0.46, 2, color="black", alpha=0.25)
        disc((column, row), 0.46, 3, 0.6, facecolor="#1c1c1c" if black else "#f7f5ef", edgecolor="#1c1c1c")
        disc((column - 0.15, row - 0.16), 0.12, 4, color="white", alpha=0.22 if black else 0.9)
    if last is not None and last >= 0 and stones.flat[last]:
        ink = "white" if stones.flat[last] > 0 else "black"
        disc((last % size, last // size), 0.22, 5, 1.2, fill=False, edgecolor=ink)
    for row, column in [] if probabilities is None else np.argwhere(probabilities >= SHOWN):
        p = probabilities[row, column]
        disc((column, row), 0.17 + 0.29 * np.sqrt(p), 3, color=CHOICE, alpha=0.45 + 0.5 * p)
        if p >= WRITTEN:
            axes.text(column, row + 0.02, f"{100 * p:.0f}", ha="center", va="center", fontsize=7, color="white",
                      fontweight="bold", zorder=6)
    if played is not None:
        disc((played % size, played // size), 0.5, 7, 1.8, fill=False, edgecolor=PLAYED)
    axes.set(xlim=(-1.5, size - 0.1), ylim=(size + 0.4, -0.9), aspect="equal")
    axes.axis("off")
    if title:
        axes.set_title(title, fontsize=9)


def star_points(size):
    """The points that are marked on a board: (row, column) of each."""
    if size < 7:
        return []
    near = 2 if size < 13 else 3
    lines = [near, size - 1 - near]
    middle = [size // 2] if size % 2 else []
    if size >= 15:
        return [(r, c) for r in lines + middle for c in lines + middle]
    return [(r, c) for r in lines for c in lines] + [(m, m) for m in middle]


def point_name(point, size):
    """As players call it: a letter for the column, and the row counted from below."""
    return f"{COLUMNS[point % size]}{size - point // size}"


def typical_positions(x):
    """Rows of positions from the first moves to the last, each from another part of the data."""
    full = x[:, :2].sum((1, 2, 3)) / np.prod(x.shape[2:])
    begins = np.linspace(0, len(x), len(STAGES) + 1).astype(int)
    return [int(begin + np.abs(full[begin:max(end, begin + 1)] - stage).argmin())
            for stage, begin, end in zip(STAGES, begins, begins[1:])]


def go_figure(net, history, x, y, title=None):
    """Curves of the training, and six positions with the probability of each move; rings mark what was played.

    Parameters
    ----------
    net : Network
        Of scores of points.
    history : History
        What `fit` returned.
    x : array (N, 25, size, size)
        Planes of at least six positions, as of `pycnn.datasets.go_planes`.
    y : array of int (N,)
        The points that were played.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        When matplotlib is missing.
    """
    figure = new_figure(14, 7.4)
    left, right = figure.subfigures(1, 2, width_ratios=(4, 10))
    draw_curves(left, history, "held-back games")
    rows = typical_positions(x)
    probabilities = move_probabilities(net, x[rows])
    for axes, row, chances in zip(right.subplots(2, 3).ravel(), rows, probabilities):
        draw_position(axes, x[row], chances, y[row])
    right.supxlabel("Black to move. Blue: the network's moves, in per cent; red ring: the move played; "
                    "circle in a stone: the move before", fontsize=9)
    if title:
        figure.suptitle(title, fontsize=13)
    return figure


def draw_position(axes, planes, probabilities, played):
    """A position of the data set, with black to move."""
    size, order = len(probabilities), np.argsort(-probabilities, axis=None, kind="stable")
    rank = int(np.flatnonzero(order == played)[0]) + 1
    last = np.flatnonzero(planes[4])
    title = f"played {point_name(played, size)}: the network's choice number {rank} ({probabilities.flat[played]:.0%})"
    draw_board(axes, planes[0] - planes[1], probabilities, played, last[0] if len(last) else None, title)
