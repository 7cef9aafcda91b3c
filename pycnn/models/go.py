"""A network that says where a Go player will move: convolutions without pooling, which would lose the place."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import layers as L
from ..datasets.augment import BoardSymmetries, board_symmetries
from ..datasets.go_planes import PLANES
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..shapes import integer
from ..tasks import Model, Recipe, Task


def go(size=9, planes=len(PLANES), filters=64, depth=6, seed=0):
    """Scores of all points of a board (Maddison et al. 2014, arXiv:1412.6564; Silver et al. 2016, Nature 529).

    The first convolution is 5x5, the others are 3x3, all padded to the board's size and rectified; the last is 1x1 with
    one map, to which each point adds a bias of its own. The network of 2016 is ``go(19, 48, 192, 13)``.

    Parameters
    ----------
    size : int
        Of the board.
    planes : int
        Feature planes of a position; `pycnn.datasets.go_planes` makes 25.
    filters : int
        Maps of each convolution but the last.
    depth : int
        Convolutions, the last included, at least 2.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        From ``(planes, size, size)`` to scores ``(size * size,)``, points counted row by row, for cross-entropy; with
        the layers conv1, conv2 ..., point, bias and scores.

    Raises
    ------
    ValueError, TypeError
        For sizes that are not whole numbers, or too small.

    Examples
    --------
    >>> from pycnn.models import go
    >>> go().count_parameters()
    187921
    >>> go(19, 48, 192, 13).count_parameters()
    3882793
    """
    size, depth = integer(size, "size", 1), integer(depth, "depth", 2)
    position = h = Input((planes, size, size), name="position")
    for i in range(1, depth):
        kernel = 5 if i == 1 else 3
        h = L.Conv(filters, kernel, padding="same", activation="relu", weight_init="he_normal", name=f"conv{i}")(h)
    h = L.Bias(name="bias")(L.Conv(1, 1, bias=False, name="point")(h))
    return Network(position, L.Flatten(name="scores")(h), name="go", seed=seed)


def move_probabilities(net, x, legal=None, symmetries=False):
    """How likely each legal move is, as a network of scores of points has it.

    Parameters
    ----------
    net : Network
    x : array (N, planes, size, size)
        Positions.
    legal : array of bool (N, size, size), optional
        Where a stone may be played; by default where the last plane is not 0, as `pycnn.datasets.go_planes` makes it.
    symmetries : bool
        Whether to average over the eight ways to look at the board, which takes eight times as long.

    Returns
    -------
    array (N, size, size)
        With the sum 1 for each position, and 0 where a move is not legal; all 0 if none is.
    """
    x = np.asarray(x)
    points = x.shape[2] * x.shape[3]
    legal = (x[:, -1] if legal is None else np.asarray(legal)).reshape(len(x), points) != 0
    sums = np.zeros((len(x), points))
    for source in board_symmetries(x.shape[2])[: None if symmetries else 1]:
        turned = np.ascontiguousarray(x.reshape(*x.shape[:2], points)[..., source]).reshape(x.shape)
        scores = np.where(legal[:, source], net.predict(turned).astype(np.float64), -np.inf)
        powers = np.exp(scores - np.maximum(scores.max(1, keepdims=True), -np.finfo(np.float64).max))
        sums[:, source] += powers / np.maximum(powers.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    return (sums / (8 if symmetries else 1)).reshape(len(x), *x.shape[2:])


def best_moves(net, x, legal=None, symmetries=False):
    """The likeliest legal move of each position: its point, array of int (N,), or -1 where there is none to play.

    The arguments are those of `move_probabilities`.
    """
    probabilities = move_probabilities(net, x, legal, symmetries).reshape(len(x), -1)
    return np.where(probabilities.any(1), probabilities.argmax(1), -1)


def top_share(scores, points, count):
    """The share of positions whose move is among the `count` points of the highest scores."""
    played = np.take_along_axis(scores, points[:, None], axis=1)
    return float(((scores > played).sum(1) < count).mean())


class MovePrediction(Task):
    """Which point is played next."""

    def build_options(self, x, y):
        return {"planes": x.shape[1], "size": x.shape[2]}

    def scores(self, net, x, y, verbose=0):
        losses, scores = self.losses(net, x, y, verbose), net.predict(x)
        legal = np.take_along_axis(x[:, -1].reshape(len(x), -1), scores.argmax(1)[:, None], axis=1)
        averaged = move_probabilities(net, x, symmetries=True).reshape(len(x), -1)
        return {"top1": top_share(scores, y, 1), "top5": top_share(scores, y, 5), "loss": losses["loss"],
                "legal": float((legal != 0).mean()), "top1_averaged": top_share(averaged, y, 1),
                "top5_averaged": top_share(averaged, y, 5)}

    def sentence(self, scores):
        return (f"top-1 {scores['top1']:.1%}, top-5 {scores['top5']:.1%} of held-back games "
                f"({scores['top1_averaged']:.1%}, {scores['top5_averaged']:.1%} averaged over 8 symmetries)")

    def figure(self, net, history, x, y, *, data, title):
        from .go_figure import go_figure

        return go_figure(net, history, x, y, title=title)


GO = Model(go, {"go-games": Recipe(12, 128, partial(AdamW, weight_decay=0.05), 2e-3, augment=BoardSymmetries())},
           MovePrediction())
