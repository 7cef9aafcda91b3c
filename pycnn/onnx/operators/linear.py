"""Convolutions and matrix products."""

from __future__ import annotations

import numpy as np

from ... import layers as L
from ..flows import Flow, given
from ..sizes import MixesSamples
from .windows import check_sizes, explicit_padding


def weights(value, what):
    """A tensor that becomes a parameter."""
    if isinstance(value, Flow):
        raise ValueError(f"its {what} depends on the inputs of the network; only known ones are supported")
    value = np.asarray(value)
    if value.dtype.kind in "OSUc":
        raise ValueError(f"its {what} must hold real numbers, got the type {value.dtype}")
    return value if value.dtype.kind in "biuf" else value.astype(np.float32)


def linear(g, node, make, weight, bias):
    """The node ``make(weight, bias)(node)``, which can be made again with its maps scaled and shifted."""
    name = g.name()

    def made(w, b):
        layer = make(bias=b is not None, weight_init=given(w), bias_init="zeros" if b is None else given(b), name=name)
        new = g.apply(layer, node)
        g.affine[new] = lambda scale=None, shift=None: made(*scaled(w, b, scale, shift))
        return new

    return made(weight, bias)


def scaled(w, b, scale, shift):
    """Weight and bias of ``scale (w x + b) + shift``, map by map; None stands for 1, and for 0."""
    if scale is not None:
        w = w * scale.reshape(-1, *[1] * (w.ndim - 1)).astype(w.dtype)
        b = None if b is None else b * scale
    if shift is not None:
        b = shift if b is None else b + shift
    return w, b


def check_filters(w, b, x, maps):
    """ValueError unless the weights are those of a convolution over x."""
    if w.ndim != x.rank:
        raise ValueError(f"weights of shape {w.shape} do not fit an input of shape {x.shape}")
    if b is not None and b.shape != (maps,):
        raise ValueError(f"a bias of shape {b.shape} does not fit {maps} maps")


def conv(g, x, w, b=None, kernel_shape=None, strides=None, dilations=None, pads=None, group=1, auto_pad="NOTSET"):
    w, b = weights(w, "weight"), None if b is None else weights(b, "bias")
    check_filters(w, b, x, w.shape[0])
    node, kernel = g.maps(x), w.shape[2:]
    if kernel_shape is not None and tuple(kernel_shape) != kernel:
        raise ValueError(f"kernel_shape {kernel_shape} is not that of the weights of shape {w.shape}")
    channels = node.shape[0]
    if w.shape[1] * group != channels:
        raise ValueError(f"weights of shape {w.shape} in {group} groups do not fit the {channels} channels of the "
                         f"input")
    strides, dilations, padding = explicit_padding(node.shape[1:], kernel, strides, dilations, pads, auto_pad)

    def make(**given_values):
        return L.Conv(w.shape[0], kernel, strides, padding, dilations, group, **given_values)

    return g.of_maps(linear(g, node, make, w, b), x)


def conv_transpose(g, x, w, b=None, kernel_shape=None, strides=None, dilations=None, pads=None, group=1,
                   auto_pad="NOTSET", output_padding=None, output_shape=None):
    w, b = weights(w, "weight"), None if b is None else weights(b, "bias")
    maps = w.shape[1] * group if w.ndim > 1 else 0
    check_filters(w, b, x, maps)
    check_sizes(strides=strides, dilations=dilations, pads=pads, output_padding=output_padding,
                output_shape=output_shape)
    node, kernel = g.maps(x), w.shape[2:]
    spatial, rank = node.shape[1:], len(kernel)
    if w.shape[0] != node.shape[0]:
        raise ValueError(f"weights of shape {w.shape} do not fit the {node.shape[0]} channels of the input")
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    extra = list(output_padding or [0] * rank)
    reach = [s * (n - 1) + e + d * (k - 1) + 1 for n, k, s, d, e in zip(spatial, kernel, strides, dilations, extra)]
    if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        target = [n * s for n, s in zip(spatial, strides)] if output_shape is None else list(output_shape)[-rank:]
        pairs = []
        for i, (whole, wanted) in enumerate(zip(reach, target)):
            total = whole - wanted
            if total < 0:
                extra[i], total = extra[i] - total, 0
            less = total // 2
            pairs.append((less, total - less) if auto_pad == "SAME_UPPER" else (total - less, less))
    else:
        pads = list(pads or [0] * (2 * rank))
        pairs = list(zip(pads[:rank], pads[rank:]))
    beyond = [max(0, e - max(s, d) + 1) for e, s, d in zip(extra, strides, dilations)]
    layer = L.ConvTranspose(maps, kernel, tuple(strides), tuple(pairs), tuple(e - o for e, o in zip(extra, beyond)),
                            tuple(dilations), group, b is not None and not any(beyond), weight_init=given(w),
                            bias_init="zeros" if b is None else given(b), name=g.name())
    node = g.apply(layer, node)
    if any(beyond):     # positions that no value of the input reaches
        node = g.apply(L.Pad(tuple((0, o) for o in beyond)), node)
        if b is not None:
            node = g.apply(L.Conv(maps, 1, groups=maps, weight_init="ones", bias_init=given(b)), node)
    return g.of_maps(node, x)


