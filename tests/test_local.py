"""Local connections: weights of their own for each position, or for each section of positions."""

import numpy as np
import pytest
from gradient_checks import ACTIVATIONS, LANES, LAYOUTS, alone_or_inside, batches, check, each_layout, maps_in, windows
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional, reference
from pycnn import layers as L
from pycnn.shapes import conv_output_shape

CHANNELS = st.one_of(st.integers(1, 4), st.sampled_from([LANES, 15]))


@st.composite
def local_layers(draw):
    """(spatial shape, what goes with filters, sections or None)"""
    spatial, arguments = draw(windows())
    if draw(st.booleans()):
        return spatial, arguments, None
    out = conv_output_shape(spatial, **{k.replace("_size", ""): v for k, v in arguments.items()})
    return spatial, arguments, tuple(draw(st.integers(1, n)) for n in out)


@settings(max_examples=150)
@given(local_layers(), CHANNELS, CHANNELS, st.booleans(), st.sampled_from([None, *ACTIVATIONS]), st.booleans(), batches,
       each_layout)
def test_local_connections_of_any_geometry_and_their_gradients(
    local, channels, filters, bias, activation, inside, batch, layout
):
    spatial, arguments, sections = local
    layer = L.LocallyConnected(filters, **arguments, sections=sections, bias=bias, activation=activation)
    with maps_in(layout):
        check(alone_or_inside(layer, (channels, *spatial), inside), batch)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(local_layers(), CHANNELS, CHANNELS, st.integers(1, 2 * LANES + 3), st.booleans(), st.integers(0, 2**32))
def test_functional_agrees_with_the_reference_on_arrays_in_any_order(dtype, local, c, k, n, bias, seed):
    spatial, arguments, sections = local
    kernel = arguments.pop("kernel_size")
    kernel = (kernel,) * len(spatial) if isinstance(kernel, int) else kernel
    out = conv_output_shape(spatial, kernel, **arguments)
    sections, rng = sections or out, np.random.default_rng(seed)

    def drawn(*shape):
        return np.asfortranarray(rng.uniform(-1, 1, shape).astype(dtype))

    x, w, dy = drawn(n, c, *spatial), drawn(k, *sections, c, *kernel), drawn(n, k, *out)
    b = drawn(k, *sections) if bias else None
    results = [functional.local_conv_forward(x, w, b, **arguments),
               *functional.local_conv_backward(dy, x, w, **arguments)]
    exact = [a if a is None else a.astype(np.float64) for a in (x, w, b, dy)]
    size = [a if a is None else np.abs(a) for a in exact]
    expected, magnitudes = ([reference.local_conv_forward(x, w, b, **arguments),
                             *reference.local_conv_backward(dy, x, w, **arguments)] for x, w, b, dy in (exact, size))
    terms = w[0].size + 1, w.size, dy.size, dy.size
    for result, value, magnitude, count in zip(results, expected, magnitudes, terms):
        assert result.shape == value.shape and result.dtype == dtype
        assert np.all(np.abs(result - value) <= 4 * np.finfo(dtype).eps * np.sqrt(count) * magnitude)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_section_is_a_convolution(layout):
    x = pycnn.Input((3, 9, 8), name="x")
    shared = L.Conv(5, (3, 2), stride=2, padding=1, activation="tanh", name="shared")
    local = L.LocallyConnected(5, (3, 2), stride=2, padding=1, sections=1, activation="tanh", name="local")
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(x, [shared(x), local(x)], dtype="float64", seed=1)
        local.weight, local.bias = shared.weight[:, None, None], shared.bias[:, None, None]
        xs = np.random.default_rng(0).uniform(-1, 1, (LANES + 3, 3, 9, 8))
        a, b = net.predict(xs)
        _, gradients = net.gradients(xs, [np.zeros_like(a), np.zeros_like(b)], loss="mse")
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)
    np.testing.assert_allclose(gradients["local/weight"][:, 0, 0], gradients["shared/weight"], rtol=0, atol=1e-14)


def test_sections_are_cut_as_said():
    layer = L.LocallyConnected(1, 1, sections=3, bias=False, name="local")
    x = pycnn.Input((1, 8), name="x")
    net = pycnn.Network(x, layer(x), dtype="float64")
    layer.weight = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    assert net.predict(np.ones((1, 1, 8))).ravel().tolist() == [1, 1, 2, 2, 2, 3, 3, 3]


def test_parameters_and_connections_are_counted():
    image = pycnn.Input((3, 10, 8))
    net = pycnn.Network(image, [L.LocallyConnected(4, 3, name="own")(image),
                                L.LocallyConnected(4, 3, sections=(4, 1), name="sections")(image)])
    assert net["own"].weight.shape == (4, 8, 6, 3, 3, 3) and net["own"].bias.shape == (4, 8, 6)
    assert net["sections"].weight.shape == (4, 4, 1, 3, 3, 3) and net["sections"].bias.shape == (4, 4, 1)
    assert net.count_parameters() == 4 * (8 * 6 + 4) * (27 + 1)
    assert net["own"].count_connections((3, 10, 8)) == 4 * 8 * 6 * (27 + 1)
    assert net["sections"].count_connections((3, 10, 8)) == 4 * 8 * 6 * (27 + 1)


