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
from .timing import threads_set

FLAGS = {"avx512": ["-march=native"], "avx2": ["-mavx2", "-mfma"], "neon": [], "generic": []}


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


@functools.cache
def bandwidth(read, written, threads):
    """GB/s of reading and writing so many bytes, by plain or by streamed stores, whichever is faster."""
    with threads_set(threads):
        return (read + written) / min(best_seconds(call, 0.2) for call in traffic(read, written)) / 1e9
