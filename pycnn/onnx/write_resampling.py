"""Padding, cropping, upsampling, adaptive averages and spatial transformers as nodes of ONNX."""

from math import floor

import numpy as np

from .. import layers as L
from ..functional import affine_grid_forward
from ..shapes import resolve_padding

MODES = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}     # as ONNX names them since opset 20


def pad(w, node, x):
    layer = node.layer
    return w.pad(x, resolve_padding(layer.padding, node.inputs[0].shape[1:], 1, 1, 1), layer.mode, layer.value)


def crop(w, node, x):
    axes = node.layer.axes(node.inputs[0].shape[1:])
    return w.slice(x, [(int(axis.index[0]), int(axis.index[-1]) + 1) for axis in axes])


def adaptive_avg_pool(w, node, x):
    n, out = node.inputs[0].shape[1:], node.shape[1:]
    if any(size % parts for size, parts in zip(n, out)):
        return multiplied(w, node, x)
    window = [size // parts for size, parts in zip(n, out)]
    return w.add("AveragePool", x, kernel_shape=window, strides=window)


def upsample(w, node, x):
    """By Resize or Upsample where they compute the same positions to the last bit; else by indices, or by matrices."""
    layer, n, out = node.layer, node.inputs[0].shape[1:], node.shape[1:]
    times = [size / length for size, length in zip(out, n)]
    if layer.mode == "nearest":
        repeated = [np.array_equal(axis.index, np.arange(axis.outputs) * axis.inputs // axis.outputs)
                    for axis in layer.axes(n)]
        if all(repeated) and all(t == int(t) for t in times):
            return resized(w, x, times, "nearest", "asymmetric")
        for i, axis in enumerate(layer.axes(n)):
            x = w.gather(x, axis.index, axis=2 + i)
        return x
    scales = times if layer.scale is None else np.broadcast_to(layer.scale, len(n))
    exact = all(floor(length * float(np.float32(s))) == size for length, s, size in zip(n, scales, out))
    if w.opset >= 11 and exact:
        return resized(w, x, scales, "linear", "align_corners" if layer.align_corners else "half_pixel")
    return multiplied(w, node, x)


def resized(w, x, scales, mode, coordinates):
    scales = [1.0, 1.0, *map(float, scales)]
    if w.opset < 9:
        return w.add("Upsample", x, scales=scales, mode=mode)
    scales = w.constant(scales, np.float32)
    if w.opset < 11:
        return w.add("Upsample" if w.opset == 9 else "Resize", x, scales, mode=mode)
    return w.add("Resize", x, "", scales, mode=mode, coordinate_transformation_mode=coordinates,
                 nearest_mode="floor" if mode == "nearest" else None)


def multiplied(w, node, x):
    """The matrix of each axis as a matrix product."""
    channels, *sizes = node.inputs[0].shape
    for i, axis in enumerate(node.layer.axes(tuple(sizes))):
        matrix = np.zeros((axis.outputs, axis.inputs))
        matrix[np.repeat(np.arange(axis.outputs), np.diff(axis.begin)), axis.index] = axis.weight
        behind = len(sizes) - 1 - i
        if behind > 1:
            x = w.reshape(x, channels, sizes[i], -1)
        x = w.add("MatMul", *([w.constant(matrix), x] if behind else [x, w.constant(matrix.T)]))
        sizes[i] = axis.outputs
        if behind > 1:
            x = w.reshape(x, channels, *sizes)
    return x


def affine_grid(w, node, theta):
    """By the operator, or as the product of the base's coordinates and theta."""
    *size, rank = node.shape
    theta = w.reshape(theta, rank, rank + 1)
    corners = node.layer.align_corners
    if w.opset >= 20 and rank > 1:
        batch = w.add("Shape", theta, start=0, end=1)
        sizes = w.add("Concat", batch, w.constant(np.array([1, *size])), axis=0)
        return w.add("AffineGrid", theta, sizes, align_corners=int(corners))
    along = [affine_grid_forward(np.array([[1.0, 0.0]]), n, corners)[0, :, 0] for n in size]
    base = np.stack([*np.meshgrid(*along, indexing="ij")[::-1], np.ones(size)], axis=-1).reshape(-1, rank + 1)
    return w.reshape(w.add("MatMul", w.constant(base), w.transpose(theta, 1, 0)), *node.shape)


def grid_sample(w, node, x, grid):
    layer, (channels, *spatial) = node.layer, node.inputs[0].shape
    rank = len(spatial)
    w.need(20 if rank == 3 else 16, "GridSample" + " of three axes" * (rank == 3))
    if rank == 1:       # a map of one row
        x = w.reshape(x, channels, 1, spatial[0])
        grid = w.reshape(w.pad(grid, [(0, 1)]), 1, node.shape[1], 2)      # of which y is 0
    mode = MODES[layer.mode] if w.opset >= 20 else layer.mode
    y = w.add("GridSample", x, grid, mode=mode, padding_mode=layer.padding_mode, align_corners=int(layer.align_corners))
    return w.reshape(y, *node.shape) if rank == 1 else y


def resize(w, node, x):
    """As the layer is told, scales and sizes of the batch and the channels being those they have."""
    layer, spatial = node.layer, node.inputs[0].shape[1:]
    crop = layer.roi is not None
    w.need(19 if layer.coordinates == "half_pixel_symmetric" else 18 if layer.antialias else 11, "such a Resize")
    scales = layer.scales(spatial)
    if any(int(n * float(np.float32(s))) != m for n, s, m in zip(spatial, scales, layer.output_spatial(spatial))):
        if layer.scale is not None:
            raise w.error("ONNX has no resizing with a scale and another size, nor scales that float32 cannot express")
        sizes = np.array([layer.output_spatial(spatial)])
    else:
        sizes = None
    rois = [(0.0, 1.0)] * 2 + list(layer.roi or [(0.0, 1.0)] * len(spatial))
    roi = w.constant(np.array([*(begin for begin, _ in rois), *(end for _, end in rois)])) if crop else ""
    if not crop and w.opset < 13:
        roi = w.constant(np.zeros(0))
    if sizes is None:
        inputs = [x, roi, w.constant(np.array([1.0, 1.0, *scales]), np.float32)]
    else:
        batch = w.gather(w.add("Shape", x), [0, 1], 0)
        inputs = [x, roi, "" if w.opset >= 13 else w.constant(np.zeros(0), np.float32),
                  w.add("Concat", batch, w.constant(sizes.ravel()), axis=0)]
    return w.add("Resize", *inputs, mode=layer.mode, coordinate_transformation_mode=layer.coordinates,
                 nearest_mode=layer.rounding if layer.mode == "nearest" else None, cubic_coeff_a=layer.coefficient,
                 exclude_outside=int(layer.exclude_outside), antialias=int(layer.antialias) or None,
                 extrapolation_value=layer.value)


WRITERS = {
    L.Pad: pad, L.Crop: crop, L.AdaptiveAvgPool: adaptive_avg_pool, L.Upsample: upsample, L.Resize: resize,
    L.AffineGrid: affine_grid,
    L.GridSample: grid_sample,
}
