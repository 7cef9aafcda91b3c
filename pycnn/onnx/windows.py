"""Sliding windows laid out by Gather, for what ONNX has no operator of its own."""

import numpy as np


def taps_of_windows(spatial, out, kernel, stride, dilation):
    """Which of the positions of a map, in row order, each tap of a window reads: an array (taps, windows)."""
    flat = np.zeros([1] * 2 * len(out), np.int64)
    for axis, (n, o, k, s, d) in enumerate(zip(spatial, out, kernel, stride, dilation)):
        along = np.arange(k)[:, None] * d + np.arange(o) * s
        shape = [1] * 2 * len(out)
        shape[axis], shape[len(out) + axis] = k, o
        flat = flat * n + along.reshape(shape)
    return flat.reshape(int(np.prod(kernel)), -1)


def gathered(w, x, channels, spatial, indices):
    """The values of each map at those positions, in row order: samples of shape (channels, *shape of the indices)."""
    return w.gather(w.reshape(x, channels, int(np.prod(spatial))), indices, axis=2)
