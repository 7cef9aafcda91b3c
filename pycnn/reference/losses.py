"""Losses: each returns the loss, a float, and its gradient with respect to its first argument."""

import numpy as np

from .elementwise import check_same_shape, log_softmax, sigmoid


def softmax_cross_entropy(scores, labels, sample_weights=None, class_weights=None):
    """Mean over all samples and positions of -log softmax(scores)[label].

    loss = -sum_i s_i log softmax(scores_i)[label_i] / sum_i s_i, with s_i = sample_weights[i]
    class_weights[label_i], each 1 if it is not given.

    Parameters
    ----------
    scores : array (N, C) or (N, C, *S)
    labels : integer array (N,) or (N, *S)
    sample_weights : array (N,), or of the shape of labels, optional
    class_weights : array (C,), optional

    Returns
    -------
    loss : float
    dscores : array of the shape of scores

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a label is not in 0 ... C-1.
    """
    classes = scores.shape[1]
    if labels.shape != (scores.shape[0], *scores.shape[2:]):
        raise ValueError(f"labels must be {(scores.shape[0], *scores.shape[2:])}; got {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels must lie in 0 ... {classes - 1}; got {labels.min()} ... {labels.max()}")
    s = np.ones(labels.shape, scores.dtype)
    if sample_weights is not None:
        if sample_weights.shape not in (labels.shape, labels.shape[:1]):
            raise ValueError(f"sample_weights must be {labels.shape[:1]} or {labels.shape}; "
                             f"got {sample_weights.shape}")
        s *= sample_weights.reshape(*sample_weights.shape, *[1] * (labels.ndim - sample_weights.ndim))
    if class_weights is not None:
        if class_weights.shape != (classes,):
            raise ValueError(f"class_weights must be {(classes,)}; got {class_weights.shape}")
        s *= class_weights[labels]
    labels, s = labels[:, None], s[:, None]
    log_p = log_softmax(scores)
    is_label = np.arange(classes).reshape(-1, *[1] * (scores.ndim - 2)) == labels
    loss = -(s * np.take_along_axis(log_p, labels, axis=1)).sum() / s.sum()
    return float(loss), s * (np.exp(log_p) - is_label) / s.sum()


def mean_squared_error(y, target):
    """Mean over all elements of (y - target)^2, and its gradient; ValueError if the shapes differ."""
    check_same_shape(y, target)
    return float(((y - target) ** 2).mean()), 2 * (y - target) / y.size


def binary_cross_entropy(p, target):
    """Mean over all elements of -(t log p + (1 - t) log(1 - p)) for p and t in [0, 1], and its gradient.

    As in PyTorch, logarithms are -100 at least, and p (1 - p), which the gradient divides by, 1e-12 at least.
    ValueError if the shapes differ.
    """
    check_same_shape(p, target)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
    loss = -(target * log_p + (1 - target) * log_q).mean()
    return float(loss), (p - target) / np.maximum(p * (1 - p), 1e-12) / p.size


def binary_cross_entropy_with_logits(scores, target):
    """Mean over all elements of the binary cross-entropy of sigmoid(scores), and its gradient.

    max(x, 0) - x t + log(1 + e^-|x|), with gradient sigmoid(x) - t: finite for every finite score x.
    ValueError if the shapes differ.
    """
    check_same_shape(scores, target)
    loss = (np.maximum(scores, 0) - scores * target + np.log1p(np.exp(-np.abs(scores)))).mean()
    return float(loss), (sigmoid(scores) - target) / scores.size


def distance_loss(y, labels, margin=10.0):
    """Mean over the samples of y[label] + log(exp(-margin) + sum_i exp(-y[i])) (LeCun et al. 1998, eq. 9).

    Parameters
    ----------
    y : array (N, C)
        Distances.
    labels : integer array (N,)
    margin : float
        The paper's j.

    Returns
    -------
    loss : float
    dy : array (N, C)
    """
    rows = np.arange(len(y))
    scores = np.concatenate([-y, np.full((len(y), 1), -margin, y.dtype)], axis=1)
    most = scores.max(axis=1, keepdims=True)
    powers = np.exp(scores - most)
    total = powers.sum(axis=1, keepdims=True)
    others = np.sort(powers, axis=1)[:, :-1].sum(axis=1)        # all but the greatest, which is 1
    loss = (y[rows, labels] + most[:, 0]) + np.log1p(others)
    dy = -powers[:, :-1] / total
    dy[rows, labels] += 1
    return float(loss.mean()), dy / len(y)


def margin_loss(y, labels, present=0.9, absent=0.1, share=0.5):
    """Mean over the samples of max(0, present - y[label])^2 + share * sum over the others of max(0, y[k] - absent)^2.

    (Sabour et al. 2017, arXiv:1710.09829, eq. 4.)

    Parameters
    ----------
    y : array (N, C)
        Lengths.
    labels : integer array (N,)
    present, absent, share : float
        The paper's m+, m- and lambda.

    Returns
    -------
    loss : float
    dy : array (N, C)
    """
    is_label = np.arange(y.shape[1]) == labels[:, None]
    off = np.where(is_label, np.minimum(y - present, 0), np.maximum(y - absent, 0))
    scale = np.where(is_label, 1, share).astype(y.dtype)
    return float((scale * off**2).sum() / len(y)), 2 * scale * off / len(y)
