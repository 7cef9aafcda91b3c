"""Spatial transformers: maps turned, scaled and shifted as a network sees fit (Jaderberg et al. 2015, arXiv:1506.02025)."""

from __future__ import annotations

from math import prod

import numpy as np

from .. import _kernels as K
from ..sampling import (
    AXIS_TAPS,
    affine_rank,
    check_corners,
    check_modes,
    grid_size,
    sampled_shape,
    sampling,
    three,
)
from .base import Layer, Node, checked_name, one_shape
from .dense import Dense
from .reshape import Flatten


class AffineGrid(Layer):
    """grid_q = theta (base_q, 1): where an affine map takes the positions of a grid (Jaderberg et al. 2015, eq. 1).

    Input ``(2, 3)`` or ``(6,)``, output ``(H, W, 2)``, with the coordinates x, y of each position; with three axes ``(3, 4)``
    or ``(12,)`` and ``(D, H, W, 3)`` with x, y, z, with one ``(1, 2)`` or ``(2,)`` and ``(L, 1)``. The coordinates of the base
    go from -1 to 1, as those that `GridSample` reads. The same as ONNX's AffineGrid and PyTorch's ``affine_grid``.

    Parameters
    ----------
    size : int or tuple of int
        Positions of the grid along each axis.
    align_corners : bool
        Whether -1 and 1 are the middles of the outermost positions, instead of their outer edges.
    """

    passes_curvature = False

    def __init__(self, size, align_corners=False, name=None):
        super().__init__(name)
        check_corners(align_corners)
        self.size, self.align_corners = size, align_corners

    def output_shape(self, *shapes):
        rank = affine_rank(one_shape(shapes, (1, 2), "(2, 3) or (6,), or (3, 4) or (12,)"))
        return (*grid_size(self.size, rank), rank)

    def count_connections(self, shape):
        grid = self.output_shape(shape)
        return prod(grid) * (grid[-1] + 1)

    def layout(self, b, s):
        return K.PLAIN

    def _sizes(self, b, s):
        *size, rank = s.output.shape
        return b.batch, rank, three(size), self.align_corners

    def forward(self, b, s):
        theta = b.value(s.inputs[0], K.PLAIN)
        b.call("affine_grid_forward", *self._sizes(b, s), theta, b.new_value(s.output, K.PLAIN))

    def backward(self, b, s, dy):
        if s.inputs[0].needs_gradient:
            dtheta, _, _ = b.new_gradient(s.inputs[0], K.PLAIN, fuses=False)
            b.call("affine_grid_backward", *self._sizes(b, s), dy, dtheta)


class GridSample(Layer):
    """y_q = the maps at the coordinates that a grid has at q, between positions interpolated (Jaderberg et al. 2015, eq. 3).

    Called on maps ``(C, H, W)`` and a grid ``(Ho, Wo, 2)``, output ``(C, Ho, Wo)``; with three axes ``(C, D, H, W)`` and
    ``(Do, Ho, Wo, 3)``, with one ``(C, L)`` and ``(Lo, 1)``. Coordinates are x, y, z: the last axis comes first, and goes from
    -1 to 1 over the maps. The same as ONNX's GridSample and PyTorch's ``grid_sample``; NaN in the grid gives NaN.

    Parameters
    ----------
    mode : {"bilinear", "nearest", "bicubic"}
        ``"nearest"`` has no gradient to the grid; ``"bicubic"`` (Keys 1981, a = -3/4) takes one or two spatial axes.
    padding_mode : {"zeros", "border", "reflection"}
        What lies outside the maps.
    align_corners : bool
        As of the grid.
    """

    passes_curvature = False

    def __init__(self, mode="bilinear", padding_mode="zeros", align_corners=False, name=None):
        super().__init__(name)
        check_modes(mode, padding_mode, align_corners)
        self.mode, self.padding_mode, self.align_corners = mode, padding_mode, align_corners

    def output_shape(self, *shapes):
        if len(shapes) != 2:
            raise ValueError(f"takes two inputs, maps and a grid, got {len(shapes)}")
        return sampled_shape(*shapes, self.mode)

    def count_connections(self, x_shape, grid_shape):
        return prod(self.output_shape(x_shape, grid_shape)) * AXIS_TAPS[self.mode] ** grid_shape[-1]

    def layout(self, b, s):
        return K.PLAIN

    def _sampling(self, b, s):
        return sampling(b.batch, *(i.shape for i in s.inputs), self.mode, self.padding_mode, self.align_corners)

    def forward(self, b, s):
        x, grid = (b.value(i, K.PLAIN) for i in s.inputs)
        b.call("grid_sample_forward", self._sampling(b, s), x, grid, b.new_value(s.output, K.PLAIN))

    def backward(self, b, s, dy):
        x, grid = s.inputs
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, K.PLAIN, fuses=False)
            b.call("grid_sample_backward_data", self._sampling(b, s), dy, b.value(grid, K.PLAIN), dx)
        if grid.needs_gradient and self.mode != "nearest":
            dgrid, _, _ = b.new_gradient(grid, K.PLAIN, fuses=False)
            b.call("grid_sample_backward_grid", self._sampling(b, s), dy, b.value(x, K.PLAIN), b.value(grid, K.PLAIN), dgrid)


