"""Affine grids, sampling at their positions, and the spatial transformer that is made of both."""

import numpy as np
import pytest
from gradient_checks import LANES, REFERENCE, batches, check, each_layout, maps_in, reference_values
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional, reference
from pycnn import layers as L

LARGEST = {1: 20, 2: 7, 3: 4}
FORMS = [lambda a: a, np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a[::-1].copy()[::-1]]
corners = st.booleans()
padding_modes = st.sampled_from(["zeros", "border", "reflection"])
channels = st.sampled_from([1, 2, 5, LANES + 1])


@st.composite
def samplings(draw):
    """(shape of maps, size of the grid, mode)"""
    rank = draw(st.integers(1, 3))
    size, out = (tuple(draw(st.integers(1, LARGEST[rank])) for _ in range(rank)) for _ in range(2))
    mode = draw(st.sampled_from(["bilinear", "nearest", "bicubic"][: 3 if rank < 3 else 2]))
    return (draw(channels), *size), out, mode


def grid_shape(out):
    return (*out, len(out))


# ---- the layers and their gradients ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(1, 3), st.data(), corners, st.booleans(), batches)
def test_affine_grids_of_any_size_and_their_gradients(rank, data, align, flat, batch):
    size = data.draw(st.one_of(st.integers(1, 3 * LANES), st.tuples(*[st.integers(1, 2 * LARGEST[rank])] * rank)))
    size = min(size, 2 * LARGEST[rank]) if isinstance(size, int) else size
    theta = pycnn.Input((rank * (rank + 1),) if flat else (rank, rank + 1))
    check(pycnn.Network(theta, L.AffineGrid(size, align)(theta), dtype="float64"), batch)


@settings(max_examples=120)
@given(samplings(), padding_modes, corners, batches)
def test_maps_sampled_at_any_grid_and_the_gradients(sampling, padding_mode, align, batch):
    shape, out, mode = sampling
    x, grid = pycnn.Input(shape, name="x"), pycnn.Input(grid_shape(out), name="grid")
    y = L.GridSample(mode, padding_mode, align)(x, grid)
    check(pycnn.Network([x, grid], y, dtype="float64"), batch)


@settings(max_examples=80)
@given(samplings(), padding_modes, corners, batches, each_layout)
def test_maps_of_a_convolution_sampled_inside_a_network_and_the_gradients(sampling, padding_mode, align, batch, layout):
    shape, out, mode = sampling
    rank = len(out)
    x, features = pycnn.Input(shape, name="x"), pycnn.Input((4,), name="features")
    maps = L.Conv(3, 1, activation="tanh", name="before")(x)
    theta = L.Dense(rank * (rank + 1), activation="scaled_tanh", name="theta")(features)
    h = L.GridSample(mode, padding_mode, align)(maps, L.AffineGrid(out, align)(theta))
    with maps_in(layout):
        check(pycnn.Network([x, features], L.Conv(2, 1, name="behind")(h), dtype="float64", seed=1), batch)


def test_nearest_positions_have_no_gradient_to_the_grid():
    x, grid = pycnn.Input((2, 4, 5), name="x"), pycnn.Input((3, 3, 2), name="grid")
    net = pycnn.Network([x, grid], L.GridSample("nearest")(x, grid))
    rng = np.random.default_rng(0)
    gradients = net.gradients([rng.normal(size=(3, 2, 4, 5)), rng.uniform(-1, 1, (3, 3, 3, 2))], np.ones((3, 2, 3, 3)),
                              loss="mse")[1]
    assert gradients["inputs/x"].any() and not gradients["inputs/grid"].any()


def test_connections_join_coordinates_to_an_affine_map_and_values_to_their_taps():
    assert L.AffineGrid((3, 4)).count_connections((6,)) == 3 * 4 * 2 * 3
    assert L.GridSample().count_connections((5, 4, 4), (3, 3, 2)) == 5 * 9 * 4
    assert L.GridSample("bicubic").count_connections((5, 4, 4), (3, 3, 2)) == 5 * 9 * 16


