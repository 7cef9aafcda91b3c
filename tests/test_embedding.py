"""Embedding: the layer, its functions, and networks that read numbers of words."""

import numpy as np
import pytest
from gradient_checks import LANES, assert_close, batches, check, each_layout, maps_in
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional, reference
from pycnn import layers as L

positions = st.one_of(st.tuples(st.integers(1, 2 * LANES + 1)), st.tuples(st.integers(1, 5), st.integers(1, 5)),
                      st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)))
dimensions = st.one_of(st.integers(1, 5), st.sampled_from([LANES - 1, LANES, LANES + 1, 2 * LANES + 3]))
vocabularies = st.sampled_from([1, 2, 7, 60])


def sentence_network(length=9, vocabulary=12, padding_id=0, dtype="float32", **options):
    words = pycnn.Input((length,), name="words")
    h = L.Embedding(vocabulary, 5, padding_id, name="table", **options)(words)
    h = L.GlobalMaxPool()(L.Conv(4, 3, activation="relu", name="conv")(h))
    return pycnn.Network(words, L.Dense(2, name="dense")(h), dtype=dtype, seed=3)


def drawn_ids(batch=6, length=9, vocabulary=12, seed=0):
    return np.random.default_rng(seed).integers(0, vocabulary, (batch, length))


@settings(max_examples=100)
@given(positions, vocabularies, dimensions, st.booleans(), batches, each_layout)
def test_embedding_of_any_shape_and_its_gradients(shape, vocabulary, dimension, inside, batch, layout):
    ids = pycnn.Input(shape, name="ids")
    h = L.Embedding(vocabulary, dimension)(ids)
    if inside:
        h = L.Conv(3, 1, activation="tanh")(h)
    with maps_in(layout):
        check(pycnn.Network(ids, h, dtype="float64", seed=1), batch)


def test_a_table_that_two_inputs_share():
    a, b = pycnn.Input((4,), name="a"), pycnn.Input((4,), name="b")
    table = L.Embedding(10, 3, name="table")
    check(pycnn.Network([a, b], L.Conv(2, 3)(L.Concat()(table(a), table(b))), dtype="float64"), 5)


def test_the_row_of_the_padding_is_zero_and_stays_zero():
    net = sentence_network()
    assert net["table"].weight[1:].any(axis=1).all()
    ids, labels = drawn_ids(40), np.arange(40) % 2
    before = net["table"].weight.copy()
    _, gradients = net.gradients(ids, labels)
    assert not gradients["table/weight"][0].any()
    for optimizer in (pycnn.AdamW(0.1, weight_decay=0.1), pycnn.SGD(0.1, momentum=0.9)):
        net.fit(ids, labels, epochs=2, optimizer=optimizer, verbose=0)
        assert not net["table"].weight[0].any()
    assert (net["table"].weight[1:] != before[1:]).any(axis=1).all()


def test_words_that_do_not_occur_have_no_gradient_though_those_of_the_batch_before_had():
    net = sentence_network(padding_id=None)
    labels = np.array([0, 1])
    net.gradients(np.full((2, 9), 3), labels)
    _, gradients = net.gradients(np.full((2, 9), 5), labels)
    assert np.flatnonzero(gradients["table/weight"].any(axis=1)).tolist() == [5]


def test_frozen_words_stay_and_the_others_learn():
    net = sentence_network(padding_id=None)
    net["table"].freeze(maps=[1, 2])
    before = net["table"].weight.copy()
    net.fit(drawn_ids(40), np.arange(40) % 2, optimizer="adam", verbose=0)
    assert np.flatnonzero((net["table"].weight == before).all(axis=1)).tolist() == [1, 2]


def test_ids_may_come_in_any_type_of_number_and_the_results_are_the_same():
    net, ids = sentence_network(), drawn_ids()
    expected = net(ids)
    for kind in (np.int8, np.uint16, np.int64, np.float32, np.float64):
        assert np.array_equal(net(ids.astype(kind)), expected)


@pytest.mark.parametrize("wrong", [-1, 12, 2.5, np.nan, np.inf, -np.inf, 2.0**60])
@pytest.mark.parametrize("call", [
    lambda net, ids, y: net(ids), lambda net, ids, y: net.gradients(ids, y),
    lambda net, ids, y: net.fit(ids, y, verbose=0), lambda net, ids, y: net.evaluate(ids, y),
    lambda net, ids, y: net.fit(drawn_ids(), y, validation_data=(ids, y), verbose=0),
    lambda net, ids, y: net.fit(drawn_ids(), y, augment=lambda batch, rng: ids.astype(np.float32), verbose=0),
    lambda net, ids, y: net.fit([(ids, y)], verbose=0),
], ids=["call", "gradients", "fit", "evaluate", "validation", "augment", "batches"])
def test_what_is_no_number_of_a_word_is_refused(call, wrong):
    net, ids = sentence_network(), drawn_ids().astype(np.float64)
    ids[3, 4] = wrong
    before = net["dense"].weight.copy()
    with pytest.raises(ValueError, match=r"input 'words': table: ids must be whole numbers from 0 to 11, got"):
        call(net, ids, np.arange(6) % 2)
    assert np.array_equal(net["dense"].weight, before)


def test_an_empty_batch_of_ids_is_no_error():
    assert sentence_network()(np.zeros((0, 9), int)).shape == (0, 2)


