"""Optimiser updates: each returns the new weights, then its new state, and changes nothing in place.

State that is None stands for zero, with which all of it starts.
"""

import numpy as np


def _or_zero(state):
    return 0 if state is None else state


def sgd_update(w, g, v=None, *, lr, momentum=0, dampening=0, nesterov=False, weight_decay=0):
    """Stochastic gradient descent with momentum, in PyTorch's form: returns (w, v).

    g += weight_decay w;  v = momentum v + (1 - dampening) g;  w -= lr (g + momentum v if nesterov else v)

    PyTorch starts the velocity v with the first g, not zero, which differs if dampening is not 0.
    """
    g = g + weight_decay * w
    v = momentum * _or_zero(v) + (1 - dampening) * g
    return w - lr * (g + momentum * v if nesterov else v), v


def adam_update(w, g, m, v, t, *, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0, decoupled=False):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980): returns (w, m, v).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    t counts updates from 1. Weight decay is added to g first, g += weight_decay w, or, decoupled, taken off
    the weights, w -= lr weight_decay w (AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101).
    """
    if decoupled:
        w = w - lr * weight_decay * w
    else:
        g = g + weight_decay * w
    m = beta1 * _or_zero(m) + (1 - beta1) * g
    v = beta2 * _or_zero(v) + (1 - beta2) * g * g
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


def rmsprop_update(w, g, s, v=None, *, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0):
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5) in PyTorch's form: returns (w, s, v).

    g += weight_decay w;  s = alpha s + (1 - alpha) g^2;  v = momentum v + g / (sqrt(s) + eps);  w -= lr v
    """
    g = g + weight_decay * w
    s = alpha * _or_zero(s) + (1 - alpha) * g * g
    v = momentum * _or_zero(v) + g / (np.sqrt(s) + eps)
    return w - lr * v, s, v
