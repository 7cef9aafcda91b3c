"""Attributions: by formulas on linear networks, by PyTorch, and by where they point on digits in noise."""

from functools import partial

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn import models
from pycnn.datasets.augment import Compose, RandomNoise, RandomShift
from pycnn.visualize import (
    attribution_figure,
    deconvnet,
    grad_cam,
    guided_backprop,
    integrated_gradients,
    occlusion,
    overlay,
    saliency,
)

ALL = [saliency, guided_backprop, deconvnet, grad_cam, integrated_gradients, occlusion]


def linear_network(last=None):
    """Scores W x of images (2, 5, 6), and W as (3, 2, 5, 6)."""
    x = pycnn.Input((2, 5, 6), name="image")
    scores = L.Dense(3, bias=False, name="scores")(L.Flatten()(x))
    net = pycnn.Network(x, scores if last is None else last(scores), dtype="float64", seed=1)
    return net, net["scores"].weight.reshape(3, 2, 5, 6)


def branched_network(dtype="float64"):
    """Two inputs, two outputs, one behind a softmax; a normalisation and a shortcut behind the last convolution."""
    image, extra = pycnn.Input((2, 9, 8), name="image"), pycnn.Input((3,), name="extra")
    first = L.Conv(4, 3, padding=1, activation="relu", name="first")(image)
    h = L.BatchNorm(name="norm")(L.Conv(4, 3, padding=1, name="second")(first))
    h = L.ReLU(name="relu")(L.Add(name="sum")(h, first))
    h = L.Concat(name="both")(L.Flatten(name="flatten")(L.MaxPool(2, name="pool")(h)), extra)
    outputs = {"kind": L.Softmax(name="softmax")(L.Dense(3, name="scores")(h)), "size": L.Dense(2, name="sizes")(h)}
    net, rng = pycnn.Network([image, extra], outputs, dtype=dtype, seed=2), np.random.default_rng(2)
    for values in (net["first"].bias, net["norm"].running_mean, net["norm"].bias, net["sizes"].bias):
        values[...] = rng.normal(size=values.shape) / 2
    return net


def inputs_of(batch, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((batch, 2, 9, 8)), rng.random((batch, 3))]


# ---- formulas --------------------------------------------------------------------------------------------------------


def test_of_a_linear_network_they_are_what_its_weights_say():
    net, w = linear_network()
    x = np.random.default_rng(0).normal(size=(4, 2, 5, 6))
    target = np.array([0, 2, 1, 1])
    np.testing.assert_allclose(saliency(net, x, target), np.abs(w[target]).max(1))
    np.testing.assert_allclose(saliency(net, x, target, smooth=3), np.abs(w[target]).max(1))
    np.testing.assert_allclose(guided_backprop(net, x, target), w[target])
    np.testing.assert_allclose(deconvnet(net, x, target), w[target])
    np.testing.assert_allclose(integrated_gradients(net, x, target, baseline=0.5, steps=1), w[target] * (x - 0.5))
    np.testing.assert_allclose(occlusion(net, x, target, patch=1), np.sum(w[target] * x, 1), atol=1e-12)


def test_the_predicted_class_is_explained_where_none_is_named():
    net, w = linear_network()
    x = np.random.default_rng(0).normal(size=(20, 2, 5, 6))
    np.testing.assert_allclose(guided_backprop(net, x, batch_size=7), w[net.predict(x).argmax(1)])


@pytest.mark.parametrize("last", [L.Softmax, L.LogSoftmax])
def test_scores_below_a_last_softmax_are_explained(last):
    net, w = linear_network(last())
    x = np.random.default_rng(0).normal(size=(4, 2, 5, 6))
    np.testing.assert_allclose(guided_backprop(net, x, 1), w[np.ones(4, int)])


def test_of_distances_the_least_is_the_best():
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.RBF(4, name="distances")(x), dtype="float64")
    values = np.random.default_rng(0).normal(size=(6, 3))
    nearest = net.predict(values).argmin(1)
    np.testing.assert_allclose(guided_backprop(net, values), 2 * (net["distances"].weight[nearest] - values))


def test_the_score_of_maps_is_the_sum_over_their_positions():
    x = pycnn.Input((1, 6, 6), name="x")
    net = pycnn.Network(x, L.Conv(3, 3, name="maps")(x), dtype="float64")
    image = np.random.default_rng(0).random((1, 6, 6))
    shares = integrated_gradients(net, image, 2, steps=1)
    assert shares.sum() == pytest.approx(net.predict(image[None])[0, 2].sum() - 16 * net["maps"].bias[2])


