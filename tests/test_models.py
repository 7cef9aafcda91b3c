"""The models of pycnn.models: their sizes, and the same networks in PyTorch."""

from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import models

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def peer_torch(monkeypatch):
    """The benchmark's PyTorch, which follows a network of pycnn operation by operation."""
    pytest.importorskip("torch")
    if not (ROOT / "bench").is_dir():
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import peer_torch
    return peer_torch


def small_resnet18():
    return models.resnet18(classes=10, shape=(3, 64, 48))


def test_resnet18_has_the_parameters_of_its_paper_and_of_torchvision():
    net = models.resnet18()
    assert net.count_parameters() == net.count_parameters(trainable=True) == 11_689_512
    assert sum(s.size for s in net.statistics.values()) == 9_600
    assert [net.output_shapes["output"], small_resnet18().output_shapes["output"]] == [(1000,), (10,)]


def test_the_autoencoder_has_1077_parameters_and_gives_images_back():
    net = models.autoencoder()
    assert net.count_parameters() == 1_077 and net.output_shapes == {"decode2": (1, 28, 28)}
    with pytest.raises(ValueError, match="multiples of 4, got"):
        models.autoencoder((1, 30, 28))


def test_the_autoencoder_learns_digits():
    images = pycnn.datasets.digits()[0][0]
    images = np.pad(images, ((0, 0), (0, 0), (0, -images.shape[2] % 4), (0, -images.shape[3] % 4)))[:512]
    net = models.autoencoder(images.shape[1:])
    history = net.fit(images, images, loss="mse", optimizer=pycnn.Adam(0.01), epochs=4, batch_size=32, verbose=0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize("make, loss", [(small_resnet18, "cross_entropy"), (models.autoencoder, "mse")])
def test_training_and_predictions_follow_pytorch(make, loss, peer_torch):
    import torch

    rng = np.random.default_rng(0)
    net = make()
    values = {key: value.copy() for key, value in {**net.parameters, **net.statistics}.items()}
    model = peer_torch.module_of(net)
    assert sum(p.numel() for p in model.parameters()) == net.count_parameters()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    trainer = net.trainer(loss, pycnn.SGD(0.01))
    loss_of = torch.nn.functional.cross_entropy if loss == "cross_entropy" else torch.nn.functional.mse_loss
    x = rng.random((4, *net.input_shapes["image"]), dtype=np.float32)
    y = rng.integers(0, 10, 4) if loss == "cross_entropy" else x
    for _ in range(2):
        value = loss_of(model(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert trainer.step([x], [y])[0, 0] == pytest.approx(value.item(), rel=1e-4)
    for key, value in {**net.parameters, **net.statistics}.items():
        theirs = model.state_dict()[key.replace("/", "_").replace(".", "_")].numpy()
        change = np.linalg.norm(theirs - values[key])
        assert np.linalg.norm(value - theirs) <= 1e-3 * change + 1e-6 * np.linalg.norm(theirs), key
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(net.predict(x), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_convnet_learns_in_a_moment_and_draws_at_random_only_then():
    net = models.convnet(filters=(8, 8, 16, 16))
    (x, y), _ = pycnn.datasets.digits()
    x, y = x[:300], y[:300]
    history = net.fit(x, y, optimizer=pycnn.AdamW(0.003), epochs=3, batch_size=50, verbose=0)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    np.testing.assert_array_equal(net.predict(x[:20]), net.predict(x[:20]))
    assert net.gradients(x[:20], y[:20])[0] != pytest.approx(net.evaluate(x[:20], y[:20])["loss"])
    with pytest.raises(ValueError, match="a number for each of the four convolutions"):
        models.convnet(filters=(8, 8))
