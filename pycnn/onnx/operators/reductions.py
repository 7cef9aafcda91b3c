"""Reductions along axes."""

from __future__ import annotations

from math import prod

from ... import layers as L
from .. import folding

GLOBAL = {"mean": L.GlobalAvgPool, "max": L.GlobalMaxPool}      # over all positions


def reduction(kind):
    def function(g, x, given=None, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = folding.axes_of(given, axes, x.rank)
        if not axes:
            if noop_with_empty_axes:
                return g.operator("Identity", x)
            axes = range(x.rank)
        gone = sorted({x.axis(axis) for axis in axes})
        shape = tuple(1 if i in gone else n for i, n in enumerate(x.sample) if keepdims or i not in gone)
        return g.flow(reduced(g, x, kind, gone), x, shape)
    return function


def reduced(g, x, kind, gone):
    """The node of what is left of a sample."""
    sample = x.sample
    if kind in GLOBAL and 2 <= len(sample) <= 4 and gone == list(range(1, len(sample))):
        return g.apply(GLOBAL[kind](name=g.name()), g.natural(x))
    parts = []      # (whether it is reduced, size) of neighbouring axes
    for i, n in enumerate(sample):
        if parts and parts[-1][0] == (i in gone):
            parts[-1] = (i in gone, parts[-1][1] * n)
        else:
            parts.append((i in gone, n))
    shape, axes = ((sample, gone) if len(sample) <= 4 else
                   ([n for _, n in parts], [i for i, (away, _) in enumerate(parts) if away]))
    if prod(shape[axis] for axis in axes) == 1:
        return x.node
    return g.apply(L.Reduce(kind, tuple(axes), name=g.name()), g.shaped(x, shape))


OPERATORS = {f"Reduce{kind.capitalize()}": reduction(kind) for kind in ("max", "mean", "min", "sum")}
