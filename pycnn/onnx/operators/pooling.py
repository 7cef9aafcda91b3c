"""Pooling."""

from __future__ import annotations

from functools import partial

from ... import layers as L
from .windows import explicit_padding


def pooled(g, x, make, kernel_shape, strides, dilations, pads, auto_pad):
    """The flow of ``make(kernel, strides, padding, dilations)``."""
    node = g.maps(x)
    strides, dilations, padding = explicit_padding(node.shape[1:], kernel_shape, strides, dilations, pads, auto_pad)
    return g.of_maps(g.apply(make(tuple(kernel_shape), strides, padding, dilations), node), x)


def max_pool(g, x, kernel_shape, strides=None, dilations=None, pads=None, auto_pad="NOTSET", ceil_mode=0, storage_order=0):
    def make(kernel, stride, padding, dilation):
        return L.MaxPool(kernel, stride, padding, dilation, bool(ceil_mode), name=g.name())

    return pooled(g, x, make, kernel_shape, strides, dilations, pads, auto_pad)


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
}
