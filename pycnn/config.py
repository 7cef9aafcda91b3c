"""What pycnn runs on: the instruction set, and how many threads.

The environment variable PYCNN_ISA, read once at import, picks the instruction set ("avx512", "avx2", "neon" or
"generic"); without it, the best that this CPU and this build have is taken.
"""

import functools
import importlib.metadata
import os
import platform

import numpy as np

from . import _kernels, shapes


def _chosen_isa():
    isa = os.environ.get("PYCNN_ISA") or _kernels.best_isa()
    try:
        _kernels.Kernels(isa, 4)
    except ValueError:
        raise ValueError(
            f"PYCNN_ISA={isa!r} is unknown, or this CPU or build lacks it; the best here is {_kernels.best_isa()!r}, "
            f'and "generic" is always there'
        ) from None
    return isa


_isa = _chosen_isa()
_thread_limit = None
_winograd = True


@functools.cache
def _kernels_of_size(real_size):
    return _kernels.Kernels(_isa, real_size)


def kernels(dtype):
    """The kernels of the instruction set in use, for float32 or float64."""
    return _kernels_of_size(np.dtype(dtype).itemsize)


def set_num_threads(n):
    """Sets the most threads that pycnn may use.

    Parameters
    ----------
    n : int
        At least 1.
    """
    global _thread_limit
    _thread_limit = shapes.integer(n, "the number of threads", 1)
    _kernels.set_max_threads(_thread_limit)


def get_num_threads():
    """The threads that a call uses at most: the limit of `set_num_threads`, or OpenMP's for the calling thread (which
    OMP_NUM_THREADS and threadpoolctl set) where that is lower. The results do not depend on it."""
    allowed = _kernels.max_threads()
    return allowed if _thread_limit is None else min(_thread_limit, allowed)


def set_winograd(allowed):
    """Sets whether convolutions may use Winograd's algorithm, which they do where it is faster.

    It takes 2 to 4 times fewer multiplications for kernels of 2 to 5 taps an axis at stride 1 (Lavin & Gray 2015, arXiv:1509.09308).
    Its float32 results err by up to about 2e-6 of the output's norm, twice as much as those of the sum over taps; and an
    infinity or NaN reaches up to 5 positions around those that read it.

    Parameters
    ----------
    allowed : bool
        True at the start.
    """
    global _winograd
    if not isinstance(allowed, (bool, np.bool_)):
        raise TypeError(f"set_winograd takes True or False, not {allowed!r}")
    _winograd = bool(allowed)


def get_winograd():
    """Whether convolutions may use Winograd's algorithm."""
    return _winograd


def show_config():
    """Prints the version, the instruction set and the threads in use, and returns them.

    Returns
    -------
    dict
        ``version``, ``isa``, ``lanes`` (of a vector, by dtype), ``threads``, ``winograd``, ``openmp``, ``compiler``,
        ``numpy``, ``python`` and ``machine``.
    """
    config = {
        "version": version(),
        "isa": _isa,
        "lanes": {name: int(kernels(name).lanes) for name in ("float32", "float64")},
        "threads": get_num_threads(),
        "winograd": get_winograd(),
        "openmp": _kernels.has_openmp(),
        "compiler": _kernels.compiler(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for name, value in config.items():
        print(f"{name:8} {value}")
    return config


def version():
    try:
        return importlib.metadata.version("pycnn")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"
