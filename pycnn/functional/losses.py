"""Losses: each returns the loss, a float, and its gradient with respect to its first argument."""

import math

import numpy as np

from .. import shapes
from . import elementwise, programs


def softmax_cross_entropy(scores, labels, sample_weights=None, class_weights=None):
    """Mean over all samples and positions of -log softmax(scores)[label].

    loss = -sum_i s_i log softmax(scores_i)[label_i] / sum_i s_i, with s_i = sample_weights[i] class_weights[label_i],
    each 1 if it is not given. The mean over nothing is NaN.

    Parameters
    ----------
    scores : array_like (N, C) or (N, C, *S)
    labels : array_like of int (N,) or (N, *S)
    sample_weights : array_like (N,), or of the shape of labels, optional
    class_weights : array_like (C,), optional

    Returns
    -------
    loss : float
    dscores : ndarray, of the shape of scores

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a label is not in 0 ... C-1.
    """
    dtype = programs.dtype_of(scores, sample_weights, class_weights)
    scores = programs.tensor(scores, dtype, "scores", (2, *programs.RANKS))
    n, classes, positions = programs.plain_sizes(scores.shape)
    labels = programs.integers_of(labels, "labels", (n, *scores.shape[2:]), classes)
    if class_weights is not None:
        class_weights = programs.tensor_of(class_weights, dtype, "class_weights", (classes,))
    if sample_weights is not None:
        weights = _weights_of_labels(sample_weights, labels, dtype)
        if class_weights is not None:
            weights = weights * class_weights[labels]
        return _weighted_cross_entropy(scores, labels, weights)

    def append(p, y, dy, result):
        label_slot, weight_slot = p.slot(), p.slot() if class_weights is not None else 0
        p.program.softmax_cross_entropy(n, classes, positions, 1.0, y, label_slot, weight_slot, dy, result)

    return _loss("softmax_cross_entropy", (), append, scores, programs.given(labels, class_weights))


def _weights_of_labels(weights, labels, dtype):
    """One weight for each label, from weights for each label or each sample."""
    weights = shapes.as_tensor(weights, dtype, "sample_weights")
    if weights.shape not in (labels.shape, labels.shape[:1]):
        raise ValueError(f"sample_weights must have shape {labels.shape[:1]} or {labels.shape}, got {weights.shape}")
    return np.broadcast_to(weights.reshape(*weights.shape, *[1] * (labels.ndim - weights.ndim)), labels.shape)


def _weighted_cross_entropy(scores, labels, weights):
    """Softmax cross-entropy with a weight for each label."""
    if not scores.size:
        return math.nan, np.zeros_like(scores)
    log_p, labels, weights = elementwise.log_softmax(scores), labels[:, None], (weights / weights.sum())[:, None]
    loss = -np.sum(weights * np.take_along_axis(log_p, labels, 1), dtype=np.float64)
    gradient = np.exp(log_p)
    np.put_along_axis(gradient, labels, np.take_along_axis(gradient, labels, 1) - 1, 1)
    return float(loss), gradient * weights


def mean_squared_error(y, target):
    """Mean over all elements of (y - target)^2; raises ValueError if the shapes differ."""
    return _loss_of_pairs("mean_squared_error", (), y, target)


def binary_cross_entropy(p, target):
    """Mean over all elements of -(t log p + (1 - t) log(1 - p)), p and t in [0, 1].

    As in PyTorch logarithms are at least -100, and p (1 - p), which the gradient divides by, at least 1e-12.
    Raises ValueError if the shapes differ.
    """
    return _loss_of_pairs("binary_cross_entropy", (False,), p, target)


def binary_cross_entropy_with_logits(scores, target):
    """Mean over all elements of the binary cross-entropy of sigmoid(scores), finite for any finite score.

    max(x, 0) - x t + log(1 + exp(-|x|)), with gradient sigmoid(x) - t. Raises ValueError if the shapes differ.
    """
    return _loss_of_pairs("binary_cross_entropy", (True,), scores, target)


def distance_loss(y, labels, margin=10.0):
    """Mean over the samples of y[label] + log(exp(-margin) + sum_i exp(-y[i])) of distances y ``(N, C)``.

    (LeCun et al. 1998, eq. 9; the margin is its j.) Returns the loss and its gradient.
    """
    y = programs.tensor(y, programs.dtype_of(y), "y", (2,))
    n, classes = y.shape
    labels, margin = programs.integers_of(labels, "labels", (n,), classes), programs.number(margin, "margin", 0)

    def append(p, source, dy, result):
        p.program.distance_loss(n, classes, 1.0, margin, False, source, p.slot(), dy, result)

    return _loss("distance_loss", (margin,), append, y, [labels])


def margin_loss(y, labels, present=0.9, absent=0.1, share=0.5):
    """Mean over the samples of max(0, present - y[label])^2 + share * sum over the others of max(0, y[k] - absent)^2.

    Of lengths y ``(N, C)`` of capsules (Sabour et al. 2017, arXiv:1710.09829, eq. 4; its m+, m- and lambda). Returns the
    loss and its gradient.
    """
    y = programs.tensor(y, programs.dtype_of(y), "y", (2,))
    n, classes = y.shape
    labels = programs.integers_of(labels, "labels", (n,), classes)
    settings = [(present, "present"), (absent, "absent"), (share, "share")]
    settings = tuple(programs.number(value, what, 0) for value, what in settings)

    def append(p, source, dy, result):
        p.program.margin_loss(n, classes, 1.0, *settings, source, p.slot(), dy, result)

    return _loss("margin_loss", settings, append, y, [labels])


def _loss_of_pairs(kernel, leading, y, target):
    """The mean loss of numbers and their targets, by a kernel that takes `leading` first."""
    dtype = programs.dtype_of(y, target)
    y = shapes.as_tensor(y, dtype, "the first argument")
    target = programs.tensor_of(target, dtype, "target", y.shape)

    def append(p, source, dy, result):
        getattr(p.program, kernel)(*leading, y.size, 1.0, source, p.slot(), dy, result)

    return _loss(kernel, leading, append, y, [target])


def _loss(kernel, parameters, append, y, targets):
    """(loss, gradient); `append` is given the program and the addresses of y, its gradient and the result, and takes a
    slot for each target."""
    if not y.size:
        return math.nan, np.zeros_like(y)

    def lay_out(p):
        source, dy, result = p.read(y.shape), p.tensor(y.shape), p.tensor(p.doubles(2))
        append(p, source, dy, result)
        p.write(result, p.doubles(2))
        p.write(dy, y.shape)

    result, dy = programs.run(kernel, parameters, lay_out, y.dtype, [y, *targets],
                              [((2,), np.float64), (y.shape, y.dtype)])
    return float(result[0]), dy
