"""Images of classes, and images that fool."""

import warnings

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn import models
from pycnn.visualize import class_image, fool


@pytest.fixture(scope="module")
def digits():
    return pycnn.datasets.digits()


@pytest.fixture(scope="module")
def net(digits):
    (x, y), _ = digits
    net = models.lenet5()
    net.fit(x, y, optimizer=pycnn.Adam(0.002), epochs=3, batch_size=64, verbose=0)
    return net


def probabilities(net, images, sign=1):
    scores = sign * net.predict(images).astype(np.float64)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_each_class_has_an_image_that_the_network_is_sure_of(net):
    images = class_image(net, verbose=0)
    assert images.shape == (10, 1, 28, 28) and images.min() >= 0 and images.max() <= 1
    assert probabilities(net, images).diagonal().min() >= 0.99


def test_noise_fools_it_into_each_class(net):
    images = fool(net, verbose=0)
    assert images.shape == (10, 1, 28, 28) and images.min() >= 0 and images.max() <= 1
    assert probabilities(net, images).diagonal().min() >= 0.99


def test_a_digit_becomes_any_other_and_looks_like_itself(net, digits):
    _, (x, y) = digits
    start = x[0]
    images = fool(net, start=start, verbose=0)
    assert probabilities(net, images).diagonal().min() >= 0.99
    assert np.sqrt(np.mean((images - start) ** 2)) < 0.2
    # What it is already needs no step, or few.
    assert np.abs(images[y[0]] - start).max() < 0.1


def test_one_target_gives_one_image(net):
    assert class_image(net, 3, steps=5, confidence=0.5, verbose=0).shape == (1, 28, 28)
    assert fool(net, 3, verbose=0).shape == (1, 28, 28)
    assert fool(net, [3, 5], verbose=0).shape == (2, 1, 28, 28)


def test_the_network_stays_as_it_is(net):
    before = {name: value.copy() for name, value in net.parameters.items()}
    class_image(net, 2, steps=3, verbose=0)
    fool(net, 2, verbose=0)
    for name, value in net.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_too_few_steps_are_told(net):
    with pytest.warns(UserWarning, match="less sure than 99.0% of"):
        fool(net, steps=1, verbose=0)


def test_probabilities_at_the_output_are_looked_at_below():
    x = pycnn.Input((1, 8, 8), name="x")
    net = pycnn.Network(x, L.Softmax(name="p")(L.Dense(3, name="scores")(L.Flatten()(x))))
    net["scores"].weight[...] *= 20
    images = fool(net, verbose=0)
    assert net.predict(images).diagonal().min() >= 0.99
    assert net.predict(class_image(net, verbose=0)).diagonal().min() >= 0.99


def test_of_distances_the_least_is_the_class():
    net = models.lenet5("1998", seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = fool(net, value_range=(-0.1, 1.175), steps=60, confidence=0.9, verbose=0)
    assert np.mean(net.predict(images).argmin(1) == np.arange(10)) > 0.8


def test_pictures_are_written(net, tmp_path):
    pytest.importorskip("matplotlib")
    class_image(net, steps=3, confidence=0.1, verbose=0, save=tmp_path / "classes.png")
    fool(net, [1, 2], verbose=0, save=tmp_path / "fooled.png")
    for name in ("classes.png", "fooled.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("function", [class_image, fool])
@pytest.mark.parametrize("arguments, error, message", [
    ({"target": 10}, ValueError, "target must be from 0 to 9"),
    ({"target": 1.5}, TypeError, "target"),
    ({"output": "nowhere"}, ValueError, "no output is named"),
    ({"confidence": 1.5}, ValueError, "confidence"),
    ({"start": "chaos"}, (ValueError, TypeError), "chaos|numbers"),
    ({"value_range": None, "steps": -1}, ValueError, "steps"),
])
def test_wrong_arguments_are_refused(net, function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(net, verbose=0, **arguments)


def test_a_network_without_scores_is_refused():
    x = pycnn.Input((1, 8, 8), name="x")
    with pytest.raises(ValueError, match="an output of scores is"):
        fool(pycnn.Network(x, L.Conv(2, 3, name="maps")(x)), verbose=0)


def test_a_softmax_of_distances_is_what_it_says():
    x = pycnn.Input((6,), name="x")
    net = pycnn.Network(x, L.Softmax(name="p")(L.RBF(3, name="distances")(x)))
    assert net.predict(fool(net, value_range=(-3, 3), verbose=0)).argmax(1).tolist() == [0, 1, 2]


def test_a_start_outside_of_the_range_is_refused_and_nan_is_not_sure(net):
    with pytest.raises(ValueError, match="outside value_range"):
        fool(net, 3, start=np.full((1, 28, 28), 2.0), verbose=0)
    x = pycnn.Input((1, 8, 8), name="x")
    broken = pycnn.Network(x, L.Dense(3, name="scores")(L.Flatten()(x)))
    broken["scores"].weight[...] = np.nan
    with pytest.warns(UserWarning, match="less sure"):
        fool(broken, 0, steps=2, verbose=0)
