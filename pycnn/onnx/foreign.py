"""The package onnx, which only this part of pycnn needs."""


def need_onnx():
    """The package; ImportError with the remedy where it is missing."""
    try:
        import onnx
        import onnx.checker
    except ImportError as error:
        raise ImportError("reading and writing ONNX needs the package onnx: pip install pycnn[onnx]") from error
    return onnx
