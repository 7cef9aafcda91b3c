"""ONNX: networks written to files that other libraries run, and models made elsewhere that become networks."""

import importlib

from .reader import load
from .save import save

__all__ = ["load", "save"]


def __getattr__(name):
    """`pycnn.onnx.backend`, which needs the package onnx, is imported when first asked for."""
    if name == "backend":
        return importlib.import_module(".backend", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
