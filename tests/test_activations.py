"""Inputs that maximise activations."""

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn import models
from pycnn.view import View
from pycnn.visualize import maximize_activation
from pycnn.visualize.regularizers import L1, L2Decay


def linear():
    x = pycnn.Input((6,), name="x")
    return pycnn.Network(x, L.Dense(4, name="scores")(x), dtype="float64")


def two_inputs():
    image, extra = pycnn.Input((1, 8, 8), name="image"), pycnn.Input((3,), name="extra")
    h = L.Flatten()(L.Conv(2, 3, activation="tanh", name="conv")(image))
    return pycnn.Network([image, extra], L.Dense(2, name="scores")(L.Concat()(h, extra)))


def test_a_linear_neuron_is_climbed_straight_along_its_weights():
    net, start = linear(), np.arange(6.0)
    images = maximize_activation(net, "scores", regularizers=[], start=start, steps=7, learning_rate=0.1, verbose=0)
    for image, weight in zip(images, net["scores"].weight):
        np.testing.assert_allclose(image, start + 7 * 0.1 * weight / np.sqrt(np.mean(weight**2)), rtol=1e-12)


def test_ink_empties_what_does_not_help():
    net = linear()
    net["scores"].weight[...] = [[5, 0.1, 0, 0, -5, 0.1]] * 4
    image, = maximize_activation(net, "scores", 0, regularizers=[L1(0.3), L2Decay(0.1)], steps=300, verbose=0)
    assert np.all(np.abs(image[[0, 4]]) > 0.2) and np.all(np.abs(image[[1, 2, 3, 5]]) < 0.05)


def test_a_neuron_is_seen_within_its_receptive_field_only():
    net = models.lenet5()
    start = np.full((1, 28, 28), 0.5)
    image, = maximize_activation(net, "C1", neuron=(0, 10, 12), regularizers=[], start=start, steps=3, verbose=0)
    changed = np.argwhere(image[0] != 0.5)
    assert changed.min(0).tolist() == [8, 10] and changed.max(0).tolist() == [12, 14]
    both = maximize_activation(net, "C1", neuron=[(0, 10, 12), (1, 3, 4)], start=start, steps=1, verbose=0)
    assert both.shape == (2, 1, 28, 28)


@pytest.mark.parametrize("layer", ["C1", "S2", "C3", "flatten", "C5", "output"])
def test_activations_grow_far_beyond_those_of_noise(layer):
    net = models.lenet5()
    before = {name: value.copy() for name, value in net.parameters.items()}
    maps = list(range(min(12, net.graph.find(layer).shape[0])))
    images = maximize_activation(net, layer, maps, regularizers=[], steps=60, verbose=0)
    assert images.shape == (len(maps), 1, 28, 28)

    def activations(x):
        values = View(net, layer)(x)[layer].reshape(len(x), -1, int(np.prod(net.graph.find(layer).shape[1:]))).sum(2)
        return values[np.arange(len(x)), maps[: len(x)]]

    noise = np.random.default_rng(0).normal(0, images.std(), images.shape)
    assert np.median(activations(images) - activations(noise)) > 0
    assert np.mean(activations(images) > activations(noise)) > 0.8
    for name, value in net.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_values_stay_in_their_range_and_the_seed_decides():
    net = models.lenet5()
    options = {"steps": 20, "value_range": (0, 1), "verbose": 0}
    first = maximize_activation(net, "C3", [1, 5], seed=4, **options)
    assert first.min() >= 0 and first.max() <= 1
    np.testing.assert_array_equal(first, maximize_activation(net, "C3", [1, 5], seed=4, **options))
    assert np.any(first != maximize_activation(net, "C3", [1, 5], seed=5, **options))


def test_images_of_another_size():
    images = maximize_activation(models.lenet5(), "C3", 0, input_shapes=(1, 40, 50), steps=2, verbose=0)
    assert images.shape == (1, 1, 40, 50)


