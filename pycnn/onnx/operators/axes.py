"""Tensors looked at in another shape, with their axes in another order, joined and taken apart."""

from __future__ import annotations

from math import prod

import numpy as np

from ... import layers as L
from .. import folding
from ..flows import Flow, axis_number, given
from ..sizes import BATCH, MixesSamples, Size, vector


def identity(g, x, consumed_inputs=None):
    return g.flow(x.node, x, x.sample)


def shape_of(g, x, start=0, end=None):
    return vector(x.shape[start:end])


def size_of(g, x):
    return np.array(prod(x.sample)) if not x.batched else vector([BATCH * prod(x.sample)]).reshape(())


def reshape(g, x, shape=None, allowzero=0, consumed_inputs=None, **attributes):
    target = attributes.pop("shape", None) if shape is None else folding.sizes(shape)
    if attributes or target is None:
        raise ValueError(f"unknown attributes {', '.join(attributes)}" if attributes else "its shape is missing")
    target = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(target)]
    if not x.batched:
        return viewed(g, x, full_shape(target, prod(x.sample)))
    if not target:
        raise MixesSamples("a number has no axis for the samples")
    first, rest = target[0], target[1:]
    of_each = isinstance(first, Size) and first == BATCH or first == -1 or g.batch is not None and first == g.batch
    if not of_each or any(isinstance(n, Size) for n in rest) or first == -1 and prod(rest) != prod(x.sample):
        raise MixesSamples(f"the shape {target} does not keep the samples of an input of shape {x.shape}")
    return viewed(g, x, full_shape(rest, prod(x.sample)))


