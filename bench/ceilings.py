"""What the machine can do at most, measured in the same run: multiply-adds and memory."""

import time

import numpy as np

from pycnn import _kernels as K
from pycnn import config
from pycnn.storage import aligned_vector

from .timing import threads_set


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


def traffic(read, written, in_place=False):
    """Calls that read and write so many bytes and do nothing else: by plain and by streamed stores.

    `in_place`, what is written is part of what is read, as for an optimizer.
    """
    kernels, n = config.kernels(np.float32), written // 4
    reads = read // 4 - (n if in_place else 0)
    x, y = (aligned_vector(size + 4 * kernels.lanes, np.float32) for size in (reads, n))
    x.fill(1), y.fill(1)     # pages that were never written are all the same one
    calls = []
    for stores in (K.IN_PLACE,) if in_place else (K.PLAIN_STORES, K.STREAMED):
        program = K.Program(kernels)
        program.traffic(reads, n, stores, x.ctypes.data, y.ctypes.data)
        calls.append(lambda program=program, memory=(x, y): program.run(threads=config.get_num_threads()))
    return calls


def bandwidth(read, written, threads, in_place=False):
    """GB/s of reading and writing so many bytes, by plain or by streamed stores, whichever is faster."""
    with threads_set(threads):
        return (read + written) / min(best_seconds(call, 0.2) for call in traffic(read, written, in_place)) / 1e9
