"""Local connections: a convolution with weights of its own in each section of positions."""

import numpy as np

from .conv import conv_backward_data, conv_backward_weights, conv_forward
from .geometry import check_gradient, conv_output_shape, crop, per_axis, reach, resolve_padding, surround


def _pieces(x, w, stride, padding, dilation):
    """(x with its padding around it, padding before, shape of y's positions, [(section, positions of y, what of x they
    read)])."""
    rank = x.ndim - 2
    if w.ndim != 2 + 2 * rank or w.shape[1 + rank] != x.shape[1]:
        raise ValueError(f"w must be (K, *sections, C, *kernel) for x {x.shape}; got {w.shape}")
    sections, kernel = w.shape[1 : 1 + rank], w.shape[2 + rank :]
    stride, dilation = per_axis(stride, rank, "stride"), per_axis(dilation, rank, "dilation")
    out = conv_output_shape(x.shape[2:], kernel, stride, padding, dilation)
    if any(parts > n for parts, n in zip(sections, out)):
        raise ValueError(f"{sections} sections are more than the positions of the output, {out}")
    before = tuple(pad[0] for pad in resolve_padding(padding, x.shape[2:], kernel, stride, dilation))
    padded = surround(x, before, reach(kernel, out, stride, dilation))
    pieces = []
    for section in np.ndindex(*sections):
        begins = [n * i // parts for n, i, parts in zip(out, section, sections)]
        ends = [n * (i + 1) // parts for n, i, parts in zip(out, section, sections)]
        read = reach(kernel, [end - begin for begin, end in zip(begins, ends)], stride, dilation)
        positions = (..., *map(slice, begins, ends))
        source = (..., *(slice(b * s, b * s + length) for b, s, length in zip(begins, stride, read)))
        pieces.append((section, positions, source))
    return padded, before, out, pieces


def local_conv_forward(x, w, b=None, *, stride=1, padding=0, dilation=1):
    """Convolution whose weights are those of the section s of each position.

    y[n, k, q] = b[k, s] + sum_c,t w[k, s, c, t] x[n, c, stride q + dilation t - before]. Of m positions along an axis,
    cut into p sections, section i has those from m i // p up to m (i + 1) // p.

    Parameters
    ----------
    x : array (N, C, *S)
    w : array (K, *sections, C, *kernel)
    b : array (K, *sections), optional
    stride, dilation : int, or a tuple with one for each spatial axis
    padding : see `resolve_padding`

    Returns
    -------
    y : array (N, K, *out), see `conv_output_shape`

    Raises
    ------
    ValueError
        If the shapes do not belong together, or there are more sections than positions.
    """
    padded, _, out, pieces = _pieces(x, w, stride, padding, dilation)
    y = np.zeros((len(x), len(w), *out), x.dtype)
    for section, positions, source in pieces:
        of_section = (slice(None), *section)
        y[positions] = conv_forward(padded[source], w[of_section], None if b is None else b[of_section], stride=stride,
                                    dilation=dilation)
    return y


def local_conv_backward(dy, x, w, *, stride=1, padding=0, dilation=1):
    """Gradients of `local_conv_forward`: dx, dw and db, of the shapes of x, w and b.

    Each section is a convolution of its own; to what several of them read, their gradients add up.
    """
    padded, before, out, pieces = _pieces(x, w, stride, padding, dilation)
    check_gradient(dy, (len(x), len(w), *out))
    dx, dw, db = np.zeros_like(padded), np.zeros_like(w), np.zeros(w.shape[: 1 + len(out)], w.dtype)
    for section, positions, source in pieces:
        of_section = (slice(None), *section)
        weights = w[of_section]
        dx[source] += conv_backward_data(dy[positions], weights, padded[source].shape, stride=stride, dilation=dilation)
        dw[of_section], db[of_section] = conv_backward_weights(
            dy[positions], padded[source], weights.shape, stride=stride, dilation=dilation)
    return crop(dx, before, x.shape[2:]), dw, db
