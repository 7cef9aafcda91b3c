"""Padding, resizing, and sampling at the positions of a grid."""

from __future__ import annotations

from math import prod

import numpy as np

from ... import layers as L
from .. import folding
from ..flows import axis_number
from ..sizes import BATCH, MixesSamples, Size
from .axes import along, sliced
from .linear import weights


def pad(g, x, pads=None, value=None, axes=None, mode="constant"):
    pads = [int(n) for n in np.ravel(weights(pads, "padding"))]
    value = 0.0 if value is None else float(np.reshape(weights(value, "value"), ()))
    axes = range(x.rank) if axes is None else [axis_number(int(axis), x.rank) for axis in np.ravel(axes)]
    if len(pads) != 2 * len(axes):
        raise ValueError(f"pads {pads} are not two for each of {len(axes)} axes")
    pairs = [(0, 0)] * len(x.sample)
    for axis, pair in zip(axes, zip(pads[: len(axes)], pads[len(axes) :])):
        if pair != (0, 0):
            pairs[x.axis(axis)] = pair
    for at, (before, after) in enumerate(pairs):
        if min(before, after) < 0:
            n = x.sample[at]
            x = sliced(g, x, at, slice(max(0, -before), n + min(0, after)))
    pairs = [tuple(max(0, n) for n in pair) for pair in pairs]
    folding.limited([n + sum(pair) for n, pair in zip(x.sample, pairs)])
    takes = mode == "wrap" or mode == "reflect" and any(max(pair) >= n for n, pair in zip(x.sample, pairs))
    if 2 <= len(x.sample) <= 4 and pairs[0] == (0, 0) and not takes:
        return g.flow(g.apply(L.Pad(tuple(pairs[1:]), mode, value, name=g.name()), g.natural(x)), x)
    for at, pair in enumerate(pairs):
        if pair != (0, 0):
            x = padded(g, x, at, pair, mode, value, takes)
    return g.operator("Identity", x)


def padded(g, x, at, pair, mode, value, takes):
    """More positions along one axis."""
    if takes:
        folding.few(x.sample[at] + sum(pair))
        places = np.pad(np.arange(x.sample[at]), pair, mode)
        return along(g, x, at, lambda axis: L.Take(places, axis, name=g.name()))
    shape = [prod(x.sample[:at]), x.sample[at], prod(x.sample[at + 1 :])]
    node = g.apply(L.Pad((pair, (0, 0)), mode, value, name=g.name()), g.shaped(x, shape))
    return g.flow(node, x, (*x.sample[:at], node.shape[1], *x.sample[at + 1 :]))


def resize(g, x, *inputs, axes=None, keep_aspect_ratio_policy="stretch", mode="nearest", antialias=0,
           coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75, exclude_outside=0, extrapolation_value=0.0,
           nearest_mode="round_prefer_floor"):
    if g.opset < 11:
        return upsample(g, x, *inputs, mode=mode)
    axes = list(range(x.rank)) if axes is None else [axis_number(axis, x.rank) for axis in axes]
    roi, scales, sizes = (None if v is None or not np.size(v) else np.ravel(v) if np.asarray(v).dtype == object
                          else np.ravel(weights(v, what))
                          for v, what in zip((*inputs, None, None, None), ("region", "scales", "sizes")))
    wanted = factors(x, axes, scales, sizes, keep_aspect_ratio_policy)
    rois = None
    if coordinate_transformation_mode == "tf_crop_and_resize":
        rois = dict(zip(axes, zip(roi[: len(axes)], roi[len(axes) :])))
    settings = {
        "mode": mode, "coordinates": coordinate_transformation_mode, "rounding": nearest_mode,
        "coefficient": cubic_coeff_a, "exclude_outside": bool(exclude_outside), "antialias": bool(antialias),
        "value": extrapolation_value,
    }
    if x.batched:
        scale, size = wanted.pop(0, (1.0, None))
        if scale != 1 and not (scale is None and size in (BATCH, g.batch)):
            raise MixesSamples("it resizes axis 0, which holds the samples of a batch")
        wanted = {axis - 1: value for axis, value in wanted.items()}
        rois = rois and {axis - 1: value for axis, value in rois.items()}
    return resized(g, x, wanted, rois, settings)


