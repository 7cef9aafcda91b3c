"""Every kernel as a function: NumPy arrays in, NumPy arrays out.

Tensors are ``(N, C, *S)``: samples, channels, and one, two or three spatial axes. Any real array-like will do, in any
memory order. If an input array is float64 the arithmetic and the results are float64, else float32. All arguments are
checked before any work: TypeError is raised for what is of the wrong kind, ValueError for what is out of range or does
not belong together. An empty batch gives empty results. The results do not depend on the number of threads.

A call lays out a program for its shapes: arrays come in through imports that bring them into the layout of the
kernels, and go out through exports. Recent programs are kept, so that a loop over equal shapes lays out nothing.
"""

import math
import numbers
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from . import _kernels, config, shapes
from ._kernels import CHANNELS, PLAIN, SAMPLES

__all__ = [
    "activation_backward",
    "activation_forward",
    "adam_update",
    "add",
    "add_backward",
    "avg_pool_backward",
    "avg_pool_forward",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "concat",
    "concat_backward",
    "conv_backward_data",
    "conv_backward_weights",
    "conv_forward",
    "conv_transpose_backward_data",
    "conv_transpose_backward_weights",
    "conv_transpose_forward",
    "dense_backward_data",
    "dense_backward_weights",
    "dense_forward",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "global_max_pool_backward",
    "global_max_pool_forward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool_backward",
    "max_pool_forward",
    "mean_squared_error",
    "multiply",
    "multiply_backward",
    "rmsprop_update",
    "sgd_update",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]

RANKS = (3, 4, 5)
FEW_CHANNELS = 4
ALIGNMENT = 64
BYTES_WORTH_SHARING = 2**19  # a program with less memory is over before a second thread is awake

# ---- programs --------------------------------------------------------------------------------------------------------


class _Prepared:
    """A program for arrays of certain shapes, and the memory that its steps work on.

    Slots are given out in order: first those of the arrays that come in, then those of the arrays that go out.
    """

    def __init__(self, kernels, slots):
        self.kernels = kernels
        self.program = _kernels.Program(kernels, slots)
        self.nbytes = 0
        self._memory = []
        self._slots = iter(range(slots))

    def memory(self, reals):
        """Address of aligned memory for so many reals and one vector more."""
        nbytes = (reals + self.kernels.lanes) * self.kernels.real_size + ALIGNMENT
        array = np.zeros(nbytes, np.uint8)
        self._memory.append(array)
        self.nbytes += nbytes
        return _round_up(array.ctypes.data, ALIGNMENT)

    def tensor(self, shape, layout=PLAIN):
        """Address of memory for a tensor (N, C, ...) in a layout."""
        n, c, s = _plain_sizes(shape)
        if layout == SAMPLES:
            n = _round_up(n, self.kernels.lanes)
        elif layout == CHANNELS:
            c = _round_up(c, self.kernels.lanes)
        return self.memory(n * c * s)

    def slot(self):
        """Address of the pointer to the next array."""
        return self.program.slot(next(self._slots))

    def read(self, shape, layout=PLAIN, gradient=False):
        """Address of the next array, brought into a layout; the lanes that a gradient does not fill are zero."""
        n, c, s = _plain_sizes(shape)
        address = self.tensor(shape, layout)
        if gradient and layout == SAMPLES and n % self.kernels.lanes:
            self.program.reorder(PLAIN, layout, True, n, c, s, self.read(shape), address)
        else:
            self.program.import_tensor(layout, n, c, s, self.slot(), 0, address)
        return address

    def write(self, address, shape, layout=PLAIN):
        """Sends a tensor out to the next array."""
        self.program.export_tensor(layout, *_plain_sizes(shape), address, self.slot())

    def doubles(self, count):
        """The shape of so many doubles, counted in reals."""
        return (1, 1, count * 8 // self.kernels.real_size)


class _ProgramCache:
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


_cache = _ProgramCache(most_programs=32, most_bytes=256 * 2**20)


def _run(function, parameters, lay_out, dtype, arrays, results):
    """Runs the program that `lay_out` writes for arrays and results of these shapes.

    Parameters
    ----------
    function : str
        With `parameters` and the shapes, tells the program from others.
    lay_out : callable
        Is given a `_Prepared`, and reads as many arrays and writes as many results as there are, in their order.
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
    prepared = _cache.take(key)
    if prepared is None:
        prepared = _Prepared(kernels, len(arrays) + len(results))
        lay_out(prepared)
    out = [np.empty(shape, of) for shape, of in results]
    threads = config.get_num_threads() if prepared.nbytes >= BYTES_WORTH_SHARING else 1
    prepared.program.run([*arrays, *out], threads=threads, outputs=range(len(arrays), len(arrays) + len(out)))
    _cache.put(key, prepared)
    return out


def _round_up(n, unit):
    return -(-n // unit) * unit


def _plain_sizes(shape):
    """(N, C, S) of any shape."""
    n, c = (1, 1, *shape)[-2:] if len(shape) < 2 else shape[:2]
    return n, c, math.prod(shape[2:])


# ---- arguments -------------------------------------------------------------------------------------------------------


def _dtype_of(*arrays):
    """float64 if one of the arrays is, else float32."""
    kinds = [a.dtype for a in arrays if isinstance(a, (np.ndarray, np.generic))]
    return np.dtype(np.float64 if any(d.kind == "f" and d.itemsize == 8 for d in kinds) else np.float32)


def _shape(shape, what, ranks=RANKS):
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


def _tensor(x, dtype, what, ranks=RANKS):
    """An array (N, C, *S) with at least one channel and position."""
    x = shapes.as_tensor(x, dtype, what, ranks)
    _shape(x.shape, what, ranks)
    return x


def _tensor_of(x, dtype, what, shape):
    """An array of the given shape."""
    x = shapes.as_tensor(x, dtype, what)
    if x.shape != tuple(shape):
        raise ValueError(f"{what} must have shape {tuple(shape)}, got {x.shape}")
    return x


def _integers_of(x, what, shape, count):
    """An int64 array of the given shape with values in 0 ... count-1."""
    x = np.asarray(x)
    if x.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integers, got dtype {x.dtype}")
    if x.shape != tuple(shape):
        raise ValueError(f"{what} must have shape {tuple(shape)}, got {x.shape}")
    if x.size and not 0 <= x.min() <= x.max() < count:
        raise ValueError(f"{what} must lie in 0 ... {count - 1}, got {x.min()} ... {x.max()}")
    return np.require(x, np.int64, ["C_CONTIGUOUS", "ALIGNED"])


def _number(value, what, least=-math.inf):
    """A finite real number as a float."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{what} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{what} must be a finite number{'' if least < 0 else f' of at least {least}'}, got {value}")
    return float(value)


