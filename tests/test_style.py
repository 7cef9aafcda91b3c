"""Style transfer and textures."""

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn.view import View
from pycnn.visualize import random_filters, style_transfer, texture
from pycnn.visualize.style import Losses, first_of_sizes, gram

rng = np.random.default_rng(0)
STRIPES = np.broadcast_to(0.5 + 0.4 * np.sin(np.arange(32.0)), (3, 32, 32))
DOTS = np.broadcast_to((np.indices((24, 28)) % 8 < 4).all(axis=0) * 0.8 + 0.1, (3, 24, 28))


def small_network(channels=3, dtype="float32"):
    """With a normalisation, a table of connections, and a head that other image sizes do not fit."""
    image = pycnn.Input((channels, 24, 24), name="image")
    h = L.Conv(5, 3, padding=1, activation="tanh", name="first")(image)
    h = L.AvgPool(2)(L.Conv(6, 3, padding=1, activation="tanh", name="same size")(h))
    h = L.ReLU(name="relu")(L.BatchNorm(name="norm")(L.Conv(7, 3, name="second")(h)))
    return pycnn.Network(image, L.Dense(3, name="scores")(L.Flatten()(h)), dtype=dtype)


def test_the_losses_are_those_of_the_formulas():
    net = small_network(dtype="float64")
    image, content, style = (rng.random((3, 24, 24)) for _ in range(3))
    losses = Losses(net, image.shape)
    losses.add_style(style, ["first", "relu"], 3.0)
    losses.add_content(content, ["relu"], 0.5)
    value, _ = losses(image)
    view = View(net, ["first", "relu"])
    maps, of_content, of_style = ({name: v[0].reshape(len(v[0]), -1) for name, v in view(x[np.newaxis]).items()}
                                  for x in (image, content, style))
    expected = 0.0
    for name in ("first", "relu"):
        g, a = (f @ f.T / f.shape[1] for f in (maps[name], of_style[name]))
        expected += 3.0 / 2 * np.sum((g - a) ** 2) / np.sum(a**2)
    expected += 0.5 * np.sum((maps["relu"] - of_content["relu"]) ** 2) / np.sum(of_content["relu"] ** 2)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_the_gradient_is_that_of_the_loss():
    net = small_network(dtype="float64")
    image, content, style, direction = (rng.random((3, 24, 24)) for _ in range(4))
    losses = Losses(net, image.shape)
    losses.add_style(style, ["first", "norm"], 1.0)
    losses.add_content(content, ["norm", "same size"], 0.5)
    gradient = losses(image)[1].copy()
    numeric = (losses(image + 1e-6 * direction)[0] - losses(image - 1e-6 * direction)[0]) / 2e-6
    np.testing.assert_allclose(np.vdot(gradient, direction), numeric, rtol=1e-6)


def test_a_gram_matrix_does_not_depend_on_where_things_are():
    maps = rng.random((4, 6, 5))
    np.testing.assert_allclose(gram(maps), gram(np.roll(maps, (2, 3), (1, 2))))
    np.testing.assert_allclose(gram(maps)[1, 2], np.mean(maps[1] * maps[2]))


@pytest.mark.parametrize(("optimizer", "start"), [
    ("lbfgs", "content"), ("lbfgs", "noise"), ("adam", "content"), ("adam", DOTS),
])
def test_the_loss_falls_by_nine_tenths(optimizer, start):
    if optimizer == "lbfgs":
        pytest.importorskip("scipy")
    told = []
    image = style_transfer(DOTS, STRIPES, optimizer=optimizer, start=start, steps=40, verbose=0,
                           callback=lambda step, losses: told.append((step, losses)))
    assert image.shape == DOTS.shape and image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    assert [step for step, _ in told] == list(range(len(told)))
    assert told[-1][1]["loss"] < 0.1 * told[0][1]["loss"]
    for _, losses in told:
        np.testing.assert_allclose(losses["loss"], 0.02 * losses["content"] + losses["style"], rtol=1e-12)


def test_other_filters_find_a_texture_nearer_to_what_it_was_made_of_than_to_another_image():
    pytest.importorskip("scipy")
    made = texture(STRIPES, shape=(24, 36), steps=40, verbose=0)
    assert made.shape == (3, 24, 36)
    net = random_filters((3, 24, 24), seed=5)
    of_made, of_stripes, of_dots = (gram(View(net, "filters1", input_shapes=x.shape)(x[np.newaxis])["filters1"][0])
                                    for x in (made, STRIPES, DOTS))
    assert np.linalg.norm(of_made - of_stripes) < 0.5 * np.linalg.norm(of_made - of_dots)


def test_the_seed_decides():
    images = [texture(STRIPES, steps=3, seed=seed, optimizer="adam", verbose=0) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 0.01


def test_any_network_with_convolutions_will_do_and_stays_as_it_is():
    net = small_network(channels=1)
    before = {name: value.copy() for name, value in net.parameters.items()}
    image = style_transfer(DOTS, STRIPES, net, steps=3, optimizer="adam", verbose=0)
    assert image.shape == (1, 24, 28)       # grey, as the network is
    assert all((net.parameters[name] == value).all() for name, value in before.items())


def test_layers_looked_at_are_the_first_of_each_size_behind_their_activation():
    assert first_of_sizes(small_network()) == ["first", "relu"]
    assert first_of_sizes(random_filters((3, 64, 64))) == ["filters1", "filters2"]


def test_a_shared_layer_is_named_with_its_use():
    image = pycnn.Input((3, 24, 24), name="image")
    shared = L.Conv(3, 3, padding=1, name="shared")
    net = pycnn.Network(image, shared(L.AvgPool(2)(shared(image))))
    assert first_of_sizes(net) == ["shared[0]", "shared[1]"]


def test_the_picture_is_written(tmp_path):
    read = pytest.importorskip("matplotlib.image").imread
    image = texture(STRIPES, steps=2, optimizer="adam", verbose=0, save=tmp_path / "a.png")
    np.testing.assert_allclose(read(tmp_path / "a.png")[..., :3], image.transpose(1, 2, 0), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"content": np.zeros((2, 4, 4))}, ValueError, "content is"),
    ({"style": np.full((3, 4, 4), 2.0)}, ValueError, "style has values"),
    ({"optimizer": "sgd"}, ValueError, "optimizer is one of"),
    ({"start": "end"}, ValueError, "start is one of"),
    ({"start": STRIPES}, ValueError, "start has shape"),
    ({"steps": 0}, ValueError, "steps"),
    ({"content_weight": -1}, ValueError, "content_weight"),
    ({"style_weight": "1"}, TypeError, "style_weight"),
    ({"style_layers": []}, ValueError, "style_layers"),
    ({"style_layers": "conv5"}, ValueError, "no layer is named 'conv5'"),
    ({"net": small_network(), "content_layers": "scores"}, ValueError, "cannot take an input of shape"),
    ({"net": small_network(), "style_layers": "relu", "style": np.zeros((3, 24, 24))}, ValueError, "not answer to"),
    ({"save": "a.jpg"}, ValueError, "PNG"),
])
def test_wrong_arguments_are_refused(options, error, says):
    given = {"content": DOTS, "style": STRIPES, "optimizer": "adam", "steps": 1, "verbose": 0, **options}
    with pytest.raises(error, match=says):
        style_transfer(**given)


def test_a_network_without_convolutions_is_refused():
    image = pycnn.Input((3, 8, 8), name="image")
    net = pycnn.Network(image, L.Dense(2)(L.Flatten()(image)))
    with pytest.raises(ValueError, match="no convolutions"):
        texture(STRIPES, net, optimizer="adam")
