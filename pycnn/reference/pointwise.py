"""Functions of each value whose slope needs the value itself, and rectifiers with a slope for each channel."""

import math

import numpy as np

from .elementwise import sigmoid


def normal_distribution(x):
    """Phi(x) = erfc(-x / sqrt(2)) / 2, in double."""
    return np.vectorize(lambda a: math.erfc(-a / math.sqrt(2)) / 2, otypes=[np.float64])(x)


def _gelu_slope(x):
    return normal_distribution(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _gelu_gate(x):
    """(1 + tanh(u)) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    return sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _gelu_tanh_slope(x):
    s = _gelu_gate(x)
    return s + x * s * _gelu_gate(-x) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


def _mish_gate(x):
    """tanh(log(1 + e^x)) = e (e + 2) / (e (e + 2) + 2), e = e^x, which is 1 to the last digit from x = 25 on."""
    e = np.exp(np.minimum(x, 25))
    return e * (e + 2) / (e * (e + 2) + 2)


def _mish_slope(x):
    e = np.exp(np.minimum(x, 25))
    return _mish_gate(x) + 4 * np.minimum(x, 25) * e * (1 + e) / (e * (e + 2) + 2) ** 2


def _hard_sigmoid(x, alpha=1 / 6, beta=0.5):
    return np.clip(alpha * x + beta, 0, 1)


def _hard_sigmoid_slope(x, alpha=1 / 6, beta=0.5):
    return np.where((x > -beta / alpha) & (x < (1 - beta) / alpha), alpha, 0.0)


# kind: f(x) and f'(x)
POINTWISE = {
    "gelu": (lambda x: x * normal_distribution(x), _gelu_slope),
    "gelu_tanh": (lambda x: x * _gelu_gate(x), _gelu_tanh_slope),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "hard_sigmoid": (_hard_sigmoid, _hard_sigmoid_slope),
    "hard_swish": (lambda x: x * _hard_sigmoid(x), lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0)),
    "mish": (lambda x: x * _mish_gate(x), _mish_slope),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2),
    "clip": (
        lambda x, min=-math.inf, max=math.inf: np.clip(x, min, max),
        lambda x, min=-math.inf, max=math.inf: np.where((x > min) & (x < max), 1.0, 0.0),
    ),
}


def pointwise_forward(x, kind, **parameters):
    """Function of every element, y = f(x); Phi is the normal distribution.

    ============  ====================================================  ==================================
    kind          f(x)                                                  parameters
    ============  ====================================================  ==================================
    gelu          x Phi(x)
    gelu_tanh     x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    silu          x / (1 + e^-x)
    hard_sigmoid  max(0, min(1, alpha x + beta))                        alpha=1/6, beta=1/2
    hard_swish    x max(0, min(1, x / 6 + 1/2))
    mish          x tanh(log(1 + e^x))
    softsign      x / (1 + abs(x))
    clip          max(min, min(max, x))                                 min=-infinity, max=infinity
    ============  ====================================================  ==================================

    Examples
    --------
    >>> pointwise_forward(np.array([-4.0, 0.0, 1.5]), "hard_swish").tolist()
    [-0.0, 0.0, 1.125]
    """
    return POINTWISE[kind][0](x, **parameters).astype(x.dtype)


def pointwise_backward(dy, x, kind, **parameters):
    """Gradient of `pointwise_forward` from its input x: dx = f'(x) dy. Where a clipped function bends, the slope is 0."""
    return (POINTWISE[kind][1](x, **parameters) * dy).astype(x.dtype)


# ---- a slope for each channel --------------------------------------------------------------------------


def prelu_forward(x, weight):
    """y = x where x > 0, else weight x, with a weight for each channel (He et al. 2015, arXiv:1502.01852).

    Examples
    --------
    >>> prelu_forward(np.array([[-2.0, -2.0], [3.0, 0.0]]), np.array([0.25, 0.5])).tolist()
    [[-0.5, -1.0], [3.0, 0.0]]
    """
    return np.where(x > 0, x, np.reshape(weight, (-1, *[1] * (x.ndim - 2))) * x)


def prelu_backward(dy, x, weight):
    """Gradients of `prelu_forward`: dx of the shape of x, and dweight ``(C,)``, the sum of dy x where x is not positive."""
    dx = np.where(x > 0, dy, np.reshape(weight, (-1, *[1] * (x.ndim - 2))) * dy)
    return dx, np.where(x > 0, 0, dy * x).sum(axis=(0, *range(2, x.ndim)))
