"""Pooling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from ... import layers as L
from .. import folding
from ..flows import Flow
from ..sizes import MixesSamples, Size
from .windows import explicit_padding


def pooled(g, x, make, kernel_shape, strides, dilations, pads, auto_pad):
    """The flow of ``make(kernel, strides, padding, dilations)``."""
    node = g.maps(x)
    strides, dilations, padding = explicit_padding(node.shape[1:], kernel_shape, strides, dilations, pads, auto_pad)
    return g.of_maps(g.apply(make(tuple(kernel_shape), strides, padding, dilations), node), x)


@dataclass(frozen=True, eq=False)
class Places(Flow):
    """Where the maxima lay that a pooling found: `pooled` is what it read, `pool` what makes its layer."""

    pooled: Flow | None = None
    window: tuple = ()


def max_pool(g, x, kernel_shape, strides=None, dilations=None, pads=None, auto_pad="NOTSET", ceil_mode=0,
             storage_order=0):
    found = []

    def make(kernel, stride, padding, dilation):
        found.append((kernel, stride, padding, dilation))
        return L.MaxPool(kernel, stride, padding, dilation, bool(ceil_mode), name=g.name())

    y = pooled(g, x, make, kernel_shape, strides, dilations, pads, auto_pad)
    if not any(g.operation.outputs[1:]):
        return y
    window, node = found[0], y.node
    if g.is_read_by_others(g.operation.outputs[1], "MaxUnpool"):
        if x.batched and g.batch != 1:
            raise MixesSamples("places of maxima are counted over all samples of a batch")
        node = g.apply(L.MaxPoolPlaces(*window, bool(ceil_mode), bool(storage_order)), g.maps(x))
    return y, Places(node, y.sample, y.batched, 1, x, (*window, ceil_mode))


def max_unpool(g, x, places, output_shape=None, kernel_shape=None, strides=None, pads=None):
    shape = None if output_shape is None else folding.sizes(output_shape)
    if isinstance(places, Places):
        kernel, stride, padding, dilation, ceil_mode = places.window
        whole = [1 if isinstance(n, Size) else n for n in places.pooled.shape]
        if max(dilation, default=1) > 1 or ceil_mode or shape is not None and shape[1:] != whole[1:]:
            raise ValueError("only what pooling without dilation or ceil_mode read can be made again, in its own shape")
        layer = L.MaxUnpool(kernel, stride, padding, name=g.name())
        return g.of_maps(g.apply(layer, g.maps(x), g.maps(places.pooled)), x)
    if isinstance(places, Flow):
        raise ValueError("places must be those of a MaxPool, or known")
    if x.batched:
        raise MixesSamples("places of maxima are counted over all samples of a batch")
    rank = len(x.sample) - 2
    strides, pads = strides or [1] * rank, pads or [0] * (2 * rank)
    sizes = zip(x.sample[2:], kernel_shape, strides, pads[:rank], pads[rank:])
    least = [(n - 1) * s + k - before - after for n, k, s, before, after in sizes]
    shape, least = shape or [*x.sample[:2], *least], [*x.sample[:2], *least]
    folding.few(prod(folding.limited(shape)))
    at = np.unravel_index(np.asarray(places, np.int64).ravel(), least)      # where they lie without an output_shape
    source = np.full(prod(shape), prod(x.sample))
    source[np.ravel_multi_index(at, shape)] = np.arange(prod(x.sample))
    zero = g.flowing(np.zeros(1))
    flat = g.apply(L.Concat(), g.shaped(x, (prod(x.sample),)), zero.node)
    return g.flow(g.apply(L.Take(source, name=g.name()), flat), x, shape)


def average_pool(g, x, kernel_shape, strides=None, dilations=None, pads=None, auto_pad="NOTSET", ceil_mode=0,
                 count_include_pad=0):
    def make(kernel, stride, padding, dilation):
        return L.AvgPool(kernel, stride, padding, bool(ceil_mode), bool(count_include_pad), dilation, name=g.name())

    return pooled(g, x, make, kernel_shape, strides, dilations, pads, auto_pad)


def lp_pool(g, x, kernel_shape, p=2, strides=None, dilations=None, pads=None, auto_pad="NOTSET", ceil_mode=0):
    def make(kernel, stride, padding, dilation):
        return L.LPPool(p, kernel, stride, padding, bool(ceil_mode), dilation, name=g.name())

    return pooled(g, x, make, kernel_shape, strides, dilations, pads, auto_pad)


def global_pool(g, x, make):
    node = g.maps(x)
    ones = (1,) * (len(node.shape) - 1)
    if ones:
        node = g.apply(make(node.shape[1:]), node)
    return g.flow(node, x, (1,) * (not x.batched) + (node.shape[0], *ones))


def global_average_pool(g, x):
    return global_pool(g, x, lambda _: L.GlobalAvgPool(name=g.name()))


def global_max_pool(g, x):
    return global_pool(g, x, lambda _: L.GlobalMaxPool(name=g.name()))


def global_lp_pool(g, x, p=2):
    return global_pool(g, x, partial(L.LPPool, p, name=g.name()))


OPERATORS = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_max_pool,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
}
