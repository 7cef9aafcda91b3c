"""Training steps: forward, loss, backward and update in one call."""

import math

import numpy as np

from .checks import by_name, checked_rows
from .optimizers import finite, get_optimizer
from .plan import HYPER_SIZE
from .shapes import as_tensor


class Trainer:
    """Training steps of a network: forward, loss, backward and update in one call.

    Parameters
    ----------
    net : Network
    loss : str, Loss, list or dict
        One for all outputs, or for each.
    optimizer : Optimizer or str
        If it is not the one that the network was last trained with, its state starts at zero.
    loss_weights : list or dict of float, optional
        How much each output's loss counts.
    class_weights : array (classes,), optional
        For cross-entropy.
    clip_norm : float, optional
        The greatest norm of the gradient of all parameters together.
    """

    def __init__(self, net, loss, optimizer, loss_weights=None, class_weights=None, clip_norm=None):
        self.net, self.optimizer = net, get_optimizer(optimizer)
        losses = net.losses_by_output(loss)
        if not losses:
            raise ValueError("no output has a loss")
        weights = dict.fromkeys(losses, 1.0)
        if loss_weights is not None:
            weights = by_name(loss_weights, list(losses), "loss weight", [0])
        self.losses = {n: (of, finite(weights[n], f"the loss weight of {n!r}")) for n, of in losses.items()}
        self.clip_norm = None if clip_norm is None else finite(clip_norm, "clip_norm")
        self.class_weights = None if class_weights is None else self._checked_class_weights(class_weights)
        if net.optimizer is not self.optimizer:
            net.storage.reset_state()
            net.optimizer = self.optimizer
        self._key = (type(self.optimizer), self.clip_norm is not None, *self.losses.items())     # of its plans

    def _checked_class_weights(self, weights):
        weights = as_tensor(weights, self.net.dtype, "class_weights")
        for name, (loss, _) in self.losses.items():
            classes = self.net.output_shapes[name][0]
            if loss.labels and weights.shape != (classes,):
                raise ValueError(f"class_weights has shape {weights.shape}, expects ({classes},)")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError("class_weights must be finite, not negative and not all zero")
        return weights

    def step(self, xs, ys, rows=None):
        """One step on a batch.

        Parameters
        ----------
        xs, ys : list of array
            As `Network.check_inputs` and `check_targets` give them.
        rows : array of int64, optional
            The batch is these rows of the arrays.

        Returns
        -------
        array (outputs, 2), float64
            Weighted loss and correct predictions of each output. Where a loss is not finite, nothing was updated.
        """
        net, optimizer = self.net, self.optimizer
        if rows is None:
            batch = len(xs[0])
        else:
            rows = checked_rows(rows, len(xs[0]))
            batch = len(rows)
            ys = [y[rows] for y in ys]
        with net._lock:
            plan = net._plans.plan(("train", batch, *self._key), lambda: net._new_plan(
                batch, losses=self.losses, gradients=True, optimizer=optimizer, clip=self.clip_norm is not None))
            done = False
            optimizer.steps += 1
            try:
                plan.draws[1] = optimizer.steps
                hyper = optimizer.hyper()
                plan.control[1 : 1 + len(hyper)] = hyper
                if self.clip_norm is not None:
                    plan.control[HYPER_SIZE] = self.clip_norm
                plan.run([*xs, rows, *ys, self.class_weights])
                done = math.isfinite(plan.results[-1, 0]) and math.isfinite(plan.control[0])
            finally:
                optimizer.steps -= not done
            return plan.results[:-1].copy()

    def estimate_curvature(self, xs, ys):
        """Averages the loss' second derivatives over the given samples, for an optimizer that reads them (SDLM).

        Raises
        ------
        ValueError
            When a layer or the loss has none.
        """
        net, batch = self.net, len(xs[0])
        with net._lock:
            plan = net._plans.plan(("curvature", batch, *self._key), lambda: net._new_plan(
                batch, losses=self.losses, gradients=True, second=True))
            plan.run([*xs, None, *ys, None])

    def evaluate(self, xs, ys):
        """Losses and correct predictions, as `step` gives them, without learning."""
        net, batch = self.net, len(xs[0])
        with net._lock:
            plan = net._plans.plan(("evaluate", batch, *self._key), lambda: net._new_plan(batch, losses=self.losses))
            plan.run([*xs, None, *ys, self.class_weights])
            return plan.results[:-1].copy()
