"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

import numpy as np


def _by_channel(vector, x):
    """A vector (C,) that broadcasts along the channels of x."""
    return np.reshape(vector, (-1, *[1] * (x.ndim - 2)))


def _axes(x):
    """All axes of x but the channels."""
    return (0, *range(2, x.ndim))


def batch_norm_forward(x, weight, bias, epsilon=1e-5):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, over all samples and positions of each channel.

    Returns
    -------
    y : array (N, C, *S)
    mean, variance : array (C,)
        Of the channels; the variance is the unbiased one, of which running averages are kept (of one value it is 0).
        The normalisation itself divides by that without Bessel's correction.

    Examples
    --------
    >>> y, mean, variance = batch_norm_forward(np.array([[1.0], [3.0]]), np.array([1.0]), np.array([5.0]), epsilon=0.0)
    >>> y.ravel().tolist(), mean.tolist(), variance.tolist()
    ([4.0, 6.0], [2.0], [2.0])
    """
    count = x.size // x.shape[1]
    mean, variance = x.mean(axis=_axes(x)), x.var(axis=_axes(x))
    y = batch_norm_inference(x, weight, bias, mean, variance, epsilon)
    return y, mean, variance * x.dtype.type(count / max(1, count - 1))


def batch_norm_inference(x, weight, bias, running_mean, running_var, epsilon=1e-5):
    """y = weight (x - running_mean) / sqrt(running_var + epsilon) + bias."""
    xhat = (x - _by_channel(running_mean, x)) / _by_channel(np.sqrt(running_var + x.dtype.type(epsilon)), x)
    return _by_channel(weight, x) * xhat + _by_channel(bias, x)


def batch_norm_backward(dy, x, weight, epsilon=1e-5):
    """Gradients of `batch_norm_forward`: dx ``(N, C, *S)``, dweight and dbias ``(C,)``.

    dx = weight / sqrt(variance + epsilon) (dy - mean of dy - xhat mean of (dy xhat)), with xhat the normalised x.
    """
    axes = _axes(x)
    inverse = 1 / np.sqrt(x.var(axis=axes) + x.dtype.type(epsilon))
    xhat = (x - _by_channel(x.mean(axis=axes), x)) * _by_channel(inverse, x)
    means = [_by_channel(a.mean(axis=axes), x) for a in (dy, dy * xhat)]
    dx = _by_channel(weight * inverse, x) * (dy - means[0] - xhat * means[1])
    return dx, (dy * xhat).sum(axis=axes), dy.sum(axis=axes)