def test_a_patch_counts_in_all_places_that_cover_a_position():
    net, w = linear_network()
    x = np.random.default_rng(0).normal(size=(2, 5, 6))
    falls, covered = np.zeros((5, 6)), np.zeros((5, 6))
    for row in (0, 2, 3):                   # the last one ends with the axis
        for column in (0, 3):
            place = np.s_[row:row + 2, column:column + 3]
            hidden = x.copy()
            hidden[:, place[0], place[1]] = 0.25
            falls[place] += np.sum(w[0] * (x - hidden))
            covered[place] += 1
    heat = occlusion(net, x, 0, patch=(2, 3), stride=(2, 3), fill=0.25, batch_size=2)
    np.testing.assert_allclose(heat, falls / covered)


def test_integrated_gradients_are_complete():
    net, (images, extra) = branched_network(), inputs_of(3)
    scores = pycnn.View(net, "scores")
    target = np.array([2, 0, 1])
    change = (scores([images, extra])["scores"] - scores([0 * images, extra])["scores"])[np.arange(3), target]
    errors = []
    for steps in (8, 512):
        shares = integrated_gradients(net, [images, extra], target, output="kind", steps=steps, verbose=0)
        assert shares.shape == images.shape
        errors.append(np.abs(shares.sum((1, 2, 3)) - change).max())
    assert errors[1] < 1e-3 * np.abs(change).max() and errors[1] < errors[0]


def test_grad_cam_takes_the_maps_behind_the_last_convolution_and_what_alone_reads_it():
    net, x = branched_network(), inputs_of(3)
    default = grad_cam(net, x, output="size")
    np.testing.assert_array_equal(default, grad_cam(net, x, output="size", layer="relu"))
    assert np.any(default != grad_cam(net, x, output="size", layer="second"))
    assert default.shape == (3, 9, 8) and default.min() >= 0 and default.max() > 0


def test_grad_cam_is_the_weighted_sum_of_the_maps_resized():
    x = pycnn.Input((1, 8, 8), name="x")
    h = L.MaxPool(2)(L.Conv(3, 3, padding=1, activation="relu", name="maps")(x))
    net = pycnn.Network(x, L.Dense(2, bias=False, name="scores")(L.GlobalAvgPool()(L.Conv(4, 1, name="last")(h))),
                        dtype="float64", seed=3)
    image = np.random.default_rng(0).random((1, 8, 8))
    maps = pycnn.View(net, "last")(image[None])["last"][0]
    heat = np.maximum(0, np.tensordot(net["scores"].weight[1] / 16, maps, 1))       # the class activation map
    wanted = pycnn.functional.upsample_forward(heat[None, None], size=(8, 8), mode="linear")[0, 0]
    np.testing.assert_allclose(grad_cam(net, image, 1), wanted, rtol=1e-10, atol=1e-14)


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def test_grad_cam_and_saliency_of_resnet18_are_those_of_torch():
    torch = pytest.importorskip("torch")
    from bench.peer_torch import module_of

    net = models.resnet18(shape=(3, 64, 64))
    x = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    target = np.array([3, 5])
    module, image, kept = module_of(net).eval(), torch.from_numpy(x).requires_grad_(), []
    run = module.run

    def keep(step, *rest):
        made = run(step, *rest)
        if made.shape == (2, 512, 2, 2):
            kept.append(made)
        return made

    module.run = keep
    scores, maps = module(image), kept[-1]
    by_image, by_maps = torch.autograd.grad(scores[torch.arange(2), torch.from_numpy(target)].sum(), [image, maps])
    wanted = torch.relu((by_maps.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True))
    wanted = torch.nn.functional.interpolate(wanted, size=(64, 64), mode="bilinear")[:, 0].detach().numpy()
    np.testing.assert_allclose(grad_cam(net, x, target), wanted, rtol=1e-4, atol=1e-5 * wanted.max())
    wanted = by_image.abs().amax(1).numpy()
    np.testing.assert_allclose(saliency(net, x, target), wanted, rtol=1e-3, atol=1e-5 * wanted.max())


# ---- any network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ALL)
def test_a_single_image_is_explained_like_one_of_a_batch_and_the_network_stays_as_it_is(method):
    net, x = branched_network("float32"), inputs_of(5)
    before = {name: value.copy() for name, value in {**net.parameters, **net.statistics}.items()}
    heat = method(net, x, output="kind", verbose=0)
    one = method(net, {"image": x[0][2], "extra": x[1][2]}, output="kind", verbose=0)
    assert heat.shape in {(5, 9, 8), (5, 2, 9, 8)} and heat.dtype == np.float32 and np.any(heat)
    np.testing.assert_allclose(one, heat[2], rtol=1e-4, atol=1e-5 * np.abs(heat).max())
    for name, value in {**net.parameters, **net.statistics}.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("method", ALL)
