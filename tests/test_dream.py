"""Deep Dream."""

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn.view import View
from pycnn.visualize import deep_dream
from pycnn.visualize.dream import colour_mixture, equal_bands
from pycnn.visualize.images import resized

IMAGE = np.random.default_rng(0).random((3, 40, 36))


def small_network(channels=3):
    image = pycnn.Input((channels, 24, 24), name="image")
    h = L.AvgPool(2)(L.Conv(6, 3, padding=1, activation="relu", name="first")(image))
    return pycnn.Network(image, L.Conv(4, 3, padding=1, activation="tanh", name="second")(h))


def mean_squares(net, image, layer="second"):
    """Of each map."""
    maps = View(net, layer, input_shapes=image.shape)(image[np.newaxis])[layer][0]
    return np.mean(maps**2, axis=(1, 2))


def test_a_dream_shows_more_of_what_the_layer_looks_for():
    net = small_network()
    dreamt = deep_dream(net, IMAGE, "second", octaves=2, jitter=2, learning_rate=0.02, verbose=0)
    assert dreamt.shape == IMAGE.shape and dreamt.dtype == np.float32 and dreamt.min() >= 0 and dreamt.max() <= 1
    assert mean_squares(net, dreamt).sum() > 1.2 * mean_squares(net, IMAGE).sum()


def test_a_step_goes_along_the_gradient_of_the_mean_square_of_the_chosen_maps():
    net = small_network()
    grey = np.clip(IMAGE, 0.4, 0.6)

    def mean_square(values):
        v = values["second"][:, [1]]
        gradient = np.zeros_like(values["second"])
        gradient[:, [1]] = 2 * v
        return None, {"second": gradient}

    gradient = View(net, "second", input_shapes=IMAGE.shape).gradients(grey[np.newaxis], mean_square)[1]["image"][0]
    dreamt = deep_dream(net, grey, "second", 1, octaves=1, steps=1, jitter=0, learning_rate=0.01, bands=0,
                        colours=False, verbose=0)
    np.testing.assert_allclose(dreamt - grey, 0.01 * gradient / np.abs(gradient).mean(), atol=1e-6)


def test_a_factor_exaggerates_maps():
    net = small_network()
    each = {factor: mean_squares(net, deep_dream(net, IMAGE, "second", [2], factor=factor, octaves=1, verbose=0))
            for factor in (1.0, 50.0)}
    assert each[50.0][2] > each[1.0][2]
    assert each[50.0][[0, 1, 3]].sum() < each[1.0][[0, 1, 3]].sum()
    alike = deep_dream(net, IMAGE, "second", octaves=1, verbose=0)
    np.testing.assert_array_equal(alike, deep_dream(net, IMAGE, "second", [2], factor=1.0, octaves=1, verbose=0))


def test_bands_are_equally_strong_and_leave_out_what_is_coarser():
    fine, coarse = (np.random.default_rng(0).standard_normal((3, side, side)).astype(np.float32) for side in (64, 8))
    coarse = resized(coarse, (64, 64))
    np.testing.assert_allclose(equal_bands(fine + coarse, 1).std(), 1, rtol=1e-5)
    np.testing.assert_allclose(equal_bands(5 * fine, 3), equal_bands(fine, 3), rtol=1e-4, atol=1e-4)
    low = resized(fine, (32, 32))
    bands = fine - resized(low, (64, 64)), low - resized(resized(low, (16, 16)), (32, 32))
    expected = bands[0] / bands[0].std() + resized(bands[1] / bands[1].std(), (64, 64))
    np.testing.assert_allclose(equal_bands(fine, 2), expected, atol=1e-5)
    ramp = np.broadcast_to(np.linspace(0, 100, 64, dtype=np.float32), (3, 64, 64))
    np.testing.assert_allclose(equal_bands(fine + ramp, 1)[:, :, 4:-4].mean(), 0, atol=0.01)
    np.testing.assert_array_equal(equal_bands(np.ones((3, 16, 16), np.float32), 2), 0)


def test_colours_are_mixed_by_the_root_of_their_covariance():
    image = np.random.default_rng(1).random((3, 20, 20)) * [[[0.2]], [[0.5]], [[1]]]
    covariance = np.cov(image.reshape(3, -1))
    mixture = colour_mixture(image)
    np.testing.assert_allclose(mixture @ mixture, 3 * covariance / np.trace(covariance) + 0.05 * np.eye(3), atol=1e-12)
    np.testing.assert_allclose(colour_mixture(np.full((3, 4, 4), 0.5)), np.sqrt(1.05) * np.eye(3))


def test_a_grey_network_dreams_in_grey_and_octaves_stop_at_the_smallest():
    assert deep_dream(small_network(1), IMAGE, "second", octaves=20, steps=1, verbose=0).shape == (1, 40, 36)


def test_the_seed_decides():
    images = [deep_dream(small_network(), IMAGE, "second", steps=2, seed=seed, verbose=0) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 1e-3


def test_the_picture_is_written(tmp_path):
    read = pytest.importorskip("matplotlib.image").imread
    dreamt = deep_dream(small_network(), IMAGE, "first", steps=1, verbose=0, save=str(tmp_path / "a.png"))
    np.testing.assert_allclose(read(tmp_path / "a.png")[..., :3], dreamt.transpose(1, 2, 0), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"image": np.zeros((4, 4, 3))}, ValueError, "image is"),
    ({"layer": "third"}, ValueError, "no layer is named"),
    ({"layer": ["first"]}, TypeError, "layer is the name"),
    ({"maps": 4}, ValueError, "maps must be less than 4"),
    ({"maps": [1.5]}, TypeError, "maps must be an integer"),
    ({"maps": []}, ValueError, "maps must name one"),
    ({"factor": 2.0}, ValueError, "name maps"),
    ({"maps": 1, "factor": -2.0}, ValueError, "factor"),
    ({"scale": 1.0}, ValueError, "scale"),
    ({"octaves": 0}, ValueError, "octaves"),
    ({"learning_rate": np.nan}, ValueError, "learning_rate"),
    ({"jitter": -1}, ValueError, "jitter"),
    ({"save": "a.gif"}, ValueError, "PNG"),
])
def test_wrong_arguments_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        deep_dream(**{"net": small_network(), "image": IMAGE, "layer": "second", "verbose": 0, **options})
