"""The capsule network: its sizes, a moment of training, its decoder by itself, and its picture."""

import numpy as np
import pytest

import pycnn
from pycnn import models
from pycnn.models.capsnet import CAPSNET, OFFSETS, ShiftedPictures, varied_capsule


@pytest.fixture(scope="module")
def trained():
    """(net, history, test images, their labels) of a moment of training."""
    (x, y), (x_test, y_test) = pycnn.datasets.digits()
    x, y, x_test, y_test, task = x[:400], y[:400], x_test[::20], y_test[::20], CAPSNET.task
    net = CAPSNET.build(**task.build_options(x, y), seed=0)
    history = net.fit(*task.training_data(x, y), loss=task.loss, loss_weights=task.loss_weights, batch_size=32, epochs=5,
                      optimizer=pycnn.Adam(2e-3), augment=ShiftedPictures(2), seed=0, verbose=0)
    return net, history, x_test, y_test


def test_the_published_network_has_the_published_sizes():
    net = models.capsnet()
    assert net.count_parameters() == net.count_parameters(trainable=True) == 8_215_568
    sizes = {name: layer.weight.shape for name, layer in net.layers.items() if layer._parameters}
    assert sizes["primary"] == (256, 256, 9, 9) and sizes["capsules"] == (1152, 10, 16, 8)
    assert models.capsnet(decoder=False).count_parameters() == 6_804_224
    assert models.capsnet(decoder=False).output_shapes == {"lengths": (10,)}
    assert models.capsnet_decoder(net).count_parameters() == 1_411_344


def test_the_small_network_is_built_for_any_image_and_number_of_classes():
    net = models.capsnet("small", (3, 32, 24), classes=5, iterations=2)
    assert net.output_shapes == {"reconstruction": (3 * 32 * 24,), "lengths": (5,), "capsule": (80,)}
    assert net["capsules"].iterations == 2 and net.input_shapes == {"image": (3, 32, 24), "label": (5,)}
    with pytest.raises(ValueError, match="unknown variant 'large' of capsnet; known are published, small"):
        models.capsnet("large")
    with pytest.raises(ValueError, match="kernel 9x9 does not fit"):
        models.capsnet("small", (1, 12, 12))


def test_a_moment_of_training_makes_the_loss_fall(trained):
    net, history, x, y = trained
    assert history["lengths_loss"][-1] < 0.6 * history["lengths_loss"][0]
    scores = CAPSNET.task.scores(net, x, y)
    assert scores["accuracy"] > 0.5 and 0 < scores["squared_error"] < 0.1
    assert CAPSNET.task.sentence(scores).startswith(f"test accuracy {scores['accuracy']:.2%}, margin loss")


def test_the_decoder_alone_draws_what_the_network_draws(trained):
    net, _, x, y = trained
    for label in (np.eye(10)[y], np.zeros((len(y), 10))):
        made = net.predict({"image": x, "label": label})
        drawn = models.capsnet_decoder(net).predict(made["capsule"])
        np.testing.assert_allclose(drawn, made["reconstruction"], atol=1e-6)
        kept = label if label.any() else np.eye(10)[made["lengths"].argmax(1)]
        assert ((made["capsule"].reshape(-1, 10, 16) != 0).any(axis=2) == kept).all()


def test_a_capsule_is_varied_one_coordinate_at_a_time(trained):
    net, _, x, _ = trained
    made = net.predict({"image": x[:1], "label": np.eye(10)[[7]]})
    sheet = varied_capsule(net, made["capsule"][0])
    assert sheet.shape == (16, 11, 784) and OFFSETS[[0, 5, 10]].tolist() == [-0.25, 0, 0.25]
    np.testing.assert_allclose(sheet[:, 5], np.tile(made["reconstruction"], (16, 1)), atol=1e-6)
    assert (np.abs(sheet[:, 0] - sheet[:, 10]).max(axis=1) > 0).all()


def test_a_shift_moves_the_image_and_what_is_to_be_drawn():
    x = np.arange(2 * 36, dtype=np.float32).reshape(2, 1, 6, 6)
    moved, targets = ShiftedPictures(1)(x, x.reshape(2, 36), np.random.default_rng(0))
    assert (moved != x).any() and (targets == moved.reshape(2, 36)).all()


def test_the_picture_shows_images_and_varied_capsules(trained, tmp_path):
    pytest.importorskip("matplotlib")
    net, history, x, y = trained
    figure = CAPSNET.task.figure(net, history, x, y, data="digits", title="a title")
    figure.savefig(tmp_path / "figure.png")
    images, sheet = (part.axes[0] for part in figure.subfigs)
    shown = sum(min(3, int((y == k).sum())) for k in range(10))
    assert images.images[0].get_array().shape == (-(-2 * shown // 6) * 29 - 1, 6 * 29 - 1)
    assert sheet.images[0].get_array().shape == (16 * 29 - 1, 11 * 29 - 1)
    assert figure.get_suptitle() == "a title" and "longest capsules" in images.get_title()
