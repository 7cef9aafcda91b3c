"""Layers of the user's own, in NumPy, between kernels."""

import numpy as np
import pytest
from gradient_checks import alone_or_inside, any_shape, batches, check, each_layout, maps_in
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import layers as L


def squares():
    return L.Lambda(np.square, lambda dy, x: 2 * x * dy)


@settings(max_examples=40)
@given(any_shape, st.booleans(), batches, each_layout)
def test_a_function_of_one_input_and_its_gradients(shape, inside, batch, layout):
    with maps_in(layout):
        check(alone_or_inside(squares(), shape, inside and len(shape) > 1), batch)


@settings(max_examples=20)
@given(batches, each_layout)
def test_a_function_of_two_inputs_that_changes_the_shape(batch, layout):
    a, b = pycnn.Input((3, 4), name="a"), pycnn.Input((5, 4), name="b")
    outer = L.Lambda(lambda a, b: np.einsum("nit,njt->nij", a, b),
                     lambda dy, a, b: (np.einsum("nij,njt->nit", dy, b), np.einsum("nij,nit->njt", dy, a)),
                     shape=lambda a, b: (a[0], b[0]))
    assert outer(a, b).shape == (3, 5)
    with maps_in(layout):
        h = outer(L.Conv(3, 1, activation="tanh")(a), b)
        check(pycnn.Network([a, b], L.Conv(2, 1)(h), dtype="float64"), batch)


def test_a_gradient_of_none_is_zero_and_none_is_asked_for_in_vain():
    asked = []
    x, y = pycnn.Input((2,), name="x"), pycnn.Input((2,), name="y")
    layer = L.Lambda(lambda a, b: a + b, lambda dy, a, b: asked.append(1) or (dy, None))
    net = pycnn.Network([x, y], layer(x, y))
    _, gradients = net.gradients([np.ones((1, 2)), np.ones((1, 2))], np.zeros((1, 2)), loss="mse")
    assert gradients["inputs/x"].any() and not gradients["inputs/y"].any() and asked == [1]
    net.predict([np.ones((1, 2)), np.ones((1, 2))])
    assert asked == [1]


def test_without_a_gradient_it_predicts_and_passes_nothing_back():
    x = pycnn.Input((4,))
    net = pycnn.Network(x, L.Dense(2)(L.Lambda(np.abs, name="size")(x)))
    assert net.predict(-np.ones((3, 4))).shape == (3, 2)
    net.fit(np.ones((4, 4)), np.zeros(4, int), verbose=0)
    with pytest.raises(ValueError, match="size: has no gradient"):
        net.gradients(np.ones((4, 4)), np.zeros(4, int))


def test_errors_of_a_function_come_through_and_leave_the_network_as_it_was():
    calls = []

    def fails(x):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no more")
        return x

    x = pycnn.Input((4,))
    h = L.Lambda(fails, lambda dy, x: dy)(L.Dense(4)(x))
    net = pycnn.Network(x, L.Dense(2)(h))
    net.train_on_batch(np.ones((4, 4)), np.zeros(4, int))
    before = net.get_parameters()
    with pytest.raises(RuntimeError, match="no more"):
        net.train_on_batch(np.ones((4, 4)), np.zeros(4, int))
    np.testing.assert_array_equal(net.get_parameters(), before)
    net.train_on_batch(np.ones((4, 4)), np.zeros(4, int))
    assert not np.array_equal(net.get_parameters(), before)


@pytest.mark.parametrize("layer, message", [
    (L.Lambda(lambda x: x[:, :2], name="cut"), r"cut: function returned an array of shape \(3, 2\), expects \(3, 4\)"),
    (L.Lambda(np.square, lambda dy, x: dy[:, :1], name="cut"), r"cut: gradient returned an array of shape \(3, 1\)"),
    (L.Lambda(np.square, lambda dy, x: (dy, dy), name="cut"), "cut: gradient returned 2 arrays for 1 inputs"),
])
def test_results_of_another_shape_are_refused(layer, message):
    x = pycnn.Input((4,))
    net = pycnn.Network(x, layer(x))
    with pytest.raises(ValueError, match=message):
        net.predict(np.ones((3, 4)))
        net.gradients(np.ones((3, 4)), np.ones((3, 4)), loss="mse")


def test_what_it_is_given_must_not_be_written():
    x = pycnn.Input((4,))

    def writes(a):
        a += 1
        return a

    with pytest.raises(ValueError, match="read-only"):
        pycnn.Network(x, L.Lambda(writes)(x)).predict(np.ones((3, 4)))


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="function must be a function of arrays"):
        L.Lambda(3)
    with pytest.raises(TypeError, match="gradient must be a function of arrays"):
        L.Lambda(np.abs, 3)
    with pytest.raises(ValueError, match="each size of a shape"):
        L.Lambda(np.abs, shape=(0, 2))
    with pytest.raises(ValueError, match="1 to 4 axes"):
        L.Lambda(np.abs, shape=(1,) * 5)


def test_it_cannot_be_saved_and_says_so(tmp_path):
    x = pycnn.Input((4,))
    net = pycnn.Network(x, L.Lambda(np.abs, name="size")(x))
    with pytest.raises(ValueError, match="size: a Lambda holds functions, which a file cannot"):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
    assert "size" in str(net) and "absolute" in repr(net["size"])


def test_a_function_that_runs_its_own_network_is_stopped():
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.Lambda(lambda a: net.predict(a), name="again")(x))
    with pytest.raises(RuntimeError, match="may not run the same network on as many samples"):
        net.predict(np.zeros((4, 3)))
