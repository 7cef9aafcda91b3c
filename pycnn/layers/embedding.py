"""Embedding: numbers of words become columns of a learnt table."""

from math import prod

import numpy as np

from .. import _kernels as K
from ..initializers import initial_value
from ..shapes import integer, number_below
from .base import Layer, ParameterSpec, one_shape

LARGEST_VOCABULARY = 2**24      # whole numbers below are exact in float32


class Embedding(Layer):
    """y[:, l] = weight[id_l]: each position holds the number of a word, and gets that word's row of a table.

    Input ``(L,)``, or ``(H, W)`` or ``(D, H, W)``: whole numbers from 0 to vocabulary - 1, in an array of any number
    type. Output ``(dimension, L)`` or ``(dimension, H, W)`` and so on; weight ``(vocabulary, dimension)``. No gradient
    goes to the input; a map, as `freeze` and `trainable_maps` count them, is a word. (Bengio et al. 2003, "A neural
    probabilistic language model", section 2.)

    Parameters
    ----------
    vocabulary : int
        How many words there are, at most 2**24.
    dimension : int
        Length of a word's row.
    padding_id : int, optional
        A number that stands for no word: its row is zero at first and gets no gradient.
    weight_init : str or callable
        See `pycnn.initializers`.

    Raises
    ------
    ValueError
        When called, for an input of the network that holds anything but numbers of words.
    """

    def __init__(self, vocabulary, dimension, padding_id=None, weight_init="normal", name=None):
        super().__init__(name)
        self.vocabulary, self.dimension = integer(vocabulary, "vocabulary", 1), integer(dimension, "dimension", 1)
        if self.vocabulary > LARGEST_VOCABULARY:
            raise ValueError(f"vocabulary must be at most 2**24, so that float32 holds every id, got {vocabulary}")
        self.padding_id = None if padding_id is None else number_below(padding_id, self.vocabulary, "padding_id")
        self.weight_init = weight_init

    def output_shape(self, *shapes):
        return (self.dimension, *one_shape(shapes, (1, 2, 3), "ids (L,), (H, W) or (D, H, W)"))

    def parameters(self, shape):
        return {"weight": ParameterSpec((self.vocabulary, self.dimension), self._first_rows)}

    def _first_rows(self, shape, fan_in, fan_out, rng):
        rows = np.array(initial_value(ParameterSpec(shape, self.weight_init, fan_in, fan_out), rng))
        if self.padding_id is not None:
            rows[self.padding_id] = 0
        return rows

    def count_connections(self, shape):
        return prod(self.output_shape(shape))

    def check_input(self, ids):
        if ids.size and not (0 <= ids.min() and ids.max() < self.vocabulary and (ids == np.floor(ids)).all()):
            wrong = ids[~((ids >= 0) & (ids < self.vocabulary) & (ids == np.floor(ids)))].flat[0]
            raise ValueError(f"{self.name}: ids must be whole numbers from 0 to {self.vocabulary - 1}, got {wrong:g}")

    def layout(self, b, s):
        return b.spatial_layout

    def _sizes(self, b, s):
        return s.layout, b.batch, prod(s.inputs[0].shape), self.vocabulary, self.dimension

    def forward(self, b, s):
        b.call("embedding_forward", *self._sizes(b, s), b.value(s.inputs[0], K.PLAIN), b.parameter(self, "weight"),
               b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        if not b.learns(self):
            return
        gradient = b.gradient(self, "weight")
        if not b.accumulates(self):
            b.call("fill", self.vocabulary * self.dimension, 0.0, gradient)
        padding = -1 if self.padding_id is None else self.padding_id
        b.call("embedding_backward", *self._sizes(b, s), padding, dy, b.value(s.inputs[0], K.PLAIN), gradient)
