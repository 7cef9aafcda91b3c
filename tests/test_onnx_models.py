"""Every model of pycnn.models, written as ONNX: the same in ONNX Runtime, and read again."""

import numpy as np
import pytest
from test_onnx_save import compare, drawn_inputs

import pycnn.onnx
from pycnn.models import MODELS

SMALL = {"classes": 10, "shape": (3, 32, 32)}
OPTIONS = {"mobilenet": {**SMALL, "width": 0.25}, "resnet18": SMALL, "vgg16": SMALL, "go": {"filters": 16, "depth": 4},
           "text": {"vocabulary": 50, "length": 12, "dimension": 20, "maps": 10}}
LOWEST = {"capsnet": 9, "capsnet-published": 9, "stn": 16}


def inputs_of(net):
    """Two samples; of labels, one that says something and one that does not."""
    rng = np.random.default_rng(0)
    x = drawn_inputs(net, 2, rng)
    if "words" in x:
        x["words"] = rng.integers(0, 50, x["words"].shape)
    if "label" in x:
        x["label"][...] = 0
        x["label"][0, 3] = 1
    return x


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_the_same_in_onnx_runtime(name, tmp_path):
    net = MODELS[name].build(**OPTIONS.get(name, {}))
    for opset in (LOWEST.get(name, 7), 20):
        pycnn.onnx.save(net, tmp_path / "net.onnx", opset=opset)
        compare(net, tmp_path / "net.onnx", inputs_of(net), 5e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_read_again(name, tmp_path):
    net = MODELS[name].build(**OPTIONS.get(name, {}))
    for opset in (LOWEST.get(name, 7), 20):
        pycnn.onnx.save(net, tmp_path / "net.onnx", opset=opset)
        read = pycnn.onnx.load(tmp_path / "net.onnx")
        expected, found = (results_of(i, inputs_of(net)) for i in (net, read))
        for output, y in expected.items():
            np.testing.assert_allclose(found[output], y, atol=2e-6 * max(1, np.abs(y).max()), rtol=0)


def results_of(net, x):
    y = net.predict(x)
    return y if isinstance(y, dict) else {"output": y}
