"""Occlusion: what a network's answer loses when a patch hides a part of the image."""

from __future__ import annotations

import itertools

import numpy as np

from ..shapes import per_axis
from .scores import Scores, batches, finite_values


def occlusion(net, x, target=None, *, patch=None, stride=None, fill=0.0, output=None, input=None, batch_size=256,
              verbose=1, save=None):
    """How much the score of a class falls when a patch hides each position (Zeiler and Fergus 2014, arXiv:1311.2901,
    section 4.2): the mean over all places of the patch that cover it.

    Parameters
    ----------
    net, x, target, output, input, batch_size, verbose, save
        As in `saliency`. The input must have positions.
    patch : int or tuple of int, optional
        Positions that it hides along each axis; a fifth of them where missing, at least one.
    stride : int or tuple of int, optional
        From one place to the next, at most the patch; half of the patch where missing, at least one. The last place
        along an axis ends with it, so that every position is hidden at least once.
    fill : float or array that broadcasts to (N, *shape)
        What is seen of the patch.

    Returns
    -------
    array (N, *positions), without N if `x` was without
        In units of the score: positive where hiding lowers it, negative where hiding raises it.

    Raises
    ------
    ValueError, TypeError
        When arrays, names or sizes do not fit the network.
    """
    scores = Scores(net, x, target, output, input, save=save)
    spatial = scores.positions("occlusion")
    patch = per_axis([max(1, n // 5) for n in spatial] if patch is None else patch, len(spatial), "patch")
    stride = per_axis([max(1, n // 2) for n in patch] if stride is None else stride, len(spatial), "stride")
    for n, size, step in zip(spatial, patch, stride):
        if size > n or step > size:
            raise ValueError(f"a patch is at most as large as the input, {spatial}, and its stride at most as large as "
                             f"the patch; got {patch} and {stride}")
    fill = finite_values(fill, scores.x.shape, "fill")
    corners = itertools.product(*map(starts, spatial, patch, stride))
    places = [tuple(map(slice, begin, np.add(begin, patch))) for begin in corners]
    falls, covered = np.zeros((len(scores.x), *spatial)), np.zeros(spatial)
    for place in places:
        covered[place] += 1
    for rows, numbers in batches(len(scores.x), len(places), batch_size, "occlusion", verbose):
        hidden = scores.x[rows]
        for sample, row, number in zip(hidden, rows, numbers):
            everywhere = (slice(None), *places[number])
            sample[everywhere] = fill[row][everywhere]
        for row, number, fall in zip(rows, numbers, scores.values[rows] - scores.of(hidden, rows)):
            falls[row][places[number]] += fall
    return scores.finished((falls / covered).astype(net.dtype), "occlusion")


def starts(n, size, step):
    """Where a patch begins along an axis of n positions: the last one ends with the axis."""
    return sorted({*range(0, n - size, step), n - size})
