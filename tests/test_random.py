"""Layers and functions that draw at random: what they draw, that its gradient is exact, and on what it depends."""

import numpy as np
import pytest
from gradient_checks import (
    LANES,
    LAYOUTS,
    alone_or_inside,
    any_shape,
    assert_slopes,
    batches,
    each_layout,
    maps_in,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional as F
from pycnn import layers as L
from pycnn import reference
from pycnn.reference.random import dropped, philox, with_noise

KINDS = {
    "dropout": (lambda: L.Dropout(0.4), lambda x, seed, **at: dropped(x, 0.4, seed, **at)),
    "maps": (lambda: L.Dropout(0.3, maps=True), lambda x, seed, **at: dropped(x, 0.3, seed, maps=True, **at)),
    "noise": (lambda: L.GaussianNoise(0.2), lambda x, seed, **at: with_noise(x, 0.2, seed, **at)),
}
a_shape = st.one_of(any_shape.map(lambda s: (3, *s)), st.just((9, LANES + 1, 9, 11)), st.just((2 * LANES + 3, 300)))


def recorded(layer, shape, dtype="float64", before=None):
    """A network that ends with the layer, and a list that its output is added to whenever the network runs."""
    seen, x = [], pycnn.Input(shape, name="x")

    def record(y):
        seen.append(y.copy())
        return y

    h = layer(x if before is None else before(x))
    return pycnn.Network(x, L.Lambda(record, lambda dy, y: dy)(h), dtype=dtype, seed=5), seen


# ---- the generator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counter, key, words", [     # of Random123, the authors' own
    ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, 0xFFFFFFFFFFFFFFFF, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0A4093822,
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
])
def test_philox_gives_its_known_answers(counter, key, words):
    np.testing.assert_array_equal(philox(np.array(counter), key), np.array(words, np.uint32))


# ---- functions -------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(a_shape, st.sampled_from([0.0, 0.25, 0.5, 0.99]), st.integers(0, 2**64 - 1), st.booleans(),
       st.sampled_from(["float32", "float64"]))
def test_dropout_drops_what_the_draws_say(shape, p, seed, maps, dtype):
    x = np.random.default_rng(0).standard_normal(shape[::-1]).astype(dtype).T
    expected = reference.dropout(x, p, seed=seed, maps=maps)
    np.testing.assert_allclose(F.dropout(x, p, seed=seed, maps=maps), expected, rtol=1e-6 if dtype == "float32" else 1e-15)


@settings(max_examples=40)
@given(a_shape, st.sampled_from([0.0, 0.5, 3.0]), st.integers(0, 2**64 - 1), st.sampled_from(["float32", "float64"]))
def test_noise_is_what_the_draws_say(shape, deviation, seed, dtype):
    x = np.random.default_rng(0).standard_normal(shape[::-1]).astype(dtype).T
    expected = reference.gaussian_noise(x.astype(np.float64), deviation, seed=seed)
    y = F.gaussian_noise(x, deviation, seed=seed)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=0, atol=(2e-5 if dtype == "float32" else 1e-13) * max(1, deviation))


def test_draws_have_the_distribution_they_should():
    ones = np.ones((64, 100, 50), np.float32)
    kept = F.dropout(ones, 0.3, seed=1)
    assert set(np.unique(kept)) == {0, np.float32(1 / 0.7)}
    spread = 5 / np.sqrt(ones.size)
    assert abs(kept.mean() - 1) < spread and abs((kept == 0).mean() - 0.3) < spread
    assert np.abs((kept == 0).mean(axis=(1, 2)) - 0.3).max() < 5 / np.sqrt(5000)
    z = F.gaussian_noise(0 * ones, 1.0, seed=2).astype(np.float64)
    assert abs(z.mean()) < spread and abs((z**2).mean() - 1) < 2 * spread and abs((z**3).mean()) < 4 * spread
    assert abs((z**4).mean() - 3) < 10 * spread and np.abs(z).max() < 7
    assert abs(np.mean(z[0] * z[1])) < 5 / np.sqrt(5000)


def test_what_is_dropped_is_zero_whatever_it_was():
    y = F.dropout(np.full((8, 1000), np.nan), 0.5, seed=3)
    assert set(np.isnan(y).mean(1) < 0.6) == {True} and (y[~np.isnan(y)] == 0).all()


@pytest.mark.parametrize("call, error, message", [
    (lambda x: F.dropout(x, 1.0, seed=0), ValueError, "p must be a probability less than 1"),
    (lambda x: F.dropout(x, -0.1, seed=0), ValueError, "p must be a finite number of at least 0"),
    (lambda x: F.dropout(x, np.nan, seed=0), ValueError, "p must be a finite number"),
    (lambda x: F.dropout(x, 0.5, seed=-1), ValueError, "seed"),
    (lambda x: F.dropout(x, 0.5, seed=2**64), ValueError, r"seed must be less than 2\^64"),
    (lambda x: F.dropout(x, 0.5, seed=0.5), TypeError, "seed"),
    (lambda x: F.gaussian_noise(x, np.inf, seed=0), ValueError, "deviation must be a finite number"),
    (lambda x: L.Dropout(1.0), ValueError, "p must be a probability less than 1, got 1.0"),
    (lambda x: L.Dropout(True), TypeError, "p must be a number, got True"),
    (lambda x: L.GaussianNoise(0), ValueError, "deviation must be a finite number greater than 0"),
    (lambda x: L.GaussianNoise(float("nan")), ValueError, "deviation"),
])
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((2, 3)))


