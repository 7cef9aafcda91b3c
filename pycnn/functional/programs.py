"""Programs for the shapes of a call, kept for the next call, and the arguments of functions, checked."""

import math
import numbers
import threading
from collections import OrderedDict

import numpy as np

from .. import _kernels, config, shapes
from .._kernels import CHANNELS, PLAIN, SAMPLES
from ..threads import ThreadChoice

RANKS = (3, 4, 5)
ALIGNMENT = 64
IDENTITY = (0, 0.0)    # no activation


class Prepared:
    """A program for arrays of certain shapes, and the memory that its steps work on.

    Slots are given out in order: first those of the arrays that come in, then those of the arrays that go out.
    """

    def __init__(self, kernels, slots):
        self.kernels = kernels
        self.program = _kernels.Program(kernels, slots)
        self.choice = ThreadChoice()
        self.nbytes = 0
        self._memory = []
        self._slots = iter(range(slots))

    def memory(self, reals):
        """Address of aligned memory for so many reals and one vector more."""
        nbytes = (reals + self.kernels.lanes) * self.kernels.real_size + ALIGNMENT
        array = np.zeros(nbytes, np.uint8)
        self._memory.append(array)
        self.nbytes += nbytes
        return round_up(array.ctypes.data, ALIGNMENT)

    def tensor(self, shape, layout=PLAIN):
        """Address of memory for a tensor (N, C, ...) in a layout."""
        n, c, s = plain_sizes(shape)
        if layout == SAMPLES:
            n = round_up(n, self.kernels.lanes)
        elif layout == CHANNELS:
            c = round_up(c, self.kernels.lanes)
        return self.memory(n * c * s)

    def slot(self):
        """Address of the pointer to the next array."""
        return self.program.slot(next(self._slots))

    def read(self, shape, layout=PLAIN, gradient=False):
        """Address of the next array, brought into a layout; the lanes that a gradient does not fill are zero."""
        n, c, s = plain_sizes(shape)
        address = self.tensor(shape, layout)
        if gradient and layout == SAMPLES and n % self.kernels.lanes:
            self.program.reorder(PLAIN, layout, True, n, c, s, self.read(shape), address)
        else:
            self.program.import_tensor(layout, n, c, s, self.slot(), 0, address)
        return address

    def write(self, address, shape, layout=PLAIN):
        """Sends a tensor out to the next array."""
        self.program.export_tensor(layout, *plain_sizes(shape), address, self.slot())

    def doubles(self, count):
        """The shape of so many doubles, counted in reals."""
        return (1, 1, count * 8 // self.kernels.real_size)


class ProgramCache:
    """The programs of recent calls, the latest last.

    A program is taken out while it runs: no two threads ever share one, and none in use is thrown away.
    """

    def __init__(self, most_programs, most_bytes):
        self.most_programs = most_programs
        self.most_bytes = most_bytes
        self.nbytes = 0
        self._programs = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._programs)

    def take(self, key):
        """The program for a key, or None; it is the caller's until it is put back."""
        with self._lock:
            prepared = self._programs.pop(key, None)
            self.nbytes -= prepared.nbytes if prepared else 0
            return prepared

    def put(self, key, prepared):
        """Keeps a program, if it is not larger than all together may be, and drops the oldest that are too many."""
        if prepared.nbytes > self.most_bytes:
            return
        with self._lock:
            replaced = self._programs.pop(key, None)
            self.nbytes += prepared.nbytes - (replaced.nbytes if replaced else 0)
            self._programs[key] = prepared
            while len(self._programs) > self.most_programs or self.nbytes > self.most_bytes:
                self.nbytes -= self._programs.popitem(last=False)[1].nbytes


cache = ProgramCache(most_programs=32, most_bytes=256 * 2**20)


