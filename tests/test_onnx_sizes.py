"""Arithmetic on shapes in which the number of samples is a symbol: as with every number put in its place."""

import doctest
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycnn.onnx import sizes
from pycnn.onnx.sizes import BATCH, MixesSamples, Size, simplified, vector

small = st.integers(-20, 20)
symbols = st.builds(Size, small.filter(bool), small)


def at(size, n):
    """What a size is for n samples."""
    return size.times * n + size.plus if isinstance(size, Size) else size


@given(symbols, symbols | small, st.integers(1, 50), st.sampled_from([operator.add, operator.sub]))
def test_sums_and_differences(a, b, n, op):
    assert at(op(a, b), n) == op(at(a, n), at(b, n))
    assert at(op(b, a), n) == op(at(b, n), at(a, n))


@given(symbols, small, st.integers(1, 50))
def test_multiples(a, k, n):
    assert at(a * k, n) == at(k * a, n) == at(a, n) * k


@given(symbols, small.filter(bool), st.integers(1, 50))
def test_quotients_are_exact_or_refused(a, k, n):
    try:
        quotient = a // k
    except MixesSamples:
        assert a.times % k
    else:
        assert at(quotient, n) == at(a, n) // k and at(a % k, n) == at(a, n) % k
    assert (a * 3) // a == 3


def test_vectors_are_integers_where_the_number_of_samples_drops_out():
    shape = vector([BATCH, 3, 4])
    assert shape.dtype == object and (shape[1:] * 2).tolist() == [6, 8]
    assert simplified(shape[1:]).dtype == np.int64 and simplified(shape - np.array([BATCH, 0, 0])).tolist() == [0, 3, 4]
    assert np.concatenate([shape[:1], np.array([12])]).tolist() == [BATCH, 12]
    assert np.where(shape == -1, 7, shape).tolist() == [BATCH, 3, 4]


@pytest.mark.parametrize("question", [
    lambda: BATCH < 3, lambda: range(BATCH), lambda: int(BATCH), lambda: bool(BATCH), lambda: 6 // BATCH,
    lambda: BATCH * BATCH, lambda: BATCH**2, lambda: np.maximum(vector([BATCH]), 1)])
def test_what_would_need_the_number_of_samples_is_refused(question):
    with pytest.raises(MixesSamples, match="samples"):
        question()


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(sizes).failed == 0