def test_computed_ids_are_cut_and_never_read_outside_of_the_table():
    x = pycnn.Input((4,), name="x")
    net = pycnn.Network(x, L.Embedding(3, 2, name="table")(L.LeakyReLU(1.0)(x)))
    got = net(np.array([[1.9, -5, 1e30, np.nan], [0.5, 2, -0.0, 2.99]]))
    expected = np.moveaxis(net["table"].weight[[[1, 0, 2, 0], [0, 2, 0, 2]]], -1, 1)
    assert np.array_equal(got, expected)


def test_a_file_keeps_the_table_and_what_its_padding_is(tmp_path):
    net = sentence_network(weight_init=lambda shape, fan_in, fan_out, rng: rng.uniform(-0.25, 0.25, shape))
    net.fit(drawn_ids(), np.arange(6) % 2, verbose=0)
    net.save(tmp_path / "net.safetensors")
    loaded = pycnn.load(tmp_path / "net.safetensors")
    assert np.array_equal(loaded(drawn_ids()), net(drawn_ids()))
    assert loaded["table"].config() == {"vocabulary": 12, "dimension": 5, "padding_id": 0, "weight_init": "default"}


def test_second_derivatives_are_summed_for_each_word():
    net = sentence_network()
    net.fit(drawn_ids(20), np.arange(20) % 2, loss="cross_entropy", optimizer=pycnn.SDLM(0.01, samples=20), verbose=0)
    curvature = net.storage.piece(net.storage.state("curvature"), net.storage.parameters["table/weight"])
    assert not curvature[0].any() and (curvature[1:] >= 0).all() and curvature[1:].any()


def test_results_do_not_depend_on_the_number_of_threads():
    net, ids, labels = sentence_network(padding_id=None), drawn_ids(40), np.arange(40) % 2
    before, found = pycnn.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            found.append(net.gradients(ids, labels)[1]["table/weight"])
    finally:
        pycnn.set_num_threads(before)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("arguments, error", [
    ((0, 3), ValueError), ((2.0, 3), TypeError), ((True, 3), TypeError), ((5, 0), ValueError), ((5, "3"), TypeError),
    ((5, 3, 5), ValueError), ((5, 3, -1), ValueError), ((5, 3, 1.0), TypeError), ((2**24 + 1, 3), ValueError),
])
def test_impossible_tables_are_refused(arguments, error):
    with pytest.raises(error, match="vocabulary|dimension|padding_id"):
        L.Embedding(*arguments)


def test_a_vector_for_each_position_is_too_many_axes_where_there_are_four():
    with pytest.raises(ValueError, match=r"table: got an input of shape \(2, 2, 2, 2\)"):
        L.Embedding(5, 3, name="table")(pycnn.Input((2, 2, 2, 2)))


# ---- functions -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 9), positions, vocabularies, dimensions, st.sampled_from([None, 0]), st.booleans())
def test_functions_agree_with_the_reference(batch, shape, vocabulary, dimension, padding_id, double):
    rng, dtype = np.random.default_rng(0), np.float64 if double else np.float32
    ids = rng.integers(0, vocabulary, (batch, *shape[::-1])).transpose(0, *range(len(shape), 0, -1))
    weight = rng.normal(size=(dimension, vocabulary)).astype(dtype).T
    dy = rng.normal(size=(batch, *shape, dimension)).astype(dtype)
    dy = np.moveaxis(dy, -1, 1)
    y = functional.embedding_forward(ids, weight)
    assert y.dtype == dtype and np.array_equal(y, reference.embedding_forward(ids, weight))
    dweight = functional.embedding_backward(dy, ids, vocabulary, padding_id)
    assert dweight.dtype == dtype
    assert_close(dweight, reference.embedding_backward(dy, ids, vocabulary, padding_id), 1e-12 if double else 2e-5)


@pytest.mark.parametrize("call, error", [
    (lambda: functional.embedding_forward([[0, 3]], np.ones((3, 2))), ValueError),
    (lambda: functional.embedding_forward([[-1, 0]], np.ones((3, 2))), ValueError),
    (lambda: functional.embedding_forward([[0.5, 0]], np.ones((3, 2))), TypeError),
    (lambda: functional.embedding_forward([0, 1], np.ones((3, 2))), ValueError),
    (lambda: functional.embedding_forward([[0, 1]], np.ones(3)), ValueError),
    (lambda: functional.embedding_backward(np.ones((1, 2, 3)), [[0, 1]], 4), ValueError),
    (lambda: functional.embedding_backward(np.ones((1, 2, 2)), [[0, 4]], 4), ValueError),
    (lambda: functional.embedding_backward(np.ones((1, 2, 2)), [[0, 1]], 0), ValueError),
    (lambda: functional.embedding_backward(np.ones((1, 2, 2)), [[0, 1]], 4, -2), ValueError),
    (lambda: functional.embedding_backward(np.ones((1, 2, 2)), [[0, 1]], 4, 4), ValueError),
])
def test_impossible_arguments_of_functions_are_refused(call, error):
    with pytest.raises(error):
        call()


def test_it_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    ids, weight, dy = rng.integers(0, 30, (6, 11)), rng.normal(size=(30, 9)), rng.normal(size=(6, 9, 11))
    table = torch.tensor(weight, requires_grad=True)
    y = torch.nn.functional.embedding(torch.tensor(ids), table, padding_idx=4).transpose(1, 2)
    y.backward(torch.tensor(dy))
    assert np.array_equal(functional.embedding_forward(ids, weight), y.detach().numpy())
    assert_close(functional.embedding_backward(dy, ids, 30, 4), table.grad.numpy(), 1e-14)
