"""Embedding: rows of a table, chosen by numbers of words."""

from math import prod

import numpy as np

from .. import shapes
from .._kernels import PLAIN
from . import programs


def _checked(ids, vocabulary, dtype):
    """Ids ``(N, *S)`` in the type of the arithmetic."""
    ids = np.asarray(ids)
    programs.shape_of(ids.shape, "ids", (2, 3, 4))
    return programs.integers_of(ids, "ids", ids.shape, vocabulary).astype(dtype)


def embedding_forward(ids, weight):
    """y[n, :, s] = weight[ids[n, s]].

    Parameters
    ----------
    ids : array_like of int (N, *S)
        From 0 to vocabulary - 1; one to three axes beside the samples.
    weight : array_like (vocabulary, dimension)

    Returns
    -------
    y : ndarray (N, dimension, *S)
    """
    dtype = programs.dtype_of(weight)
    weight = programs.tensor(weight, dtype, "weight", (2,))
    (vocabulary, dimension), ids = weight.shape, _checked(ids, len(weight), dtype)
    y_shape = (len(ids), dimension, *ids.shape[1:])

    def lay_out(p):
        numbers, table, y = p.read(ids.shape), p.read(weight.shape), p.tensor(y_shape)
        p.program.embedding_forward(PLAIN, len(ids), prod(ids.shape[1:]), vocabulary, dimension, numbers, table, y)
        p.write(y, y_shape)

    return programs.run("embedding_forward", (), lay_out, dtype, [ids, weight], [(y_shape, dtype)])[0]


def embedding_backward(dy, ids, vocabulary, padding_id=None):
    """Gradient of `embedding_forward` to the weight: row i is the sum of dy over the positions that hold i.

    Parameters
    ----------
    dy : array_like (N, dimension, *S)
    ids : array_like of int (N, *S)
    vocabulary : int
    padding_id : int, optional
        A row that stays zero.

    Returns
    -------
    dweight : ndarray (vocabulary, dimension)
    """
    dtype, vocabulary = programs.dtype_of(dy), shapes.integer(vocabulary, "vocabulary", 1)
    padding = -1 if padding_id is None else shapes.number_below(padding_id, vocabulary, "padding_id")
    ids, dy = _checked(ids, vocabulary, dtype), programs.tensor(dy, dtype, "dy", (3, 4, 5))
    dy = programs.tensor_of(dy, dtype, "dy", (len(ids), dy.shape[1], *ids.shape[1:]))
    shape = (vocabulary, dy.shape[1])

    def lay_out(p):
        gradient, numbers, dw = p.read(dy.shape), p.read(ids.shape), p.memory(prod(shape))
        p.program.fill(prod(shape), 0.0, dw)
        p.program.embedding_backward(PLAIN, len(ids), prod(ids.shape[1:]), *shape, padding, gradient, numbers, dw)
        p.write(dw, shape)

    return programs.run("embedding_backward", (vocabulary, padding), lay_out, dtype, [dy, ids], [(shape, dtype)])[0]
