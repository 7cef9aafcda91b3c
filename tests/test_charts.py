"""Maps, filters, curves, confusion and embedding: what they return and refuse, and that a picture comes of each."""

import numpy as np
import pytest
from PIL import Image

import pycnn
from pycnn import layers as L
from pycnn.functional import conv_transpose_forward
from pycnn.models import lenet5
from pycnn.visualize import confusion_matrix, embedding, feature_maps, filters, training_curves

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="module")
def net():
    net = lenet5(seed=3)
    net.fit(IMAGES, np.arange(6), epochs=2, batch_size=3, validation_data=(IMAGES, np.arange(6)), verbose=0)
    return net


def network(shape, *layers):
    h = x = pycnn.Input(shape, name="x")
    for layer in layers:
        h = layer(h)
    return pycnn.Network(x, h)


def is_picture(path):
    """Whether there is a PNG with something on it."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    return picture.format == "PNG" and pixels.std() > 5 and max(pixels.shape) < 3000


def test_feature_maps_are_the_values_of_the_layer(net):
    below = pycnn.View(net, "S2")(IMAGES[:1])["S2"]
    w, b = net["C3"].weight, net["C3"].bias
    expected = np.maximum(0, pycnn.reference.conv_forward(below, w, b))
    np.testing.assert_allclose(feature_maps(net, IMAGES[0], "C3"), expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(feature_maps(net, IMAGES, "output"), net.predict(IMAGES))


def test_feature_maps_of_several_inputs_and_shared_layers():
    a, b, twice = pycnn.Input((4,), name="a"), pycnn.Input((4,), name="b"), L.Dense(3, name="shared")
    net = pycnn.Network([a, b], L.Add()([twice(a), twice(b)]))
    x = {"a": RNG.random(4), "b": RNG.random(4)}
    expected = net["shared"].weight @ x["b"] + net["shared"].bias
    np.testing.assert_allclose(feature_maps(net, x, "shared[1]"), expected, rtol=1e-5)
    for name in ("shared", "shared[1]"):
        np.testing.assert_array_equal(filters(net, name), net["shared"].weight)


@pytest.mark.parametrize("shape, layers", [
    ((2, 9, 8), [L.Conv(5, 3, name="c")]),
    ((2, 30), [L.Conv(5, 3, name="c")]),
    ((2, 5, 6, 7), [L.Conv(4, 3, name="c")]),
    ((12,), [L.Dense(7, name="c")]),
    ((2, 9, 8), [L.Conv(300, 3, activation="relu", name="c")]),
    ((3, 9, 8), [L.Conv(4, 3, name="c")]),
    ((1, 9, 8), [L.Conv(4, 3, name="c")]),
    ((40, 9, 8), [L.Conv(40, 3, name="c")]),
    ((4, 9, 8), [L.ConvTranspose(6, 3, groups=2, name="c")]),
    ((2, 3, 4), [L.Flatten(), L.Dense(1, name="c")]),
])
def test_maps_and_filters_of_every_rank_become_pictures(tmp_path, shape, layers):
    net = network(shape, *[type(layer)(**layer.config(), name=layer.name) for layer in layers])
    maps = feature_maps(net, RNG.standard_normal(shape), "c", save=tmp_path / "maps.png")
    assert maps.shape == net.output_shapes["c"] and is_picture(tmp_path / "maps.png")
    weight = filters(net, "c", save=str(tmp_path / "filters.png"))
    assert weight.size == net["c"].weight.size and is_picture(tmp_path / "filters.png")


def test_zeros_become_a_picture(tmp_path):
    net = network((1, 6, 6), L.Conv(2, 3, name="c"))
    net["c"].weight = 0
    assert not feature_maps(net, np.zeros((1, 6, 6)), "c", save=tmp_path / "maps.png").any()
    assert not filters(net, "c", save=tmp_path / "filters.png").any()


def test_filters_are_a_copy_and_dense_ones_have_the_shape_of_the_maps_below(net):
    weight = filters(net, "C1")
    np.testing.assert_array_equal(weight, net["C1"].weight)
    weight[...] = 0
    assert net["C1"].weight.any()
    maps = feature_maps(net, IMAGES[0], "S4")
    answer = np.tensordot(filters(net, "C5"), maps, 3) + net["C5"].bias
    np.testing.assert_allclose(feature_maps(net, IMAGES[0], "C5"), np.maximum(0, answer), rtol=1e-3, atol=1e-5)


def test_filters_of_a_table_of_connections_are_zero_where_nothing_is_joined():
    table = np.array([[1, 1, 0], [0, 1, 1]], bool)
    net = network((3, 7, 7), L.Conv(2, 3, connections=table, bias=False, name="c"))
    x = RNG.random((1, 3, 7, 7), dtype=np.float32)
    weight = filters(net, "c")
    assert (np.abs(weight).max((2, 3)) > 0).tolist() == table.tolist()
    np.testing.assert_allclose(pycnn.reference.conv_forward(x, weight), net.predict(x), rtol=1e-4, atol=1e-5)


def test_filters_of_a_transposed_convolution_are_those_of_its_maps():
    net = network((4, 5, 5), L.ConvTranspose(6, 3, groups=2, bias=False, name="c"))
    x = RNG.random((1, 4, 5, 5), dtype=np.float32)
    weight = filters(net, "c")
    assert weight.shape == (6, 2, 3, 3)
    for k in range(6):          # map k reads the two channels of its group
        channels = slice(0, 2) if k < 3 else slice(2, 4)
        alone = conv_transpose_forward(x[:, channels], np.ascontiguousarray(weight[k][:, None]))
        np.testing.assert_allclose(alone[0, 0], net.predict(x)[0, k], rtol=1e-4, atol=1e-5)


def test_training_curves_are_the_history(net, tmp_path):
    curves = training_curves(net, save=tmp_path / "curves.png")
    assert curves["epoch"].tolist() == [1, 2] and {"loss", "accuracy", "val_loss", "val_accuracy"} <= curves.keys()
    assert curves["loss"].tolist() == net.training_state["fit"]["history"]["loss"]
    assert is_picture(tmp_path / "curves.png")
    history = network((3,), L.Dense(2)).fit(RNG.random((4, 3)), RNG.random((4, 2)), loss="mse", verbose=0)
    assert "accuracy" not in training_curves(history, save=tmp_path / "mse.png")


def test_confusion_matrix_counts_what_is_taken_for_what(tmp_path):
    net = network((3,), L.Dense(3, bias=False, name="d"))
    net["d"].weight = np.eye(3)
    x = np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 0]]
    counts = confusion_matrix(net, x, [0, 0, 1, 2, 2], names=["a", "<b>", "$c"], save=tmp_path / "counts.png")
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]] and is_picture(tmp_path / "counts.png")


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_an_embedding_puts_together_what_is_alike(tmp_path, method):
    net = network((2, 3), L.Flatten(), L.Dense(8, name="d"))
    labels = np.arange(30) % 2
    x = RNG.standard_normal((30, 2, 3)) + 20 * labels[:, None, None]
    points = embedding(net, x, "d", labels, method, names=["low", "high"], save=tmp_path / "plane.png")
    assert points.shape == (30, 2) and is_picture(tmp_path / "plane.png")
    middles = [points[labels == k].mean(0) for k in (0, 1)]
    nearest = [np.linalg.norm(points - middle, axis=1) for middle in middles]
    np.testing.assert_array_equal(np.argmin(nearest, 0), labels)
    np.testing.assert_array_equal(points, embedding(net, x, "d", labels, method))


def test_pca_keeps_the_most_variance_that_two_directions_can():
    net = network((5,), L.Dense(4, name="d"))
    x = RNG.standard_normal((50, 5))
    values = net.predict(x).astype(np.float64)
    largest = np.linalg.svd(values - values.mean(0), compute_uv=False)[:2]
    points = embedding(net, x, "d")
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), largest, rtol=1e-6)
    one = embedding(network((5,), L.Dense(1, name="d")), x, "d")
    assert one.shape == (50, 2) and not one[:, 1].any()


def test_networks_stay_as_they_are(net, tmp_path):
    before = {name: value.copy() for name, value in {**net.parameters, **net.statistics}.items()}
    feature_maps(net, IMAGES, "C3", save=tmp_path / "a.png")
    filters(net, "C3", save=tmp_path / "a.png")
    confusion_matrix(net, IMAGES, np.arange(6))
    embedding(net, IMAGES, "F6")
    for name, value in {**net.parameters, **net.statistics}.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("error, message, call", [
    (ValueError, "no layer is named 'C9'", lambda n: feature_maps(n, IMAGES[0], "C9")),
    (ValueError, "no layer is named 'C9'", lambda n: filters(n, "C9")),
    (ValueError, "S2: a MaxPool has no filters", lambda n: filters(n, "S2")),
    (ValueError, "expects", lambda n: feature_maps(n, IMAGES[0, 0], "C1")),
    (ValueError, "not finite", lambda n: feature_maps(n, np.full((1, 28, 28), np.nan), "C1")),
    (TypeError, "history is what fit returned", lambda n: training_curves([1, 2])),
    (ValueError, "there is no epoch", lambda n: training_curves(lenet5())),
    (ValueError, "labels from 0 to 10", lambda n: confusion_matrix(n, IMAGES, [0, 1, 2, 3, 4, 10])),
    (ValueError, "samples", lambda n: confusion_matrix(n, IMAGES, [0, 1])),
    (ValueError, "one for each of the 10 classes, got 2", lambda n: confusion_matrix(n, IMAGES, np.arange(6), "ab")),
    (ValueError, "method is one of pca, tsne", lambda n: embedding(n, IMAGES, "F6", method="umap")),
    (ValueError, "three samples at least, got 2", lambda n: embedding(n, IMAGES[:2], "F6")),
    (ValueError, r"labels are integers \(6,\)", lambda n: embedding(n, IMAGES, "F6", [0, 1])),
    (ValueError, "got 2 for labels to 5", lambda n: embedding(n, IMAGES, "F6", np.arange(6), names=["a", "b"])),
    (ValueError, "perplexity", lambda n: embedding(n, IMAGES, "F6", method="tsne", perplexity=-1)),
    (ValueError, r"ends in \.png", lambda n: filters(n, "C1", save="filters.jpg")),
    (ValueError, "there is no folder", lambda n: filters(n, "C1", save="/no/such/folder/filters.png")),
    (ValueError, "is a folder", lambda n: feature_maps(n, IMAGES[0], "C1", save="folder.png")),
    (TypeError, "got 7", lambda n: training_curves(n, save=7)),
])
def test_bad_arguments_are_refused(net, tmp_path, monkeypatch, error, message, call):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=message):
        call(net)


@pytest.mark.parametrize("module, call", [
    ("sklearn", lambda n: embedding(n, IMAGES, "F6")),
    ("matplotlib", lambda n: filters(n, "C1", save="filters.png")),
])
def test_a_missing_package_is_named(net, monkeypatch, module, call):
    import builtins
    import importlib.util

    find, load = importlib.util.find_spec, builtins.__import__

    def refuse(name, *args, **options):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return load(name, *args, **options)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else find(name, *a))
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install pycnn\[(sklearn|plot)\]"):
        call(net)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_samples_that_are_alike_have_no_view(method):
    pytest.importorskip("sklearn")
    x = pycnn.Input((4,), name="x")
    net = pycnn.Network(x, L.Dense(5, name="dense")(x))
    with pytest.raises(ValueError, match="all alike"):
        embedding(net, np.zeros((5, 4)), "dense", method=method)


def test_of_distances_the_least_is_the_prediction():
    x = pycnn.Input((6,), name="x")
    net = pycnn.Network(x, L.RBF(3, name="distances")(x))
    samples = np.random.default_rng(0).random((60, 6))
    nearest = np.square(samples[:, None] - net["distances"].weight).sum(2).argmin(1)
    assert np.trace(confusion_matrix(net, samples, nearest)) == 60