def _given(*arrays):
    return [a for a in arrays if a is not None]


# ---- convolution -----------------------------------------------------------------------------------------------------


class _Convolution(NamedTuple):
    """A convolution of n samples from c to k channels."""

    n: int
    c: int
    k: int
    groups: int
    in_spatial: tuple
    out_spatial: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    before: tuple

    @property
    def x_shape(self):
        return (self.n, self.c, *self.in_spatial)

    @property
    def y_shape(self):
        return (self.n, self.k, *self.out_spatial)

    @property
    def w_shape(self):
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def descriptor(self):
        """As ``_kernels`` takes it."""
        return (self.n, self.c, self.k, self.groups, shapes.window(*self[4:]))


def _check_groups(x_shape, w_shape, groups, what):
    """The number of groups, if weights of this shape have as many; `what` names their first axis."""
    groups = shapes.integer(groups, "groups", 1)
    if len(w_shape) != len(x_shape):
        raise ValueError(f"the weights of an input {x_shape} must have {len(x_shape)} axes, got {w_shape}")
    if 0 in w_shape:
        raise ValueError(f"weights must not be empty, got shape {w_shape}")
    if w_shape[0] % groups:
        raise ValueError(f"the {what} of weights {w_shape} must be a multiple of groups, {groups}")
    return groups


def _convolution(x_shape, w_shape, stride, padding, dilation, groups):
    """The convolution of an x of that shape by weights (K, C/groups, *kernel)."""
    groups = _check_groups(x_shape, w_shape, groups, "filters")
    (n, c, *size), (k, c_group, *kernel), rank = x_shape, w_shape, len(x_shape) - 2
    if c != c_group * groups:
        raise ValueError(f"weights {w_shape} in {groups} groups read {c_group * groups} channels; the input has {c}")
    stride, dilation = shapes.per_axis(stride, rank, "stride"), shapes.per_axis(dilation, rank, "dilation")
    padding = shapes.resolve_padding(padding, size, kernel, stride, dilation)
    out = shapes.conv_output_shape(size, kernel, stride, padding, dilation)
    before = tuple(b for b, _ in padding)
    conv = _Convolution(n, c, k, groups, tuple(size), out, tuple(kernel), stride, dilation, before)
    shapes.check_size(conv.y_shape, "the output")
    return conv


def _transposed_convolution(x_shape, w_shape, stride, padding, output_padding, dilation, groups):
    """The convolution of which this transposed convolution, with weights (C, K/groups, *kernel), is the adjoint: from
    its y to its x, and with the same weights."""
    groups = _check_groups(x_shape, w_shape, groups, "input channels")
    (n, c, *size), (c_weights, k_group, *kernel), rank = x_shape, w_shape, len(x_shape) - 2
    if c != c_weights:
        raise ValueError(f"weights {w_shape} read {c_weights} channels; the input has {c}")
    stride, dilation = shapes.per_axis(stride, rank, "stride"), shapes.per_axis(dilation, rank, "dilation")
    out = shapes.conv_transpose_output_shape(size, kernel, stride, padding, dilation, output_padding)
    before = tuple(b for b, _ in shapes.transposed_padding(padding, size, kernel, stride, dilation, output_padding))
    conv = _Convolution(n, k_group * groups, c, groups, out, tuple(size), tuple(kernel), stride, dilation, before)
    shapes.check_size(conv.x_shape, "the output")
    return conv


def _layouts(lanes, conv, lane_channels, reads_x):
    """The layout of a pass whose lanes could be `lane_channels` channels, and that of x.

    =================  =====================================================================
    SAMPLES            the batch fills a vector, and the channels of a group do not
    CHANNELS, x PLAIN  x has few channels in one group, and the pass reads it
    CHANNELS           else
    =================  =====================================================================
    """
    if conv.n >= lanes and lane_channels // conv.groups % lanes:
        return SAMPLES, SAMPLES
    if reads_x and conv.groups == 1 and conv.c <= FEW_CHANNELS:
        return CHANNELS, PLAIN
    return CHANNELS, CHANNELS


_IDENTITY = (_kernels.ACTIVATIONS.index("identity"), 0.0)


def _forward(conv, x, w, b):
    """y (N, K, *out) of a convolution."""

    def lay_out(p):
        layout, x_layout = _layouts(p.kernels.lanes, conv, conv.k, True)
        source = p.read(conv.x_shape, x_layout)
        weights = _packed(p, conv, layout, x_layout, False, b)
        y = p.tensor(conv.y_shape, layout)
        p.program.conv_forward(conv.descriptor, layout, x_layout, _IDENTITY, None, source, weights, y, 0)
        p.write(y, conv.y_shape, layout)

    return _run("conv_forward", conv, lay_out, x.dtype, _given(x, w, b), [(conv.y_shape, x.dtype)])[0]


def _backward_data(conv, dy, w, b):
    """dx (N, C, *in) of a convolution, with a bias (C,) added if there is one."""

    def lay_out(p):
        layout, _ = _layouts(p.kernels.lanes, conv, conv.c, False)
        source = p.read(conv.y_shape, layout)
        weights = _packed(p, conv, layout, layout, True, b)
        dx = p.tensor(conv.x_shape, layout)
        p.program.conv_backward_data(conv.descriptor, layout, _IDENTITY, _IDENTITY, source, weights, 0, dx)
        p.write(dx, conv.x_shape, layout)

    return _run("conv_backward_data", conv, lay_out, dy.dtype, _given(dy, w, b), [(conv.x_shape, dy.dtype)])[0]


def _packed(p, conv, layout, x_layout, backward, b):
    """Address of the packed weights, from the next array, and bias, from the one after that."""
    w = p.read(conv.w_shape)
    bias = p.read(b.shape) if b is not None else 0
    packed = p.memory(p.kernels.conv_packed_size(conv.descriptor, layout, x_layout, backward))
    p.program.conv_pack(conv.descriptor, layout, x_layout, backward, w, bias, packed)
    return packed


