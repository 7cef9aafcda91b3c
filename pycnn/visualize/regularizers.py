"""What keeps an image that maximises an activation simple: penalties on its values, and operations after each step.

Each is a small object; `maximize_activation` takes a list of them. They work on any rank: images ``(N, C, H, W)``, sequences ``(N,
C, L)``, vectors ``(N, C)``.
"""

from __future__ import annotations

import math

import numpy as np

from ..functional import conv_forward
from ..layers.base import number_within
from ..shapes import integer


class Regularizer:
    """Base of the regularizers; what a subclass leaves out does nothing.

    The ascent calls, in every step: `before`, then the gradient pass, then `slope`, then the step itself, then `after`, then what
    `before` returned.
    """

    def before(self, x, rng):
        """Changes `x` in place before the gradient is taken; may return a function that is called after the step."""

    def slope(self, x):
        """The gradient of a penalty, which is taken off that of the activation, scaled to a root mean square of 1; or None."""

    def after(self, x, gradient, step):
        """Changes `x` in place after step number `step`, from 0; `gradient` is the activation's, as it came from the network."""


class Penalty(Regularizer):
    """Base of the penalties; a subclass says their `slope`.

    Parameters
    ----------
    strength : float
        Beside a gradient of the activation with a root mean square of 1.
    """

    def __init__(self, strength=0.3):
        self.strength = number_within(strength, "strength")


class L1(Penalty):
    """Ink: the penalty strength * sum |x|, which makes empty what does not help."""

    def slope(self, x):
        return self.strength * np.sign(x)


class L2Decay(Regularizer):
    """x <- (1 - rate) x after each step, the gradient step of an L2 penalty (Simonyan et al. 2013, arXiv:1312.6034, eq. 1).

    Parameters
    ----------
    rate : float
        In (0, 1].
    """

    def __init__(self, rate=0.02):
        self.rate = number_within(rate, "rate", 1)

    def after(self, x, gradient, step):
        x *= 1 - self.rate


class TotalVariation(Penalty):
    """The penalty strength * the sum of |x_i - x_j| over neighbours along each spatial axis (Mahendran & Vedaldi 2015,
    arXiv:1412.0035, eq. 5 with beta = 1)."""

    def slope(self, x):
        result = np.zeros_like(x)
        for axis in range(2, x.ndim):
            ahead = np.sign(np.diff(x, axis=axis))
            after, before = axis_slices(x.ndim, axis)
            result[after] += ahead
            result[before] -= ahead
        return self.strength * result


class Blur(Regularizer):
    """Gaussian blur along each spatial axis every few steps (Yosinski et al. 2015, arXiv:1506.06579, section 3).

    Parameters
    ----------
    every : int
        Steps from one blur to the next.
    sigma : float
        Standard deviation in pixels.
    """

    def __init__(self, every=4, sigma=0.5):
        self.every, self.sigma = integer(every, "every", 1), number_within(sigma, "sigma")

    def after(self, x, gradient, step):
        if (step + 1) % self.every:
            return
        x[...] = blurred(x, self.sigma)


class ClipSmallest(Regularizer):
    """Base of those that set the least important pixels of each image to 0; a subclass says what importance is.

    Parameters
    ----------
    share : float
        Of the pixels, in (0, 1].
    every : int
        Steps from one time to the next.
    """

    def __init__(self, share=0.1, every=4):
        self.share, self.every = number_within(share, "share", 1), integer(every, "every", 1)

    def importance(self, x, gradient):
        """A number for each pixel: an array of the shape of `x` without channels."""
        raise NotImplementedError

    def after(self, x, gradient, step):
        if (step + 1) % self.every:
            return
        importance = self.importance(x, gradient)
        of_samples = importance.reshape(len(x), -1)
        count = math.floor(self.share * of_samples.shape[1])
        if count:
            limit = np.partition(of_samples, count - 1, axis=1)[:, count - 1]
            x *= (importance > limit.reshape(-1, *[1] * (importance.ndim - 1)))[:, np.newaxis]


class ClipSmallNorms(ClipSmallest):
    """Pixels whose norm over the channels is among the smallest become 0 (Yosinski et al. 2015, section 3)."""

    def importance(self, x, gradient):
        return np.sqrt(np.square(x).sum(axis=1))


class ClipSmallContributions(ClipSmallest):
    """Pixels that add least to the activation become 0: |sum over channels of x dactivation/dx|, what would be lost without
    them to first order (Yosinski et al. 2015, section 3)."""

    def importance(self, x, gradient):
        return np.abs((x * gradient).sum(axis=1))


class Jitter(Regularizer):
    """Each step sees the image shifted at random, around its edges, so that nothing hangs on exact positions (Mordvintsev et
    al. 2015, Inceptionism).

    Parameters
    ----------
    pixels : int
        The most, along each spatial axis.
    """

    def __init__(self, pixels=2):
        self.pixels = integer(pixels, "pixels", 1)

    def before(self, x, rng):
        axes = tuple(range(2, x.ndim))
        shift = rng.integers(-self.pixels, self.pixels + 1, len(axes))
        x[...] = np.roll(x, shift, axes)

        def back():
            x[...] = np.roll(x, -shift, axes)

        return back


def axis_slices(rank, axis):
    """Indices of all but the first, and of all but the last, along an axis."""
    whole = [slice(None)] * rank
    return (*whole[:axis], slice(1, None)), (*whole[:axis], slice(None, -1))


def blurred(x, sigma):
    """`x` ``(N, C, ...)`` behind a Gaussian filter along each spatial axis; edges go on with their last value."""
    reach = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(x.dtype).reshape(1, 1, -1)
    for axis in range(2, x.ndim):
        lines = np.moveaxis(x, axis, -1)
        padded = np.pad(lines, [(0, 0)] * (x.ndim - 1) + [(reach, reach)], mode="edge")
        lines_out = conv_forward(padded.reshape(-1, 1, padded.shape[-1]), weights)
        x = np.moveaxis(lines_out.reshape(lines.shape), -1, axis)
    return x