def dense(g, x, w, b):
    """x W' + b of vectors, w being ``(units, C)``."""
    return g.flow(linear(g, g.shaped(x, x.sample), lambda **given_values: L.Dense(len(w), **given_values), w, b), x)


def gemm(g, a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=None):
    rows_are_samples = isinstance(a, Flow) and a.batched and len(a.sample) == 1
    if rows_are_samples and not transA and not isinstance(b, Flow) and not isinstance(c, Flow):
        w = np.asarray(b if transB else np.transpose(b))
        if w.ndim != 2 or w.shape[1] != a.sample[0]:
            raise ValueError(f"a matrix of shape {np.shape(b)} does not fit an input of shape {a.shape}")
        if c is not None and c.ndim == 2 and len(c) > 1:
            raise MixesSamples(f"a constant of shape {c.shape} has a row for each sample")
        bias = None if c is None else np.broadcast_to(c.reshape(c.shape[-1:]), len(w)) * c.dtype.type(beta)
        return dense(g, a, w if alpha == 1 else w * w.dtype.type(alpha), bias)
    y = matmul(g, *(g.operator("Transpose", m) if swap else m for m, swap in ((a, transA), (b, transB))))
    y = y if alpha == 1 else g.operator("Mul", y, np.float64(alpha))
    if c is None:
        return y
    return g.operator("Add", y, c if beta == 1 else g.operator("Mul", c, np.float64(beta)))


def matmul(g, a, b):
    if isinstance(a, Flow) and a.batched and len(a.sample) == 1 and not isinstance(b, Flow) and b.ndim in (1, 2):
        if b.shape[0] != a.sample[0]:
            raise ValueError(f"a matrix of shape {b.shape} does not fit an input of shape {a.shape}")
        y = dense(g, a, b.T.reshape(-1, b.shape[0]), None)
        return y if b.ndim == 2 else g.flow(y.node, y, ())
    ranks = [m.rank if isinstance(m, Flow) else m.ndim for m in (a, b)]
    if 0 in ranks:
        raise ValueError("a single number is no matrix")
    row, column = ranks[0] == 1, ranks[1] == 1
    rank = max(*ranks, 2)
    a, b = g.stretched(a, rank), g.stretched(g.operator("Unsqueeze", b, np.array([1])) if column else b, rank)
    if min(len(a.sample), len(b.sample)) < 2:
        raise MixesSamples("a matrix has samples as its rows")
    shape = (*np.broadcast_shapes(a.sample[:-2], b.sample[:-2]), a.sample[-2], b.sample[-1])
    lead = g.merged(a.sample[:-2], b.sample[:-2], 2)
    node = g.apply(L.MatMul(name=g.name()), *(g.shaped(m, (*of, *m.sample[-2:])) for m, of in zip((a, b), lead)))
    shape = shape[:-1] if column else shape
    return g.flow(node, a, (*shape[:-2], *shape[-1:]) if row and not column else shape[:-1] if row else shape)


OPERATORS = {"Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": matmul}
