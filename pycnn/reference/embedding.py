"""Embedding: rows of a table, chosen by numbers of words."""

import numpy as np


def embedding_forward(ids, weight):
    """y[n, :, s] = weight[ids[n, s]]: ids ``(N, *S)``, weight ``(vocabulary, dimension)``, y ``(N, dimension, *S)``.

    Examples
    --------
    >>> embedding_forward(np.array([[2, 0]]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    array([[[5., 1.],
            [6., 2.]]])
    """
    return np.moveaxis(weight[ids], -1, 1)


def embedding_backward(dy, ids, vocabulary, padding_id=None):
    """Gradient to the weight: row i is the sum of dy over the positions that hold i; row `padding_id` is zero."""
    dweight = np.zeros((vocabulary, dy.shape[1]), dy.dtype)
    np.add.at(dweight, ids, np.moveaxis(dy, 1, -1))
    if padding_id is not None:
        dweight[padding_id] = 0
    return dweight