def run(function, parameters, lay_out, dtype, arrays, results):
    """Runs the program that `lay_out` writes for arrays and results of these shapes.

    Parameters
    ----------
    function : str
        With `parameters` and the shapes, tells the program from others.
    lay_out : callable
        Is given a `Prepared`, and reads as many arrays and writes as many results as there are, in their order.
    dtype : numpy.dtype
        Of the arithmetic.
    arrays : list of array
    results : list of (shape, dtype)

    Returns
    -------
    list of array
    """
    if not all(a.size for a in arrays):
        return [np.zeros(shape, of) for shape, of in results]
    kernels = config.kernels(dtype)
    key = (function, kernels.isa, kernels.real_size, parameters, tuple(a.shape for a in arrays))
    prepared = cache.take(key)
    if prepared is None:
        prepared = Prepared(kernels, len(arrays) + len(results))
        lay_out(prepared)
    out = [np.empty(shape, of) for shape, of in results]
    written = range(len(arrays), len(arrays) + len(out))
    prepared.choice.run(prepared.program, config.get_num_threads(), [*arrays, *out], written)
    cache.put(key, prepared)
    return out


def round_up(n, unit):
    return -(-n // unit) * unit


def plain_sizes(shape):
    """(N, C, S) of any shape."""
    n, c = (1, 1, *shape)[-2:] if len(shape) < 2 else shape[:2]
    return n, c, math.prod(shape[2:])


def map_sizes(shape):
    """(layout, n, c, positions) of maps, as kernels that work on them in any layout know them."""
    n, c = shape[:2]
    return (PLAIN if len(shape) == 2 else CHANNELS), n, c, math.prod(shape[2:])


def dtype_of(*arrays):
    """float64 if one of the arrays is, else float32."""
    kinds = [a.dtype for a in arrays if isinstance(a, (np.ndarray, np.generic))]
    return np.dtype(np.float64 if any(d.kind == "f" and d.itemsize == 8 for d in kinds) else np.float32)


def shape_of(shape, what, ranks=RANKS):
    """A shape as a tuple of ints: any number of samples, at least one of all else."""
    if not isinstance(shape, (tuple, list, np.ndarray)):
        raise TypeError(f"{what} must be a tuple of integers, got {shape!r}")
    sizes = tuple(shapes.integer(n, what, 0) for n in shape)
    if len(sizes) not in ranks:
        raise ValueError(f"{what} must have {' or '.join(map(str, ranks))} axes, got {sizes}")
    if 0 in sizes[1:]:
        raise ValueError(f"{what} must have at least one channel and position, got {sizes}")
    shapes.check_size(sizes, what)
    return sizes


def tensor(x, dtype, what, ranks=RANKS):
    """An array (N, C, *S) with at least one channel and position."""
    x = shapes.as_tensor(x, dtype, what, ranks)
    shape_of(x.shape, what, ranks)
    return x


def tensor_of(x, dtype, what, shape):
    """An array of the given shape."""
    x = shapes.as_tensor(x, dtype, what)
    if x.shape != tuple(shape):
        raise ValueError(f"{what} must have shape {tuple(shape)}, got {x.shape}")
    return x


def integers_of(x, what, shape, count=None):
    """An int64 array of the given shape, with values in 0 ... count-1 if there is a count."""
    x = np.asarray(x)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integers, got dtype {x.dtype}")
    if x.shape != tuple(shape):
        raise ValueError(f"{what} must have shape {tuple(shape)}, got {x.shape}")
    if count is not None and x.size and not 0 <= x.min() <= x.max() < count:
        raise ValueError(f"{what} must lie in 0 ... {count - 1}, got {x.min()} ... {x.max()}")
    return np.require(x, np.int64, ["C_CONTIGUOUS", "ALIGNED"])


def number(value, what, least=-math.inf):
    """A finite real number as a float."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{what} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{what} must be a finite number{'' if least < 0 else f' of at least {least}'}, got {value}")
    return float(value)


def given(*arrays):
    return [a for a in arrays if a is not None]
