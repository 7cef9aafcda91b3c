"""Convolution and transposed convolution."""

from typing import NamedTuple

from .. import config, shapes
from .._kernels import CHANNELS, PLAIN, SAMPLES
from ..layouts import reads_plain, writes_plain
from . import programs


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
    winograd: bool

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
        return (self.n, self.c, self.k, self.groups, shapes.window(*self[4:10]), self.winograd)


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
    conv = _Convolution(n, c, k, groups, tuple(size), out, tuple(kernel), stride, dilation, before,
                        config.get_winograd())
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
    conv = _Convolution(n, k_group * groups, c, groups, out, tuple(size), tuple(kernel), stride, dilation, before,
                        config.get_winograd())
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
    if reads_x and reads_plain(conv.c, conv.groups):
        return CHANNELS, PLAIN
    return CHANNELS, CHANNELS


def _by_planes(lanes, conv, target_spatial):
    """Whether a pass is done on the arrays as they are, lanes being columns: it is depthwise, its maps are rows or images,
    and a row fills half a vector at least."""
    return 1 < conv.groups == conv.c and len(target_spatial) <= 2 and 2 * target_spatial[-1] >= lanes


def _forward(conv, x, w, b):
    """y (N, K, *out) of a convolution."""

    def lay_out(p):
        lanes = p.kernels.lanes
        if _by_planes(lanes, conv, conv.out_spatial):
            source, weights, bias = p.slot(), p.slot(), p.slot() if b is not None else 0
            p.program.planes_forward(conv.descriptor, source, weights, bias, p.slot())
            return
        layout, x_layout = _layouts(lanes, conv, conv.k, True)
        if layout == CHANNELS and writes_plain(lanes, conv.k, conv.groups, conv.out_spatial[-1]):
            layout = x_layout = PLAIN
        source = p.read(conv.x_shape, x_layout)
        weights = _packed(p, conv, layout, x_layout, False, b)
        y = p.tensor(conv.y_shape, layout)
        p.program.conv_forward(conv.descriptor, layout, x_layout, programs.IDENTITY, None, source, weights, y, 0)
        p.write(y, conv.y_shape, layout)

    return programs.run("conv_forward", conv, lay_out, x.dtype, programs.given(x, w, b), [(conv.y_shape, x.dtype)])[0]


def _backward_data(conv, dy, w, b):
    """dx (N, C, *in) of a convolution, with a bias (C,) added if there is one."""

    def lay_out(p):
        lanes = p.kernels.lanes
        if _by_planes(lanes, conv, conv.in_spatial):
            source, weights, bias = p.slot(), p.slot(), p.slot() if b is not None else 0
            p.program.planes_backward_data(conv.descriptor, source, weights, bias, p.slot())
            return
        layout, _ = _layouts(lanes, conv, conv.c, False)
        if layout == CHANNELS and writes_plain(lanes, conv.c, conv.groups, conv.in_spatial[-1], conv.stride[-1]):
            layout = PLAIN
        source = p.read(conv.y_shape, layout)
        weights = _packed(p, conv, layout, layout, True, b)
        dx = p.tensor(conv.x_shape, layout)
        p.program.conv_backward_data(conv.descriptor, layout, layout, programs.IDENTITY, programs.IDENTITY, source, weights, 0,
                                     dx)
        p.write(dx, conv.x_shape, layout)

    return programs.run("conv_backward_data", conv, lay_out, dy.dtype, programs.given(dy, w, b),
                        [(conv.x_shape, dy.dtype)])[0]


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
        if _by_planes(p.kernels.lanes, conv, conv.out_spatial):
            gradient, source, dw = p.slot(), p.slot(), p.slot()
            p.program.planes_backward_weights(conv.descriptor, gradient, source, dw, p.slot() if with_bias else 0)
            return
        layout, x_layout = _layouts(p.kernels.lanes, conv, conv.k, True)
        gradient, source = p.read(conv.y_shape, layout, gradient=True), p.read(conv.x_shape, x_layout)
        partial = p.memory(p.kernels.conv_partial_size(conv.descriptor, layout, x_layout))
        dw, db = p.tensor(conv.w_shape), p.memory(conv.k) if with_bias else 0
        p.program.conv_backward_weights(conv.descriptor, layout, x_layout, None, gradient, source, partial)
        p.program.conv_reduce_weights(conv.descriptor, layout, x_layout, False, partial, dw, db)
        p.write(dw, conv.w_shape)
        if with_bias:
            p.write(db, (conv.k,))

    results = [(conv.w_shape, x.dtype)] + [((conv.k,), x.dtype)] * with_bias
    return programs.run("conv_backward_weights", (conv, with_bias), lay_out, x.dtype, [dy, x], results)


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
    dtype = programs.dtype_of(x, w, b)
    x, w = programs.tensor(x, dtype, "x"), shapes.as_tensor(w, dtype, "w")
    conv = _convolution(x.shape, w.shape, stride, padding, dilation, groups)
    b = b if b is None else programs.tensor_of(b, dtype, "b", (conv.k,))
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
    dtype = programs.dtype_of(dy, w)
    w = shapes.as_tensor(w, dtype, "w")
    conv = _convolution(programs.shape_of(x_shape, "x_shape"), w.shape, stride, padding, dilation, groups)
    return _backward_data(conv, programs.tensor_of(dy, dtype, "dy", conv.y_shape), w, None)


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
    dtype = programs.dtype_of(dy, x)
    x = programs.tensor(x, dtype, "x")
    conv = _convolution(x.shape, programs.shape_of(w_shape, "w_shape"), stride, padding, dilation, groups)
    return tuple(_backward_weights(conv, programs.tensor_of(dy, dtype, "dy", conv.y_shape), x, True))


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
    dtype = programs.dtype_of(x, w, b)
    x, w = programs.tensor(x, dtype, "x"), shapes.as_tensor(w, dtype, "w")
    conv = _transposed_convolution(x.shape, w.shape, stride, padding, output_padding, dilation, groups)
    b = b if b is None else programs.tensor_of(b, dtype, "b", (conv.c,))
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
    dtype = programs.dtype_of(dy, w)
    x_shape, w = programs.shape_of(x_shape, "x_shape"), shapes.as_tensor(w, dtype, "w")
    conv = _transposed_convolution(x_shape, w.shape, stride, padding, output_padding, dilation, groups)
    return _forward(conv, programs.tensor_of(dy, dtype, "dy", conv.x_shape), w, None)


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
    dtype = programs.dtype_of(dy, x)
    x, w_shape = programs.tensor(x, dtype, "x"), programs.shape_of(w_shape, "w_shape")
    conv = _transposed_convolution(x.shape, w_shape, stride, padding, output_padding, dilation, groups)
    dy = programs.tensor_of(dy, dtype, "dy", conv.x_shape)
    return _backward_weights(conv, x, dy, False)[0], dy.sum(axis=(0, *range(2, dy.ndim)))