# ---- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(any_shape, st.booleans(), batches, each_layout)
def test_a_training_pass_draws_and_a_prediction_does_not(kind, shape, behind_a_conv, batch, layout):
    make, drawn = KINDS[kind]
    conv = L.Conv(shape[0], 1, name="conv") if behind_a_conv and len(shape) > 1 else None
    with maps_in(layout):
        net, seen = recorded(make(), shape, before=conv)
        x = np.random.default_rng(1).uniform(-1, 1, (batch, *shape))
        h = x if conv is None else reference.conv_forward(x, net["conv"].weight, net["conv"].bias)
        np.testing.assert_allclose(net.predict(x, batch_size=None), h, atol=1e-14)
        net.gradients(x, np.zeros_like(x), loss="mse")
        np.testing.assert_allclose(seen[-1], drawn(h, net.storage.seed, run=1), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(any_shape, st.booleans(), batches, each_layout)
def test_gradients_are_those_of_what_was_drawn(kind, shape, inside, batch, layout):
    with maps_in(layout):
        net = alone_or_inside(KINDS[kind][0](), shape, inside and len(shape) > 1)
        rng = np.random.default_rng(2)
        xs = {"x": rng.uniform(-1, 1, (batch, *shape))}
        ys = {name: rng.uniform(-1, 1, (batch, *of)) for name, of in net.output_shapes.items()}
        assert assert_slopes(net, xs, ys, dict.fromkeys(ys, "mse"), rng)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_draws_depend_on_neither_threads_nor_batch_size_nor_type(kind, layout):
    x = np.random.default_rng(3).uniform(-1, 1, (2 * LANES, 5, 6, 7))
    results = []
    whole, part = len(x), LANES + 3
    ways = [("float64", whole, 1), ("float64", part, 1), ("float32", whole, 1), ("float64", whole, 2)]
    for dtype, count, threads in ways:
        pycnn.set_num_threads(threads)
        with maps_in(layout):
            net, seen = recorded(KINDS[kind][0](), x.shape[1:], dtype)
            for _ in range(4):      # both ways of running
                net.gradients(x[:count], 0 * x[:count], loss="mse")
        assert all((s == seen[0]).all() for s in seen)
        results.append(seen[0])
    pycnn.set_num_threads(1)
    of_whole, of_part, single, shared = results
    np.testing.assert_array_equal(of_part, of_whole[:part])
    np.testing.assert_allclose(single, of_whole, atol=1e-5)
    np.testing.assert_array_equal(shared, of_whole)


def test_every_step_and_every_layer_draws_anew_and_a_seed_repeats_it():
    def course(seed):
        seen, x = [], pycnn.Input((50,))
        h = L.Dropout(0.5)(L.Dropout(0.5)(x))
        h = L.Lambda(lambda y: seen.append(y.copy()) or y, lambda dy, y: dy)(h)
        net = pycnn.Network(x, L.Dense(1)(h), seed=seed)
        net.fit(np.ones((8, 50)), np.zeros((8, 1)), loss="mse", epochs=3, batch_size=8, shuffle=False, verbose=0)
        return np.array(seen)

    first, again, other = course(1), course(1), course(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])
    assert 0.15 < (first == 4).mean() < 0.35     # kept by both


def test_a_training_with_dropout_resumes_bit_for_bit(tmp_path):
    def built():
        x = pycnn.Input((20,))
        return pycnn.Network(x, L.Dense(3)(L.Dropout(0.3)(L.Dense(30, activation="relu")(x))), seed=4)

    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((64, 20)), rng.integers(0, 3, 64)
    options = dict(batch_size=16, verbose=0, seed=6)
    straight = built()
    straight.fit(x, y, epochs=4, optimizer=pycnn.Adam(0.01), **options)
    halted = built()
    halted.fit(x, y, epochs=2, optimizer=pycnn.Adam(0.01), **options)
    halted.save(tmp_path / "net.safetensors")
    resumed = pycnn.load(tmp_path / "net.safetensors")
    resumed.fit(x, y, epochs=4, resume=True, **options)
    np.testing.assert_array_equal(resumed.get_parameters(), straight.get_parameters())


def test_dropout_of_nothing_costs_nothing():
    x = pycnn.Input((4, 8, 8))
    net = pycnn.Network(x, L.Dense(2)(L.Flatten()(L.Dropout(0)(L.Conv(4, 3)(x)))))
    assert "dropout" not in str(net.plan(8, training=True))
    x = pycnn.Input((4, 8, 8))
    assert "dropout" not in str(pycnn.Network(x, L.Dropout(0.5)(x)).plan(8))
