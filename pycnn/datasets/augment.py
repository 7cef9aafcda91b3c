"""Augmentation: functions ``(batch, rng) -> batch`` that change each image a little, at random."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class RandomShift:
    """Shifts each sample by up to `max_shift` positions along every spatial axis.

    Parameters
    ----------
    max_shift : int
        Positions, at least 0.
    fill : float
        What comes in at the edge.
    """

    def __init__(self, max_shift=2, fill=0.0):
        if isinstance(max_shift, bool) or not isinstance(max_shift, (int, np.integer)) or max_shift < 0:
            raise ValueError(f"max_shift must be an integer of at least 0, got {max_shift!r}")
        self.max_shift, self.fill = int(max_shift), float(fill)

    def __call__(self, batch, rng):
        spatial = batch.shape[2:]
        edge = [(0, 0), (0, 0)] + [(self.max_shift,) * 2] * len(spatial)
        padded = np.pad(batch, edge, constant_values=self.fill)
        windows = sliding_window_view(padded, spatial, axis=tuple(range(2, batch.ndim)))
        shifts = rng.integers(0, 2 * self.max_shift + 1, (len(spatial), len(batch)))
        return windows[(np.arange(len(batch)), slice(None), *shifts)]

    def __repr__(self):
        return f"RandomShift({self.max_shift}, fill={self.fill})"


class RandomFlip:
    """Mirrors each sample along an axis with probability `p`.

    Parameters
    ----------
    axis : int
        Of the batch; the last by default: left and right.
    p : float
        From 0 to 1.
    """

    def __init__(self, axis=-1, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, got {p!r}")
        self.axis, self.p = axis, p

    def __call__(self, batch, rng):
        flipped = rng.random(len(batch)) < self.p
        result = batch.copy()
        result[flipped] = np.flip(batch[flipped], self.axis)
        return result

    def __repr__(self):
        return f"RandomFlip(axis={self.axis}, p={self.p})"


class BoardSymmetries:
    """Turns and mirrors each square board at random, in one of the eight ways, and the point that is its target with it.

    Batches ``(N, C, S, S)`` and labels ``(N,)`` that are points, counted row by row.
    """

    changes_targets = True

    def __call__(self, batch, targets, rng):
        n, c, size, _ = batch.shape
        sources = board_symmetries(size)
        which = rng.integers(len(sources), size=n)
        turned = np.take_along_axis(batch.reshape(n, c, size**2), sources[which][:, None], axis=2)
        return turned.reshape(batch.shape), sources.argsort(1)[which, targets]

    def __repr__(self):
        return "BoardSymmetries()"


def board_symmetries(size):
    """The symmetries of a square board: which point comes to lie on each point, array of int (8, size * size).

    The first leaves all where they are.
    """
    points = np.arange(size**2).reshape(size, size)
    turned = [np.rot90(points, k) for k in range(4)]
    return np.stack([p.ravel() for p in (*turned, *(p.T for p in turned))])


class Compose:
    """One augmentation after the other."""

    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, batch, rng):
        for step in self.steps:
            batch = step(batch, rng)
        return batch

    def __repr__(self):
        return f"Compose({', '.join(map(repr, self.steps))})"
