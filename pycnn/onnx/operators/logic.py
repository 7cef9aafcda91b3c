"""Comparisons, and choices by them. What is true is 1, what is false is 0."""

from __future__ import annotations

import numpy as np

from ... import layers as L
from ..flows import Flow
from .arithmetic import pair


def comparison(kind):
    return lambda g, a, b: pair(g, kind, a, b)


def negation(g, x):
    return pair(g, "equal", x, np.zeros(1))


def where(g, condition, a, b):
    rank = max(x.rank if isinstance(x, Flow) else np.ndim(x) for x in (condition, a, b))
    flows = [g.stretched(x, rank) for x in (condition, a, b)]
    sample = np.broadcast_shapes(*(x.sample for x in flows))
    if len(sample) > 4:
        raise ValueError(f"tensors of shape {sample} have more than the 4 axes that are supported here")
    node = g.apply(L.Where(name=g.name()), *(g.shaped(x, x.sample or (1,)) for x in flows))
    return g.flow(node, flows[0], sample)


OPERATORS = {
    "And": comparison("min"),
    "Equal": comparison("equal"),
    "Greater": comparison("greater"),
    "GreaterOrEqual": comparison("greater_equal"),
    "Less": comparison("less"),
    "LessOrEqual": comparison("less_equal"),
    "Not": negation,
    "Or": comparison("max"),
    "Where": where,
}
