"""A bias for each value of a sample: the layer, and the functions."""

import numpy as np
import pytest
from gradient_checks import (
    ACTIVATIONS,
    LANES,
    alone_or_inside,
    any_shape,
    batches,
    check,
    each_layout,
    maps_in,
    maps_shape,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional, reference
from pycnn import layers as L


@settings(max_examples=80)
@given(st.data(), st.booleans(), batches, each_layout)
def test_a_bias_of_any_shape_and_its_gradients(data, inside, batch, layout):
    shape = data.draw(maps_shape if inside else any_shape)
    with maps_in(layout):
        check(alone_or_inside(L.Bias(name="layer"), shape, inside), batch)


@settings(max_examples=40)
@given(st.sampled_from(ACTIVATIONS), st.sampled_from([3, LANES, LANES + 1]), batches, each_layout)
def test_an_activation_behind_it_becomes_part_of_it(kind, channels, batch, layout):
    x = pycnn.Input((channels, 3, 2), name="x")
    layer = {name.lower(): getattr(L, name) for name in L.__all__}[kind.replace("_", "")]
    h = layer()(L.Bias(name="layer")(L.Conv(channels, 1, name="before")(x)))
    with maps_in(layout):
        net = pycnn.Network(x, L.Conv(2, 1, name="behind")(h), dtype="float64", seed=1)
        check(net, batch)
        assert "activation_forward" not in str(net.plan(batch))


@pytest.mark.parametrize("batch", [2, LANES + 1])
@settings(max_examples=20)
@given(each_layout, st.sampled_from([1, 3, LANES, LANES + 2]))
def test_a_shared_bias_sums_the_gradients_of_its_uses(batch, layout, channels):
    x = pycnn.Input((channels, 4), name="x")
    shared = L.Bias(name="layer")
    h = shared(L.Tanh()(shared(L.Conv(channels, 1, name="before")(x))))
    with maps_in(layout):
        check(pycnn.Network(x, L.Conv(2, 1, name="behind")(h), dtype="float64", seed=1), batch)


@settings(max_examples=60)
@given(any_shape, st.integers(0, 2 * LANES + 3), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_the_functions_are_those_of_the_reference(shape, batch, dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (*shape[::-1], batch)).astype(dtype).T
    bias = rng.uniform(-1, 1, shape).astype(dtype)[..., ::-1]
    np.testing.assert_array_equal(functional.bias_forward(x, bias), reference.bias_forward(x, bias))
    dx, db = functional.bias_backward(x)
    np.testing.assert_array_equal(dx, x)
    expected = x.astype(np.float64).sum(0)
    np.testing.assert_allclose(db, expected, rtol=0, atol=np.finfo(dtype).eps * max(1, batch) * 2)
    assert dx.dtype == db.dtype == dtype


def test_it_does_what_pytorch_does():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, bias = rng.normal(size=(7, 3, 5, 4)).astype(np.float32), rng.normal(size=(3, 5, 4)).astype(np.float32)
    there = [torch.tensor(a, requires_grad=True) for a in (x, bias)]
    y = there[0] + there[1]
    dy = rng.normal(size=x.shape).astype(np.float32)
    y.backward(torch.tensor(dy))
    np.testing.assert_array_equal(functional.bias_forward(x, bias), y.detach().numpy())
    for mine, theirs in zip(functional.bias_backward(dy), there):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=0, atol=2e-6)


def test_results_do_not_depend_on_the_number_of_threads():
    x = np.random.default_rng(0).normal(size=(333, 5, 40, 40)).astype(np.float32)
    results, before = [], pycnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            results.append(functional.bias_backward(x)[1])
    finally:
        pycnn.set_num_threads(before)
    assert all((r == results[0]).all() for r in results)


def test_it_is_counted_frozen_saved_and_loaded(tmp_path):
    x = pycnn.Input((2, 3, 4), name="x")
    net = pycnn.Network(x, L.Bias(bias_init="ones", name="layer")(x))
    assert net.count_parameters() == 24 and net["layer"].count_connections((2, 3, 4)) == 24
    net["layer"].bias[1, 2, 3] = 7
    net.save(tmp_path / "net.safetensors")
    again = pycnn.load(tmp_path / "net.safetensors")
    zeros = np.zeros((1, 2, 3, 4), np.float32)
    np.testing.assert_array_equal(again.predict(zeros)[0], net["layer"].bias)
    again["layer"].freeze(maps=[0])
    again.fit(zeros, zeros, loss="mse", optimizer=pycnn.SGD(1.0), verbose=0)
    after = again["layer"].bias
    assert (after[0] == net["layer"].bias[0]).all() and (after[1] != net["layer"].bias[1]).all()


def test_what_does_not_fit_is_refused():
    x = pycnn.Input((2, 3))
    with pytest.raises(ValueError, match="takes one input, got 2"):
        L.Bias()(x, x)
    with pytest.raises(ValueError, match="bias must have shape"):
        functional.bias_forward(np.zeros((2, 3, 4)), np.zeros(3))
    with pytest.raises(ValueError, match="axes"):
        functional.bias_backward(np.zeros(3))
    with pytest.raises(ValueError, match="bias_init|initializer"):
        pycnn.Network(x, L.Bias(bias_init="nonsense")(x))
