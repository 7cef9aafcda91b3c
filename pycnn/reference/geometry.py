"""Sizes of what slides, and the taps that every convolution and pooling loops over."""

import numpy as np


def per_axis(value, rank, name, least=1):
    """One integer, or a sequence of `rank` of them, as a tuple with a number for each spatial axis."""
    values = (value,) * rank if np.ndim(value) == 0 else tuple(value)
    if len(values) != rank or min(values) < least:
        raise ValueError(f"{name} must be an integer of at least {least}, or {rank} of them; got {value}")
    return values


def spans(kernel, dilation):
    """Positions from the first tap of a kernel to its last, both included, along each axis."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))


# ---- sizes ---------------------------------------------------------------------------------------------


def resolve_padding(padding, in_spatial, kernel, stride=1, dilation=1):
    """Padding in any of its forms as a tuple of (before, after), one pair for each spatial axis.

    Parameters
    ----------
    padding : int, tuple with one for each axis, tuple of (before, after) pairs, ``"same"`` or ``"valid"``
        ``"same"`` makes the output ``ceil(in / stride)``. Its total, max(0, dilation (kernel - 1) -
        (in - 1) mod stride), is halved; of an odd one the greater half comes after (ONNX SAME_UPPER).
        ``"valid"`` is 0.
    in_spatial : tuple of int
        Size of the input along each spatial axis.
    kernel, stride, dilation : int, or a tuple with one for each axis

    Raises
    ------
    ValueError
        If the padding is negative or in none of these forms.

    Examples
    --------
    >>> resolve_padding("same", (5, 6), kernel=3, stride=2)
    ((1, 1), (0, 1))
    """
    rank = len(in_spatial)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "same":
            span = spans(per_axis(kernel, rank, "kernel"), per_axis(dilation, rank, "dilation"))
            stride = per_axis(stride, rank, "stride")
            totals = [max(0, extent - 1 - (i - 1) % s) for i, extent, s in zip(in_spatial, span, stride)]
            return tuple((total // 2, total - total // 2) for total in totals)
        raise ValueError(f'padding must be numbers, "same" or "valid"; got "{padding}"')
    if np.shape(padding) == (rank, 2):
        return tuple(per_axis(pair, 2, "padding", least=0) for pair in padding)
    return tuple((p, p) for p in per_axis(padding, rank, "padding", least=0))


def conv_output_shape(in_spatial, kernel, stride=1, padding=0, dilation=1):
    """Spatial size of a convolution.

    floor((in + before + after - dilation (kernel - 1) - 1) / stride) + 1

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input.

    Examples
    --------
    >>> conv_output_shape((32, 32), (5, 5))
    (28, 28)
    """
    return pool_output_shape(in_spatial, kernel, stride, padding, dilation)


def pool_output_shape(in_spatial, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Spatial size of a pooling; the stride defaults to the kernel.

    As `conv_output_shape`. With ceil_mode the quotient is rounded up, so that the last window may hang over
    the edge; but one that would start in the padding after the input is dropped (PyTorch, ONNX since 19).

    Raises
    ------
    ValueError
        If the kernel does not fit the padded input.

    Examples
    --------
    >>> pool_output_shape((5,), 2), pool_output_shape((5,), 2, ceil_mode=True)
    ((2,), (3,))
    """
    rank = len(in_spatial)
    stride = kernel if stride is None else stride
    pads = resolve_padding(padding, in_spatial, kernel, stride, dilation)
    span = spans(per_axis(kernel, rank, "kernel"), per_axis(dilation, rank, "dilation"))
    out = []
    for i, extent, s, (before, after) in zip(in_spatial, span, per_axis(stride, rank, "stride"), pads):
        room = i + before + after - extent
        o = (room + s - 1 if ceil_mode else room) // s + 1
        if ceil_mode and (o - 1) * s >= before + i:
            o -= 1
        out.append(o)
    if min(out) < 1:
        raise ValueError(f"a kernel spanning {span} does not fit {tuple(in_spatial)} padded by {pads}")
    return tuple(out)


def conv_transpose_output_shape(in_spatial, kernel, stride=1, padding=0, dilation=1, output_padding=0):
    """Spatial size of a transposed convolution.

    (in - 1) stride - before - after + dilation (kernel - 1) + 1 + output_padding, and in * stride with
    padding ``"same"``, which is that of the convolution from there back to in and allows no output_padding.

    Raises
    ------
    ValueError
        If nothing is left of the output, or output_padding comes with ``"same"`` or is as large as both the
        stride and the dilation, so that a larger input could have that output.

    Examples
    --------
    >>> conv_transpose_output_shape((7, 7), (2, 2), stride=2)
    (14, 14)
    """
    rank = len(in_spatial)
    stride, dilation = per_axis(stride, rank, "stride"), per_axis(dilation, rank, "dilation")
    extra = per_axis(output_padding, rank, "output_padding", least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"output_padding must be less than stride or dilation; got {output_padding}")
    if isinstance(padding, str) and padding == "same":
        if any(extra):
            raise ValueError('padding "same" fixes the size of the output: output_padding must be 0')
        return tuple(i * s for i, s in zip(in_spatial, stride))
    pads = resolve_padding(padding, in_spatial, kernel, stride, dilation)
    span = spans(per_axis(kernel, rank, "kernel"), dilation)
    out = tuple((i - 1) * s - before - after + extent + e
                for i, s, (before, after), extent, e in zip(in_spatial, stride, pads, span, extra))
    if min(out) < 1:
        raise ValueError(f"nothing is left of the output: its size would be {out}")
    return out


# ---- taps ----------------------------------------------------------------------------------------------


def taps(kernel, out, stride, dilation):
    """For each tap t, in row order, the index of what it meets: positions stride q + dilation t for all q."""
    for tap in np.ndindex(*kernel):
        yield (..., *(slice(t * d, t * d + (o - 1) * s + 1, s)
                      for t, o, s, d in zip(tap, out, stride, dilation)))


def reach(kernel, out, stride, dilation):
    """Positions from the first that a tap meets to the last, both included, along each axis."""
    return tuple((o - 1) * s + extent for o, s, extent in zip(out, stride, spans(kernel, dilation)))


def surround(x, before, length, value=0):
    """`x` with `value` around its last axes: `before` times in front, and behind up to `length` at least."""
    others = x.ndim - len(length)
    widths = [(b, max(0, total - b - i)) for b, total, i in zip(before, length, x.shape[others:])]
    return np.pad(x, [(0, 0)] * others + widths, constant_values=value)


def crop(x, before, size):
    """The part of `x` that `surround` was given: `size` positions of its last axes, from `before` on."""
    return x[(..., *(slice(b, b + i) for b, i in zip(before, size)))]


def check_gradient(dy, shape):
    """A ValueError unless dy has the shape of the output."""
    if dy.shape != tuple(shape):
        raise ValueError(f"dy must have the shape of the output, {tuple(shape)}; got {dy.shape}")
