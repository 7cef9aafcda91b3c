"""What the machine can do at most, measured in the same run: multiply-adds and memory."""

import time

import numpy as np

from pycnn import _kernels as K
from pycnn import config
from pycnn.storage import aligned_vector


def best_seconds(function, budget=0.5):
    """The shortest of all calls within so many seconds."""
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


def fma_peak(threads):
    """GFLOP/s in float32: the register tile on operands in the first-level cache.

    It is the gradient of a dense layer, dx (N, C) = dy (N, K) w (K, C), with C four vectors and w in the cache: tiles of 6 x 4
    vectors and 112 steps each, which come to within a few percent of two fused multiply-adds a cycle.
    """
    kernels = config.kernels(np.float32)
    n, c, k = 6144 * threads, 4 * kernels.lanes, 112
    program = K.Program(kernels)
    memory = [aligned_vector(size, np.float32) for size in (n * k, k * c, n * c)]
    dy, w, dx = (m.ctypes.data for m in memory)
    program.dense_backward_data(n, c, k, (0, 0.0), dy, w, 0, dx)
    return 2 * n * c * k / best_seconds(lambda: program.run(threads=threads)) / 1e9


def bandwidth(nbytes, threads):
    """GB/s of reading half of `nbytes` and writing the other half."""
    kernels = config.kernels(np.float32)
    n = nbytes // 8
    program = K.Program(kernels)
    memory = [aligned_vector(n, np.float32) for _ in range(2)]
    program.copy_blocks(max(1, n // 4096), 4096, 4096, 4096, *(m.ctypes.data for m in memory))
    return 2 * 4 * (n // 4096 * 4096) / best_seconds(lambda: program.run(threads=threads)) / 1e9
