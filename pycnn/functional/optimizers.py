"""Optimizer updates: each returns the new weights, then its new state; nothing is changed in place."""

import numpy as np

from .. import shapes
from . import programs


def _update(kernel, w, g, state, hyper):
    """New weights and state after one step with these hyper-parameters, in the order of ``csrc/pycnn.h``."""
    dtype = programs.dtype_of(w, g, *state.values())
    w = shapes.as_tensor(w, dtype, "w")
    g = programs.tensor_of(g, dtype, "g", w.shape)
    state = [np.zeros_like(w) if s is None else programs.tensor_of(s, dtype, name, w.shape)
             for name, s in state.items()]
    hyper = np.array([1.0, *hyper])

    def lay_out(p):
        numbers, weights, gradient = p.read(p.doubles(len(hyper))), p.read(w.shape), p.read(w.shape)
        kept = [p.read(w.shape) for _ in state]
        getattr(p.program, kernel)([(0, w.size)], numbers, 0, weights, gradient, *kept)
        for address in (weights, *kept):
            p.write(address, w.shape)

    return tuple(programs.run(kernel, (), lay_out, dtype, [hyper, w, g, *state], [(w.shape, dtype)] * (1 + len(state))))


def sgd_update(w, g, v=None, *, lr, momentum=0, dampening=0, nesterov=False, weight_decay=0):
    """Stochastic gradient descent, as in PyTorch: returns (w, v).

    g += weight_decay w;  v = momentum v + (1 - dampening) g;  w -= lr (g + momentum v if nesterov else v)

    The velocity v starts at zero, which is what None stands for. (PyTorch starts it at the first g, which differs only
    with dampening.)
    """
    hyper = _numbers(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
    return _update("sgd", w, g, {"v": v}, [*hyper, bool(nesterov)])


def adam_update(w, g, m, v, t, *, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0, decoupled=False):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980): returns (w, m, v).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    t counts updates from 1, and m and v start at zero, which is what None stands for. Weight decay is added to g first,
    or, decoupled, taken off the weights, w -= lr weight_decay w (AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101).
    """
    hyper = _numbers(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)
    if max(beta1, beta2) >= 1:
        raise ValueError(f"beta1 and beta2 must be less than 1, got {beta1} and {beta2}")
    return _update("adam", w, g, {"m": m, "v": v}, [*hyper, bool(decoupled), shapes.integer(t, "t", 1)])


def rmsprop_update(w, g, s, v=None, *, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0):
    """RMSprop (Tieleman and Hinton 2012, Coursera lecture 6.5), as in PyTorch: returns (w, s, v).

    g += weight_decay w;  s = alpha s + (1 - alpha) g^2;  v = momentum v + g / (sqrt(s) + eps);  w -= lr v

    s and v start at zero, which is what None stands for.
    """
    hyper = _numbers(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
    return _update("rmsprop", w, g, {"s": s, "v": v}, hyper)


def _numbers(**values):
    """Hyper-parameters, none of them negative."""
    return [programs.number(value, name, 0) for name, value in values.items()]