def test_words_are_explained_at_their_embedding(method):
    net = models.text(vocabulary=30, length=12, dimension=8, widths=(3, 4), maps=5)
    words = np.random.default_rng(0).integers(0, 30, (3, 12))
    options = {"layer": "conv4"} if method is grad_cam else {}
    heat = method(net, words, verbose=0, **options)
    assert heat.shape in {(3, 12), (3, 8, 12)} and np.any(heat)


@pytest.mark.parametrize("method", ALL)
def test_capsules_and_lenet5_of_1998_are_explained(method):
    x = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    given, options = {"image": x, "label": np.zeros((2, 10))}, {"patch": 14} if method is occlusion else {}
    heat = method(models.capsnet("small"), given, output="lengths", verbose=0, **options)
    assert heat.shape[-2:] == (28, 28) and np.isfinite(heat).all() and np.any(heat)
    net = models.lenet5("1998")
    x = np.random.default_rng(0).random((2, *net.input_shapes["image"]), np.float32)
    assert np.any(method(net, x, verbose=0))


def test_an_input_may_be_named_and_its_numbers_have_each_a_gradient():
    net, x = branched_network(), inputs_of(3)
    np.testing.assert_allclose(guided_backprop(net, x, 1, output="size", input="extra"),
                               np.tile(net["sizes"].weight[1, -3:], (3, 1)))
    assert saliency(net, x, 1, output="size", input="extra").shape == (3, 3)


def test_noise_is_drawn_anew_by_the_seed_alone():
    net, x = branched_network(), inputs_of(3)
    smooth = partial(saliency, net, x, output="kind", smooth=5, verbose=0)
    np.testing.assert_allclose(smooth(seed=4, batch_size=4), smooth(seed=4), rtol=1e-10)
    assert np.any(smooth(seed=5) != smooth(seed=4))


# ---- wrong arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "arguments", "error", "message"), [
    (saliency, {}, ValueError, "2 outputs: output is one of kind, size"),
    (saliency, {"output": "sort"}, ValueError, "no output is named 'sort'"),
    (saliency, {"output": "kind", "target": 3}, ValueError, "target must be from 0 to 2"),
    (saliency, {"output": "kind", "target": [0, 1]}, ValueError, "one for each of 4 samples"),
    (saliency, {"output": "kind", "target": 0.5}, TypeError, "number of a class"),
    (saliency, {"output": "kind", "input": "none"}, ValueError, "no layer is named 'none'"),
    (saliency, {"output": "kind", "smooth": -1}, ValueError, "smooth must be at least 0"),
    (saliency, {"output": "kind", "noise": float("nan")}, ValueError, "noise must be a finite number"),
    (saliency, {"output": "kind", "save": "a.jpg"}, ValueError, "ends in .png"),
    (saliency, {"output": "kind", "input": "extra", "save": "a.png"}, ValueError, "a picture shows images"),
    (saliency, {"output": "kind", "batch_size": 0}, ValueError, "batch_size must be at least 1"),
    (integrated_gradients, {"output": "kind", "steps": 0}, ValueError, "steps must be at least 1"),
    (integrated_gradients, {"output": "kind", "baseline": np.zeros(7)}, ValueError, "does not broadcast"),
    (integrated_gradients, {"output": "kind", "baseline": float("inf")}, ValueError, "not finite"),
    (grad_cam, {"output": "kind", "layer": "scores"}, ValueError, "as many spatial axes"),
    (grad_cam, {"output": "kind", "input": "extra"}, ValueError, "needs an input with positions"),
    (grad_cam, {"output": "kind", "input": "pool"}, ValueError, "no convolution with several positions"),
    (occlusion, {"output": "kind", "patch": 9}, ValueError, "at most as large as the input"),
    (occlusion, {"output": "kind", "patch": 2, "stride": 3}, ValueError, "its stride at most as large as the patch"),
    (occlusion, {"output": "kind", "input": "extra"}, ValueError, "needs an input with positions"),
    (attribution_figure, {"output": "kind", "methods": ["luck"]}, ValueError, "methods are some of"),
    (attribution_figure, {"output": "kind", "class_names": ["a"]}, ValueError, "class_names has 1 names"),
])
def test_what_does_not_fit_is_refused(method, arguments, error, message):
    with pytest.raises(error, match=message):
        method(branched_network(), inputs_of(4), **arguments)


