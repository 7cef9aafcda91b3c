"""What the machine can do at most, measured in the same run: multiply-adds and memory."""

import ctypes
import functools
import subprocess
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pycnn import _kernels as K
from pycnn import config
from pycnn.storage import aligned_vector

from . import machine

FLAGS = {"avx512": ["-march=native"], "avx2": ["-mavx2", "-mfma"], "neon": [], "generic": []}
SMALLEST_COPY = 4096        # reals that one task of a copy moves


def best_seconds(function, budget=0.5):
    """The shortest of all calls within so many seconds."""
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


@functools.cache
def fma_library():
    """fma.c, compiled for the instruction set in use."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fma.so")
        source = Path(__file__).with_name("fma.c")
        flags = ["-O3", "-ffp-contract=fast", *FLAGS[config._isa], "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, source, "-o", path], check=True)
        library = ctypes.CDLL(str(path))
    library.fma_rounds.argtypes = [ctypes.c_int64, ctypes.c_float, ctypes.c_float]
    library.fma_rounds.restype = ctypes.c_float
    library.fma_operations.restype = ctypes.c_int64
    return library


def fma_peak(threads, budget=0.2):
    """GFLOP/s in float32 of multiply-adds on registers, on so many cores at once."""
    library, rounds = fma_library(), 200_000

    def rate(core):
        machine.bind([core])
        seconds = best_seconds(lambda: library.fma_rounds(rounds, 0.5, 0.25), budget)
        return rounds * library.fma_operations() / seconds / 1e9

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(rate, machine.cores()[:threads]))


@functools.cache
def bandwidth(read, written, threads):
    """GB/s of a copy of as many bytes as are to be read and written, half of them read, over and over."""
    nbytes = read + written
    kernels = config.kernels(np.float32)
    block = min(SMALLEST_COPY, nbytes // 8 // threads)
    blocks = nbytes // 8 // block
    program = K.Program(kernels)
    memory = [aligned_vector(blocks * block, np.float32) for _ in range(2)]
    for vector in memory:
        vector[:] = 1           # else all of its pages are one and the same
    repeats = max(1, (8 << 20) // nbytes)
    for _ in range(repeats):
        program.copy_blocks(blocks, block, block, block, *(m.ctypes.data for m in memory))
    seconds = best_seconds(lambda: program.run(threads=threads), 0.3) / repeats
    return 2 * 4 * blocks * block / seconds / 1e9
