"""The layers of myCNN and LeNet-5 that are neither convolution nor plain pooling, and connection tables."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def _windows(x, kernel_size, stride):
    """The windows of x ``(N, C, *S)`` as ``(N, C, *out, taps)``."""
    rank = x.ndim - 2
    kernel = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * rank
    stride = kernel if stride is None else stride if isinstance(stride, tuple) else (stride,) * rank
    windows = sliding_window_view(x, kernel, axis=tuple(range(2, x.ndim)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, step) for step in stride))]
    return windows.reshape(*windows.shape[: x.ndim], -1)


def connected_weights(weights, connections):
    """The weights ``(K, C, *R)`` of a convolution of which only the connections ``(K, C)`` exist, zeros elsewhere.

    `weights` ``(connections, *R)`` are in the order of ``numpy.argwhere(connections)``.
    """
    dense = np.zeros((*connections.shape, *weights.shape[1:]), weights.dtype)
    dense[connections] = weights
    return dense


def subsample_forward(x, coefficient, bias, kernel_size, stride=None):
    """S-layer: y[n, c, q] = coefficient[c] (sum of window q of x[n, c]) + bias[c]."""
    shape = (-1, *[1] * (x.ndim - 2))
    return coefficient.reshape(shape) * _windows(x, kernel_size, stride).sum(axis=-1) + bias.reshape(shape)


def _spread(gradients, x_shape, kernel_size, stride):
    """Adds what each window ``(N, C, *out, taps)`` passes to its inputs, to dx ``(N, C, *S)``."""
    positions = np.arange(np.prod(x_shape[2:])).reshape(1, 1, *x_shape[2:])
    positions = _windows(positions, kernel_size, stride)[0, 0]
    dx = np.zeros((*x_shape[:2], np.prod(x_shape[2:])), gradients.dtype)
    np.add.at(dx, (slice(None), slice(None), positions), gradients)
    return dx.reshape(x_shape)


def subsample_backward(dy, x, coefficient, kernel_size, stride=None):
    """Gradients of an S-layer: dx ``(N, C, *S)``, and of coefficient and bias ``(C,)``."""
    windows, others = _windows(x, kernel_size, stride), (0, *range(2, x.ndim))
    passed = np.repeat((coefficient.reshape(-1, *[1] * (x.ndim - 2)) * dy)[..., None], windows.shape[-1], axis=-1)
    return _spread(passed, x.shape, kernel_size, stride), (dy * windows.sum(axis=-1)).sum(axis=others), dy.sum(axis=others)


def soft_maximum(x, sharpness):
    """F(x, a) = sum_i x_i exp(a x_i) / sum_i exp(a x_i) over the last axis, with its derivatives (N. Chumerin, myCNN).

    Returns
    -------
    F : array (...)
    dx : array (..., taps)
        dF/dx_i = p_i (1 + a (x_i - F)), p = softmax(a x).
    da : array (...)
        dF/da = sum_i p_i (x_i - F)^2.

    Examples
    --------
    >>> x = np.array([0.3, -0.7, 1.1, 0.4])
    >>> [round(float(v), 10) for v in (soft_maximum(x, 1.0)[0], soft_maximum(x, 1.0)[2], soft_maximum(x, -10.0)[0])]
    [0.6241546881, 0.2787148011, -0.6999362047]
    """
    scores = sharpness * x
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    value = (p * x).sum(axis=-1, keepdims=True)
    return value[..., 0], p * (1 + sharpness * (x - value)), (p * (x - value) ** 2).sum(axis=-1)


def softmax_pool_forward(x, sharpness, kernel_size, stride=None, connections=None):
    """M-layer: y[n, k, q] = sum over connections e into k of F(window q of x[n, source e], sharpness[e])."""
    connections = np.eye(x.shape[1], dtype=bool) if connections is None else connections
    windows = _windows(x, kernel_size, stride)
    y = np.zeros((len(x), len(connections), *windows.shape[2:-1]), x.dtype)
    for (target, source), a in zip(np.argwhere(connections), sharpness):
        y[:, target] += soft_maximum(windows[:, source], a)[0]
    return y


def softmax_pool_backward(dy, x, sharpness, kernel_size, stride=None, connections=None):
    """Gradients of an M-layer: dx ``(N, C, *S)`` and d_sharpness ``(connections,)``."""
    connections = np.eye(x.shape[1], dtype=bool) if connections is None else connections
    windows = _windows(x, kernel_size, stride)
    passed, d_sharpness = np.zeros(windows.shape, x.dtype), np.zeros(len(sharpness), x.dtype)
    for e, (target, source) in enumerate(np.argwhere(connections)):
        _, dx, da = soft_maximum(windows[:, source], sharpness[e])
        passed[:, source] += dy[:, target, ..., None] * dx
        d_sharpness[e] = (dy[:, target] * da).sum()
    return _spread(passed, x.shape, kernel_size, stride), d_sharpness


def rbf_forward(x, centers):
    """y[n, k] = sum_c (x[n, c] - centers[k, c])^2 (LeCun et al. 1998, eq. 7)."""
    return ((x[:, None] - centers) ** 2).sum(axis=-1)


def rbf_backward(dy, x, centers):
    """Gradients of the squared distances: dx ``(N, C)`` and d_centers ``(K, C)``."""
    terms = 2 * dy[..., None] * (x[:, None] - centers)
    return terms.sum(axis=1), -terms.sum(axis=0)