def test_frozen_maps_stay_as_they_are():
    x = pycnn.Input((2, 9), name="x")
    h = L.LocallyConnected(5, 3, sections=2, name="local")(x)
    net = pycnn.Network(x, L.Dense(3)(L.Flatten()(h)), seed=1)
    net["local"].freeze(maps=[0, 3])
    assert net["local"].trainable_maps.tolist() == [False, True, True, False, True]
    before = {name: value.copy() for name, value in net.parameters.items()}
    rng = np.random.default_rng(2)
    net.fit(rng.uniform(-1, 1, (40, 2, 9)), rng.integers(0, 3, 40), epochs=2, batch_size=20, verbose=0)
    for kind in ("local/weight", "local/bias"):
        changed = (net.parameters[kind] != before[kind]).reshape(5, -1)
        assert changed.any(axis=1).tolist() == [False, True, True, False, True]


def test_a_saved_network_is_loaded_with_its_sections(tmp_path):
    x = pycnn.Input((2, 6, 5), name="x")
    h = L.LocallyConnected(3, 2, sections=(2, 3), activation="relu", name="some")(x)
    net = pycnn.Network(x, L.LocallyConnected(2, 3, padding=1, bias=False, name="all")(h), seed=3)
    net.save(tmp_path / "net.safetensors")
    loaded, xs = pycnn.load(tmp_path / "net.safetensors"), np.random.default_rng(0).uniform(-1, 1, (3, 2, 6, 5))
    assert loaded["some"].sections == [2, 3] and loaded["all"].sections is None
    np.testing.assert_array_equal(net.predict(xs), loaded.predict(xs))


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(1)
    x, w, dy = (rng.uniform(-1, 1, shape).astype(np.float32)
                for shape in ((50, 3, 12, 9), (9, 10, 1, 3, 3, 3), (50, 9, 10, 7)))
    before = pycnn.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            found.append([functional.local_conv_forward(x, w), *functional.local_conv_backward(dy, x, w)])
    finally:
        pycnn.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


@pytest.mark.parametrize("stride, padding, dilation", [(1, 0, 1), ((2, 1), (1, 2), (1, 2))])
def test_local_connections_agree_with_pytorch(stride, padding, dilation):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    n, c, k, size, kernel = 5, 3, 4, (9, 8), (3, 2)
    out = conv_output_shape(size, kernel, stride, padding, dilation)
    x, w = rng.uniform(-1, 1, (n, c, *size)), rng.uniform(-1, 1, (k, *out, c, *kernel))
    b, dy = rng.uniform(-1, 1, (k, *out)), rng.uniform(-1, 1, (n, k, *out))
    xt, wt, bt = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    patches = torch.nn.functional.unfold(xt, kernel, dilation, padding, stride)         # (n, c taps, positions)
    positions = np.prod(out)
    y = torch.einsum("ntq,kqt->nkq", patches, wt.reshape(k, positions, -1)).reshape(n, k, *out) + bt
    y.backward(torch.tensor(dy))
    sliding = dict(stride=stride, padding=padding, dilation=dilation)
    np.testing.assert_allclose(functional.local_conv_forward(x, w, b, **sliding), y.detach(), rtol=0, atol=1e-13)
    for found, expected in zip(functional.local_conv_backward(dy, x, w, **sliding), (xt, wt, bt)):
        np.testing.assert_allclose(found, expected.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("arguments, error, message", [
    (dict(filters=0), ValueError, "filters must be at least 1"),
    (dict(sections=0), ValueError, "sections must be at least 1"),
    (dict(sections=(2, -1)), ValueError, "sections must be at least 1"),
    (dict(sections=1.5), TypeError, "sections must be an integer"),
    (dict(activation="loud"), ValueError, "unknown activation"),
])
def test_wrong_settings_are_refused_when_the_layer_is_made(arguments, error, message):
    with pytest.raises(error, match=message):
        L.LocallyConnected(**{"filters": 2, "kernel_size": 3, **arguments})


@pytest.mark.parametrize("arguments, message", [
    (dict(sections=7), "L1: sections 7x7 are more than the positions of the output, 7x6"),
    (dict(sections=(2, 2, 2)), "L1: sections has 3 values; expected one integer or 2"),
    (dict(kernel_size=9), "L1: kernel 9x9 does not fit its input 9x8"),
])
def test_wrong_settings_are_refused_when_the_layer_is_called(arguments, message):
    layer = L.LocallyConnected(**{"filters": 2, "kernel_size": 3, "name": "L1", **arguments})
    with pytest.raises(ValueError, match=message):
        layer(pycnn.Input((1, 9, 8)))


X, W = np.zeros((2, 3, 7)), np.zeros((4, 5, 3, 3))


@pytest.mark.parametrize("call, message", [
    (lambda: functional.local_conv_forward(X, W[:, :, :2]), "reads 2 channels; x has 3"),
    (lambda: functional.local_conv_forward(X, W[0]), "w must have 4 axes"),
    (lambda: functional.local_conv_forward(X, np.zeros((4, 6, 3, 3))), "sections 6 are more than the positions"),
    (lambda: functional.local_conv_forward(X, W[:0]), "w must not be empty"),
    (lambda: functional.local_conv_forward(X, W, np.zeros(4)), r"b must have shape \(4, 5\)"),
    (lambda: functional.local_conv_backward(np.zeros((2, 4, 6)), X, W), r"dy must have shape \(2, 4, 5\)"),
])
def test_arrays_that_do_not_belong_together_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
