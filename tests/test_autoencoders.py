"""The autoencoders and the denoiser: their sizes, what their tasks measure and draw, and that they learn."""

import json

import numpy as np
import pytest

import pycnn
from pycnn.cli import main
from pycnn.datasets.augment import RandomNoise
from pycnn.models import MODELS, autoencoder, autoencoder_upsample, denoiser
from pycnn.models.autoencoder import examples
from pycnn.models.denoiser import psnr

BUILDERS = {"autoencoder": autoencoder, "autoencoder-upsample": autoencoder_upsample, "denoiser": denoiser}


@pytest.mark.parametrize("name, parameters", [
    ("autoencoder", 1_077), ("autoencoder-upsample", 1_477), ("denoiser", 9_001),
])
def test_sizes_and_shapes(name, parameters):
    build = BUILDERS[name]
    assert build().count_parameters() == parameters
    assert list(build((3, 8, 12)).output_shapes.values()) == [(3, 8, 12)]
    with pytest.raises(ValueError, match="H and W multiples of 4, got"):
        build((1, 30, 28))


def test_the_two_autoencoders_share_their_encoder():
    for net in (autoencoder(), autoencoder_upsample()):
        assert [n for n in net.layers if n.startswith(("encode", "pool"))] == ["encode1", "pool1", "encode2", "pool2"]
    assert autoencoder(maps=(32, 8)).count_parameters() == 3_817


@pytest.mark.parametrize("name, score, reached", [
    ("autoencoder", "mse", lambda r: r["test_mse"] < 0.06),         # an even grey has 0.09
    ("autoencoder-upsample", "mse", lambda r: r["test_mse"] < 0.06),
    ("denoiser", "psnr", lambda r: r["test_psnr"] > r["test_psnr_of_noisy"] + 1),
])
def test_a_moment_of_training_from_the_command_line(name, score, reached, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    command = ["train", name, "--samples", "1000", "--epochs", "4", "--out", str(tmp_path), "--verbose", "0", "--json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert reached(result), result
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert main(["evaluate", result["file"], "--verbose", "0", "--json"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again[f"test_{score}"] == result[f"test_{score}"]


def test_every_recipe_of_theirs_names_both_data_sets():
    for name in BUILDERS:
        assert list(MODELS[name].recipes) == ["digits", "fashion-mnist"]


def test_scores_are_those_of_what_the_network_gives():
    (_, _), (x, y) = pycnn.datasets.digits()
    x, y, net = x[:300], y[:300], denoiser()
    scores = MODELS["denoiser"].task.scores(net, x, y)
    noisy, clean = MODELS["denoiser"].task.test_data(x, y)
    assert clean is x and 0 <= noisy.min() < noisy.max() <= 1
    assert scores["psnr_of_noisy"] == pytest.approx(-10 * np.log10(np.mean((noisy - x) ** 2)))
    assert scores["psnr"] == pytest.approx(psnr(net.predict(noisy), x))
    assert scores["gain"] == scores["psnr"] - scores["psnr_of_noisy"]
    assert "denoised" in MODELS["denoiser"].task.sentence(scores)
    mse = MODELS["autoencoder"].task.scores(net, x, y)["mse"]
    assert mse == pytest.approx(np.mean((net.predict(x) - x) ** 2), rel=1e-5)


def test_noise_of_a_black_and_white_image_is_9_39_db():
    image = np.random.default_rng(0).integers(0, 2, (100, 1, 28, 28)).astype(np.float32)
    assert psnr(RandomNoise(0.5)(image, np.random.default_rng(1)), image) == pytest.approx(9.39, abs=0.03)


def test_noise_is_clipped_follows_its_generator_and_leaves_the_batch_alone():
    batch, noise = np.full((4, 1, 3, 3), 0.5, np.float32), RandomNoise(2, low=0.25, high=0.75)
    noisy = noise(batch, np.random.default_rng(3))
    assert noisy.dtype == np.float32 and noisy.min() == 0.25 and noisy.max() == 0.75 and (batch == 0.5).all()
    np.testing.assert_array_equal(noisy, noise(batch, np.random.default_rng(3)))
    assert repr(noise) == "RandomNoise(2.0, low=0.25, high=0.75)"


@pytest.mark.parametrize("arguments, error", [
    ({"scale": -1}, "scale must be a finite number of at least 0, got -1"),
    ({"scale": float("nan")}, "scale must be a finite number"),
    ({"scale": "1"}, "scale must be a finite number"),
    ({"scale": 1, "low": 1, "high": 0}, "low must be less than high, got 1 and 0"),
])
def test_noise_refuses_wrong_arguments(arguments, error):
    with pytest.raises(ValueError, match=error):
        RandomNoise(**arguments)


def test_pictures_show_a_column_for_each_image_and_classes_in_turn():
    pytest.importorskip("matplotlib")
    (_, _), (x, y) = pycnn.datasets.digits()
    shown = examples(x, y)
    assert shown.shape == (12, 1, 28, 28)
    for i in range(10):
        np.testing.assert_array_equal(shown[i], x[y == i][0])
    np.testing.assert_array_equal(shown[10], x[y == 0][1])
    for name, rows in (("autoencoder", ["input", "output"]), ("denoiser", ["noisy", "denoised", "clean"])):
        figure = MODELS[name].task.figure(BUILDERS[name](), None, x, y, data="digits", title="shown")
        assert [axes.get_ylabel() for axes in figure.axes[::12]] == rows and len(figure.axes) == 12 * len(rows)
        assert figure.get_suptitle() == "shown"