def _backward_weights(conv, dy, x, with_bias):
    """dw, and db if asked for, of a convolution."""

    def lay_out(p):
        layout, x_layout = _layouts(p.kernels.lanes, conv, conv.k, True)
        gradient, source = p.read(conv.y_shape, layout, gradient=True), p.read(conv.x_shape, x_layout)
        partial = p.memory(p.kernels.conv_partial_size(conv.descriptor, layout, x_layout))
        dw, db = p.tensor(conv.w_shape), p.memory(conv.k) if with_bias else 0
        p.program.conv_backward_weights(conv.descriptor, layout, x_layout, gradient, source, partial)
        p.program.conv_reduce_weights(conv.descriptor, layout, x_layout, False, partial, dw, db)
        p.write(dw, conv.w_shape)
        if with_bias:
            p.write(db, (conv.k,))

    results = [(conv.w_shape, x.dtype)] + [((conv.k,), x.dtype)] * with_bias
    return _run("conv_backward_weights", (conv, with_bias), lay_out, x.dtype, [dy, x], results)


def conv_forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Convolution (cross-correlation, as in ONNX Conv and in PyTorch).

    y[n, k, q] = b[k] + sum_c,t w[k, c, t] x[n, c, q * stride + t * dilation - before], x being zero outside itself.
    With groups, output channel k reads the C/groups input channels of its own group only.

    Parameters
    ----------
    x : array_like (N, C, *S)
    w : array_like (K, C/groups, *kernel)
    b : array_like (K,), optional
    stride, dilation : int or sequence of int
        One for all spatial axes, or one for each.
    padding : int, sequence of int, sequence of (before, after), "same" or "valid"
        See `pycnn.shapes.resolve_padding`.
    groups : int

    Returns
    -------
    y : ndarray (N, K, *out)
        With out = floor((S + padding - dilation (kernel - 1) - 1) / stride) + 1.

    Raises
    ------
    ValueError
        If the shapes do not belong together, or the kernel does not fit the padded input.
    TypeError
        If an array holds no real numbers, or a parameter is no integer.
    """
    dtype = _dtype_of(x, w, b)
    x, w = _tensor(x, dtype, "x"), shapes.as_tensor(w, dtype, "w")
    conv = _convolution(x.shape, w.shape, stride, padding, dilation, groups)
    b = b if b is None else _tensor_of(b, dtype, "b", (conv.k,))
    return _forward(conv, x, w, b)


def conv_backward_data(dy, w, x_shape, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradient of a convolution with respect to its input.

    dx[n, c, p] = sum_k,q,t w[k, c, t] dy[n, k, q] over all q, t with q * stride + t * dilation - before = p.

    Parameters
    ----------
    dy : array_like (N, K, *out)
    w : array_like (K, C/groups, *kernel)
    x_shape : tuple of int
        (N, C, *S).
    stride, padding, dilation, groups
        As in `conv_forward`.

    Returns
    -------
    dx : ndarray (N, C, *S)
    """
    dtype = _dtype_of(dy, w)
    w = shapes.as_tensor(w, dtype, "w")
    conv = _convolution(_shape(x_shape, "x_shape"), w.shape, stride, padding, dilation, groups)
    return _backward_data(conv, _tensor_of(dy, dtype, "dy", conv.y_shape), w, None)


def conv_backward_weights(dy, x, w_shape, *, stride=1, padding=0, dilation=1, groups=1):
    """Gradients of a convolution with respect to its weights and bias.

    dw[k, c, t] = sum_n,q dy[n, k, q] x[n, c, q * stride + t * dilation - before];  db[k] = sum_n,q dy[n, k, q].

    Parameters
    ----------
    dy : array_like (N, K, *out)
    x : array_like (N, C, *S)
    w_shape : tuple of int
        (K, C/groups, *kernel).
    stride, padding, dilation, groups
        As in `conv_forward`.

    Returns
    -------
    dw : ndarray (K, C/groups, *kernel)
    db : ndarray (K,)
    """
    dtype = _dtype_of(dy, x)
    x = _tensor(x, dtype, "x")
    conv = _convolution(x.shape, _shape(w_shape, "w_shape"), stride, padding, dilation, groups)
    return tuple(_backward_weights(conv, _tensor_of(dy, dtype, "dy", conv.y_shape), x, True))


