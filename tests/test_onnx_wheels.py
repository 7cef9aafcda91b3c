"""Trained networks that ship in wheels of PyPI: what ONNX Runtime computes, where they are installed.

``pip install --no-deps basic-pitch rapidocr-onnxruntime`` brings them: notes of music (Bittner et al. 2022,
arXiv:2203.09893), and text in pictures (PP-OCR, arXiv:2009.09941): where it is, and whether it stands on its head.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import pycnn

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def file_of(package, *parts):
    """A file in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0], *parts)


def computed(path, x):
    """What ONNX Runtime makes of the only input: outputs by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return {out.name: y for out, y in zip(session.get_outputs(), session.run(None, {session.get_inputs()[0].name: x}))}


def compare(net, expected, x, tolerance=1e-5):
    found = net.predict(x)
    found = found if isinstance(found, dict) else dict(zip(net.output_names, [found]))
    assert [*found] == [name.replace("/", ".") for name in expected]
    for y, by_name in zip(found.values(), expected):
        np.testing.assert_allclose(y, expected[by_name], rtol=0, atol=tolerance * np.abs(expected[by_name]).max())
    return found


def chord():
    """Two seconds of A4, C#5 and E5, and of noise, at 22,050 Hz."""
    t = np.arange(43844) / 22050
    tones = sum(np.sin(2 * np.pi * pitch * k * t) / k for pitch in (440.0, 554.37, 659.26) for k in (1, 2, 3))
    return np.stack([0.1 * tones, np.random.default_rng(0).normal(0, 0.1, len(t))])[..., None].astype(np.float32)


def test_the_notes_of_a_chord():
    path = file_of("basic_pitch", "saved_models", "icassp_2022", "nmp.onnx")
    x = chord()
    found = compare(pycnn.onnx.load(path), computed(path, x), x)
    notes = found["StatefulPartitionedCall:1"][0].mean(axis=0)
    assert {21 + int(i) for i in np.argsort(notes)[-3:]} == {69, 73, 76}       # as MIDI counts


def digits(height, width):
    """Rows of handwritten digits, dark on light, as these networks take pictures: (1, 3, height, width) in [-1, 1]."""
    x = pycnn.datasets.digits()[1][0][:, 0]
    rows, columns = height // 28, width // 28
    sheet = x[: rows * columns].reshape(rows, columns, 28, 28).transpose(0, 2, 1, 3).reshape(rows * 28, columns * 28)
    sheet = np.pad(1 - 2 * sheet, ((0, height - rows * 28), (0, width - columns * 28)), constant_values=1)
    return np.broadcast_to(sheet, (1, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize(("file", "shape", "tolerance"), [
    ("ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192), 1e-5),
    ("ch_PP-OCRv4_det_infer.onnx", (3, 96, 160), 1e-4),         # its last scores are large before the sigmoid
])
def test_text_in_pictures(file, shape, tolerance):
    path = file_of("rapidocr_onnxruntime", "models", file)
    x = np.concatenate([digits(*shape[1:]), digits(*shape[1:])[..., ::-1, ::-1]])
    net = pycnn.onnx.load(path, shapes={"x": shape})
    (y,) = compare(net, computed(path, x), x, tolerance).values()
    assert y[0].max() > 0.5         # there is text


def test_a_trained_network_from_elsewhere_learns_on():
    path = file_of("rapidocr_onnxruntime", "models", "ch_ppocr_mobile_v2.0_cls_infer.onnx")
    net = pycnn.onnx.load(path, shapes={"x": (3, 48, 192)})
    x = np.concatenate([digits(48, 192), digits(48, 192)[..., ::-1, ::-1]])
    history = net.fit(x, np.array([1, 0]), optimizer=pycnn.SGD(0.001), epochs=3, batch_size=2, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
