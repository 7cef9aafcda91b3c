"""Activations, softmax, sums, products and concatenation."""

import numpy as np

# ---- activations ---------------------------------------------------------------------------------------

A, S = 1.7159, 2 / 3  # LeCun et al. 1998, "Gradient-based learning applied to document recognition"


# Klambauer et al. 2017, "Self-normalizing neural networks", arXiv:1706.02515
SELU_SLOPE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def sigmoid(x):
    """1 / (1 + e^-x), by way of e^-|x|, which cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, np.ones_like(e), e) / (1 + e)


# kind: y as a function of x and alpha, and dx as a function of dy, y and alpha
_ACTIVATIONS = {
    "identity": (
        lambda x, alpha: x.copy(),
        lambda dy, y, alpha: dy.copy(),
    ),
    "relu": (
        lambda x, alpha: np.maximum(x, 0),
        lambda dy, y, alpha: np.where(y > 0, dy, np.zeros_like(dy)),
    ),
    "leaky_relu": (
        lambda x, alpha: np.where(x > 0, x, alpha * x),
        lambda dy, y, alpha: np.where(y > 0, dy, alpha * dy),
    ),
    "elu": (
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
        lambda dy, y, alpha: np.where(y > 0, dy, (y + alpha) * dy),
    ),
    "sigmoid": (
        lambda x, alpha: sigmoid(x),
        lambda dy, y, alpha: y * (1 - y) * dy,
    ),
    "tanh": (
        lambda x, alpha: np.tanh(x),
        lambda dy, y, alpha: (1 - y * y) * dy,
    ),
    "scaled_tanh": (
        lambda x, alpha: A * np.tanh(S * x),
        lambda dy, y, alpha: A * S * (1 - (y / A) ** 2) * dy,
    ),
    "softplus": (
        lambda x, alpha: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda dy, y, alpha: -np.expm1(-y) * dy,
    ),
    "selu": (
        lambda x, alpha: SELU_SLOPE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
        lambda dy, y, alpha: np.where(y > 0, SELU_SLOPE, y + SELU_SLOPE * SELU_ALPHA) * dy,
    ),
}
_ALPHA = {"leaky_relu": 0.01, "elu": 1.0}


def _activation(kind, alpha):
    if kind not in _ACTIVATIONS:
        raise ValueError(f"kind must be one of {', '.join(_ACTIVATIONS)}; got {kind!r}")
    alpha = _ALPHA.get(kind) if alpha is None else alpha
    if kind in _ALPHA and alpha < 0:
        raise ValueError(f"{kind}: alpha must not be negative; got {alpha}")
    return *_ACTIVATIONS[kind], alpha


def activation_forward(x, kind, alpha=None):
    """Activation function of every element: y = f(x).

    ===========  ==================================  ==============================
    kind         f(x)                                f'(x), from y = f(x)
    ===========  ==================================  ==============================
    identity     x                                   1
    relu         max(x, 0)                           1 if y > 0 else 0
    leaky_relu   x if x > 0 else alpha x             1 if y > 0 else alpha
    elu          x if x > 0 else alpha (e^x - 1)     1 if y > 0 else y + alpha
    sigmoid      1 / (1 + e^-x)                      y (1 - y)
    tanh         tanh(x)                             1 - y^2
    scaled_tanh  1.7159 tanh(2/3 x)                  1.7159 2/3 (1 - (y / 1.7159)^2)
    softplus     log(1 + e^x)                        1 - e^-y
    selu         S x if x > 0 else S A (e^x - 1)     S if y > 0 else y + S A
    ===========  ==================================  ==============================

    S = 1.0507009873554805 and A = 1.6732632423543772. If alpha is not given it is 0.01 for leaky_relu and 1 for elu; the others have none.

    Raises
    ------
    ValueError
        If there is no such kind, or alpha is negative.
    """
    forward, _, alpha = _activation(kind, alpha)
    return forward(x, alpha)


def activation_backward(dy, y, kind, alpha=None):
    """Gradient of an activation from its OUTPUT y: dx = f'(x) dy, see `activation_forward`."""
    _, backward, alpha = _activation(kind, alpha)
    return backward(dy, y, alpha)


# ---- softmax -------------------------------------------------------------------------------------------


def softmax(x, axis=1):
    """Softmax y_i = e^x_i / sum_j e^x_j along one axis, with the maximum taken off x first."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_backward(dy, y, axis=1):
    """Gradient of softmax from its output: dx_i = y_i (dy_i - sum_j dy_j y_j)."""
    return y * (dy - (dy * y).sum(axis=axis, keepdims=True))


def log_softmax(x, axis=1):
    """Logarithm of softmax, y_i = x_i - log sum_j e^x_j, with the maximum taken off x first."""
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def log_softmax_backward(dy, y, axis=1):
    """Gradient of log_softmax from its output: dx_i = dy_i - e^y_i sum_j dy_j."""
    return dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)


# ---- joining tensors -----------------------------------------------------------------------------------


def check_same_shape(*arrays):
    """A ValueError unless all arrays have one shape."""
    shapes = [a.shape for a in arrays]
    if len(set(shapes)) != 1:
        raise ValueError(f"the arrays must have one shape; got {', '.join(map(str, shapes))}")


def add(*arrays):
    """Sum of one or more arrays of one shape."""
    check_same_shape(*arrays)
    return sum(arrays[1:], start=arrays[0].copy())


def add_backward(dy, count=2):
    """Gradients of a sum of `count` arrays: a tuple of as many copies of dy."""
    return tuple(dy.copy() for _ in range(count))


def multiply(a, b):
    """Product of two arrays of one shape, element by element."""
    check_same_shape(a, b)
    return a * b


def multiply_backward(dy, a, b):
    """Gradients of a product: da = dy b and db = dy a."""
    return dy * b, dy * a


def concat(arrays, axis=1):
    """Arrays one after the other along one axis; their other axes agree."""
    return np.concatenate(arrays, axis=axis)


def concat_backward(dy, sizes, axis=1):
    """Gradients of a concatenation: a tuple of the parts of dy, `sizes` long along the axis."""
    if sum(sizes) != dy.shape[axis]:
        raise ValueError(f"sizes {tuple(sizes)} must add up to {dy.shape[axis]}, the length of axis {axis}")
    return tuple(part.copy() for part in np.split(dy, np.cumsum(sizes)[:-1], axis=axis))