def test_of_several_inputs_all_or_some_are_moved():
    net = two_inputs()
    both = maximize_activation(net, "scores", steps=5, verbose=0)
    assert {name: a.shape for name, a in both.items()} == {"image": (2, 1, 8, 8), "extra": (2, 3)}
    fixed = np.array([0.2, 0.4, 0.6])
    images = maximize_activation(net, "scores", steps=5, fixed={"extra": fixed}, verbose=0)
    assert images.shape == (2, 1, 8, 8)
    extra = maximize_activation(net, "scores", steps=5, fixed={"image": np.zeros((1, 8, 8))}, verbose=0)
    assert extra.shape == (2, 3)


def test_a_silent_map_is_woken():
    image = pycnn.Input((1, 6, 6), name="image")
    net = pycnn.Network(image, L.Conv(1, 3, activation="relu", name="conv")(image))
    net["conv"].weight[...] = 1
    net["conv"].bias[...] = -3          # silent wherever it begins
    images = maximize_activation(net, "conv", steps=50, verbose=0)
    assert View(net, "conv")(images)["conv"].sum() > 0


def test_a_silent_layer_is_an_error():
    image = pycnn.Input((1, 6, 6), name="image")
    net = pycnn.Network(image, L.Conv(1, 3, activation="relu", name="conv")(image))
    net["conv"].weight[...] = 0
    with pytest.raises(ValueError, match="conv: no gradient reaches the input image"):
        maximize_activation(net, "conv", steps=3, verbose=0)


def test_a_sheet_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    maximize_activation(models.lenet5(), "C1", steps=2, verbose=0, save=tmp_path / "c1.png")
    assert (tmp_path / "c1.png").read_bytes().startswith(b"\x89PNG")
    maximize_activation(linear(), "scores", steps=2, verbose=0, save=tmp_path / "vectors.png")
    assert (tmp_path / "vectors.png").exists()


@pytest.mark.parametrize("arguments, error, message", [
    ({"layer": "C9"}, ValueError, "no layer is named 'C9'"),
    ({"maps": 6}, ValueError, "C1: map 6 is outside its shape"),
    ({"maps": []}, ValueError, "nothing to maximise"),
    ({"maps": 0, "neuron": (0, 1, 1)}, ValueError, "either maps or neuron"),
    ({"neuron": (0, 1)}, ValueError, "a neuron's place is 3 numbers"),
    ({"neuron": (0, 28, 0)}, ValueError, "is outside its shape"),
    ({"steps": 0}, ValueError, "steps"),
    ({"learning_rate": float("nan")}, ValueError, "learning_rate"),
    ({"regularizers": ["L1"]}, TypeError, "regularizers are objects such as"),
    ({"value_range": (1, 0)}, ValueError, "value_range is"),
    ({"start": np.zeros((1, 27, 28))}, ValueError, "is given as"),
    ({"start": np.full((1, 28, 28), np.inf)}, ValueError, "not finite"),
    ({"fixed": {"picture": np.zeros(3)}}, ValueError, "there is no input 'picture'"),
    ({"fixed": {"image": np.zeros((1, 28, 28))}}, ValueError, "none is left to move"),
    ({"save": "nowhere/c1.png"}, ValueError, "no folder"),
])
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        maximize_activation(models.lenet5(), **{"layer": "C1", "verbose": 0, **arguments})


@pytest.mark.parametrize("size", [1e20, 1e-25])
def test_gradients_of_any_size_move_it_alike(size):
    x = pycnn.Input((6,), name="x")
    net = pycnn.Network(x, L.Dense(2, name="scores")(x))
    weight = net["scores"].weight.copy()
    options = {"regularizers": [], "steps": 3, "start": np.zeros(6), "verbose": 0}
    wanted = maximize_activation(net, "scores", **options)
    net["scores"].weight[...] = weight * np.float32(size)
    np.testing.assert_allclose(maximize_activation(net, "scores", **options), wanted, rtol=1e-5)


def test_words_are_not_moved():
    x = pycnn.Input((5,), name="words")
    net = pycnn.Network(x, L.Dense(2, name="scores")(L.Flatten()(L.Embedding(20, 3)(x))))
    with pytest.raises(ValueError, match="'words' holds numbers of words"):
        maximize_activation(net, "scores", verbose=0)
