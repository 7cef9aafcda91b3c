"""Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

import math

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


# ---- of each sample by itself ---------------------------------------------------------------------------


def _rows(x, groups):
    """x as (N, groups, values of a group)."""
    return x.reshape(len(x), groups, math.prod(x.shape[1:]) // groups)


def group_norm_forward(x, weight, bias, groups, epsilon=1e-5):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, over each group of a sample's channels and all positions.

    A group is C / groups neighbouring channels (Wu & He 2018, arXiv:1803.08494).

    Examples
    --------
    >>> x = np.array([[1.0, 3.0, 10.0, 30.0]])
    >>> group_norm_forward(x, np.ones(4), np.zeros(4), groups=2, epsilon=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    return _by_channel(weight, x) * _normalised(x, groups, epsilon)[0] + _by_channel(bias, x)


def group_norm_backward(dy, x, weight, groups, epsilon=1e-5):
    """Gradients of `group_norm_forward`: dx ``(N, C, *S)``, dweight and dbias ``(C,)``."""
    xhat, _ = _normalised(x, groups, epsilon)
    dx = _normalised_backward(_by_channel(weight, x) * dy, x, groups, epsilon)
    return dx, (dy * xhat).sum(axis=_axes(x)), dy.sum(axis=_axes(x))


def instance_norm_forward(x, weight, bias, epsilon=1e-5):
    """`group_norm_forward` with a group for each channel (Ulyanov et al. 2016, arXiv:1607.08022)."""
    return group_norm_forward(x, weight, bias, x.shape[1], epsilon)


def instance_norm_backward(dy, x, weight, epsilon=1e-5):
    """Gradients of `instance_norm_forward`: dx ``(N, C, *S)``, dweight and dbias ``(C,)``."""
    return group_norm_backward(dy, x, weight, x.shape[1], epsilon)


def layer_norm_forward(x, weight, bias, epsilon=1e-5):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, over all values of a sample (Ba et al. 2016,
    arXiv:1607.06450); weight and bias have the shape of a sample."""
    return weight * _normalised(x, 1, epsilon)[0] + bias


def layer_norm_backward(dy, x, weight, epsilon=1e-5):
    """Gradients of `layer_norm_forward`: dx ``(N, C, *S)``, dweight and dbias ``(C, *S)``."""
    xhat, _ = _normalised(x, 1, epsilon)
    return _normalised_backward(weight * dy, x, 1, epsilon), (dy * xhat).sum(axis=0), dy.sum(axis=0)


def _normalised(x, groups, epsilon):
    """(x - mean) / sqrt(variance + epsilon) of each group, and 1 / sqrt(variance + epsilon) ``(N, groups, 1)``."""
    rows = _rows(x, groups)
    inverse = 1 / np.sqrt(rows.var(axis=2, keepdims=True) + x.dtype.type(epsilon))
    return ((rows - rows.mean(axis=2, keepdims=True)) * inverse).reshape(x.shape), inverse


def _normalised_backward(dy, x, groups, epsilon):
    """Gradient of `_normalised`: dx = (dy - mean of dy - xhat mean of (dy xhat)) / sqrt(variance + epsilon)."""
    xhat, inverse = _normalised(x, groups, epsilon)
    g, xhat = _rows(dy, groups), _rows(xhat, groups)
    dx = inverse * (g - g.mean(axis=2, keepdims=True) - xhat * (g * xhat).mean(axis=2, keepdims=True))
    return dx.reshape(x.shape)


# ---- of channels by their neighbours --------------------------------------------------------------------


def _windows(x, before, after):
    """Sum of x over channels c - before ... c + after, of those that are there."""
    padded = np.pad(x, ((0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)))
    return sum(padded[:, i : i + x.shape[1]] for i in range(before + after + 1))


def local_response_norm_forward(x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """y_c = x_c / d_c^beta, d_c = k + alpha / size * the sum of x^2 over channels c - floor((size - 1) / 2) ...
    c + floor(size / 2) (Krizhevsky et al. 2012, section 3.3; LRN of ONNX).

    Examples
    --------
    >>> local_response_norm_forward(np.array([[1.0, 2.0, 3.0]]), size=3, alpha=3.0, beta=1.0).tolist()
    [[0.16666666666666666, 0.13333333333333333, 0.21428571428571427]]
    """
    return x * _response(x, size, alpha, k) ** -beta


def local_response_norm_backward(dy, x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Gradient of `local_response_norm_forward`: dx_c = dy_c / d_c^beta - 2 alpha beta / size x_c times the sum of
    dy_i x_i / d_i^(beta + 1) over the channels i whose window has c."""
    d = _response(x, size, alpha, k)
    terms = _windows(dy * x * d ** (-beta - 1), size // 2, (size - 1) // 2)
    return dy * d**-beta - 2 * alpha * beta / size * x * terms


def _response(x, size, alpha, k):
    return k + alpha / size * _windows(x * x, (size - 1) // 2, size // 2)
