"""Optimizers: hyper-parameters, the state they keep for each parameter, and the kernel that updates it in one pass."""

from __future__ import annotations

import math

from .shapes import integer


def finite(value, what, low=0.0, below=math.inf):
    """`value` as a float in [low, below); ValueError or TypeError with `what` otherwise."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{what} must be a number, got {value!r}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not (math.isfinite(value) and low <= value < below):
        bounds = f"at least {low}" + ("" if below == math.inf else f" and below {below}")
        raise ValueError(f"{what} must be a finite number, {bounds}, got {value}")
    return value


class Optimizer:
    """Base of the optimizers.

    Attributes
    ----------
    lr : float
        Learning rate; may be set at any time.
    steps : int
        Updates done.
    state : tuple of str
        Names of the vectors it keeps, each as long as the parameters.
    """

    kernel = ""
    state: tuple = ()

    def __init__(self, lr):
        self.lr = lr
        self.steps = 0

    @property
    def lr(self):
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = finite(value, "the learning rate")

    def hyper(self):
        """What the kernel reads behind the gradient's scale, in its order (see csrc/pycnn.h)."""
        raise NotImplementedError

    def config(self):
        """The constructor's arguments."""
        raise NotImplementedError

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum v + (1 - dampening) g, w -= lr v.

    With `nesterov`, w -= lr (g + momentum v). Weight decay is added to the gradient first (as in PyTorch).

    Parameters
    ----------
    lr : float
        Learning rate.
    momentum, dampening : float
        In [0, 1); ``dampening=momentum`` is the average delta = m delta + (1 - m) g.
    weight_decay : float
    nesterov : bool
    """

    kernel = "sgd"
    state = ("velocity",)

    def __init__(self, lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(lr)
        self.momentum = finite(momentum, "momentum", 0.0, 1.0)
        self.dampening = finite(dampening, "dampening", 0.0, 1.0)
        self.weight_decay = finite(weight_decay, "weight_decay")
        self.nesterov = bool(nesterov)

    def hyper(self):
        return self.lr, self.momentum, self.dampening, self.weight_decay, float(self.nesterov)

    def config(self):
        return dict(lr=self.lr, momentum=self.momentum, dampening=self.dampening, weight_decay=self.weight_decay,
                    nesterov=self.nesterov)


class SDLM(Optimizer):
    """Stochastic diagonal Levenberg-Marquardt: w_k -= eta / (mu + h_kk) g_k (LeCun et al. 1998, appendix C, eq. 21).

    h_kk is the diagonal of the Gauss-Newton approximation of the loss' second derivatives, averaged over `samples` samples
    before each epoch of `fit` (or by `Trainer.estimate_curvature`); until then 0. Meant for batches of one sample.

    Parameters
    ----------
    eta : float
        The global learning rate, also called `lr`. The paper's for 20 epochs: `SDLM.schedule`.
    mu : float
        Keeps the rates of parameters with little curvature in bounds, greater than 0.
    samples : int
    """

    kernel = "sdlm"
    state = ("curvature",)

    def __init__(self, eta=0.0005, mu=0.02, samples=500):
        super().__init__(eta)
        self.mu = finite(mu, "mu")
        if not self.mu:
            raise ValueError("mu must be greater than 0")
        self.samples = integer(samples, "samples", 1)

    @staticmethod
    def schedule(epoch, eta=0.0005):
        """The paper's eta for an epoch, for `LearningRateSchedule`: eta for 2 epochs, 0.4 for 3, 0.2 for 3, 0.1 for 4, 0.02."""
        return next(eta * part for last, part in ((2, 1.0), (5, 0.4), (8, 0.2), (12, 0.1), (math.inf, 0.02)) if epoch <= last)

    def hyper(self):
        return self.lr, self.mu

    def config(self):
        return dict(eta=self.lr, mu=self.mu, samples=self.samples)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1).

    Parameters
    ----------
    lr : float
        Learning rate.
    beta1, beta2 : float
        Decay of the averages of the gradient and its square, in [0, 1).
    eps : float
        Added to the square root.
    weight_decay : float
        Added to the gradient.
    """

    kernel = "adam"
    state = ("m", "v")
    decoupled = False

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        super().__init__(lr)
        self.beta1, self.beta2 = finite(beta1, "beta1", 0.0, 1.0), finite(beta2, "beta2", 0.0, 1.0)
        self.eps, self.weight_decay = finite(eps, "eps"), finite(weight_decay, "weight_decay")

    def hyper(self):
        return (self.lr, self.beta1, self.beta2, self.eps, self.weight_decay, float(self.decoupled), float(self.steps))

    def config(self):
        return dict(lr=self.lr, beta1=self.beta1, beta2=self.beta2, eps=self.eps, weight_decay=self.weight_decay)


class AdamW(Adam):
    """Adam with decoupled weight decay, w -= lr weight_decay w (Loshchilov & Hutter 2019, arXiv:1711.05101)."""

    decoupled = True

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
        super().__init__(lr, beta1, beta2, eps, weight_decay)


class RMSprop(Optimizer):
    """The gradient over the root of its mean square (Tieleman & Hinton 2012, lecture 6.5).

    Parameters
    ----------
    lr : float
        Learning rate.
    alpha : float
        Decay of the mean square, in [0, 1).
    eps : float
        Added to the root.
    weight_decay : float
        Added to the gradient.
    momentum : float
        In [0, 1).
    """

    kernel = "rmsprop"
    state = ("square", "velocity")

    def __init__(self, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0):
        super().__init__(lr)
        self.alpha, self.momentum = finite(alpha, "alpha", 0.0, 1.0), finite(momentum, "momentum", 0.0, 1.0)
        self.eps, self.weight_decay = finite(eps, "eps"), finite(weight_decay, "weight_decay")

    def hyper(self):
        return self.lr, self.alpha, self.eps, self.weight_decay, self.momentum

    def config(self):
        return dict(lr=self.lr, alpha=self.alpha, eps=self.eps, weight_decay=self.weight_decay, momentum=self.momentum)


OPTIMIZERS = {c.__name__: c for c in (SGD, SDLM, Adam, AdamW, RMSprop)}


def get_optimizer(optimizer):
    """An optimizer, or the one of that name with its defaults ("sgd", "sdlm", "adam", "adamw", "rmsprop")."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    for name, kind in OPTIMIZERS.items():
        if isinstance(optimizer, str) and optimizer.lower() == name.lower():
            return kind()
    raise ValueError(f"unknown optimizer {optimizer!r}; known are {', '.join(OPTIMIZERS)}")
