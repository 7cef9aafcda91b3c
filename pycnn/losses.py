"""Losses: what target they take, and the kernel that computes them with their gradient."""

from __future__ import annotations

from math import prod

from ._kernels import ACTIVATIONS
from .optimizers import finite

SIGMOID = (ACTIVATIONS.index("sigmoid"), 0.0)


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

    def call_second(self, b, shape, weight, y, target, h, result):
        """Calls the kernels of the diagonal `h` of second derivatives by y.

        Returns
        -------
        Buffer or None
            The first derivatives, where the layer below is to add those of its own curvature.
        """
        raise ValueError(f"the loss {self.name!r} has no second derivatives for SDLM")


class CrossEntropy(Loss):
    """-log softmax(scores)[label], averaged over all positions, or weighted by class and divided by the sum of weights."""

    name = "cross_entropy"
    labels = on_scores = True

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        b.call("softmax_cross_entropy", b.batch, shape[0], prod(shape[1:]), weight, y, target, class_weights, dy, result)

    def call_second(self, b, shape, weight, y, target, h, result):
        positions = prod(shape[1:])
        p = b.buffer(b.batch * prod(shape))
        b.call("softmax_forward", False, b.batch, shape[0], positions, y, p)
        call_sigmoid_slope(b, b.batch * prod(shape), weight / (b.batch * positions), p, h)


class MeanSquaredError(Loss):
    """(y - target)^2, averaged over all elements."""

    name = "mse"

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        b.call("mean_squared_error", b.batch * prod(shape), weight, y, target, dy, result)

    def call_second(self, b, shape, weight, y, target, h, result):
        b.call("fill", b.batch * prod(shape), 2 * weight / (b.batch * prod(shape)), h)


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

    def call_second(self, b, shape, weight, y, target, h, result):
        n = b.batch * prod(shape)
        p = b.buffer(n)
        b.call("activation_forward", SIGMOID, n, y, p)
        call_sigmoid_slope(b, n, weight / n, p, h)


class DistanceLoss(Loss):
    """y_label + log(exp(-margin) + sum over i of exp(-y_i)), averaged over the batch (LeCun et al. 1998, eq. 9).

    For outputs that are distances, as those of `pycnn.layers.RBF`: the least one is the prediction. It draws the label's
    centre near and pushes those of other classes away as far as about `margin`.

    Parameters
    ----------
    margin : float
        The paper's j.
    """

    name = "distance"
    labels = True

    def __init__(self, margin=10.0):
        self.margin = finite(margin, "margin")

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        self._call(b, shape, weight, False, y, target, dy, result)

    def call_second(self, b, shape, weight, y, target, h, result):
        slope = b.buffer(b.batch * shape[0])
        self._call(b, shape, weight, False, y, target, slope, result)
        self._call(b, shape, weight, True, y, target, h, result)
        return slope

    def _call(self, b, shape, weight, second, y, target, dy, result):
        if len(shape) > 1:
            raise ValueError(f"the loss 'distance' takes an output (classes,), got {shape}")
        b.call("distance_loss", b.batch, shape[0], weight, self.margin, second, y, target, dy, result)


class MarginLoss(Loss):
    """max(0, present - y_label)^2 + share * sum over the others of max(0, y_k - absent)^2, averaged over the batch.

    For lengths of capsules, as those of `pycnn.layers.Length`: the greatest is the prediction (Sabour et al. 2017,
    arXiv:1710.09829, eq. 4).

    Parameters
    ----------
    present, absent : float
        How long the label's capsule should be at least, and others at most: the paper's m+ and m-.
    share : float
        How much the other classes count, the paper's lambda.
    """

    name = "margin"
    labels = True

    def __init__(self, present=0.9, absent=0.1, share=0.5):
        self.present, self.absent = finite(present, "present"), finite(absent, "absent")
        self.share = finite(share, "share")

    def call(self, b, shape, weight, y, target, class_weights, dy, result):
        if len(shape) > 1:
            raise ValueError(f"the loss 'margin' takes an output (classes,), got {shape}")
        b.call("margin_loss", b.batch, shape[0], weight, self.present, self.absent, self.share, y, target, dy, result)


def call_sigmoid_slope(b, n, factor, p, h):
    """h = factor p (1 - p)."""
    b.call("fill", n, factor, h)
    b.call("activation_backward", SIGMOID, n, h, p, h)


LOSSES = {
    loss.name: loss
    for loss in (CrossEntropy(), MeanSquaredError(), BinaryCrossEntropy(), BinaryCrossEntropyWithLogits(), DistanceLoss(),
                 MarginLoss())
}


def get_loss(loss):
    """A loss, or the one of that name."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