def full_shape(shape, size):
    """A shape whose -1 is found out."""
    known = prod(n for n in shape if n != -1)
    fits = known > 0 and (size % known == 0 if -1 in shape else size == known)
    if not fits or shape.count(-1) > 1 or any(n < -1 for n in shape):
        raise ValueError(f"{size} values do not fill the shape {tuple(shape)}")
    return tuple(size // known if n == -1 else n for n in shape)


def viewed(g, x, sample):
    """The same values in another shape."""
    new = g.flow(x.node, x, sample)
    return g.flow(g.natural(new), x, sample)


def flatten(g, x, axis=1):
    axis = axis_number(axis, x.rank + 1) if axis >= 0 else axis_number(axis, x.rank)
    if not x.batched:
        return viewed(g, x, (prod(x.sample[:axis]), prod(x.sample[axis:])))
    if axis != 1:
        raise MixesSamples(f"axis {axis} leaves no axis for the samples")
    size = prod(x.sample)
    flat = x.node if x.node.shape == (size,) else g.apply(L.Flatten(name=g.name()), x.node)
    return g.flow(flat, x)


def squeeze(g, x, given_axes=None, axes=None):
    axes = folding.axes_of(given_axes, axes, x.rank)
    if axes is None:
        gone = [i for i, n in enumerate(x.sample) if n == 1]
    else:
        gone = [x.axis(axis) for axis in axes]
    if any(x.sample[i] != 1 for i in gone):
        raise ValueError(f"axes {axes} of a tensor of shape {x.shape} are not all of size 1")
    return viewed(g, x, [n for i, n in enumerate(x.sample) if i not in gone])


def unsqueeze(g, x, given_axes=None, axes=None):
    axes = axes if given_axes is None else np.asarray(given_axes).ravel().tolist()
    shape = folding.with_ones(x.shape, axes)
    if x.batched and shape[0] != BATCH:
        raise MixesSamples("a new axis 0 moves the samples")
    return viewed(g, x, shape[x.batched :])


def transpose(g, x, perm=None):
    perm = list(range(x.rank))[::-1] if perm is None else [axis_number(axis, x.rank) for axis in perm]
    if sorted(perm) != list(range(x.rank)):
        raise ValueError(f"perm {perm} does not put the {x.rank} axes of the input in order")
    if x.batched and perm[0] != 0:
        raise MixesSamples("it moves axis 0, which holds the samples of a batch")
    axes = [axis - 1 for axis in perm[1:]] if x.batched else perm
    return permuted(g, x, axes)


def permuted(g, x, axes):
    """The axes of the sample in another order."""
    result = [x.sample[axis] for axis in axes]
    moved = [axis for axis in axes if x.sample[axis] > 1]
    if moved == sorted(moved):
        return viewed(g, x, result)
    if len(axes) <= 4:
        return g.flow(g.apply(L.Permute(tuple(axes), name=g.name()), g.natural(x)), x)
    order, node, i = sorted(moved), x.node, 0
    while i < len(moved):       # the axes that belong to place i, moved before all that are there
        j = end = order.index(moved[i])
        while end < len(order) and order[end : end + 1] == moved[i + end - j : i + end - j + 1]:
            end += 1
        if j > i:
            parts = order[:i], order[i:j], order[j:end], order[end:]
            shape = [prod(x.sample[axis] for axis in part) for part in parts]
            node = g.apply(L.Permute((0, 2, 1, 3), name=g.name()), g.shaped(g.flow(node, x), shape))
            order = [*order[:i], *order[j:end], *order[i:j], *order[end:]]
        i += end - j
    return g.flow(node, x, result)


def concat(g, *xs, axis=1):
    first = next(x for x in xs if isinstance(x, Flow))
    number = axis_number(axis, first.rank)
    at = first.axis(number)
    xs = [x for x in xs if isinstance(x, Flow) or x.size]
    if len(xs) == 1:
        return identity(g, first)
    xs = [x if isinstance(x, Flow) else g.flowing(x) for x in xs]
    before = first.sample[:at], first.sample[at + 1 :]
    if any((x.sample[:at], x.sample[at + 1 :]) != before for x in xs):
        shapes = ", ".join(str(x.shape) for x in xs)
        raise ValueError(f"tensors of shapes {shapes} do not agree in all axes but {number}")
    sample = (*first.sample[:at], sum(x.sample[at] for x in xs), *first.sample[at + 1 :])
    if len(sample) <= 4:
        return g.flow(g.apply(L.Concat(at, name=g.name()), *map(g.natural, xs)), first)
    outer = prod(sample[:at])
    nodes = [g.shaped(x, (outer, prod(x.sample[at:]))) for x in xs]
    return g.flow(g.apply(L.Concat(1, name=g.name()), *nodes), first, sample)


def along(g, x, at, make):
    """A layer ``make(axis)`` that works along one axis of the sample, and may change its size."""
    if len(x.sample) <= 4:
        return g.flow(g.apply(make(at), g.natural(x)), x)
    sample = x.sample
    node = g.apply(make(1), g.shaped(x, (prod(sample[:at]), sample[at], prod(sample[at + 1 :]))))
    return g.flow(node, x, (*sample[:at], node.shape[1], *sample[at + 1 :]))


def sliced(g, x, at, places):
    """A slice of one axis."""
    start, stop, step = places.indices(x.sample[at])
    if (start, stop, step) == (0, x.sample[at], 1):
        return x
    if not range(start, stop, step):
        return np.zeros((*(1,) * x.batched, *x.sample[:at], 0, *x.sample[at + 1 :]), np.float32)
    return along(g, x, at, lambda axis: L.Slice(start, None if stop < 0 else stop, step, axis, name=g.name()))


def slice_of(g, x, *given_values, **attributes):
    found = folding.slices(x.rank, *given_values, **attributes)
    if x.batched:
        if not all_samples(found[0]):
            raise MixesSamples("it takes some of the samples of a batch")
        found = found[1:]
    y = x
    for at, places in enumerate(found):
        y = sliced(g, y, at, places) if isinstance(y, Flow) else y[(slice(None),) * (at + x.batched) + (places,)]
    return y if y is not x else identity(g, x)


def all_samples(places):
    """Whether a slice takes a whole axis, however long."""
    start, stop, step = places.start, places.stop, places.step
    return start in (None, 0) and step in (None, 1) and (stop in (None, BATCH) or
                                                         not isinstance(stop, Size) and stop >= 2**31 - 1)


def split(g, x, given_sizes=None, axis=0, split=None, num_outputs=None):
    at = x.axis(axis)
    begin, pieces = 0, []
    for n in folding.split_sizes(x.sample[at], num_outputs, split if given_sizes is None else given_sizes):
        pieces.append(sliced(g, x, at, slice(begin, begin + n)))
        begin += n
    return tuple(pieces)


def gather(g, x, indices, axis=0):
    if not isinstance(x, Flow):
        return embedded(g, x, indices, axis)
    if isinstance(indices, Flow):
        raise ValueError("places that depend on the inputs of the network are not supported")
    at = x.axis(axis)
    folding.few(np.size(indices))
    flat = [int(i) for i in np.ravel(indices)]
    taken = along(g, x, at, lambda axis: L.Take(flat, axis, name=g.name()))
    return viewed(g, taken, (*x.sample[:at], *np.shape(indices), *x.sample[at + 1 :]))


def embedded(g, table, indices, axis):
    """Rows of a table, by numbers that flow."""
    if axis_number(axis, table.ndim) != 0 or table.ndim != 2:
        raise ValueError(f"rows of a matrix are supported, got axis {axis} of a table of shape {table.shape}")
    if len(indices.sample) > 3:
        raise ValueError(f"got indices of shape {indices.shape}, expects at most three axes beside the samples")
    layer = L.Embedding(*table.shape, weight_init=given(table), name=g.name())
    words = g.flow(g.apply(layer, g.natural(indices)), indices, (table.shape[1], *indices.sample))
    return permuted(g, words, [*range(1, len(words.sample)), 0])


def expand(g, x, shape):
    target = folding.sizes(shape)
    if len(target) > x.rank and x.batched:
        raise MixesSamples(f"a shape {target} with more axes than the input moves the samples")
    sample = (1,) * (len(target) - x.rank) + tuple(x.sample)
    target = [1] * (x.rank - len(target)) + target
    if x.batched:
        if not (target[0] == 1 or target[0] == BATCH or g.batch is not None and target[0] == g.batch):
            raise MixesSamples(f"the shape {target} does not keep the samples")
        target = target[1:]
    target = np.broadcast_shapes(sample, folding.limited(target))
    if target == sample:
        return viewed(g, x, sample)
    narrow, wide = g.merged(sample, target)
    return g.flow(g.apply(L.Expand(wide, name=g.name()), g.shaped(x, narrow)), x, target)


def rearranged(g, x, shape, axes, result):
    """Values looked at in one shape, put in order, and looked at in another."""
    return viewed(g, permuted(g, g.flow(x.node, x, shape), axes), result)


def depth_to_space(g, x, blocksize, mode="DCR"):
    *_, c, h, w = image = g.maps(x).shape
    r, depth = blocksize, c // blocksize**2
    if len(image) != 3 or c % r**2:
        raise ValueError(f"an input of shape {x.shape} does not divide into blocks of {r} x {r}")
    lead = () if x.batched else (1,)
    shape, axes = ((r, r, depth, h, w), (2, 3, 0, 4, 1)) if mode == "DCR" else ((depth, r, r, h, w), (0, 3, 1, 4, 2))
    y = rearranged(g, Flow(x.node, image, x.batched), shape, axes, (depth, h * r, w * r))
    return g.flow(y.node, x, (*lead, *y.sample))


def space_to_depth(g, x, blocksize, mode="DCR"):
    *_, c, h, w = image = g.maps(x).shape
    r = blocksize
    if len(image) != 3 or h % r or w % r:
        raise ValueError(f"an input of shape {x.shape} does not divide into blocks of {r} x {r}")
    lead = () if x.batched else (1,)
    axes = (2, 4, 0, 1, 3) if mode == "DCR" else (0, 2, 4, 1, 3)
    y = rearranged(g, Flow(x.node, image, x.batched), (c, h // r, r, w // r, r), axes, (c * r * r, h // r, w // r))
    return g.flow(y.node, x, (*lead, *y.sample))


def tile(g, x, repeats):
    repeats = [int(n) for n in np.ravel(repeats)]
    if len(repeats) != x.rank:
        raise ValueError(f"{len(repeats)} repeats for an input with {x.rank} axes")
    for axis, n in enumerate(repeats):
        if n != 1:
            at = x.axis(axis)
            shape, rest = prod(x.sample[:at]), prod(x.sample[at:])
            sample = folding.limited((*x.sample[:at], n * x.sample[at], *x.sample[at + 1 :]))
            wide = L.Expand((shape, n, rest), name=g.name())
            x = g.flow(g.apply(wide, g.shaped(x, (shape, 1, rest))), x, sample)
    return identity(g, x)


OPERATORS = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Identity": identity,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": size_of,
    "Slice": slice_of,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
