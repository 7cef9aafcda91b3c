"""pycnn beside the NumPy reference, PyTorch and ONNX Runtime: the same work, interleaved in one process."""
