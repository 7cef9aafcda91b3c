"""The network with a spatial transformer, and the distorted digits it is trained on."""

import numpy as np
import pytest

import pycnn
from pycnn import cli, models
from pycnn.datasets import augment
from pycnn.datasets.distorted_digits import CANVAS, DISTORTION, on_canvas
from pycnn.training import History

# ---- distortions -----------------------------------------------------------------------------------------------------


def blob(height, width, y, x):
    """A round spot of mass 1 at (y, x), in positions from the middle of the image."""
    rows, columns = np.mgrid[:height, :width]
    spot = np.exp(-((rows - (height - 1) / 2 - y) ** 2 + (columns - (width - 1) / 2 - x) ** 2) / 8)
    return spot / spot.sum()


def centre(image):
    """(mass, y, x): how much there is, and where its middle is from that of the image."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    mass = image.sum()
    return np.array([mass, image.sum(1) @ rows / mass, image.sum(0) @ columns / mass])


def test_a_spot_turns_by_the_angle_grows_with_the_square_of_the_scale_and_moves_by_the_shift():
    """On images that are not square: 41 positions by 61."""
    distortion = augment.RandomAffine(rotation=60, scale=(0.7, 1.2), shift=5)
    count, size, (y, x) = 40, (41, 61), (2.0, 9.0)
    maps = distortion.maps(count, size, np.random.default_rng(3))
    image = np.repeat(blob(*size, y, x)[None, None], count, axis=0)
    distorted = distortion(image, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    angle = np.deg2rad(rng.uniform(-60, 60, count))
    scale, (right, down) = rng.uniform(0.7, 1.2, count), rng.uniform(-5, 5, (count, 2)).T
    assert maps.shape == (count, 2, 3)
    expected = [scale**2, scale * (np.cos(angle) * y + np.sin(angle) * x) + down,
                scale * (np.cos(angle) * x - np.sin(angle) * y) + right]
    np.testing.assert_allclose([centre(i[0]) for i in distorted], np.transpose(expected), atol=0.02)


def test_an_affine_distortion_by_nothing_changes_nothing():
    x = np.random.default_rng(0).random((5, 2, 7, 6), dtype=np.float32)
    same = augment.RandomAffine()(x, np.random.default_rng(1))
    assert same.dtype == np.float32
    np.testing.assert_allclose(same, x, atol=1e-6)


@pytest.mark.parametrize("options, error", [
    ({"rotation": -1}, "rotation must be a finite number of at least 0, got -1"),
    ({"rotation": float("nan")}, "rotation must be a finite number"), ({"shift": "2"}, "shift must be a finite number"),
    ({"scale": 1.2}, r"scale must be \(least, greatest\), got 1.2"), ({"scale": (0, 1)}, "both greater than 0"),
    ({"scale": (1.2, 0.7)}, "both greater than 0"), ({"scale": (0.5, True)}, "scale must be a finite number"),
])
def test_impossible_distortions_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        augment.RandomAffine(**options)


def test_distorted_digits_are_upright_for_training_and_always_the_same_in_the_test():
    (x, y), (x_test, y_test) = pycnn.datasets.distorted_digits()
    (digits, labels), (digits_test, labels_test) = pycnn.datasets.digits()
    assert x.shape == (4000, 1, CANVAS, CANVAS) and x_test.shape == (1000, 1, CANVAS, CANVAS)
    assert x.dtype == x_test.dtype == np.float32 and 0 <= x_test.min() and x_test.max() <= 1 + 1e-6
    np.testing.assert_array_equal(x[:, :, 7:-7, 7:-7], digits)
    assert x.sum() == pytest.approx(digits.sum(), rel=1e-5)
    np.testing.assert_array_equal(y, labels)
    np.testing.assert_array_equal(y_test, labels_test)
    np.testing.assert_array_equal(x_test, pycnn.datasets.distorted_digits()[1][0])
    ink = x_test.sum((1, 2, 3)) / on_canvas(digits_test).sum((1, 2, 3))
    assert 0.45 < ink.min() < 0.6 and 1.3 < ink.max() < 1.46        # 0.7 and 1.2, squared: nothing leaves the canvas


# ---- the network -----------------------------------------------------------------------------------------------------


def test_the_classifier_is_the_same_with_a_transformer_and_without():
    with_it, without = models.stn(), models.stn(transformer=False)
    assert with_it.count_parameters() == 126_600 and without.count_parameters() == 114_314
    shared = {name: p.shape for name, p in with_it.parameters.items() if not name.startswith(("locate", "transformer"))}
    assert shared == {name: p.shape for name, p in without.parameters.items()}
    assert models.MODELS["stn"].recipes is models.MODELS["stn-without"].recipes
    assert models.MODELS["stn-without"].build(input_shape=(1, 42, 42), classes=10).count_parameters() == 114_314


def test_a_transformer_and_its_classifier_learn_a_little():
    (x, y), _ = pycnn.datasets.distorted_digits()
    net = models.stn()
    history = net.fit(x[:512], y[:512], optimizer=pycnn.AdamW(0.004), epochs=6, batch_size=32, augment=DISTORTION, verbose=0)
    assert history["loss"][-1] < 0.85 * history["loss"][0]
    assert np.abs(net["transformer.theta"].weight).max() > 1e-3


def test_what_the_transformer_makes_is_what_the_grid_of_its_affine_map_reads():
    net = models.stn(seed=1)
    rng = np.random.default_rng(0)
    net["transformer.theta"].weight = rng.normal(0, 0.05, net["transformer.theta"].weight.shape)
    x = pycnn.datasets.distorted_digits()[1][0][:6]
    seen, theta = models.transformed(net, x)
    grid = pycnn.functional.affine_grid_forward(theta, (CANVAS, CANVAS))
    np.testing.assert_allclose(seen, pycnn.functional.grid_sample_forward(x, grid), atol=1e-6)
    assert seen.shape == x.shape and np.abs(theta - theta[0]).max() > 0.01


def test_the_picture_has_a_column_for_each_class():
    pytest.importorskip("matplotlib")
    _, (x, y) = pycnn.datasets.distorted_digits()
    x, y = x[:100], y[:100]
    figure = models.transformer_figure(models.stn(), x, y, title="seen")
    classes, rows = len(np.unique(y)), 6
    assert len(figure.axes) == rows * classes and figure.get_suptitle() == "seen"
    assert [a.get_ylabel() for a in figure.axes[::classes]] == ["input", "transformed"] * 2 + ["mean\ninput",
                                                                                              "mean\ntransformed"]
    framed = [len(a.lines) > 0 for a in figure.axes[::classes]]
    assert framed == [True, False, True, False, False, False]
    corners = figure.axes[0].lines[0].get_xdata()
    np.testing.assert_allclose([corners.min(), corners.max()], [-0.5, CANVAS - 0.5], atol=1e-4)     # the identity: all


def test_both_models_draw_what_they_are_trained_for():
    pytest.importorskip("matplotlib")
    _, (x, y) = pycnn.datasets.distorted_digits()
    for name, title in (("stn", "with"), ("stn-without", "without")):
        model = models.MODELS[name]
        net = model.build(**model.task.build_options(x, y))
        figure = model.task.figure(net, History(), x[:50], y[:50], data="distorted-digits", title=title)
        assert figure.get_suptitle() == title


@pytest.mark.parametrize("name", ["stn", "stn-without"])
def test_the_command_trains_it_for_fewer_epochs_than_its_warm_up_too(name, tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--samples", "100", "--epochs", "1", "--verbose", "0", "--out", str(tmp_path)]
    assert cli.main(["train", name, *options]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {f"{name}.safetensors", f"{name}.png"}