def conv_transpose_forward(x, w, b=None, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Transposed convolution: the adjoint of a convolution from K channels to C, plus a bias.

    y[n, k, p] = b[k] + sum_c,q,t w[c, k, t] x[n, c, q] over all q, t with q * stride + t * dilation - before = p.
    Each input lays a copy of the kernel on the output; where copies overlap they add up.

    Parameters
    ----------
    x : array_like (N, C, *S)
    w : array_like (C, K/groups, *kernel)
    b : array_like (K,), optional
    stride, dilation : int or sequence of int
    padding : as in `conv_forward`
        It is cut off the output; ``"same"`` makes the output S * stride.
    output_padding : int or sequence of int
        Extends the area that is computed, at its end.
    groups : int

    Returns
    -------
    y : ndarray (N, K, *out)
        With out = (S - 1) stride - padding + dilation (kernel - 1) + output_padding + 1.
    """
    dtype = _dtype_of(x, w, b)
    x, w = _tensor(x, dtype, "x"), shapes.as_tensor(w, dtype, "w")
    conv = _transposed_convolution(x.shape, w.shape, stride, padding, output_padding, dilation, groups)
    b = b if b is None else _tensor_of(b, dtype, "b", (conv.c,))
    return _backward_data(conv, x, w, b)


def conv_transpose_backward_data(dy, w, x_shape, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Gradient of a transposed convolution with respect to its input: a convolution of dy.

    Parameters
    ----------
    dy : array_like (N, K, *out)
    w : array_like (C, K/groups, *kernel)
    x_shape : tuple of int
        (N, C, *S).
    stride, padding, output_padding, dilation, groups
        As in `conv_transpose_forward`.

    Returns
    -------
    dx : ndarray (N, C, *S)
    """
    dtype = _dtype_of(dy, w)
    x_shape, w = _shape(x_shape, "x_shape"), shapes.as_tensor(w, dtype, "w")
    conv = _transposed_convolution(x_shape, w.shape, stride, padding, output_padding, dilation, groups)
    return _forward(conv, _tensor_of(dy, dtype, "dy", conv.x_shape), w, None)


def conv_transpose_backward_weights(dy, x, w_shape, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """Gradients of a transposed convolution with respect to its weights and bias.

    dw[c, k, t] = sum_n,q x[n, c, q] dy[n, k, q * stride + t * dilation - before];  db[k] = sum_n,p dy[n, k, p].

    Parameters
    ----------
    dy : array_like (N, K, *out)
    x : array_like (N, C, *S)
    w_shape : tuple of int
        (C, K/groups, *kernel).
    stride, padding, output_padding, dilation, groups
        As in `conv_transpose_forward`.

    Returns
    -------
    dw : ndarray (C, K/groups, *kernel)
    db : ndarray (K,)
    """
    dtype = _dtype_of(dy, x)
    x, w_shape = _tensor(x, dtype, "x"), _shape(w_shape, "w_shape")
    conv = _transposed_convolution(x.shape, w_shape, stride, padding, output_padding, dilation, groups)
    dy = _tensor_of(dy, dtype, "dy", conv.x_shape)
    return _backward_weights(conv, x, dy, False)[0], dy.sum(axis=(0, *range(2, dy.ndim)))


# ---- dense -----------------------------------------------------------------------------------------------------------


def dense_forward(x, w, b=None):
    """Dense layer y = x w^T + b.

    Parameters
    ----------
    x : array_like (N, C)
    w : array_like (K, C)
    b : array_like (K,), optional

    Returns
    -------
    y : ndarray (N, K)
    """
    dtype = _dtype_of(x, w, b)
    x, w = _tensor(x, dtype, "x", (2,)), _matrix(w, dtype, "w")
    (n, c), k = x.shape, w.shape[0]
    if w.shape[1] != c:
        raise ValueError(f"weights {w.shape} read {w.shape[1]} features; the input has {c}")
    b = b if b is None else _tensor_of(b, dtype, "b", (k,))

    def lay_out(p):
        source, weights, bias = p.read(x.shape), p.read(w.shape), p.read((k,)) if b is not None else 0
        y = p.tensor((n, k))
        p.program.dense_forward(n, c, k, _IDENTITY, source, weights, bias, y)
        p.write(y, (n, k))

    return _run("dense_forward", (), lay_out, dtype, _given(x, w, b), [((n, k), dtype)])[0]


def dense_backward_data(dy, w):
    """Gradient of a dense layer with respect to its input: dx = dy w, ``(N, C)`` from ``(N, K)`` and ``(K, C)``."""
    dtype = _dtype_of(dy, w)
    dy, w = _tensor(dy, dtype, "dy", (2,)), _matrix(w, dtype, "w")
    n, (k, c) = dy.shape[0], w.shape
    if dy.shape[1] != k:
        raise ValueError(f"weights {w.shape} make {k} outputs; the gradient has {dy.shape[1]}")

    def lay_out(p):
        gradient, weights, dx = p.read(dy.shape), p.read(w.shape), p.tensor((n, c))
        p.program.dense_backward_data(n, c, k, _IDENTITY, gradient, weights, 0, dx)
        p.write(dx, (n, c))

    return _run("dense_backward_data", (), lay_out, dtype, [dy, w], [((n, c), dtype)])[0]


def dense_backward_weights(dy, x):
    """Gradients of a dense layer with respect to weights and bias: dw = dy^T x, ``(K, C)``, and db = sum_n dy[n]."""
    dtype = _dtype_of(dy, x)
    dy, x = _tensor(dy, dtype, "dy", (2,)), _tensor(x, dtype, "x", (2,))
    (n, k), c = dy.shape, x.shape[1]
    if len(x) != n:
        raise ValueError(f"dy {dy.shape} and x {x.shape} must have the same number of samples")

    def lay_out(p):
        gradient, source, dw, db = p.read(dy.shape), p.read(x.shape), p.tensor((k, c)), p.memory(k)
        p.program.dense_backward_weights(n, c, k, False, gradient, source, dw, db)
        p.write(dw, (k, c))
        p.write(db, (k,))

    return tuple(_run("dense_backward_weights", (), lay_out, dtype, [dy, x], [((k, c), dtype), ((k,), dtype)]))


def _matrix(w, dtype, what):
    """Weights (K, C), neither of them zero."""
    w = shapes.as_tensor(w, dtype, what, 2)
    if not w.size:
        raise ValueError(f"{what} must not be empty, got shape {w.shape}")
    return w


# ---- pooling ---------------------------------------------------------------------------------------------------------
# The N C planes of a tensor go side by side into the lanes, as samples of one channel, so that none is wasted.


class _Pooling(NamedTuple):
    """A window that slides over the planes of a tensor."""

    x_shape: tuple
    out: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    padding: tuple

    @property
    def planes_in(self):
        """The input as planes."""
        return (math.prod(self.x_shape[:2]), 1, *self.x_shape[2:])

    @property
    def planes_out(self):
        return (math.prod(self.x_shape[:2]), 1, *self.out)

    @property
    def y_shape(self):
        return (*self.x_shape[:2], *self.out)

    @property
    def before(self):
        return tuple(before for before, _ in self.padding)

    @property
    def after(self):
        """Padding after the input, as ``_kernels`` takes it."""
        return (0,) * (3 - len(self.out)) + tuple(after for _, after in self.padding)

    @property
    def window(self):
        """As ``_kernels`` takes it."""
        return shapes.window(self.x_shape[2:], self.out, self.kernel, self.stride, self.dilation, self.before)

    def vectors(self, lanes):
        """Vectors that the planes fill side by side."""
        return _round_up(self.planes_in[0], lanes) // lanes


def _pooling(x_shape, kernel_size, stride, padding, dilation, ceil_mode):
    size, rank = x_shape[2:], len(x_shape) - 2
    kernel = shapes.per_axis(kernel_size, rank, "kernel_size")
    stride = kernel if stride is None else shapes.per_axis(stride, rank, "stride")
    dilation = shapes.per_axis(dilation, rank, "dilation")
    padding = shapes.resolve_padding(padding, size, kernel, stride, dilation)
    out = shapes.pool_output_shape(size, kernel, stride, padding, dilation, bool(ceil_mode))
    pool = _Pooling(x_shape, out, kernel, stride, dilation, padding)
    shapes.check_size(pool.y_shape, "the output")
    return pool


def _whole_planes(x_shape):
    """One window over each plane."""
    return _pooling(x_shape, x_shape[2:], None, 0, 1, False)


def max_pool_forward(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Max pooling: y[n, c, q] = max_t x[n, c, q * stride + t * dilation - before].

    Of equal values the first in row order wins, and of NaN and numbers NaN. Padding never wins.

    Parameters
    ----------
    x : array_like (N, C, *S)
    kernel_size, stride, dilation : int or sequence of int
        The stride defaults to the kernel size.
    padding : as in `conv_forward`
    ceil_mode : bool
        Rounds the size of the output up, see `pycnn.shapes.pool_output_shape`.

    Returns
    -------
    y : ndarray (N, C, *out)
    indices : ndarray of int64 (N, C, *out)
        Where each maximum comes from, as a position in the flattened spatial axes of x (as in PyTorch).

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input, or a window would hold nothing but padding.
    """
    x = _tensor(x, _dtype_of(x), "x")
    return _max_pool(_pooling(x.shape, kernel_size, stride, padding, dilation, ceil_mode), x)


def max_pool_backward(dy, indices, x_shape, kernel_size=None, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Gradient of max pooling: every dy is added to the dx that its maximum came from.

    Parameters
    ----------
    dy : array_like (N, C, *out)
    indices : array_like of int (N, C, *out)
        As `max_pool_forward` gives them.
    x_shape : tuple of int
        (N, C, *S).
    kernel_size, stride, padding, dilation, ceil_mode : optional
        The window of the forward pass. Where it is given, every dx gathers from the windows that reach it; else every
        dy is scattered by NumPy.

    Returns
    -------
    dx : ndarray (N, C, *S)

    Raises
    ------
    ValueError
        If the shapes do not belong together, or an index lies outside its plane or its window.
    """
    dtype, x_shape = _dtype_of(dy), _shape(x_shape, "x_shape")
    if kernel_size is None:
        return _scatter(shapes.as_tensor(dy, dtype, "dy", len(x_shape)), indices, x_shape)
    pool = _pooling(x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    dy = _tensor_of(dy, dtype, "dy", pool.y_shape)
    return _max_pool_gradient(pool, dy, _taps_of_positions(pool, indices))


def global_max_pool_forward(x):
    """Maximum over all spatial axes and its flat position: ``(N, C, *S)`` -> two arrays ``(N, C, 1, ...)``.

    Ties and NaN as in `max_pool_forward`.
    """
    x = _tensor(x, _dtype_of(x), "x")
    return _max_pool(_whole_planes(x.shape), x)


def global_max_pool_backward(dy, indices, x_shape):
    """Gradient of the maximum over all spatial axes: dx ``(N, C, *S)`` of shape `x_shape`."""
    pool = _whole_planes(_shape(x_shape, "x_shape"))
    dy = _tensor_of(dy, _dtype_of(dy), "dy", pool.y_shape)
    return _max_pool_gradient(pool, dy, _taps_of_positions(pool, indices))


def _max_pool(pool, x):
    """y and flat positions."""

    def lay_out(p):
        source = p.read(pool.planes_in, SAMPLES)
        y, taps = p.tensor(pool.planes_out, SAMPLES), p.tensor(pool.planes_out, SAMPLES)
        p.program.max_pool_forward(pool.window, pool.vectors(p.kernels.lanes), source, y, taps)
        p.write(y, pool.planes_out, SAMPLES)
        p.write(taps, pool.planes_out, SAMPLES)

    results = [(pool.y_shape, x.dtype), (pool.y_shape, _integer_type(x.dtype))]
    y, taps = _run("max_pool_forward", pool, lay_out, x.dtype, [x], results)
    return y, _positions_of_taps(pool, taps)


def _max_pool_gradient(pool, dy, taps):
    def lay_out(p):
        gradient, numbers = p.read(pool.planes_out, SAMPLES), p.read(pool.planes_out, SAMPLES)
        dx = p.tensor(pool.planes_in, SAMPLES)
        p.program.max_pool_backward(pool.window, pool.vectors(p.kernels.lanes), gradient, numbers, dx)
        p.write(dx, pool.planes_in, SAMPLES)

    taps = np.ascontiguousarray(taps, _integer_type(dy.dtype))
    return _run("max_pool_backward", pool, lay_out, dy.dtype, [dy, taps], [(pool.x_shape, dy.dtype)])[0]


def _integer_type(dtype):
    """That of a tap's number: as wide as a real."""
    return np.dtype(np.int64 if dtype.itemsize == 8 else np.int32)


def _grid(counts, steps, starts):
    """The sum over axes of start + i step, for all i below the counts."""
    total = np.zeros((), np.int64)
    for count, step, start in zip(counts, steps, starts):
        total = total[..., None] + (start + step * np.arange(count))
    return total


def _positions_of_taps(pool, taps):
    """Flat positions in the plane: a position is that of its window's corner plus that of its tap."""
    size = pool.x_shape[2:]
    rows = [math.prod(size[a + 1 :]) for a in range(len(size))]
    corners = _grid(pool.out, [s * r for s, r in zip(pool.stride, rows)], [-b * r for b, r in zip(pool.before, rows)])
    offsets = _grid(pool.kernel, [d * r for d, r in zip(pool.dilation, rows)], [0] * len(rows))
    return corners + offsets.ravel()[taps]


def _taps_of_positions(pool, indices):
    """Numbers of the taps that meet flat positions."""
    size = pool.x_shape[2:]
    indices = _integers_of(indices, "indices", pool.y_shape, math.prod(size))
    taps = np.zeros((), np.int64)
    axes = zip(np.unravel_index(indices, size), pool.out, pool.kernel, pool.stride, pool.dilation, pool.before)
    for a, (position, count, kernel, stride, dilation, before) in enumerate(axes):
        corner = (np.arange(count) * stride - before).reshape(-1, *[1] * (len(size) - 1 - a))
        tap, rest = np.divmod(position - corner, dilation)
        if np.any((rest != 0) | (tap < 0) | (tap >= kernel)):
            raise ValueError("indices hold a position outside its window; give the window of the forward pass")
        taps = taps * kernel + tap
    return taps


def _scatter(dy, indices, x_shape):
    """Adds every dy to the flat position that its index tells."""
    if dy.shape[:2] != x_shape[:2]:
        raise ValueError(f"dy must have shape {x_shape[:2]} and spatial axes, got {dy.shape}")
    planes, size = math.prod(x_shape[:2]), math.prod(x_shape[2:])
    indices = _integers_of(indices, "indices", dy.shape, size).reshape(planes, math.prod(dy.shape[2:]))
    indices = indices + size * np.arange(planes)[:, None]
    dx = np.bincount(indices.ravel(), dy.ravel(), planes * size)
    return dx.astype(dy.dtype).reshape(x_shape)


def avg_pool_forward(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Average pooling: y[n, c, q] = sum_t x[n, c, q * stride + t - before] / |window q|.

    |window q| counts the positions of the window in the padded input, or, without `count_include_pad`, in the input
    itself. What hangs over the padded input in ceil_mode is never counted (PyTorch; ONNX since opset 19).

    Parameters
    ----------
    x : array_like (N, C, *S)
    kernel_size, stride, padding, ceil_mode
        As in `max_pool_forward`.
    count_include_pad : bool

    Returns
    -------
    y : ndarray (N, C, *out)

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input, or a window would hold nothing but padding.
    """
    x = _tensor(x, _dtype_of(x), "x")
    return _avg_pool(_pooling(x.shape, kernel_size, stride, padding, 1, ceil_mode), count_include_pad, x)


def avg_pool_backward(dy, x_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Gradient of average pooling: dx ``(N, C, *S)`` of shape `x_shape`.

    dx[n, c, p] = sum_q,t dy[n, c, q] / |window q| over all q, t with q * stride + t - before = p.
    """
    pool = _pooling(_shape(x_shape, "x_shape"), kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool_gradient(pool, count_include_pad, _tensor_of(dy, _dtype_of(dy), "dy", pool.y_shape))


def global_avg_pool_forward(x):
    """Mean over all spatial axes: ``(N, C, *S)`` -> ``(N, C, 1, ...)``."""
    x = _tensor(x, _dtype_of(x), "x")
    return _avg_pool(_whole_planes(x.shape), True, x)


def global_avg_pool_backward(dy, x_shape):
    """Gradient of the mean over all spatial axes: dx ``(N, C, *S)`` of shape `x_shape`."""
    pool = _whole_planes(_shape(x_shape, "x_shape"))
    return _avg_pool_gradient(pool, True, _tensor_of(dy, _dtype_of(dy), "dy", pool.y_shape))


def _avg_pool(pool, count_include_pad, x):
    include = bool(count_include_pad)

    def lay_out(p):
        source, y = p.read(pool.planes_in, SAMPLES), p.tensor(pool.planes_out, SAMPLES)
        p.program.avg_pool_forward(pool.window, pool.after, include, pool.vectors(p.kernels.lanes), source, y)
        p.write(y, pool.planes_out, SAMPLES)

    return _run("avg_pool_forward", (pool, include), lay_out, x.dtype, [x], [(pool.y_shape, x.dtype)])[0]


def _avg_pool_gradient(pool, count_include_pad, dy):
    include = bool(count_include_pad)

    def lay_out(p):
        gradient, dx = p.read(pool.planes_out, SAMPLES), p.tensor(pool.planes_in, SAMPLES)
        p.program.avg_pool_backward(pool.window, pool.after, include, pool.vectors(p.kernels.lanes), gradient, dx)
        p.write(dx, pool.planes_in, SAMPLES)

    return _run("avg_pool_backward", (pool, include), lay_out, dy.dtype, [dy], [(pool.x_shape, dy.dtype)])[0]


# ---- activations -----------------------------------------------------------------------------------------------------

_DEFAULT_ALPHA = {"leaky_relu": 0.01, "elu": 1.0}


def _activation(kind, alpha):
    """(number, alpha) as ``_kernels`` takes it."""
    if kind not in _kernels.ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(_kernels.ACTIVATIONS)}, got {kind!r}")
    default = _DEFAULT_ALPHA.get(kind, 0.0)
    return _kernels.ACTIVATIONS.index(kind), default if alpha is None else _number(alpha, f"{kind}: alpha", 0)


def _elementwise(kernel, leading, arrays):
    """The result of a kernel that takes `leading`, the addresses of arrays of one shape, and that of such a result."""
    shape, dtype = arrays[0].shape, arrays[0].dtype

    def lay_out(p):
        sources, y = [p.read(shape) for _ in arrays], p.tensor(shape)
        getattr(p.program, kernel)(*leading, *sources, y)
        p.write(y, shape)

    return _run(kernel, leading, lay_out, dtype, arrays, [(shape, dtype)])[0]


def activation_forward(x, kind, alpha=None):
    """Activation function of every element; the shape stays.

    ===========  ==================================  ==============================
    kind         f(x)                                f'(x), from y = f(x)
    ===========  ==================================  ==============================
    identity     x                                   1
    relu         max(x, 0)                           1 if y > 0 else 0
    leaky_relu   x if x > 0 else alpha x             1 if y > 0 else alpha
    elu          x if x > 0 else alpha (e^x - 1)     1 if y > 0 else y + alpha
    sigmoid      1 / (1 + e^-x)                      y (1 - y)
    tanh         tanh(x)                             1 - y^2
    scaled_tanh  1.7159 tanh(2 x / 3)                1.7159 2/3 (1 - (y/1.7159)^2)
    softplus     log(1 + e^x)                        1 - e^-y
    ===========  ==================================  ==============================

    The scaled tanh is that of LeCun et al. 1998. alpha is 0.01 for leaky_relu and 1 for elu if it is not given.

    Raises
    ------
    ValueError
        If there is no such kind, or alpha is negative.
    """
    activation, x = _activation(kind, alpha), shapes.as_tensor(x, _dtype_of(x), "x")
    return _elementwise("activation_forward", (activation, x.size), [x])


def activation_backward(dy, y, kind, alpha=None):
    """Gradient of an activation from its OUTPUT y: dx = f'(x) dy, see `activation_forward`."""
    dtype, activation = _dtype_of(dy, y), _activation(kind, alpha)
    y = shapes.as_tensor(y, dtype, "y")
    return _elementwise("activation_backward", (activation, y.size), [_tensor_of(dy, dtype, "dy", y.shape), y])


def softmax(x, axis=1):
    """Softmax y_i = exp(x_i) / sum_j exp(x_j) along one axis, with the maximum taken off first."""
    return _softmax(False, x, axis)


def softmax_backward(dy, y, axis=1):
    """Gradient of softmax from its output: dx_i = y_i (dy_i - sum_j dy_j y_j)."""
    return _softmax_gradient(False, dy, y, axis)


def log_softmax(x, axis=1):
    """Logarithm of softmax, y_i = x_i - log sum_j exp(x_j), with the maximum taken off first."""
    return _softmax(True, x, axis)


def log_softmax_backward(dy, y, axis=1):
    """Gradient of log_softmax from its output: dx_i = dy_i - exp(y_i) sum_j dy_j."""
    return _softmax_gradient(True, dy, y, axis)


def _softmax(log, x, axis):
    x = shapes.as_tensor(x, _dtype_of(x), "x")
    return _elementwise("softmax_forward", (log, *_lines(x.shape, axis)), [x])


def _softmax_gradient(log, dy, y, axis):
    dtype = _dtype_of(dy, y)
    y = shapes.as_tensor(y, dtype, "y")
    dy = _tensor_of(dy, dtype, "dy", y.shape)
    return _elementwise("softmax_backward", (log, *_lines(y.shape, axis)), [dy, y])


def _axis(axis, rank):
    """An axis counted from the front."""
    axis = shapes.integer(axis, "axis")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for an array of {rank} axes")
    return axis % rank


def _lines(shape, axis):
    """(outer, axis, inner) sizes around an axis."""
    axis = _axis(axis, len(shape))
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


# ---- joining tensors -------------------------------------------------------------------------------------------------


def add(*arrays):
    """Sum of one or more arrays of one shape."""
    if not arrays:
        raise ValueError("add needs at least one array")
    arrays = _alike(arrays)
    shape, dtype = arrays[0].shape, arrays[0].dtype

    def lay_out(p):
        sources, y = [p.read(shape) for _ in arrays], p.tensor(shape)
        p.program.sum(math.prod(shape), sources, y)
        p.write(y, shape)

    return _run("sum", (), lay_out, dtype, arrays, [(shape, dtype)])[0]


def add_backward(dy, count=2):
    """Gradients of a sum of `count` arrays: a tuple of that many copies of dy."""
    dy = shapes.as_tensor(dy, _dtype_of(dy), "dy")
    return tuple(dy.copy() for _ in range(shapes.integer(count, "count", 1)))


def multiply(a, b):
    """Product of two arrays of one shape, element by element."""
    a, b = _alike((a, b))
    return _elementwise("multiply", (a.size,), [a, b])


def multiply_backward(dy, a, b):
    """Gradients of a product: (da, db) = (dy b, dy a)."""
    return multiply(dy, b), multiply(dy, a)


def concat(arrays, axis=1):
    """Arrays one after the other along one axis; their other sizes agree."""
    if not len(arrays):
        raise ValueError("concat needs at least one array")
    dtype = _dtype_of(*arrays)
    arrays = [shapes.as_tensor(a, dtype, f"array {i}") for i, a in enumerate(arrays)]
    axis = _axis(axis, arrays[0].ndim)
    around = [(*a.shape[:axis], *a.shape[axis + 1 :]) for a in arrays]
    if any(a.ndim != arrays[0].ndim or other != around[0] for a, other in zip(arrays, around)):
        raise ValueError(f"arrays that differ along axis {axis} only are expected, got {[a.shape for a in arrays]}")
    shape = (*arrays[0].shape[:axis], sum(a.shape[axis] for a in arrays), *arrays[0].shape[axis + 1 :])
    arrays = [a for a in arrays if a.size]
    if not arrays:
        return np.zeros(shape, dtype)

    def lay_out(p):
        sources, y = [p.read(a.shape) for a in arrays], p.tensor(shape)
        runs = _runs([a.shape[axis] for a in arrays], shape, axis, p.kernels.real_size)
        for source, (blocks, length, stride, offset) in zip(sources, runs):
            p.program.copy_blocks(blocks, length, length, stride, source, y + offset)
        p.write(y, shape)

    return _run("concat", axis, lay_out, dtype, arrays, [(shape, dtype)])[0]


def concat_backward(dy, sizes, axis=1):
    """Gradients of a concatenation: a tuple of the parts of dy, `sizes` long along the axis."""
    dtype = _dtype_of(dy)
    dy = shapes.as_tensor(dy, dtype, "dy")
    axis, sizes = _axis(axis, dy.ndim), tuple(shapes.integer(n, "a size", 0) for n in sizes)
    if sum(sizes) != dy.shape[axis]:
        raise ValueError(f"sizes {sizes} must add up to {dy.shape[axis]}")
    parts = [(*dy.shape[:axis], n, *dy.shape[axis + 1 :]) for n in sizes]

    def lay_out(p):
        source = p.read(dy.shape)
        for shape, (blocks, length, stride, offset) in zip(parts, _runs(sizes, dy.shape, axis, p.kernels.real_size)):
            part = p.tensor(shape)
            p.program.copy_blocks(blocks, length, stride, length, source + offset, part)
            p.write(part, shape)

    return tuple(_run("concat_backward", (axis, sizes), lay_out, dtype, [dy], [(shape, dtype) for shape in parts]))


def _alike(arrays):
    """Arrays of one shape, all of one dtype."""
    dtype = _dtype_of(*arrays)
    arrays = [shapes.as_tensor(a, dtype, f"array {i}") for i, a in enumerate(arrays)]
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"arrays of one shape are expected, got {[a.shape for a in arrays]}")
    return arrays


def _runs(sizes, shape, axis, real_size):
    """Where each part of a concatenation lies: (blocks, length, stride of the blocks, offset of the first in bytes)."""
    outer, whole, inner = _lines(shape, axis)
    offset = 0
    for n in sizes:
        yield outer, n * inner, whole * inner, offset * real_size
        offset += n * inner


# ---- losses: each returns the loss, a float, and its gradient with respect to its first argument ---------------------


def softmax_cross_entropy(scores, labels, sample_weights=None, class_weights=None):
    """Mean over all samples and positions of -log softmax(scores)[label].

    loss = -sum_i s_i log softmax(scores_i)[label_i] / sum_i s_i, with s_i = sample_weights[i] class_weights[label_i],
    each 1 if it is not given. The mean over nothing is NaN.

    Parameters
    ----------
    scores : array_like (N, C) or (N, C, *S)
    labels : array_like of int (N,) or (N, *S)
    sample_weights : array_like (N,), or of the shape of labels, optional
    class_weights : array_like (C,), optional

    Returns
    -------
    loss : float
    dscores : ndarray, of the shape of scores

    Raises
    ------
    ValueError
        If the shapes do not belong together, or a label is not in 0 ... C-1.
    """
    dtype = _dtype_of(scores, sample_weights, class_weights)
    scores = _tensor(scores, dtype, "scores", (2, *RANKS))
    n, classes, positions = _plain_sizes(scores.shape)
    labels = _integers_of(labels, "labels", (n, *scores.shape[2:]), classes)
    if class_weights is not None:
        class_weights = _tensor_of(class_weights, dtype, "class_weights", (classes,))
    if sample_weights is not None:
        weights = _weights_of_labels(sample_weights, labels, dtype)
        if class_weights is not None:
            weights = weights * class_weights[labels]
        return _weighted_cross_entropy(scores, labels, weights)

    def append(p, y, dy, result):
        label_slot, weight_slot = p.slot(), p.slot() if class_weights is not None else 0
        p.program.softmax_cross_entropy(n, classes, positions, 1.0, y, label_slot, weight_slot, dy, result)

    return _loss("softmax_cross_entropy", (), append, scores, _given(labels, class_weights))


def _weights_of_labels(weights, labels, dtype):
    """One weight for each label, from weights for each label or each sample."""
    weights = shapes.as_tensor(weights, dtype, "sample_weights")
    if weights.shape not in (labels.shape, labels.shape[:1]):
        raise ValueError(f"sample_weights must have shape {labels.shape[:1]} or {labels.shape}, got {weights.shape}")
    return np.broadcast_to(weights.reshape(*weights.shape, *[1] * (labels.ndim - weights.ndim)), labels.shape)


def _weighted_cross_entropy(scores, labels, weights):
    """Softmax cross-entropy with a weight for each label."""
    if not scores.size:
        return math.nan, np.zeros_like(scores)
    log_p, labels, weights = log_softmax(scores), labels[:, None], (weights / weights.sum())[:, None]
    loss = -np.sum(weights * np.take_along_axis(log_p, labels, 1), dtype=np.float64)
    gradient = np.exp(log_p)
    np.put_along_axis(gradient, labels, np.take_along_axis(gradient, labels, 1) - 1, 1)
    return float(loss), gradient * weights


def mean_squared_error(y, target):
    """Mean over all elements of (y - target)^2; raises ValueError if the shapes differ."""
    return _loss_of_pairs("mean_squared_error", (), y, target)


def binary_cross_entropy(p, target):
    """Mean over all elements of -(t log p + (1 - t) log(1 - p)), p and t in [0, 1].

    As in PyTorch logarithms are at least -100, and p (1 - p), which the gradient divides by, at least 1e-12.
    Raises ValueError if the shapes differ.
    """
    return _loss_of_pairs("binary_cross_entropy", (False,), p, target)


def binary_cross_entropy_with_logits(scores, target):
    """Mean over all elements of the binary cross-entropy of sigmoid(scores), finite for any finite score.

    max(x, 0) - x t + log(1 + exp(-|x|)), with gradient sigmoid(x) - t. Raises ValueError if the shapes differ.
    """
    return _loss_of_pairs("binary_cross_entropy", (True,), scores, target)


def _loss_of_pairs(kernel, leading, y, target):
    """The mean loss of numbers and their targets, by a kernel that takes `leading` first."""
    dtype = _dtype_of(y, target)
    y = shapes.as_tensor(y, dtype, "the first argument")
    target = _tensor_of(target, dtype, "target", y.shape)

    def append(p, source, dy, result):
        getattr(p.program, kernel)(*leading, y.size, 1.0, source, p.slot(), dy, result)

    return _loss(kernel, leading, append, y, [target])


def _loss(kernel, parameters, append, y, targets):
    """(loss, gradient); `append` is given the program and the addresses of y, its gradient and the result, and takes a
    slot for each target."""
    if not y.size:
        return math.nan, np.zeros_like(y)

    def lay_out(p):
        source, dy, result = p.read(y.shape), p.tensor(y.shape), p.tensor(p.doubles(2))
        append(p, source, dy, result)
        p.write(result, p.doubles(2))
        p.write(dy, y.shape)

    result, dy = _run(kernel, parameters, lay_out, y.dtype, [y, *targets], [((2,), np.float64), (y.shape, y.dtype)])
    return float(result[0]), dy


# ---- optimisers: each returns the new weights, then its new state; nothing is changed in place -----------------------


def _update(kernel, w, g, state, hyper):
    """New weights and state after one step with these hyper-parameters, in the order of ``csrc/pycnn.h``."""
    dtype = _dtype_of(w, g, *state.values())
    w = shapes.as_tensor(w, dtype, "w")
    g = _tensor_of(g, dtype, "g", w.shape)
    state = [np.zeros_like(w) if s is None else _tensor_of(s, dtype, name, w.shape) for name, s in state.items()]
    hyper = np.array([1.0, *hyper])

    def lay_out(p):
        numbers, weights, gradient = p.read(p.doubles(len(hyper))), p.read(w.shape), p.read(w.shape)
        kept = [p.read(w.shape) for _ in state]
        getattr(p.program, kernel)([(0, w.size)], numbers, 0, weights, gradient, *kept)
        for address in (weights, *kept):
            p.write(address, w.shape)

    return tuple(_run(kernel, (), lay_out, dtype, [hyper, w, g, *state], [(w.shape, dtype)] * (1 + len(state))))


def sgd_update(w, g, v=None, *, lr, momentum=0, dampening=0, nesterov=False, weight_decay=0):
    """Stochastic gradient descent, as in PyTorch: returns (w, v).

    g += weight_decay w;  v = momentum v + (1 - dampening) g;  w -= lr (g + momentum v if nesterov else v)

    The velocity v starts at zero, which is what None stands for. (PyTorch starts it at the first g, which differs only
    with dampening.)
    """
    hyper = _numbers(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)
    return _update("sgd", w, g, {"v": v}, [*hyper, bool(nesterov)])


def adam_update(w, g, m, v, t, *, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0, decoupled=False):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980): returns (w, m, v).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
    w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    t counts updates from 1, and m and v start at zero, which is what None stands for. Weight decay is added to g first,
    or, decoupled, taken off the weights, w -= lr weight_decay w (AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101).
    """
    hyper = _numbers(lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)
    if max(beta1, beta2) >= 1:
        raise ValueError(f"beta1 and beta2 must be less than 1, got {beta1} and {beta2}")
    return _update("adam", w, g, {"m": m, "v": v}, [*hyper, bool(decoupled), shapes.integer(t, "t", 1)])


def rmsprop_update(w, g, s, v=None, *, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0):
    """RMSprop (Tieleman and Hinton 2012, Coursera lecture 6.5), as in PyTorch: returns (w, s, v).

    g += weight_decay w;  s = alpha s + (1 - alpha) g^2;  v = momentum v + g / (sqrt(s) + eps);  w -= lr v

    s and v start at zero, which is what None stands for.
    """
    hyper = _numbers(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
    return _update("rmsprop", w, g, {"s": s, "v": v}, hyper)


def _numbers(**values):
    """Hyper-parameters, none of them negative."""
    return [_number(value, name, 0) for name, value in values.items()]
