"""Capsules and routing by agreement (Sabour, Frosst & Hinton 2017, arXiv:1710.09829).

Capsules are ``(N, capsules, dimension)``: n is a sample, i a capsule below and j one above, e and d their coordinates.
"""

import numpy as np

from .elementwise import softmax, softmax_backward


def squash_forward(x):
    """y = |x|^2 / (1 + |x|^2) x / |x| over the last axis (eq. 1), 0 at 0.

    Examples
    --------
    >>> squash_forward(np.array([[[3.0, 4.0], [0.0, 0.0]]])).round(4).tolist()
    [[[0.5769, 0.7692], [0.0, 0.0]]]
    """
    square = (x**2).sum(axis=-1, keepdims=True)
    return np.sqrt(square) / (1 + square) * x


def squash_backward(dy, x):
    """dx = f dy + f'(|x|) / |x| (x . dy) x with f = |x| / (1 + |x|^2), 0 at 0."""
    square = (x**2).sum(axis=-1, keepdims=True)
    length = np.sqrt(square)
    slope = (1 - square) / (1 + square) ** 2
    slope = np.divide(slope, length, out=np.zeros_like(slope), where=length > 0)
    return length / (1 + square) * dy + slope * (x * dy).sum(axis=-1, keepdims=True) * x


def length_forward(x):
    """The length of each capsule, ``(N, capsules)``."""
    return np.sqrt((x**2).sum(axis=-1))


def length_backward(dy, x):
    """dx = dy x / |x|, 0 at 0."""
    length = length_forward(x)[..., None]
    return dy[..., None] * np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def mask_forward(x, target=None):
    """Keeps one capsule of each sample: where the target ``(N, capsules)`` is greatest, or the longest where it is nowhere
    above zero.

    Returns
    -------
    y : array (N, capsules * dimension)
    kept : integer array (N,)
    """
    kept = length_forward(x).argmax(axis=1)
    if target is not None:
        kept = np.where(target.max(axis=1) > 0, target.argmax(axis=1), kept)
    chosen = np.arange(x.shape[1]) == kept[:, None]
    return (x * chosen[..., None]).reshape(len(x), -1), kept


def mask_backward(dy, kept, x_shape):
    """dx: dy in the capsule that was kept, 0 in the others."""
    chosen = np.arange(x_shape[1]) == kept[:, None]
    return dy.reshape(x_shape) * chosen[..., None]


def primary_capsules_forward(maps, dimension):
    """Maps ``(N, kinds * dimension, *S)`` -> squashed capsules ``(N, kinds * positions, dimension)``."""
    return squash_forward(_capsules_of_maps(maps, dimension))


def primary_capsules_backward(dy, maps, dimension):
    """The gradient to the maps."""
    n, positions = len(maps), int(np.prod(maps.shape[2:]))
    ds = squash_backward(dy, _capsules_of_maps(maps, dimension))
    return ds.reshape(n, -1, positions, dimension).swapaxes(2, 3).reshape(maps.shape)


def _capsules_of_maps(maps, dimension):
    n, channels, *positions = maps.shape
    kinds = maps.reshape(n, channels // dimension, dimension, int(np.prod(positions)))
    return kinds.swapaxes(2, 3).reshape(n, -1, dimension)


def capsules_forward(u, weight, iterations=3):
    """Routing by agreement (procedure 1).

    Parameters
    ----------
    u : array (N, I, E)
    weight : array (I, J, D, E)
    iterations : int

    Returns
    -------
    array (N, J, D)
    """
    return _route(u, weight, iterations)[-1][2]


def _route(u, weight, iterations):
    """(c, s, v) of each iteration."""
    votes = np.einsum("ijde,nie->nijd", weight, u)
    b, done = np.zeros(votes.shape[:3], u.dtype), []
    for _ in range(iterations):
        c = softmax(b, axis=2)
        s = np.einsum("nij,nijd->njd", c, votes)
        v = squash_forward(s)
        b = b + np.einsum("nijd,njd->nij", votes, v)
        done.append((c, s, v))
    return done


def capsules_backward(dv, u, weight, iterations=3):
    """Gradients of `capsules_forward`: du ``(N, I, E)`` and dweight ``(I, J, D, E)``."""
    votes = np.einsum("ijde,nie->nijd", weight, u)
    dvotes, db = np.zeros_like(votes), 0
    for r, (c, s, v) in reversed(list(enumerate(_route(u, weight, iterations)))):
        if r < iterations - 1:                  # v is read by the logits of the next iteration alone
            dv = np.einsum("nij,nijd->njd", db, votes)
            dvotes += db[..., None] * v[:, None]
        ds = squash_backward(dv, s)
        dvotes += c[..., None] * ds[:, None]
        db = db + softmax_backward(np.einsum("nijd,njd->nij", votes, ds), c, axis=2)
    return np.einsum("ijde,nijd->nie", weight, dvotes), np.einsum("nijd,nie->ijde", dvotes, u)
