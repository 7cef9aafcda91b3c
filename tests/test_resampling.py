"""Padding, cropping, upsampling, adaptive averages, unpooling, p-norms, and samples in other shapes and orders."""

import itertools
import math

import numpy as np
import pytest
from gradient_checks import (
    BATCHES,
    LANES,
    LARGEST,
    alone_or_inside,
    any_shape,
    assert_close,
    batches,
    check,
    each_layout,
    maps_in,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_functional import DTYPES, forms, generators, normal

import pycnn
from pycnn import functional, reference, resampling
from pycnn import layers as L

channels = st.sampled_from([1, 3, LANES, LANES + 1])


@st.composite
def spatial_shapes(draw):
    rank = draw(st.integers(1, 3))
    return tuple(draw(st.integers(1, LARGEST[rank])) for _ in range(rank))


def per_axis(draw, spatial, of_axis):
    """One value for all axes, or one for each; `of_axis` is the strategy for an axis of so many positions."""
    if draw(st.booleans()):
        return draw(of_axis(min(spatial)))
    return tuple(draw(of_axis(n)) for n in spatial)


@st.composite
def upsamplings(draw):
    """(spatial shape, arguments)"""
    spatial = draw(spatial_shapes())
    mode = draw(st.sampled_from(["nearest", "linear"]))
    arguments = {"mode": mode, "align_corners": mode == "linear" and draw(st.booleans())}
    if draw(st.booleans()):
        scales = st.sampled_from([1, 2, 3, 1.5, 2.25])
        arguments["scale"] = per_axis(draw, spatial, lambda n: st.one_of(scales, st.just(0.5)) if n > 1 else scales)
    else:
        arguments["size"] = per_axis(draw, spatial, lambda n: st.integers(1, 2 * n))
    return spatial, arguments


@st.composite
def paddings(draw):
    """(spatial shape, arguments)"""
    spatial, mode = draw(spatial_shapes()), draw(st.sampled_from(resampling.PAD_MODES))

    def of_axis(n):
        most = n - 1 if mode == "reflect" else 3
        return st.one_of(st.integers(0, most), st.tuples(st.integers(0, most), st.integers(0, most)))

    pairs = tuple(draw(of_axis(n)) for n in spatial)
    padding = draw(of_axis(min(spatial)).filter(lambda p: isinstance(p, int))) if draw(st.booleans()) else pairs
    return spatial, {"padding": padding, "mode": mode}


@st.composite
def croppings(draw):
    spatial = draw(spatial_shapes())
    kept = [draw(st.integers(1, n)) for n in spatial]
    befores = [draw(st.integers(0, n - k)) for n, k in zip(spatial, kept)]
    return spatial, {"cropping": tuple((b, n - k - b) for n, k, b in zip(spatial, kept, befores))}


@st.composite
def adaptive_pools(draw):
    spatial = draw(spatial_shapes())
    return spatial, {"output_size": per_axis(draw, spatial, lambda n: st.integers(1, 2 * n))}


KINDS = {"Upsample": upsamplings, "Pad": paddings, "Crop": croppings, "AdaptiveAvgPool": adaptive_pools}


# ---- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=80)
@given(data=st.data(), channels=channels, inside=st.booleans(), batch=batches, layout=each_layout)
def test_resampling_of_any_geometry_and_its_gradients(name, data, channels, inside, batch, layout):
    spatial, arguments = data.draw(KINDS[name]())
    if arguments.get("mode") == "constant":
        arguments["value"] = 0.75
    with maps_in(layout):
        check(alone_or_inside(getattr(L, name)(**arguments), (channels, *spatial), inside), batch)


@settings(max_examples=80)
@given(windows(padding_below_kernel=True, dilations=(1,)), st.sampled_from([1, 1.5, 2, 3, 8]), st.booleans(), channels,
       st.booleans(), batches, each_layout)
def test_p_norms_of_any_window_and_their_gradients(window, p, ceil_mode, channels, inside, batch, layout):
    spatial, arguments = window
    del arguments["dilation"]
    with maps_in(layout):
        check(alone_or_inside(L.LPPool(p, **arguments, ceil_mode=ceil_mode), (channels, *spatial), inside), batch)


@settings(max_examples=80)
@given(windows(padding_below_kernel=True, dilations=(1,)), channels, st.booleans(), batches, each_layout)
def test_unpooling_of_any_window_and_its_gradients(window, channels, inside, batch, layout):
    spatial, arguments = window
    del arguments["dilation"]
    pooled = pycnn.Input((channels, *spatial), name="pooled")
    x = pycnn.Input(L.MaxPool(**arguments)(pooled).shape, name="x")
    h = L.MaxUnpool(**arguments)(L.Conv(channels, 1, activation="tanh")(x) if inside else x, pooled)
    with maps_in(layout):
        check(pycnn.Network([x, pooled], L.Conv(2, 1)(h) if inside else h, dtype="float64", seed=1), batch)


@settings(max_examples=80)
@given(any_shape, st.data(), st.booleans(), batches, each_layout)
def test_samples_in_another_order_and_their_gradients(shape, data, inside, batch, layout):
    axes = data.draw(st.permutations(range(len(shape))))
    with maps_in(layout):
        check(alone_or_inside(L.Permute(axes), shape, inside and len(shape) > 1), batch)


@settings(max_examples=60)
@given(any_shape, st.data(), st.booleans(), batches, each_layout)
def test_samples_in_another_shape_and_their_gradients(shape, data, inside, batch, layout):
    size = math.prod(shape)
    first = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    target = data.draw(st.sampled_from([-1, (first, -1), (first, size // first), (1, first, -1), (-1, 1, first, 1)]))
    with maps_in(layout):
        check(alone_or_inside(L.Reshape(target), shape, inside and len(shape) > 1), batch)


@pytest.mark.parametrize("batch", BATCHES)
def test_an_autoencoder_of_pooling_and_unpooling(batch):
    x = pycnn.Input((2, 6, 6), name="image")
    h = L.Conv(5, 3, padding=1, activation="tanh")(x)
    code = L.Conv(4, 1, activation="tanh")(L.MaxPool(2)(h))
    up = L.MaxUnpool(2)(L.Conv(5, 1)(code), h)
    check(pycnn.Network(x, L.Conv(2, 3, padding=1)(L.Upsample(1.5, mode="linear")(up)), dtype="float64", seed=1), batch)


@pytest.mark.parametrize("make, shape, expected", [
    (lambda: L.Upsample(2), (3, 5, 4), (3, 10, 8)),
    (lambda: L.Upsample((1, 2.5)), (3, 5, 5), (3, 5, 12)),
    (lambda: L.Upsample(size=7, mode="linear"), (3, 5, 4), (3, 7, 7)),
    (lambda: L.Pad(((1, 2), 3)), (3, 5, 4), (3, 8, 10)),
    (lambda: L.Crop((1, (0, 2))), (3, 5, 4), (3, 3, 2)),
    (lambda: L.AdaptiveAvgPool((1, 9)), (3, 5, 4), (3, 1, 9)),
    (lambda: L.Reshape((5, -1)), (3, 5, 4), (5, 12)),
    (lambda: L.Permute((1, 2, 0)), (3, 5, 4), (5, 4, 3)),
    (lambda: L.LPPool(2, 3, ceil_mode=True), (3, 5, 4), (3, 2, 2)),
])
def test_output_shape_and_again_from_its_config(make, shape, expected):
    layer = make()
    assert layer(pycnn.Input(shape)).shape == expected
    again = type(layer)(**layer.config())
    assert repr(again) == repr(layer) and again(pycnn.Input(shape)).shape == expected


def test_a_network_of_all_of_them_is_saved_and_loaded(tmp_path):
    x = pycnn.Input((2, 8, 8), name="image")
    h = L.Pad(((1, 0), 2), mode="reflect")(L.Conv(4, 3)(x))
    h = L.Crop(((1, 0), 2))(L.Upsample(scale=(2, 1), mode="linear", align_corners=True)(h))
    h = L.MaxUnpool(2)(L.LPPool(3, 2)(h), h)
    h = L.Reshape((4, -1))(L.Permute((1, 2, 0))(L.AdaptiveAvgPool((3, 4))(h)))
    net = pycnn.Network(x, h, seed=1)
    net.save(tmp_path / "net.safetensors")
    images = np.random.default_rng(0).random((3, 2, 8, 8))
    np.testing.assert_array_equal(pycnn.load(tmp_path / "net.safetensors").predict(images), net.predict(images))


def test_connections_are_the_taps_of_all_outputs():
    assert L.Upsample(2, mode="linear").count_connections((3, 4, 4)) == 3 * 14 * 14     # an axis' ends have one tap each
    assert L.Pad(1).count_connections((3, 4)) == 3 * 4
    assert L.MaxUnpool(2).count_connections((3, 2), (3, 4)) == 6


def test_a_norm_neither_overflows_nor_divides_by_zero():
    x = np.array([[[3e30, -4e30, 3e-30, 4e-30, 0, 0, np.inf, 1, np.nan, 1]]], np.float32)
    np.testing.assert_allclose(functional.lp_pool_forward(x, 2, 2)[0, 0, :3], [5e30, 5e-30, 0], rtol=1e-6)
    np.testing.assert_array_equal(functional.lp_pool_forward(x, 3, 2)[0, 0, 3:], [np.inf, np.nan])
    for p, expected in ((1, [1, -1, 1, 1, 0, 0]), (2, [0.6, -0.8, 0.6, 0.8, 0, 0])):
        dx = functional.lp_pool_backward(np.ones((1, 1, 5)), x, p, 2)
        np.testing.assert_allclose(dx[0, 0, :6], expected, rtol=1e-6)


# ---- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=60)
@given(data=st.data(), rng=generators, dtype=st.sampled_from(DTYPES), form=forms, batch=st.integers(1, 20),
       maps=st.integers(1, 3))
def test_resampling_agrees_with_the_reference(name, data, rng, dtype, form, batch, maps):
    spatial, arguments = data.draw(KINDS[name]())
    function = "adaptive_avg_pool" if name == "AdaptiveAvgPool" else name.lower()
    forward, backward = f"{function}_forward", f"{function}_backward"
    value = {"value": -0.5} if name == "Pad" else {}
    x = normal(rng, (batch, maps, *spatial), dtype)
    y = getattr(functional, forward)(form(x), **arguments, **value)
    expected = getattr(reference, forward)(x.astype(np.float64), **arguments, **value)
    assert y.dtype == dtype
    assert_close(y, expected, 16 * np.finfo(dtype).eps)
    dy = normal(rng, y.shape, dtype)
    arguments.pop("output_size", None)
    dx = getattr(functional, backward)(form(dy), x.shape, **arguments)
    expected = getattr(reference, backward)(dy.astype(np.float64), x.shape, **arguments)
    assert_close(dx, expected, 16 * np.finfo(dtype).eps)


@settings(max_examples=60)
@given(windows(padding_below_kernel=True, dilations=(1,)), st.sampled_from([1, 1.5, 2, 8]), generators,
       st.sampled_from(DTYPES), forms, st.integers(1, 20))
def test_p_norms_agree_with_the_reference(window, p, rng, dtype, form, batch):
    spatial, arguments = window
    del arguments["dilation"]
    x = normal(rng, (batch, 2, *spatial), dtype)
    y = functional.lp_pool_forward(form(x), p, **arguments)
    assert_close(y, reference.lp_pool_forward(x.astype(np.float64), p, **arguments), 16 * np.finfo(dtype).eps)
    dy = normal(rng, y.shape, dtype)
    dx = functional.lp_pool_backward(form(dy), form(x), p, **arguments)
    expected = reference.lp_pool_backward(dy.astype(np.float64), x.astype(np.float64), p, **arguments)
    assert_close(dx, expected, 64 * np.finfo(dtype).eps)


@settings(max_examples=40)
@given(windows(padding_below_kernel=True, dilations=(1,)), generators, st.sampled_from(DTYPES), forms, st.integers(1, 20))
def test_unpooling_agrees_with_the_reference(window, rng, dtype, form, batch):
    spatial, arguments = window
    del arguments["dilation"]
    pooled = normal(rng, (batch, 2, *spatial), dtype)
    maxima, indices = functional.max_pool_forward(pooled, **arguments)
    y = functional.max_unpool_forward(form(maxima), form(indices), pooled.shape, **arguments)
    assert_close(y, reference.max_unpool_forward(maxima, indices, pooled.shape), 16 * np.finfo(dtype).eps)
    assert_close(functional.max_unpool_forward(maxima, indices, pooled.shape), y, 16 * np.finfo(dtype).eps)
    dy = normal(rng, y.shape, dtype)
    np.testing.assert_array_equal(functional.max_unpool_backward(form(dy), form(indices)),
                                  reference.max_unpool_backward(dy, indices))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (2, 37), (37, 3, 17), (3, 70, 66), (2, 19, 3, 34)])
def test_any_order_of_axes_is_that_of_numpy(shape, dtype):
    x = normal(np.random.default_rng(0), (3, *shape), dtype)
    for axes in itertools.permutations(range(len(shape))):
        y = functional.permute_forward(x, axes)
        np.testing.assert_array_equal(y, reference.permute_forward(x, axes))
        np.testing.assert_array_equal(functional.permute_backward(y, axes), x)


@pytest.mark.parametrize("arguments", [{"scale": 2}, {"scale": 1.5, "mode": "linear"}])
def test_what_is_larger_than_the_caches_and_any_number_of_threads(arguments):
    x = normal(np.random.default_rng(0), (17, 16, 96, 90), np.float32)
    before, results = pycnn.get_num_threads(), []
    try:
        for threads in (1, 3):
            pycnn.set_num_threads(threads)
            y = functional.upsample_forward(x, **arguments)
            results.append((y, functional.upsample_backward(y, x.shape, **arguments)))
    finally:
        pycnn.set_num_threads(before)
    assert_close(results[0][0], reference.upsample_forward(x, **arguments), 16 * np.finfo(np.float32).eps)
    for one, several in zip(*results):
        np.testing.assert_array_equal(one, several)


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def assert_like_torch(ours, theirs, *xs):
    """Network layers and functions of torch agree, forward and back, in float64."""
    torch = pytest.importorskip("torch")
    inputs = [pycnn.Input(x.shape[1:], name=f"x{i}") for i, x in enumerate(xs)]
    net = pycnn.Network(inputs, ours(*inputs), dtype="float64")
    tensors = [torch.tensor(x, requires_grad=True) for x in xs]
    y = theirs(*tensors)
    target = np.random.default_rng(1).normal(size=y.shape)
    named = {f"x{i}": x for i, x in enumerate(xs)}
    np.testing.assert_allclose(net.predict(named), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    torch.nn.functional.mse_loss(y, torch.tensor(target)).backward()
    gradients = net.gradients(named, target, loss="mse")[1]
    for i, x in enumerate(tensors):
        grad = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        np.testing.assert_allclose(gradients[f"inputs/x{i}"], grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rank, linear", [(1, "linear"), (2, "bilinear"), (3, "trilinear")])
@pytest.mark.parametrize("arguments", [
    {"scale": 2}, {"scale": 1.5}, {"scale": 0.75}, {"size": 7}, {"size": 3},
    {"scale": 2, "mode": "linear"}, {"scale": 2.25, "mode": "linear"}, {"size": 9, "mode": "linear"},
    {"size": 3, "mode": "linear", "align_corners": True}, {"size": 1, "mode": "linear", "align_corners": True},
    {"scale": 3, "mode": "linear", "align_corners": True},
])
def test_upsampling_is_that_of_torch(rank, linear, arguments):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(3, 2, *(4, 6, 5)[:rank]))
    options = {"size": arguments.get("size"), "scale_factor": arguments.get("scale"), "mode": "nearest"}
    if "mode" in arguments:
        options |= {"mode": linear, "align_corners": arguments.get("align_corners", False)}
    assert_like_torch(L.Upsample(**arguments), lambda t: torch.nn.functional.interpolate(t, **options), x)


@pytest.mark.parametrize("ours, theirs", [("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate")])
def test_padding_and_cropping_are_those_of_torch(ours, theirs):
    torch = pytest.importorskip("torch")
    x, value = np.random.default_rng(0).normal(size=(3, 2, 5, 6)), {"value": 1.5} if ours == "constant" else {}
    assert_like_torch(L.Pad(((1, 2), (3, 0)), ours, **value),
                      lambda t: torch.nn.functional.pad(t, (3, 0, 1, 2), theirs, **value), x)
    assert_like_torch(L.Crop(((1, 2), (3, 0))), lambda t: torch.nn.functional.pad(t, (-3, 0, -1, -2)), x)


def test_pools_and_orders_are_those_of_torch():
    torch = pytest.importorskip("torch")
    f, rng = torch.nn.functional, np.random.default_rng(0)
    x = rng.normal(size=(3, 2, 7, 8))
    for size in (1, (3, 5), (7, 8), (10, 3)):
        assert_like_torch(L.AdaptiveAvgPool(size), lambda t, s=size: f.adaptive_avg_pool2d(t, s), x)
    assert_like_torch(L.LPPool(2, 3, 2), lambda t: f.lp_pool2d(t, 2, 3, 2), x)
    assert_like_torch(L.LPPool(4, 2), lambda t: f.lp_pool2d(t, 4, 2), x)
    assert_like_torch(L.Permute((2, 0, 1)), lambda t: t.permute(0, 3, 1, 2), x)
    values = rng.normal(size=(3, 2, 3, 4))

    def unpool(v, t):
        return f.max_unpool2d(v, f.max_pool2d(t, 2, return_indices=True)[1], 2, output_size=t.shape)

    assert_like_torch(L.MaxUnpool(2), unpool, values, x)


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, error", [
    (lambda: L.Upsample(), "give either a scale or a size, got scale=None and size=None"),
    (lambda: L.Upsample(2, size=4), "give either a scale or a size"),
    (lambda: L.Upsample(2, mode="cubic"), "mode must be one of nearest, linear, got 'cubic'"),
    (lambda: L.Upsample(2, align_corners=True), 'align_corners goes with mode="linear"'),
    (lambda: L.Pad(1, mode="wrap"), "mode must be one of constant, reflect, edge, got 'wrap'"),
    (lambda: L.Pad(1, value=math.nan), "value must be a finite number"),
    (lambda: L.Pad(1, value="0"), "value must be a number"),
    (lambda: L.LPPool(0.5, 2), "p must be a finite number of at least 1, got 0.5"),
    (lambda: L.LPPool(math.inf, 2), "p must be a finite number"),
    (lambda: L.Reshape(()), "a sample has 1 to 4 axes"),
    (lambda: L.Reshape((-1, -1)), "at least 1, but for one that may be -1"),
    (lambda: L.Reshape((0, 3)), "at least 1, but for one that may be -1"),
    (lambda: L.Reshape((2.0, 3)), "each size of a shape must be an integer"),
    (lambda: L.Permute(2), "axes must be a tuple of integers, got 2"),
    (lambda: L.Permute((0, 2)), "axes must be the numbers from 0 in any order"),
    (lambda: L.Permute((0, 0)), "axes must be the numbers from 0 in any order"),
])
def test_a_layer_refuses_wrong_arguments_when_it_is_made(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


@pytest.mark.parametrize("layer, shapes, error", [
    (L.Upsample(0, name="U"), [(2, 4)], "U: scale must be greater than 0"),
    (L.Upsample(math.inf, name="U"), [(2, 4)], "U: scale must be greater than 0 and at most"),
    (L.Upsample("2", name="U"), [(2, 4)], "U: scale must be a number, got '2'"),
    (L.Upsample((2, 2), name="U"), [(2, 4)], "U: scale has 2 values; expected one number or 1"),
    (L.Upsample(0.1, name="U"), [(2, 4)], "U: a scale of 0.1 leaves nothing of 4 positions"),
    (L.Upsample(size=0, name="U"), [(2, 4)], "U: size must be at least 1, got 0"),
    (L.Upsample(2**31 - 1, name="U"), [(2, 2**20, 2**20)], "U: its output of shape .* is too large"),
    (L.Upsample(2, name="U"), [(2,)], r"U: got an input of shape \(2,\)"),
    (L.Pad(4, mode="reflect", name="P"), [(2, 4)], "P: a padding that reflects must be smaller than its axis"),
    (L.Pad(-1, name="P"), [(2, 4)], "P: padding must be at least 0, got -1"),
    (L.Pad("same", name="P"), [(2, 4)], "P: padding must be integers, got 'same'"),
    (L.Pad(((1, 1), 1), name="P"), [(2, 4)], "P: padding has 2 values"),
    (L.Crop((2, 2), name="C"), [(2, 4)], "C: cropping has 2 values"),
    (L.Crop(2, name="C"), [(2, 4)], r"C: a cropping of \(2, 2\) leaves nothing of 4 positions"),
    (L.Crop(1.5, name="C"), [(2, 4)], "C: cropping must be an integer, got 1.5"),
    (L.AdaptiveAvgPool(0, name="A"), [(2, 4)], "A: output_size must be at least 1, got 0"),
    (L.AdaptiveAvgPool((2, 2), name="A"), [(2, 4)], "A: output_size has 2 values"),
    (L.Reshape((3, -1), name="R"), [(2, 4)], r"R: the 8 values of its input \(2, 4\) do not fill the shape \(3, -1\)"),
    (L.Reshape((2, 2), name="R"), [(2, 4)], "R: the 8 values"),
    (L.Permute((1, 0), name="T"), [(2, 4, 4)], "T: got an input of shape .* expects 2 axes"),
    (L.LPPool(2, 5, name="L"), [(2, 4)], "L: kernel 5 does not fit its input 4"),
    (L.MaxUnpool(2, name="M"), [(2, 4)], "M: takes two inputs"),
    (L.MaxUnpool(2, name="M"), [(2, 3), (2, 4)], r"M: its first input must have the shape \(2, 2\)"),
])
def test_a_layer_that_does_not_fit_its_input_says_so_by_name(layer, shapes, error):
    with pytest.raises((ValueError, TypeError), match=error):
        layer(*map(pycnn.Input, shapes))


@pytest.mark.parametrize("call, error", [
    (lambda x: functional.upsample_forward(x), "give either a scale or a size"),
    (lambda x: functional.upsample_backward(x, (2, 3, 4, 4), 2), r"dy must have shape \(2, 3, 8, 8\)"),
    (lambda x: functional.upsample_forward(x, size=2**31 - 1), "the output of shape .* is too large"),
    (lambda x: functional.pad_forward(x, 1, value=math.inf), "value must be a finite number"),
    (lambda x: functional.crop_backward(x, (2, 3, 4, 4), 1), r"dy must have shape \(2, 3, 2, 2\)"),
    (lambda x: functional.adaptive_avg_pool_forward(x, 0), "output_size must be at least 1"),
    (lambda x: functional.adaptive_avg_pool_backward(x, (2, 4, 8, 8)), r"dy must have shape \(2, 4, 4, 4\)"),
    (lambda x: functional.permute_forward(x, (0, 1)), "axes must be the numbers from 0 to 2 in any order"),
    (lambda x: functional.lp_pool_forward(x, 0, 2), "p must be a finite number of at least 1"),
    (lambda x: functional.max_unpool_backward(x, np.full((2, 3, 2), 16)), "indices must have shape"),
    (lambda x: functional.max_unpool_backward(x, np.full((2, 3, 2, 2), 16)), r"indices must lie in 0 ... 15, got 16"),
])
def test_a_function_refuses_what_does_not_belong_together(call, error):
    with pytest.raises((ValueError, TypeError), match=error):
        call(np.ones((2, 3, 4, 4)))
