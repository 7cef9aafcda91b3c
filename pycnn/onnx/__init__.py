"""ONNX: networks written to files that other libraries run."""

from .save import save

__all__ = ["save"]
