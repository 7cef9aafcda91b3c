"""Local connections: a convolution with weights of its own in each section of positions."""

from .. import shapes
from .._kernels import SAMPLES
from . import programs


def _checked(x, w, stride, padding, dilation, *others):
    """(x, w, shape of y, descriptor), the last as ``_kernels`` takes it."""
    dtype = programs.dtype_of(x, w, *others)
    x = programs.tensor(x, dtype, "x")
    rank = x.ndim - 2
    w = shapes.as_tensor(w, dtype, "w", 2 + 2 * rank)
    (n, c, *size), k, sections, kernel = x.shape, len(w), w.shape[1 : 1 + rank], w.shape[2 + rank :]
    if 0 in w.shape:
        raise ValueError(f"w must not be empty, got shape {w.shape}")
    if w.shape[1 + rank] != c:
        raise ValueError(f"w {w.shape}, (K, *sections, C, *kernel), reads {w.shape[1 + rank]} channels; x has {c}")
    stride, dilation = shapes.per_axis(stride, rank, "stride"), shapes.per_axis(dilation, rank, "dilation")
    padding = shapes.resolve_padding(padding, size, kernel, stride, dilation)
    out = shapes.conv_output_shape(size, kernel, stride, padding, dilation)
    sections = shapes.three_axes(shapes.sections_of(sections, out))
    shapes.check_size((n, k, *out), "the output")
    window = shapes.window(size, out, kernel, stride, dilation, [before for before, _ in padding])
    return x, w, (n, k, *out), (n, c, k, window, sections)


def local_conv_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    """Convolution whose weights are those of the section s of each position.

    y[n, k, q] = b[k, s] + sum_c,t w[k, s, c, t] x[n, c, stride q + dilation t - before]. Of m positions along an axis,
    cut into p sections, section i has those from ``m i // p`` up to ``m (i + 1) // p``.

    Parameters
    ----------
    x : array_like (N, C, *S)
    w : array_like (K, *sections, C, *kernel)
    b : array_like (K, *sections), optional
    stride, dilation : int or tuple of int
    padding : int, tuple of int, tuple of (before, after), "same" or "valid"

    Returns
    -------
    y : ndarray (N, K, *out)

    Raises
    ------
    ValueError
        If the shapes do not belong together, the kernel does not fit, or there are more sections than positions.
    """
    x, w, y_shape, local = _checked(x, w, stride, padding, dilation, *programs.given(b))
    b_shape = w.shape[: x.ndim - 1]
    b = None if b is None else programs.tensor_of(b, x.dtype, "b", b_shape)

    def lay_out(p):
        source, weights = p.read(x.shape, SAMPLES), p.read(w.shape)
        bias, y = 0 if b is None else p.read(b_shape), p.tensor(y_shape, SAMPLES)
        p.program.local_forward(local, programs.IDENTITY, source, weights, bias, y)
        p.write(y, y_shape, SAMPLES)

    key = (local, b is None)
    return programs.run("local_conv_forward", key, lay_out, x.dtype, programs.given(x, w, b), [(y_shape, x.dtype)])[0]


def local_conv_backward(dy, x, w, *, stride=1, padding=0, dilation=1):
    """Gradients of `local_conv_forward`: dx, dw and db, of the shapes of x, w and b."""
    x, w, y_shape, local = _checked(x, w, stride, padding, dilation, dy)
    dy, b_shape = programs.tensor_of(dy, x.dtype, "dy", y_shape), w.shape[: x.ndim - 1]

    def lay_out(p):
        gradient, source = p.read(y_shape, SAMPLES, gradient=True), p.read(x.shape, SAMPLES)
        weights, dx, dw, db = p.read(w.shape), p.tensor(x.shape, SAMPLES), p.memory(w.size), p.tensor(b_shape)
        p.program.local_backward_data(local, programs.IDENTITY, gradient, weights, 0, dx)
        p.program.local_backward_weights(local, False, None, gradient, source, dw, db)
        p.write(dx, x.shape, SAMPLES)
        p.write(dw, w.shape)
        p.write(db, b_shape)

    results = [(a, x.dtype) for a in (x.shape, w.shape, b_shape)]
    return tuple(programs.run("local_conv_backward", local, lay_out, x.dtype, [dy, x, w], results))
