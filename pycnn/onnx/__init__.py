"""ONNX: networks written to files that other libraries run, and models made elsewhere that become networks."""

from .reader import load
from .save import save

__all__ = ["load", "save"]