def test_images_with_nan_are_refused():
    net, _ = linear_network()
    with pytest.raises(ValueError, match="input 'image' has values that are not finite"):
        saliency(net, np.full((2, 5, 6), np.nan))


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_where_there_is_no_heat_the_overlay_is_the_image_in_grey():
    pytest.importorskip("matplotlib")
    image, heat = np.random.default_rng(0).random((2, 3, 4, 5)), np.zeros((2, 4, 5))
    heat[0, 1, 2], heat[1, 0, 0] = 3.0, 0.01
    laid = overlay(image, heat, alpha=1)
    assert laid.shape == (2, 3, 4, 5) and laid.min() >= 0 and laid.max() <= 1
    grey = np.repeat(image.mean(1, keepdims=True), 3, 1)
    rest = np.broadcast_to((heat == 0)[:, None], laid.shape)
    np.testing.assert_allclose(laid[rest], grey[rest], rtol=1e-6)
    np.testing.assert_allclose(laid[0, :, 1, 2], laid[1, :, 0, 0])         # each by its own greatest
    np.testing.assert_allclose(overlay(image[0], heat[0], alpha=1), laid[0])


def test_an_overlay_shows_signs_in_blue_and_red():
    pytest.importorskip("matplotlib")
    red, blue = overlay(np.zeros((1, 1, 2)), np.array([[2.0, -2.0]]), alpha=1)[[0, 2]]
    assert red[0, 0] > blue[0, 0] and blue[0, 1] > red[0, 1]


@pytest.mark.parametrize(("image", "heat", "options", "message"), [
    (np.zeros((4, 5)), np.zeros((4, 5)), {}, "image must be"),
    (np.zeros((1, 4, 5)), np.zeros((5, 4)), {}, "does not lie over"),
    (np.zeros((1, 4, 5)), np.full((4, 5), np.nan), {}, "not finite"),
    (np.zeros((1, 4, 5)), np.zeros((4, 5)), {"alpha": 2.0}, "alpha must be"),
    (np.zeros((1, 4, 5)), np.zeros((4, 5)), {"colours": "mud"}, "no colour map 'mud'"),
])
def test_an_overlay_of_what_does_not_fit_is_refused(image, heat, options, message):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=message):
        overlay(image, heat, **options)


def test_pictures_are_written(tmp_path):
    pytest.importorskip("matplotlib")
    net, x = models.lenet5(), np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    for method in ALL:
        method(net, x, verbose=0, save=tmp_path / f"{method.__name__}.png")
    figure = attribution_figure(net, x, verbose=0, smooth=2, save=tmp_path / "all.png", class_names=list("abcdefghij"))
    assert len(figure.axes) == 2 * (1 + len(ALL))
    assert {figure.axes[i].get_title() for i in range(2)} <= set("abcdefghij")
    for file in tmp_path.iterdir():
        assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(list(tmp_path.iterdir())) == 1 + len(ALL)


# ---- goal: they point at the object ----------------------------------------------------------------------------------


def test_of_a_net_trained_for_seconds_they_peak_on_the_digit_in_85_of_100_noisy_canvases():
    (x, y), (x_test, _) = pycnn.datasets.digits()
    edge = [(0, 0), (0, 0), (10, 10), (10, 10)]
    shift, noise = RandomShift(10), RandomNoise(0.2)
    image = pycnn.Input((1, 48, 48), name="image")
    h = L.ReLU()(L.BatchNorm()(L.Conv(16, 5, stride=2, bias=False, weight_init="he_normal")(image)))
    h = L.MaxPool(2)(L.ReLU()(L.BatchNorm()(L.Conv(32, 3, padding=1, bias=False, weight_init="he_normal")(h))))
    h = L.ReLU()(L.BatchNorm()(L.Conv(48, 3, padding=1, bias=False, weight_init="he_normal")(h)))
    net = pycnn.Network(image, L.Dense(10)(L.GlobalMaxPool()(h)))
    net.fit(np.pad(x, edge), y, optimizer=pycnn.AdamW(0.005), epochs=6, batch_size=64, verbose=0,
            augment=Compose(shift, noise))
    rng = np.random.default_rng(0)
    clean = shift(np.pad(x_test[:300], edge), rng)
    seen = noise(clean, rng)
    assert share_on_digit(saliency(net, seen, smooth=8, verbose=0), clean) >= 0.85
    assert share_on_digit(grad_cam(net, seen, verbose=0), clean) >= 0.85


def share_on_digit(heat, clean):
    """Of how many images the peak of the heat lies in the smallest rectangle around the ink."""
    found = []
    for h, image in zip(heat, clean[:, 0]):
        rows, columns = np.nonzero(image > 0.3)
        row, column = np.unravel_index(h.argmax(), h.shape)
        found.append(rows.min() <= row <= rows.max() and columns.min() <= column <= columns.max())
    return np.mean(found)
