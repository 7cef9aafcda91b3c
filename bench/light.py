"""Architectures that the package onnx ships with its tests, weights left out: read by pycnn.onnx, and in ONNX Runtime."""

import importlib.util
from pathlib import Path

FOLDER = "backend/test/data/light"
NAMES = ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19",
         "zfnet512")
PREFIX = "light "
BATCHES = 1, 8


def networks():
    """{name: maker} of those that are there."""
    spec = importlib.util.find_spec("onnx")
    if spec is None:
        return {}
    files = {name: Path(spec.submodule_search_locations[0], FOLDER, f"light_{name}.onnx") for name in NAMES}
    return {PREFIX + name: lambda file=file: read(file) for name, file in files.items() if file.is_file()}


def read(file):
    """The network, whose weights are as the file says: the same number in all places of a layer."""
    from pycnn.onnx import load

    return load(file)
