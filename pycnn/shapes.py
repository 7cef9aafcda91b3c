"""Sizes: the one place that normalises and checks kernel sizes, strides, paddings, shapes and arrays.

Every function here takes hyper-parameters as a user writes them, and raises TypeError for what is of the wrong kind and
ValueError for what is out of range, saying what it got and what it expects.
"""

import math
import operator

import numpy as np

LARGEST_BYTES = 2**62
LARGEST_SIZE = 2**31 - 1     # of a kernel, stride, padding or dilation along one axis


def per_axis(value, rank, what, minimum=1):
    """One integer per spatial axis.

    Parameters
    ----------
    value : int or sequence of `rank` ints
    rank : int
    what : str
        How an error names the value.
    minimum : int
        The least that is allowed.

    Returns
    -------
    tuple of int
    """
    if _is_sequence(value):
        if len(value) != rank:
            raise ValueError(f"{what} has {len(value)} values; expected one integer or {rank} (one per spatial axis)")
        values = tuple(integer(v, what, minimum) for v in value)
    else:
        values = (integer(value, what, minimum),) * rank
    if max(values, default=0) > LARGEST_SIZE:
        raise ValueError(f"{what} must be at most {LARGEST_SIZE}, got {max(values)}")
    return values


def integer(value, what, minimum=None):
    """`value` as a Python int of at least `minimum`; bools and floats are refused."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what} must be an integer, got {value!r}")
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, got {value!r}") from None
    if minimum is not None and value < minimum:
        raise ValueError(f"{what} must be at least {minimum}, got {value}")
    return value


def number_below(value, count, what):
    """`value` as a Python int from 0 to count - 1."""
    value = integer(value, what, 0)
    if value >= count:
        raise ValueError(f"{what} must be less than {count}, got {value}")
    return value


def resolve_padding(padding, in_spatial, kernel, stride, dilation):
    """The padding (before, after) of each axis.

    Parameters
    ----------
    padding : int, sequence, "same" or "valid"
        One integer; or one per axis; or a pair (before, after) per axis. ``"same"`` gives ``ceil(in / stride)``
        outputs, an odd padding having its larger half after (ONNX's SAME_UPPER). ``"valid"`` is no padding.
    in_spatial, kernel, stride, dilation : sequence of int, or int
        Sizes per axis; the last three may be one integer for all.

    Returns
    -------
    tuple of (int, int)
    """
    rank = len(in_spatial)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "same":
            kernel, stride, dilation = _window_parameters(rank, kernel, stride, dilation)
            return tuple(map(_same_padding, in_spatial, kernel, stride, dilation))
        raise ValueError(f'padding must be integers, "same" or "valid", got {padding!r}')
    if not _is_sequence(padding):
        return ((integer(padding, "padding", 0),) * 2,) * rank
    if len(padding) != rank:
        raise ValueError(
            f"padding has {len(padding)} values; expected one integer, or {rank} integers or pairs (before, after), one "
            f"per spatial axis"
        )
    return tuple(_pair(p) for p in padding)


def conv_output_shape(in_spatial, kernel, stride=1, padding=0, dilation=1):
    """Spatial shape of a convolution's output, ``floor((in + padding - dilation (kernel - 1) - 1) / stride) + 1``.

    Raises
    ------
    ValueError
        If the kernel does not fit its padded input.
    """
    in_spatial, kernel, stride, padding, dilation = _normalise(in_spatial, kernel, stride, padding, dilation)
    padded = tuple(n + before + after for n, (before, after) in zip(in_spatial, padding))
    spans = tuple(map(_span, kernel, dilation))
    if any(span > n for span, n in zip(spans, padded)):
        raise ValueError(_does_not_fit(in_spatial, padded, kernel, dilation, spans))
    return tuple((n - span) // step + 1 for n, span, step in zip(padded, spans, stride))


def conv_transpose_output_shape(in_spatial, kernel, stride=1, padding=0, dilation=1, output_padding=0):
    """Spatial shape of a transposed convolution's output,
    ``(in - 1) stride - padding + dilation (kernel - 1) + output_padding + 1``; with ``"same"`` padding, ``in stride``.

    Raises
    ------
    ValueError
        If nothing is left of the output, or if an output_padding is as large as both the stride and the dilation: such
        outputs could not be told from those of a larger input.
    """
    rank = len(in_spatial)
    kernel, stride, dilation = _window_parameters(rank, kernel, stride, dilation)
    output_padding = per_axis(output_padding, rank, "output_padding", 0)
    for extra, step, spread in zip(output_padding, stride, dilation):
        if extra >= max(step, spread):
            raise ValueError(
                f"output_padding must be less than the stride or the dilation, got {_by(output_padding)} with stride "
                f"{_by(stride)} and dilation {_by(dilation)}"
            )
    padding = transposed_padding(padding, in_spatial, kernel, stride, dilation, output_padding)
    full = [
        (n - 1) * step + _span(size, spread) + extra
        for n, step, size, spread, extra in zip(in_spatial, stride, kernel, dilation, output_padding)
    ]
    out = tuple(n - before - after for n, (before, after) in zip(full, padding))
    if min(out, default=1) < 1:
        raise ValueError(
            f"padding {padding} leaves nothing of an output {_by(full)}; kernel {_by(kernel)}, stride {_by(stride)}, "
            f"input {_by(in_spatial)}"
        )
    return out


def transposed_padding(padding, in_spatial, kernel, stride, dilation, output_padding):
    """As `resolve_padding`, for a transposed convolution: ``"same"`` gives ``in stride`` outputs. Where the kernel is
    too short to reach them all, the padding after is negative: the output goes on beyond the last input's reach."""
    rank = len(in_spatial)
    kernel, stride, dilation = _window_parameters(rank, kernel, stride, dilation)
    if not (isinstance(padding, str) and padding == "same"):
        return resolve_padding(padding, in_spatial, kernel, stride, dilation)
    if any(per_axis(output_padding, rank, "output_padding", 0)):
        raise ValueError(f'padding "same" takes no output_padding, got {output_padding}')
    totals = [_span(size, spread) - step for step, size, spread in zip(stride, kernel, dilation)]
    return tuple((max(total, 0) // 2, total - max(total, 0) // 2) for total in totals)


def pool_output_shape(in_spatial, kernel, stride, padding=0, dilation=1, ceil_mode=False):
    """Spatial shape of a pooling's output.

    With `ceil_mode` the quotient is rounded up, but a last window that would start in the padding after is dropped
    (PyTorch's rule, and ONNX's since opset 19).

    Raises
    ------
    ValueError
        If no window fits, or if one would lie in the padding altogether.
    """
    in_spatial, kernel, stride, padding, dilation = _normalise(in_spatial, kernel, stride, padding, dilation)
    padded = tuple(n + before + after for n, (before, after) in zip(in_spatial, padding))
    spans = tuple(map(_span, kernel, dilation))
    out = []
    for n, whole, span, step, (before, _) in zip(in_spatial, padded, spans, stride, padding):
        size = (whole - span + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (size - 1) * step >= n + before:
            size -= 1
        out.append(size)
    if min(out, default=1) < 1:
        raise ValueError(_does_not_fit(in_spatial, padded, kernel, dilation, spans))
    axes = zip(in_spatial, out, kernel, stride, dilation, padding)
    if not all(_reads_everywhere(n, o, k, s, d, before) for n, o, k, s, d, (before, _) in axes):
        raise ValueError(
            f"padding {padding} is too large: a window {_by(kernel)} would hold nothing but padding; use a padding "
            f"smaller than the kernel"
        )
    return tuple(out)


def window(in_spatial, out_spatial, kernel, stride, dilation, before):
    """A sliding window as ``_kernels`` takes it: (in, out, kernel, stride, dilation, before), each three integers for
    depth, height and width; a lower rank has leading ones, and leading zeros in `before`."""
    sizes = (in_spatial, out_spatial, kernel, stride, dilation)
    return (*(_three(s, 1) for s in sizes), _three(before, 0))


def sections_of(sections, out_spatial):
    """Into how many sections the positions of each axis are cut.

    Parameters
    ----------
    sections : int, sequence of int, or None
        None stands for as many as there are positions.
    out_spatial : tuple of int
    """
    if sections is None:
        return tuple(out_spatial)
    values = per_axis(sections, len(out_spatial), "sections")
    if any(parts > n for parts, n in zip(values, out_spatial)):
        raise ValueError(f"sections {_by(values)} are more than the positions of the output, {_by(out_spatial)}")
    return values


def three_axes(sizes):
    """Sizes of spatial axes as ``_kernels`` takes them: depth, height and width."""
    return _three(sizes, 1)


def check_size(shape, what):
    """The number of elements of a tensor, if 64-bit offsets can reach them all.

    Raises
    ------
    ValueError
        If the bytes of the tensor, in float64, are more than 2**62.
    """
    size = 1
    for n in shape:
        size *= n
    if size * 8 > LARGEST_BYTES:
        raise ValueError(f"{what} of shape {_by(shape)} is too large: it has {size} elements")
    return size


def as_tensor(x, dtype, what, rank=None):
    """Any array-like as an aligned, C-contiguous, native array of the given float dtype; copied only where it is not.

    Parameters
    ----------
    x : array_like
        Real numbers or bools.
    dtype : numpy.dtype
    what : str
        How an error names the array.
    rank : int or tuple of int, optional
        The number of axes it must have, or may have.

    Raises
    ------
    TypeError
        If `x` holds anything but real numbers: complex numbers, strings, objects.
    ValueError
        If it has another number of axes, or rows of different lengths.
    """
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{what} is not an array: {error}") from None
    if x.dtype.kind not in "biuf":
        raise TypeError(f"{what} must hold real numbers, got dtype {x.dtype}")
    ranks = rank if isinstance(rank, tuple) else (rank,)
    if rank is not None and x.ndim not in ranks:
        raise ValueError(f"{what} must have {' or '.join(map(str, ranks))} axes, got shape {x.shape}")
    return np.require(x, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def _is_sequence(value):
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _pair(padding):
    """(before, after) of one axis, from an integer or a pair."""
    if not _is_sequence(padding):
        return (integer(padding, "padding", 0),) * 2
    if len(padding) != 2:
        raise ValueError(f"a padding pair is (before, after), got {padding!r}")
    return tuple(integer(p, "padding", 0) for p in padding)


def _same_padding(n, kernel, stride, dilation):
    total = max(0, dilation * (kernel - 1) - (n - 1) % stride)
    return total // 2, total - total // 2


def _window_parameters(rank, kernel, stride, dilation):
    return per_axis(kernel, rank, "kernel_size"), per_axis(stride, rank, "stride"), per_axis(dilation, rank, "dilation")


def _normalise(in_spatial, kernel, stride, padding, dilation):
    rank = len(in_spatial)
    in_spatial = per_axis(tuple(in_spatial), rank, "a spatial size")
    kernel, stride, dilation = _window_parameters(rank, kernel, stride, dilation)
    return in_spatial, kernel, stride, resolve_padding(padding, in_spatial, kernel, stride, dilation), dilation


def _span(kernel, dilation):
    """From a kernel's first tap to its last."""
    return dilation * (kernel - 1) + 1


def _reads_everywhere(n, out, kernel, stride, dilation, before):
    """Whether each of `out` windows along an axis has a tap among its n inputs."""
    if (out - 1) * stride - before >= n or before >= _span(kernel, dilation):
        return False
    if dilation <= n:
        return True
    # Windows that begin in the padding; where their taps fall repeats after dilation / gcd(stride, dilation) of them.
    hanging = range(-before, min(0, out * stride - before), stride)[: dilation // math.gcd(stride, dilation)]
    return all(start + _ceil_div(-start, dilation) * dilation < n for start in hanging)


def _ceil_div(a, b):
    return -(-a // b)


def _does_not_fit(in_spatial, padded, kernel, dilation, spans):
    dilated = f" dilated to {_by(spans)}" if spans != kernel else ""
    wide = f" padded to {_by(padded)}" if padded != in_spatial else ""
    most = tuple((n - 1) // d + 1 for n, d in zip(padded, dilation))
    return (
        f"kernel {_by(kernel)}{dilated} does not fit its input {_by(in_spatial)}{wide}; "
        f"pad it or use a kernel of at most {_by(most)}"
    )


def _by(sizes):
    return "x".join(map(str, sizes))


def _three(sizes, missing):
    return (missing,) * (3 - len(sizes)) + tuple(sizes)