# ---- the functions ---------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(samplings(), padding_modes, corners, st.sampled_from([np.float32, np.float64]), st.sampled_from(FORMS),
       st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_functions_agree_with_the_reference(sampling, padding_mode, align, dtype, form, batch, seed):
    """Both compute in the dtype of x. A weight is the product of two axes' rounded polynomials of a coordinate, which is
    wrong by half an ulp of the size of the axis."""
    (c, *size), out, mode = sampling
    rng, rank = np.random.default_rng(seed), len(size)
    x = rng.standard_normal((batch, c, *size)).astype(dtype)
    grid = rng.uniform(-2, 2, (batch, *out, rank)).astype(dtype)
    dy = rng.standard_normal((batch, c, *out)).astype(dtype)
    ulp = 64 * np.finfo(dtype).eps
    options = mode, padding_mode, align
    y = functional.grid_sample_forward(form(x), form(grid), *options)
    dx, dgrid = functional.grid_sample_backward(form(dy), form(x), form(grid), *options)
    expected_dx, expected_dgrid = reference.grid_sample_backward(dy, x, grid, *options)
    assert y.dtype == dx.dtype == dgrid.dtype == dtype
    largest = np.abs(x).max()
    np.testing.assert_allclose(y, reference.grid_sample_forward(x, grid, *options), rtol=0, atol=ulp * largest)
    np.testing.assert_allclose(dx, expected_dx, rtol=0, atol=ulp * (1 + np.abs(expected_dx).max()))
    np.testing.assert_allclose(dgrid, expected_dgrid, rtol=0, atol=ulp * max(size) * largest * np.abs(dy).sum(1).max())


