"""Augmentation: functions ``(batch, rng) -> batch`` that change each image a little, at random."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .. import functional


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


class RandomAffine:
    """Turns, scales and shifts each image ``(C, H, W)`` about its middle, with bilinear interpolation; what comes in is zero.

    Parameters
    ----------
    rotation : float
        Degrees, at least 0: the angle is uniform between -rotation and rotation.
    scale : tuple of float
        (least, greatest), both greater than 0.
    shift : float
        Positions, at least 0, along each axis.
    """

    def __init__(self, rotation=0.0, scale=(1.0, 1.0), shift=0.0):
        self.rotation, self.shift = (finite_number(v, what) for v, what in ((rotation, "rotation"), (shift, "shift")))
        if not isinstance(scale, (tuple, list)) or len(scale) != 2:
            raise ValueError(f"scale must be (least, greatest), got {scale!r}")
        self.scale = tuple(finite_number(s, "scale") for s in scale)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be (least, greatest), both greater than 0, got {scale!r}")

    def maps(self, count, size, rng):
        """Affine maps ``(count, 2, 3)`` from where a value goes to where it comes from, of images of that (H, W)."""
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation, count))
        scale = rng.uniform(*self.scale, count)
        shift = rng.uniform(-self.shift, self.shift, (count, 2, 1))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
        half = np.array(size[::-1]) / 2                 # coordinates from -1 to 1, x first
        linear = turn.transpose(2, 0, 1) * half / half[:, None]
        return np.concatenate([linear, -linear @ (shift / half[:, None])], axis=2)

    def __call__(self, batch, rng):
        size = batch.shape[2:]
        grid = functional.affine_grid_forward(self.maps(len(batch), size, rng).astype(batch.dtype), size)
        return functional.grid_sample_forward(batch, grid)

    def __repr__(self):
        return f"RandomAffine(rotation={self.rotation}, scale={self.scale}, shift={self.shift})"


class RandomNoise:
    """Adds normal noise to every value, and clips what goes beyond the range of the images.

    Parameters
    ----------
    scale : float
        Standard deviation, finite and at least 0.
    low, high : float
        The range.
    """

    def __init__(self, scale, low=0.0, high=1.0):
        if not low < high:
            raise ValueError(f"low must be less than high, got {low!r} and {high!r}")
        self.scale, self.low, self.high = finite_number(scale, "scale"), float(low), float(high)

    def __call__(self, batch, rng):
        noise = rng.standard_normal(batch.shape, dtype=batch.dtype)
        return np.clip(batch + batch.dtype.type(self.scale) * noise, self.low, self.high)

    def __repr__(self):
        return f"RandomNoise({self.scale}, low={self.low}, high={self.high})"


def finite_number(value, what):
    """`value` as a float, if it is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{what} must be a finite number of at least 0, got {value!r}")
    return float(value)


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
