"""Descent of a loss over one image, its values in [0, 1], by L-BFGS or Adam."""

from __future__ import annotations

import numpy as np

from ..functional import adam_update

MEMORY = 10             # pairs of steps and changes of the gradient that L-BFGS keeps
SCALE = 1e4             # of what L-BFGS sees: its first step is as long as the gradient
ADAM_RATE = 0.02
OPTIMIZERS = ("lbfgs", "adam")


def descend(objective, image, optimizer, steps, on_step):
    """The image that a descent ends with.

    Parameters
    ----------
    objective : callable
        ``objective(image) -> (float, array)``, the loss and its gradient.
    image : array of float32
        Where it starts.
    optimizer : {"lbfgs", "adam"}
        scipy's L-BFGS-B (Zhu, Byrd, Lu and Nocedal 1997) or Adam with a step of 0.02.
    steps : int
    on_step : callable
        Called after each step.

    Returns
    -------
    array of float32
    """
    if optimizer == "adam":
        first = second = None
        for number in range(1, steps + 1):
            image, first, second = adam_update(image, objective(image)[1], first, second, number, lr=ADAM_RATE)
            np.clip(image, 0, 1, out=image)
            on_step()
        return image
    from scipy.optimize import Bounds, minimize

    def flat_objective(x):
        value, gradient = objective(x.astype(np.float32).reshape(image.shape))
        return SCALE * value, SCALE * gradient.ravel().astype(np.float64)

    result = minimize(flat_objective, image.ravel().astype(np.float64), jac=True, method="L-BFGS-B",
                      bounds=Bounds(np.zeros(image.size), np.ones(image.size)), callback=lambda x: on_step(),
                      options={"maxiter": steps, "maxfun": 20 * steps, "maxcor": MEMORY, "ftol": 0, "gtol": 0})
    return result.x.astype(np.float32).reshape(image.shape)


def check_optimizer(optimizer):
    """ValueError unless it is one of those above, ImportError where scipy is missing for it."""
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    if optimizer == "lbfgs":
        try:
            import scipy.optimize  # noqa: F401
        except ImportError:
            raise ImportError('L-BFGS needs scipy: pip install pycnn[style], or take optimizer="adam"') from None
