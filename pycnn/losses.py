"""Losses: what target they take, and the kernel that computes them with their gradient."""

from __future__ import annotations

from math import prod


class Loss:
    """Base of the losses; the mean over a batch.

    Attributes
    ----------
    name : str
    labels : bool
        Whether the target is integer labels ``(N,)`` or ``(N, ...)`` instead of numbers shaped like the output.
    on_scores : bool
        Whether it belongs on the scores below a last Softmax.
    """

    name = ""
    labels = False
    on_scores = False

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        """Calls the kernel on builder `b` for outputs of `shape` (without the batch)."""
        raise NotImplementedError


class CrossEntropy(Loss):
    """-log softmax(scores)[label], averaged over all positions, or weighted by class and divided by the sum of weights."""

    name = "cross_entropy"
    labels = on_scores = True

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        b.call("softmax_cross_entropy", b.batch, shape[0], prod(shape[1:]), weight, y, target, class_weights, dy, result)


class MeanSquaredError(Loss):
    """(y - target)^2, averaged over all elements."""

    name = "mse"

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        b.call("mean_squared_error", b.batch * prod(shape), weight, y, target, dy, result)


class BinaryCrossEntropy(Loss):
    """-(t log y + (1 - t) log(1 - y)) of probabilities y, averaged over all elements; logarithms end at -100."""

    name = "binary_cross_entropy"
    logits = False

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        b.call("binary_cross_entropy", self.logits, b.batch * prod(shape), weight, y, target, dy, result)


class BinaryCrossEntropyWithLogits(BinaryCrossEntropy):
    """Binary cross-entropy of sigmoid(y), computed from the scores y."""

    name = "binary_cross_entropy_with_logits"
    logits = True


LOSSES = {
    loss.name: loss
    for loss in (CrossEntropy(), MeanSquaredError(), BinaryCrossEntropy(), BinaryCrossEntropyWithLogits())
}


def get_loss(loss):
    """A loss, or the one of that name."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