@settings(max_examples=60)
@given(st.integers(1, 3), st.data(), corners, st.sampled_from([np.float32, np.float64]), st.sampled_from(FORMS),
       st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_affine_functions_agree_with_the_reference(rank, data, align, dtype, form, batch, seed):
    size = tuple(data.draw(st.integers(1, 3 * LARGEST[rank])) for _ in range(rank))
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((batch, rank, rank + 1)).astype(dtype)
    dgrid = rng.standard_normal((batch, *size, rank)).astype(dtype)
    ulp, count = 8 * np.finfo(dtype).eps, np.prod(size)
    grid = functional.affine_grid_forward(form(theta), size, align)
    assert grid.dtype == dtype
    expected = reference.affine_grid_forward(theta, size, align)
    np.testing.assert_allclose(grid, expected, rtol=0, atol=ulp * np.abs(theta).sum(-1).max())
    flat = functional.affine_grid_forward(theta.reshape(batch, -1), size, align)
    np.testing.assert_array_equal(flat, grid)
    expected = reference.affine_grid_backward(dgrid.astype(np.float64), align)
    dtheta = functional.affine_grid_backward(form(dgrid), align)
    np.testing.assert_allclose(dtheta, expected, rtol=0, atol=ulp * np.sqrt(count) * np.abs(dgrid).max())


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode, rank", [("bilinear", 2), ("nearest", 2), ("bicubic", 2), ("bilinear", 3), ("nearest", 3)])
@pytest.mark.parametrize("align", [False, True])
def test_agreement_with_pytorch(mode, rank, padding_mode, align):
    torch = pytest.importorskip("torch")
    rng, size, out = np.random.default_rng(3), (4, 1, 6)[-rank:], (3, 5, 7)[-rank:]
    x, theta = rng.standard_normal((3, 4, *size)), rng.standard_normal((3, rank, rank + 1))
    dy = rng.standard_normal((3, 4, *out))
    of = [torch.tensor(a, requires_grad=True) for a in (x, theta)]
    grid = torch.nn.functional.affine_grid(of[1], (3, 4, *out), align_corners=align)
    y = torch.nn.functional.grid_sample(of[0], grid, mode, padding_mode, align)
    expected = [g.numpy() for g in torch.autograd.grad(y, of, torch.tensor(dy))]
    mine = functional.affine_grid_forward(theta, out, align)
    np.testing.assert_allclose(mine, grid.detach().numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(functional.grid_sample_forward(x, mine, mode, padding_mode, align), y.detach().numpy(),
                               rtol=0, atol=1e-12)
    dx, dgrid = functional.grid_sample_backward(dy, x, mine, mode, padding_mode, align)
    np.testing.assert_allclose(dx, expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(functional.affine_grid_backward(dgrid, align), expected[1], rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("module", [functional, reference])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coordinates_that_lie_nowhere_read_nothing(module, mode, dtype):
    x = np.ones((1, 1, 3, 4), dtype)
    wild = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, -3e9], dtype)
    grid = np.stack([wild, np.zeros_like(wild)], axis=-1)[None, None]
    dy = np.ones((1, 1, 1, len(wild)), dtype)
    for padding_mode, value in [("zeros", 0), ("border", 1)]:
        y = module.grid_sample_forward(x, grid, mode, padding_mode)[0, 0, 0]
        dx, dgrid = module.grid_sample_backward(dy, x, grid, mode, padding_mode)
        assert np.isnan(y[0])
        np.testing.assert_allclose(y[1:], value, rtol=0, atol=8 * np.finfo(dtype).eps)
        assert np.isfinite(dx).all() and np.isfinite(dgrid[0, 0, 1:]).all()
        assert dx.sum() == pytest.approx(value * (len(wild) - 1))
    assert np.isnan(module.grid_sample_forward(x, grid, mode, "reflection")[0, 0, 0, 0])


def test_taps_outside_do_not_spread_what_is_not_finite():
    x = np.full((1, 1, 2, 2), np.inf)
    y = functional.grid_sample_forward(x, np.full((1, 1, 1, 2), 5.0))
    assert y[0, 0, 0, 0] == 0


@pytest.mark.parametrize("shape, grid", [((3, 2, 40, 41), (3, 37, 40, 2)), ((1, 19, 300, 40), (1, 200, 37, 2))])
def test_sampling_is_bit_identical_for_any_number_of_threads(shape, grid, monkeypatch):
    monkeypatch.setattr(pycnn.threads.ThreadChoice, "threads", lambda _, limit: limit)
    rng, before = np.random.default_rng(0), pycnn.get_num_threads()
    x, g = rng.standard_normal(shape), rng.uniform(-1.2, 1.2, grid)
    dy = rng.standard_normal((*shape[:2], *grid[1:-1]))
    runs = []
    for threads in (1, 2, 3):
        pycnn.set_num_threads(threads)
        dx, dgrid = functional.grid_sample_backward(dy, x, g)
        runs.append((functional.grid_sample_forward(x, g), dx, dgrid, functional.affine_grid_backward(dgrid)))
    pycnn.set_num_threads(before)
    for first, *others in zip(*runs, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_an_empty_batch_gives_an_empty_result():
    assert functional.grid_sample_forward(np.zeros((0, 3, 4, 5)), np.zeros((0, 2, 7, 2))).shape == (0, 3, 2, 7)
    assert functional.affine_grid_forward(np.zeros((0, 2, 3)), 5).shape == (0, 5, 5, 2)


# ---- the block -------------------------------------------------------------------------------------------------------


def look(name="look"):
    return [L.Conv(3, 3, padding="same", activation="tanh", name=name), L.MaxPool(2)]


def transformed(**options):
    x = pycnn.Input((2, 8, 9), name="x")
    return x, L.SpatialTransformer(look(), **options)(x)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("align", [False, True])
def test_a_new_transformer_leaves_maps_as_they_are(mode, align):
    net = pycnn.Network(*transformed(mode=mode, align_corners=align), dtype="float64")
    x = np.random.default_rng(0).standard_normal((5, 2, 8, 9))
    np.testing.assert_allclose(net.predict(x), x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 12), (2, 6, 7), (1, 4, 5, 4)])
def test_a_transformer_and_its_gradients(shape):
    x = pycnn.Input(shape, name="x")
    net = pycnn.Network(x, L.SpatialTransformer(look(), size=5)(x), dtype="float64", seed=2)
    net["transformer.theta"].weight = np.random.default_rng(1).normal(0, 0.3, net["transformer.theta"].weight.shape)
    theta = net["transformer.theta"].bias.copy()
    check(net, LANES + 1)
    assert net["transformer.theta"].bias.shape == theta.shape and net.output_shapes["transformer"] == (shape[0], *[5] * (
        len(shape) - 1))


def test_a_transformer_consists_of_ordinary_layers_and_is_saved_as_such(tmp_path):
    x = pycnn.Input((1, 8, 8), name="x")
    h = L.SpatialTransformer(look(), size=(4, 6), padding_mode="border", name="turn")(x)
    net = pycnn.Network(x, L.Dense(3, name="output")(L.Flatten()(h)), seed=1)
    kinds = [type(layer).__name__ for name, layer in net.layers.items() if name.startswith("turn")]
    assert kinds == ["Flatten", "Dense", "AffineGrid", "GridSample"]
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((40, 1, 8, 8)), rng.integers(0, 3, 40)
    history = net.fit(images, labels, epochs=3, batch_size=8, optimizer=pycnn.Adam(0.01), verbose=0)
    assert history["loss"][-1] < history["loss"][0] and net["turn.theta"].weight.any()
    net.save(tmp_path / "net.safetensors")
    again = pycnn.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.predict(images), net.predict(images))
    assert again["turn"].padding_mode == "border" and again["turn.grid"].size == [4, 6]


