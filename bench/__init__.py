"""pycnn beside the NumPy reference and other libraries: the same work, interleaved in one process."""
