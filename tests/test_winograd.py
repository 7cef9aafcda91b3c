"""Winograd's algorithm: the same results to a few rounding errors, in every pass, and only where it is allowed.

`everywhere` makes convolutions use it wherever it applies, however small they are; the sums over taps are the reference's.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import _kernels as K
from pycnn import config, functional, reference
from pycnn import layers as L

KERNELS = [(2, 2), (3, 3), (4, 4), (5, 5), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (3, 1), (4, 1), (5, 1)]
LIMITS = {np.float32: 4e-6, np.float64: 1e-14}      # of the error's norm to the result's


@pytest.fixture
def everywhere(monkeypatch):
    monkeypatch.setattr(config, "_winograd", 2)


@pytest.fixture
def switched():
    yield
    pycnn.set_winograd(True)


def examples(count):
    return settings(max_examples=count, deadline=None, derandomize=True,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def convolutions(draw):
    """(x_shape, w_shape, padding, dilation) with lanes that are channels."""
    kernel = draw(st.sampled_from(KERNELS))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2))
    least = [max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(kernel, dilation, padding)]
    size = [n + draw(st.integers(0, 13)) for n in least]
    n, c, k = draw(st.integers(1, 3)), draw(st.integers(5, 40)), draw(st.integers(5, 40))
    return (n, c, *size), (k, c, *kernel), padding, dilation


def assert_close(actual, expected, dtype):
    assert actual.shape == expected.shape and actual.dtype == dtype
    assert np.linalg.norm(actual - expected) <= LIMITS[dtype] * np.linalg.norm(expected)


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def exact(*arrays):
    return [a.astype(np.float64) for a in arrays]


@given(convolutions(), st.sampled_from(list(LIMITS)), st.integers(0, 2**32 - 1))
@examples(150)
def test_all_passes_agree_with_the_reference(everywhere, convolution, dtype, seed):
    x_shape, w_shape, padding, dilation = convolution
    rng, p = np.random.default_rng(seed), {"padding": padding, "dilation": dilation}
    x, w, b = (normal(rng, shape, dtype) for shape in (x_shape, w_shape, w_shape[:1]))
    y = functional.conv_forward(x, w, b, **p)
    dy = normal(rng, y.shape, dtype)
    assert_close(y, reference.conv_forward(*exact(x, w, b), **p), dtype)
    dx = functional.conv_backward_data(dy, w, x_shape, **p)
    assert_close(dx, reference.conv_backward_data(*exact(dy, w), x_shape, **p), dtype)
    for actual, expected in zip(functional.conv_backward_weights(dy, x, w_shape, **p),
                                reference.conv_backward_weights(*exact(dy, x), w_shape, **p)):
        assert_close(actual, expected, dtype)


@pytest.mark.parametrize("channels, size, batch", [(512, 7, 2), (160, 14, 4), (288, 9, 3), (144, 14, 8)])
def test_wide_layers_of_few_positions_agree_with_the_reference(everywhere, channels, size, batch):
    """Weights that tasks transform themselves, and gradients made in pieces."""
    rng = np.random.default_rng(1)
    x, dy = (normal(rng, (batch, channels, size, size), np.float32) for _ in range(2))
    w = normal(rng, (channels, channels, 3, 3), np.float32)
    assert_close(functional.conv_forward(x, w, padding=1), reference.conv_forward(*exact(x, w), padding=1), np.float32)
    assert_close(functional.conv_backward_data(dy, w, x.shape, padding=1),
                 reference.conv_backward_data(*exact(dy, w), x.shape, padding=1), np.float32)
    assert_close(functional.conv_backward_weights(dy, x, w.shape, padding=1)[0],
                 reference.conv_backward_weights(*exact(dy, x), w.shape, padding=1)[0], np.float32)


def test_many_tiles_are_summed_over_blocks_and_chunks(everywhere):
    rng = np.random.default_rng(2)
    x, w = normal(rng, (2, 20, 83, 61), np.float32), normal(rng, (24, 20, 3, 3), np.float32)
    y = functional.conv_forward(x, w, padding=1)
    assert_close(y, reference.conv_forward(*exact(x, w), padding=1), np.float32)
    dw, db = functional.conv_backward_weights(y, x, w.shape, padding=1)
    expected = reference.conv_backward_weights(*exact(y, x), w.shape, padding=1)
    assert_close(dw, expected[0], np.float32)
    assert_close(db, expected[1], np.float32)


def test_the_error_on_a_layer_of_vgg_is_below_one_in_a_hundred_thousand():
    rng = np.random.default_rng(3)
    x = np.maximum(normal(rng, (1, 256, 28, 28), np.float32), 0)
    w = normal(rng, (256, 256, 3, 3), np.float32) / 48
    expected = functional.conv_forward(*exact(x, w), padding=1)
    assert np.linalg.norm(functional.conv_forward(x, w, padding=1) - expected) < 3e-6 * np.linalg.norm(expected)


def packed_size(winograd, layout=K.CHANNELS, groups=1, stride=1, channels=64, kernel=3):
    out = (28 - kernel) // stride + 1
    window = ((1, 28, 28), (1, out, out), (1, kernel, kernel), (1, stride, stride), (1, 1, 1), (0, 0, 0))
    conv = (8, channels, channels, groups, window, winograd)
    return config.kernels(np.float32).conv_packed_size(conv, layout, layout, False)


def test_it_is_chosen_where_it_pays_and_applies():
    assert packed_size(1) > packed_size(0)
    assert packed_size(1, channels=8) == packed_size(0, channels=8)                         # more transforms than products
    for other in ({"layout": K.SAMPLES}, {"groups": 2}, {"stride": 2}, {"kernel": 1}, {"kernel": 6}):
        assert packed_size(2, **other) == packed_size(0, **other)


def small_network(seed=0, pool=2, activation="relu"):
    image = h = pycnn.Input((16, 21, 18), name="image")
    h = L.Conv(40, 3, padding=1, activation=activation, name="A")(h)
    h = L.MaxPool(pool, 2)(h)
    h = L.Conv(32, 3, padding=1, name="B")(h)
    h = L.MaxPool(2)(L.ReLU()(L.Conv(24, 3, name="C")(h)))
    return pycnn.Network(image, L.Dense(5)(L.Flatten()(h)), seed=seed)


@pytest.mark.parametrize("pool", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_networks_learn_the_same_with_pooling_in_its_tiles_or_behind(everywhere, switched, pool, activation):
    rng = np.random.default_rng(4)
    x, y = normal(rng, (3, 16, 21, 18), np.float32), np.array([0, 3, 1])
    net = small_network(pool=pool, activation=activation)
    scores, (loss, gradients) = net.predict(x), net.gradients(x, y, loss="cross_entropy")
    pycnn.set_winograd(False)
    np.testing.assert_allclose(scores, net.predict(x), atol=2e-5)
    direct_loss, direct = net.gradients(x, y, loss="cross_entropy")
    assert abs(loss - direct_loss) < 1e-5
    assert gradients.keys() == direct.keys()
    for name, gradient in gradients.items():
        error = np.linalg.norm(gradient - direct[name])
        assert error <= 2e-5 * np.linalg.norm(direct[name]), name


def test_frozen_maps_keep_their_weights(everywhere):
    net = small_network()
    net["A"].freeze(maps=[0, 7, *range(16, 32)])
    before = net["A"].weight.copy()
    rng = np.random.default_rng(5)
    net.fit(normal(rng, (4, 16, 21, 18), np.float32), [0, 1, 2, 3], loss="cross_entropy", optimizer=pycnn.SGD(0.1), epochs=1,
            batch_size=2, verbose=0)
    changed = (net["A"].weight != before).reshape(40, -1).any(axis=1)
    assert np.flatnonzero(~changed).tolist() == [0, 7, *range(16, 32)]


def test_a_nan_stays_in_its_sample_and_near_its_position(everywhere):
    x, w = np.ones((3, 16, 24, 24), np.float32), np.ones((16, 16, 3, 3), np.float32)
    x[1, 4, 12, 12] = np.nan
    y = functional.conv_forward(x, w, padding=1)
    touched = np.argwhere(np.isnan(y))
    assert set(touched[:, 0]) == {1}
    assert touched[:, 2:].min() >= 12 - 5 and touched[:, 2:].max() <= 12 + 5
    assert np.isnan(y[1, :, 11:14, 11:14]).all()


def test_the_switch_is_a_boolean_and_is_shown(switched, capsys):
    pycnn.set_winograd(False)
    assert not pycnn.get_winograd() and pycnn.show_config()["winograd"] is False
    with pytest.raises(TypeError, match="True or False, not 2"):
        pycnn.set_winograd(2)
    assert not pycnn.get_winograd()


def test_results_do_not_depend_on_the_number_of_threads(everywhere, monkeypatch):
    before = config.get_num_threads()
    rng = np.random.default_rng(6)
    x, w = normal(rng, (2, 48, 30, 30), np.float32), normal(rng, (80, 48, 3, 3), np.float32)
    results = []
    try:
        for threads in (1, 3):
            pycnn.set_num_threads(threads)
            y = functional.conv_forward(x, w, padding=1)
            results.append((y, functional.conv_backward_data(y, w, x.shape, padding=1),
                            *functional.conv_backward_weights(y, x, w.shape, padding=1)))
    finally:
        pycnn.set_num_threads(before)
    for alone, together in zip(*results):
        np.testing.assert_array_equal(alone, together)
