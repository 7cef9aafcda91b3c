"""Attribution by gradients: which positions of an input made a network answer as it did."""

from __future__ import annotations

import numpy as np

from ..layers.base import number_within
from ..shapes import integer
from .scores import Scores, finite_values


def saliency(net, x, target=None, *, output=None, input=None, smooth=0, noise=0.15, seed=0, batch_size=64, verbose=1,
             save=None):
    """How much the score of a class depends on each position: max over channels of |dS/dI| (Simonyan, Vedaldi and
    Zisserman 2013, arXiv:1312.6034, section 3.1).

    With `smooth`, the gradient is the mean over so many noisy copies of the image (SmoothGrad; Smilkov et al. 2017,
    arXiv:1706.03825), which frees the map of much of its grain.

    Parameters
    ----------
    net : Network
    x : array, list or dict of array
        As `Network.predict` takes it: each ``(N, *shape)``; or one sample without N.
    target : int or array of int (N,), optional
        Classes; the predicted ones where missing.
    output : str, optional
        Which output's scores S are explained, where there are several. Below a last Softmax or LogSoftmax its input is
        taken; of distances (`pycnn.layers.RBF`) minus them; where the output has positions, the sum over them.
    input : str, optional
        Which input is explained, or which layer's values in place of an input. By default the only one with positions,
        or the only one; numbers of words stand for their embedding, as they have no gradient.
    smooth : int
        Noisy copies; none, but the image itself, at 0.
    noise : float
        Standard deviation of the normal noise, as a share of the image's range (greatest minus least value).
    seed : int or numpy.random.Generator
        Of the noise.
    batch_size : int
        Images or copies at a time.
    verbose : int
        1 shows a progress bar.
    save : str or path, optional
        A PNG file to be written: images ``(C, H, W)`` above their maps.

    Returns
    -------
    array (N, *positions), without N if `x` was without
        At least 0, in units of the score per unit of the input. An input ``(C,)`` without positions has a value for
        each number.

    Raises
    ------
    ValueError, TypeError
        When arrays or names do not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from pycnn.models import lenet5
    >>> from pycnn.visualize import saliency
    >>> saliency(lenet5(), np.zeros((5, 1, 28, 28)), verbose=0).shape
    (5, 28, 28)
    """
    smooth, noise = integer(smooth, "smooth", 0), number_within(noise, "noise")
    scores = Scores(net, x, target, output, input, save=save)
    if smooth:
        rng, values = np.random.default_rng(seed), scores.x
        axes = tuple(range(1, values.ndim))
        scale = noise * (values.max(axes, keepdims=True) - values.min(axes, keepdims=True))

        def noisy(rows, numbers):
            return values[rows] + scale[rows] * rng.standard_normal((len(rows), *values.shape[1:]))

        gradients = scores.mean_gradients(noisy, smooth, batch_size, "saliency", verbose)
    else:
        gradients = scores.mean_gradients(scores.unchanged, 1, batch_size, "saliency", verbose)
    heat = np.abs(gradients)
    return scores.finished(heat.max(1) if heat.ndim > 2 else heat, "saliency")


def guided_backprop(net, x, target=None, *, output=None, input=None, batch_size=64, verbose=1, save=None):
    """The gradient of a class's score by the input, with rectifiers that pass only what is positive in both directions
    (Springenberg et al. 2015, arXiv:1412.6806).

    Parameters
    ----------
    net, x, target, output, input, batch_size, verbose, save
        As in `saliency`.

    Returns
    -------
    array (N, *shape), without N if `x` was without
        Of both signs; in a network without rectifiers the gradient itself.
    """
    return rectified_gradients(net, x, target, output, input, "guided", batch_size, verbose, save)


def deconvnet(net, x, target=None, *, output=None, input=None, batch_size=64, verbose=1, save=None):
    """A class's score carried back to the input as a deconvnet does: rectifiers pass what is positive of what comes
    back, whatever went forward (Zeiler and Fergus 2014, arXiv:1311.2901).

    It takes and returns what `guided_backprop` does.
    """
    return rectified_gradients(net, x, target, output, input, "deconvnet", batch_size, verbose, save)


def rectified_gradients(net, x, target, output, input, rectified, batch_size, verbose, save):
    """The gradient of a class's score by the input, by one of the rules of `View`."""
    scores = Scores(net, x, target, output, input, rectified, save)
    gradients = scores.mean_gradients(scores.unchanged, 1, batch_size, rectified, verbose)
    return scores.finished(gradients, rectified)


def integrated_gradients(net, x, target=None, *, output=None, input=None, baseline=0.0, steps=64, batch_size=64,
                         verbose=1, save=None):
    """Shares of each number of the input in the score of a class: (x - x') times the mean of dS/dx on the way from a
    baseline x' to x (Sundararajan, Taly and Yan 2017, arXiv:1703.01365, eq. 1), by the midpoint rule.

    They are complete: over all numbers they sum to S(x) - S(x'), but for the error of the sum over steps.

    Parameters
    ----------
    net, x, target, output, input, batch_size, verbose, save
        As in `saliency`. Inputs that are not explained stay what they are.
    baseline : float or array that broadcasts to (N, *shape)
        What stands for nothing to see.
    steps : int
        Gradients on the way.

    Returns
    -------
    array (N, *shape), without N if `x` was without
        Of both signs, in units of the score.
    """
    steps = integer(steps, "steps", 1)
    scores = Scores(net, x, target, output, input, save=save)
    baseline = finite_values(baseline, scores.x.shape, "baseline")
    way = scores.x - baseline

    def between(rows, numbers):
        share = (numbers + 0.5) / steps
        return baseline[rows] + share.reshape(-1, *[1] * (way.ndim - 1)) * way[rows]

    gradients = scores.mean_gradients(between, steps, batch_size, "integrated gradients", verbose)
    return scores.finished((way * gradients).astype(net.dtype), "integrated gradients")