def factors(x, axes, scales, sizes, policy):
    """(scale, size) of each axis that is resized, None for what the other says."""
    given = sizes if scales is None else scales
    if (scales is None) == (sizes is None) or len(given) != len(axes):
        raise ValueError(f"either scales or sizes say how {len(axes)} axes are resized")
    if scales is not None:
        return {axis: (float(scale), None) for axis, scale in zip(axes, scales)}
    sizes, lengths = folding.sizes(sizes), [x.shape[axis] for axis in axes]
    if policy == "stretch":
        return {axis: (None, size) for axis, size in zip(axes, sizes)}
    ratios = [m / n for n, m in zip(lengths, sizes) if not isinstance(n, Size)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    sizes = [n if isinstance(n, Size) else int(np.floor(ratio * n + 0.5)) for n in lengths]
    return {axis: (ratio, size) for axis, size in zip(axes, sizes)}


def resized(g, x, wanted, rois, settings):
    """`wanted` has (scale, size) of axes of the sample, one of them None or both."""
    scales, sizes = [], []
    for at, n in enumerate(x.sample):
        scale, size = wanted.get(at, (1.0, n))
        scales.append(size / n if scale is None else scale)
        sizes.append(int(np.floor(n * scale)) if size is None else size)
    folding.limited(sizes)
    lead = (not x.sample or sizes[0] != x.sample[0] or scales[0] != 1) or len(sizes) == 1
    shape = (1, *x.sample) if lead else x.sample
    scales, inner = (scales, sizes) if lead else (scales[1:], sizes[1:])
    if not 2 <= len(shape) <= 4:
        raise ValueError(f"a tensor of shape {x.shape} has more axes than are supported")
    layer = usual_layer(g, scales, inner, shape, settings)
    if layer is None:
        roi = None
        if rois is not None:
            roi = [tuple(map(float, rois.get(at, (0.0, 1.0)))) for at in range(0 if lead else 1, len(x.sample))]
        layer = L.Resize(tuple(scales), tuple(inner), roi=roi, name=g.name(), **settings)
    return g.flow(g.apply(layer, g.shaped(x, shape)), x, sizes)


def usual_layer(g, scales, sizes, shape, settings):
    """`L.Upsample`, where that is what is asked for; else None."""
    mode, coordinates, rounding = settings["mode"], settings["coordinates"], settings["rounding"]
    exact = all(s * n == m for s, n, m in zip(scales, shape[1:], sizes))
    if settings["antialias"] or settings["exclude_outside"] or not exact:
        return None
    whole = all(float(s).is_integer() for s in scales)
    if mode == "nearest" and whole and (coordinates, rounding) in (
            ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")):
        return L.Upsample(tuple(int(s) for s in scales), name=g.name())
    if mode == "linear" and (coordinates == "half_pixel" or coordinates == "pytorch_half_pixel" and min(sizes) > 1):
        return L.Upsample(tuple(scales), mode="linear", name=g.name())
    return None


def upsample(g, x, scales=None, mode="nearest", height_scale=None, width_scale=None):
    scales = [float(s) for s in np.ravel(weights(scales, "scales"))]
    if len(scales) != x.rank:
        raise ValueError(f"{len(scales)} scales for an input with {x.rank} axes")
    wanted = {axis: (scale, None) for axis, scale in enumerate(scales)}
    if x.batched:
        if wanted.pop(0)[0] != 1:
            raise MixesSamples("it resizes axis 0, which holds the samples of a batch")
        wanted = {axis - 1: v for axis, v in wanted.items()}
    settings = {"mode": {"bilinear": "linear"}.get(mode, mode), "coordinates": "asymmetric", "rounding": "floor",
                "coefficient": -0.75, "exclude_outside": False, "antialias": False, "value": 0.0}
    return resized(g, x, wanted, None, settings)


def affine_grid(g, theta, size, align_corners=0):
    size = folding.sizes(size)
    if len(size) not in (4, 5):
        raise ValueError(f"size is (N, C, H, W) or (N, C, D, H, W), got {size}")
    layer = L.AffineGrid(tuple(size[2:]), bool(align_corners), name=g.name())
    return g.of_maps(g.apply(layer, g.maps(theta)), theta)


def grid_sample(g, x, grid, mode="linear", padding_mode="zeros", align_corners=0):
    names = {"linear": "bilinear", "cubic": "bicubic"}
    grid = g.stretched(grid, x.rank)
    layer = L.GridSample(names.get(mode, mode), padding_mode, bool(align_corners), name=g.name())
    return g.of_maps(g.apply(layer, g.maps(x), g.maps(grid)), x)


OPERATORS = {
    "AffineGrid": affine_grid,
    "GridSample": grid_sample,
    "Pad": pad,
    "Resize": resize,
    "Upsample": upsample,
}