@pytest.mark.parametrize("localisation", [
    lambda x: L.GlobalAvgPool()(L.Conv(4, 3)(x)), L.Flatten(), [L.Flatten(), L.Dense(5)], (),
])
def test_what_looks_is_a_function_a_layer_or_a_list_of_layers(localisation):
    x = pycnn.Input((2, 5, 6))
    assert L.SpatialTransformer(localisation)(x).shape == (2, 5, 6)


def test_the_reference_walks_through_a_transformer_too():
    net = pycnn.Network(*transformed(size=(3, 4)), dtype="float64")
    x = np.random.default_rng(0).standard_normal((3, 2, 8, 9))
    values = reference_values(net, {"x": x})
    assert {"AffineGrid", "GridSample"} <= REFERENCE.keys()
    np.testing.assert_allclose(net.predict(x), values[net.graph.outputs["transformer"]], rtol=0, atol=1e-12)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, error", [
    (lambda: L.GridSample("linear"), "mode must be one of bilinear, nearest, bicubic, got 'linear'"),
    (lambda: L.GridSample(mode=3), "mode must be one of"),
    (lambda: L.GridSample(padding_mode="reflect"), "padding_mode must be one of zeros, border, reflection, got 'reflect'"),
    (lambda: L.GridSample(align_corners=1), "align_corners must be True or False, got 1"),
    (lambda: L.AffineGrid(4, align_corners=None), "align_corners must be True or False"),
    (lambda: L.SpatialTransformer(4), "transformer: localisation is a function from a tensor to a tensor, or a list of"),
    (lambda: L.SpatialTransformer([L.Flatten, 3], name="turn"), "turn: localisation is a function"),
    (lambda: L.SpatialTransformer([], mode="cubic"), "mode must be one of"),
    (lambda: L.SpatialTransformer([], name="a/b"), "a transformer's name is a non-empty string without '/'"),
    (lambda: L.SpatialTransformer([])(np.zeros((1, 4, 4))), "transformer: call it with a tensor made by Input or a layer"),
    (lambda: L.SpatialTransformer([])(pycnn.Input((4,))), r"transformer: got maps of shape \(4,\), expects \(C, L\)"),
    (lambda: L.SpatialTransformer(lambda x: 3)(pycnn.Input((1, 4, 4))), "localisation returned int, not a tensor"),
])
def test_wrong_arguments_are_refused_when_a_layer_is_made(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


@pytest.mark.parametrize("layer, shapes, error", [
    (L.AffineGrid(4, name="A"), [(5,)], r"A: got an affine map of shape \(5,\), expects \(2, 3\) or \(6,\)"),
    (L.AffineGrid(4, name="A"), [(3, 2)], "A: got an affine map of shape"),
    (L.AffineGrid(4, name="A"), [(1, 2, 3)], r"A: got an input of shape \(1, 2, 3\)"),
    (L.AffineGrid((4, 4, 4), name="A"), [(6,)], "A: size has 3 values; expected one integer or 2"),
    (L.AffineGrid(0, name="A"), [(6,)], "A: size must be at least 1, got 0"),
    (L.AffineGrid(float("nan"), name="A"), [(6,)], "A: size must be an integer"),
    (L.AffineGrid(2**31, name="A"), [(6,)], "A: size must be at most"),
    (L.AffineGrid(4, name="A"), [(6,), (6,)], "A: takes one input, got 2"),
    (L.GridSample(name="S"), [(1, 4, 4)], "S: takes two inputs, maps and a grid, got 1"),
    (L.GridSample(name="S"), [(1, 4, 4), (3, 3, 3)], r"S: got a grid of shape \(3, 3, 3\), expects \(H, W, 2\)"),
    (L.GridSample(name="S"), [(1, 4, 4), (9, 2)], r"S: got a grid of shape \(9, 2\)"),
    (L.GridSample(name="S"), [(4,), (1,)], r"S: got maps of shape \(4,\)"),
    (L.GridSample("bicubic", name="S"), [(1, 4, 4, 4), (2, 2, 2, 3)], "S: bicubic takes maps with one or two spatial axes"),
])
def test_inputs_that_do_not_fit_are_refused_by_name(layer, shapes, error):
    with pytest.raises((ValueError, TypeError), match=error):
        layer(*map(pycnn.Input, shapes))


@pytest.mark.parametrize("call, error", [
    (lambda: functional.affine_grid_forward(np.zeros((2, 3, 2)), 4), "got an affine map of shape"),
    (lambda: functional.affine_grid_forward(np.zeros((2, 2, 3)), (4, 2.0)), "size must be an integer"),
    (lambda: functional.affine_grid_forward([["a"] * 6], 4), "theta must hold real numbers"),
    (lambda: functional.affine_grid_backward(np.zeros((2, 4, 5, 3))), r"dgrid must have shape \(N, \*size, 2\)"),
    (lambda: functional.grid_sample_forward(np.zeros((2, 1, 4, 4)), np.zeros((3, 4, 4, 2))), "same number of samples"),
    (lambda: functional.grid_sample_forward(np.zeros((2, 1, 4, 4)), np.zeros((2, 4, 2))), "grid must have 4 axes"),
    (lambda: functional.grid_sample_forward(np.zeros((2, 1, 4, 4)), np.zeros((2, 4, 4, 1))), "got a grid of shape"),
    (lambda: functional.grid_sample_forward(np.zeros((2, 1, 4, 4)), np.zeros((2, 4, 4, 2)), "cubic"), "mode must be one"),
    (lambda: functional.grid_sample_backward(np.zeros((2, 1, 4, 5)), np.zeros((2, 1, 4, 4)), np.zeros((2, 4, 4, 2))),
     r"dy must have shape \(2, 1, 4, 4\)"),
])
def test_functions_refuse_what_does_not_fit(call, error):
    with pytest.raises((ValueError, TypeError), match=error):
        call()


def test_second_derivatives_are_refused():
    net = pycnn.Network(*transformed())
    with pytest.raises(ValueError, match="GridSample has no second derivatives for SDLM"):
        net.fit(np.zeros((4, 2, 8, 9)), np.zeros((4, 2, 8, 9)), loss="mse", optimizer=pycnn.SDLM(0.01), epochs=1, verbose=0)
