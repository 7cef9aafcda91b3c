"""The machine for the time of a measurement: which cores it uses, and what the C library does with freed memory."""

import ctypes
import os
import platform
import re
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from pycnn import config

CORES_VARIABLE = "PYCNN_BENCH_CORES"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4     # of mallopt, <malloc.h>
GREATEST_THRESHOLD = 32 << 20       # above this the C library never raises the threshold by itself


def cores():
    """The cores that this process may use; those of its environment, whatever a library has bound it to since."""
    if CORES_VARIABLE in os.environ:
        return [int(core) for core in os.environ[CORES_VARIABLE].split(",")]
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count()))


def spread():
    """Lets the calling thread, and those that it starts from now on, run on all cores of this process. OpenMP binds the
    thread that loads it to one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores())


@contextmanager
def on_one_core():
    """The calling thread on the first core; the threads that libraries have started stay where they are."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:1])
    try:
        yield
    finally:
        spread()


def run_pinned(arguments, threads):
    """Runs this benchmark in a process that has as many cores as threads, each thread bound to one.

    TensorFlow, JAX and OpenVINO take as many threads as they see cores when they are first used. The last cores are
    taken: the first serves most interrupts.
    """
    mine = cores()[-threads:]
    if len(mine) < threads:
        raise SystemExit(f"{threads} threads need as many cores; this process may use {len(mine)}")
    environment = {
        **os.environ, CORES_VARIABLE: ",".join(map(str, mine)),
        "OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true",
        "OMP_PLACES": ",".join(f"{{{core}}}" for core in mine),
        "TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "bench", *arguments, "--threads", str(threads)]
    subprocess.run(command, env=environment, check=True, preexec_fn=lambda: bind(mine))


def bind(to):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, to)


def described():
    """What a run was made on, and with which versions of the libraries."""
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else []
    versions = {}
    for name in ("numpy", "torch", "onnxruntime", "openvino", "jax", "tensorflow_cpu", "tensorflow"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"processor": models[0] if models else platform.processor(), "cores": len(cores()), "isa": config._isa,
            "versions": versions}


def can_keep_pages():
    """Whether the C library can be told to keep what is freed."""
    return hasattr(ctypes.CDLL(None), "mallopt")


def keep_pages(kept):
    """Whether the C library keeps all memory that is freed, so that the next array has no page faults.

    Otherwise it is as it becomes by itself: blocks over 32 MB go back at once, and what is free beyond 64 MB.
    """
    if can_keep_pages():
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0 if kept else 1 << 16)
        libc.mallopt(M_MMAP_THRESHOLD, GREATEST_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if kept else 2 * GREATEST_THRESHOLD)


@contextmanager
def pages_kept():
    """Every contender writes to pages that it has written before."""
    keep_pages(True)
    try:
        yield
    finally:
        keep_pages(False)


class KeepingPages:
    """A call whose turns are timed with `keep_pages`."""

    def __init__(self, call):
        self.call = call

    def __call__(self):
        return self.call()