class SpatialTransformer:
    """A block that looks at maps, decides on an affine map, and returns them transformed by it.

    Called on maps ``(C, *S)``, it returns ``(C, *size)``. It consists of ordinary layers: those of `localisation`, a `Flatten`
    where they end in maps, ``Dense`` named ``<name>.theta``, which makes the affine map, ``AffineGrid`` named
    ``<name>.grid``, and ``GridSample`` named ``<name>``. The dense layer starts at the identity (weights 0), so that at first
    the maps come out as they are.

    Parameters
    ----------
    localisation : callable or list of Layer
        What looks at the maps: a function from a tensor to a tensor, or layers one behind the other. It ends in whatever the
        affine map is to be told of.
    size : int or tuple of int, optional
        Of the maps that come out; that of the maps where missing.
    mode, padding_mode, align_corners
        As in `GridSample`.
    name : str

    Examples
    --------
    >>> from pycnn import Input, Network, layers as L
    >>> image = Input((1, 40, 40))
    >>> look = [L.AvgPool(2), L.Conv(4, 5, activation="relu"), L.MaxPool(2)]
    >>> h = L.SpatialTransformer(look, size=20)(image)
    >>> h.shape
    (1, 20, 20)
    >>> Network(image, h)["transformer.theta"].bias.reshape(2, 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    def __init__(self, localisation, size=None, mode="bilinear", padding_mode="zeros", align_corners=False,
                 name="transformer"):
        self.name = checked_name(name, "a transformer's name")
        if not callable(localisation):
            if not isinstance(localisation, (list, tuple)) or not all(isinstance(i, Layer) for i in localisation):
                raise TypeError(f"{name}: localisation is a function from a tensor to a tensor, or a list of layers; "
                                f"got {localisation!r}")
            localisation = tuple(localisation)
        check_modes(mode, padding_mode, align_corners)
        self.localisation, self.size = localisation, size
        self.mode, self.padding_mode, self.align_corners = mode, padding_mode, align_corners

    def __call__(self, x):
        """The node of the transformed maps."""
        if not isinstance(x, Node):
            raise TypeError(f"{self.name}: call it with a tensor made by Input or a layer, not {type(x).__name__}")
        rank = len(x.shape) - 1
        if not 1 <= rank <= 3:
            raise ValueError(f"{self.name}: got maps of shape {x.shape}, expects (C, L), (C, H, W) or (C, D, H, W)")
        features = self._features(x)
        if len(features.shape) > 1:
            features = Flatten(name=f"{self.name}.features")(features)
        theta = Dense(rank * (rank + 1), weight_init="zeros", bias_init=identity_map, name=f"{self.name}.theta")(features)
        size = x.shape[1:] if self.size is None else self.size
        grid = AffineGrid(size, self.align_corners, name=f"{self.name}.grid")(theta)
        return GridSample(self.mode, self.padding_mode, self.align_corners, name=self.name)(x, grid)

    def _features(self, x):
        """What the localisation makes of the maps."""
        if not callable(self.localisation):
            for layer in self.localisation:
                x = layer(x)
            return x
        features = self.localisation(x)
        if not isinstance(features, Node):
            raise TypeError(f"{self.name}: localisation returned {type(features).__name__}, not a tensor")
        return features


def identity_map(shape, fan_in, fan_out, rng):
    """The affine map ``(rank, rank + 1)`` that changes nothing, flat."""
    rank = {2: 1, 6: 2, 12: 3}[shape[0]]
    return np.eye(rank, rank + 1).ravel()
