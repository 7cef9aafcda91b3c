"""Layers that take each output from few inputs of its own map, by a sparse matrix along each spatial axis: padding,
cropping, upsampling, adaptive averages."""

from math import inf, prod

from .. import resampling
from .base import Layer, number_within, one_shape


class Resample(Layer):
    """y = (A_1 x A_2 x A_3) x, with a sparse matrix along each spatial axis of every map; base of the layers below."""

    empty = 0.0     # what y is where an axis has no tap

    def axes(self, spatial):
        """The matrix along each axis (`pycnn.resampling.AxisMatrix`)."""
        raise NotImplementedError

    def output_spatial(self, spatial):
        """The spatial shape of the output."""
        raise NotImplementedError

    def output_shape(self, *shapes):
        shape = one_shape(shapes, (2, 3, 4), "(C, L), (C, H, W) or (C, D, H, W)")
        return (shape[0], *self.output_spatial(shape[1:]))

    def count_connections(self, shape):
        return shape[0] * prod(len(axis.index) for axis in self.axes(shape[1:]))

    def layout(self, b, s):
        return b.spatial_layout

    def forward(self, b, s):
        x, y = b.value(s.inputs[0], s.layout), b.new_value(s.output, s.layout)
        axes = resampling.packed(self.axes(s.inputs[0].shape[1:]))
        b.call("resample", axes, self.empty, b.planes(s.layout, s.output.channels), x, y)

    def backward(self, b, s, dy):
        dx, _, _ = b.new_gradient(s.inputs[0], s.layout, fuses=False)
        axes = resampling.packed(self.axes(s.inputs[0].shape[1:]), transposed=True, squared=b.second)
        b.call("resample", axes, 0.0, b.planes(s.layout, s.output.channels), dy, dx)


class AdaptiveAvgPool(Resample):
    """y[o] = the average of the inputs from floor(o n / m) to ceil((o + 1) n / m), for n inputs and m outputs an axis.

    Input ``(C, ...)``, output ``(C, *output_size)``, whatever the size of the input (as in PyTorch).

    Parameters
    ----------
    output_size : int or tuple of int
    """

    def __init__(self, output_size, name=None):
        super().__init__(name)
        self.output_size = output_size

    def output_spatial(self, spatial):
        return resampling.adaptive_shape(spatial, self.output_size)

    def axes(self, spatial):
        return resampling.adaptive_axes(spatial, self.output_size)


class Crop(Resample):
    """y = x without its first and last positions.

    Input ``(C, H, W)``, output ``(C, H - before - after, W - before - after)``, and so for any rank.

    Parameters
    ----------
    cropping : int, tuple of int or tuple of (before, after)
    """

    def __init__(self, cropping, name=None):
        super().__init__(name)
        self.cropping = cropping

    def output_spatial(self, spatial):
        return resampling.crop_shape(spatial, self.cropping)

    def axes(self, spatial):
        return resampling.crop_axes(spatial, self.cropping)


class Pad(Resample):
    """y = x with more positions before and after it.

    Input ``(C, H, W)``, output ``(C, H + before + after, W + before + after)``, and so for any rank (ONNX Pad).

    Parameters
    ----------
    padding : int, tuple of int or tuple of (before, after)
    mode : {"constant", "reflect", "edge"}
        What stands there: `value`; the map mirrored at its border, which is not repeated; the border.
    value : float
        Finite.
    """

    def __init__(self, padding, mode="constant", value=0.0, name=None):
        super().__init__(name)
        if mode not in resampling.PAD_MODES:
            raise ValueError(f"mode must be one of {', '.join(resampling.PAD_MODES)}, got {mode!r}")
        self.padding, self.mode, self.value = padding, mode, number_within(value, "value", above=-inf)

    @property
    def empty(self):
        return self.value

    def output_spatial(self, spatial):
        return resampling.pad_shape(spatial, self.padding, self.mode)

    def axes(self, spatial):
        return resampling.pad_axes(spatial, self.padding, self.mode)


class Upsample(Resample):
    """y = x at more positions, or fewer: each the nearest of x, or a mean of its neighbours by their distance.

    Input ``(C, ...)``, output ``(C, ...)`` with ``floor(H scale)`` or `size` positions an axis. Output o takes the
    input at ``floor(o / scale)`` ("nearest"), or lies at ``(o + 1/2) / scale - 1/2`` ("linear"), or with
    `align_corners` at ``o (H - 1) / (outputs - 1)``: as in PyTorch, and in ONNX Resize with the coordinates
    asymmetric, half_pixel and align_corners.

    Parameters
    ----------
    scale : float or tuple of float, optional
        Greater than 0.
    size : int or tuple of int, optional
        Of the output, instead of a scale.
    mode : {"nearest", "linear"}
        "linear" along every axis: bilinear for images, trilinear for volumes.
    align_corners : bool
        Whether the first and last outputs lie on the first and last inputs.
    """

    def __init__(self, scale=None, size=None, mode="nearest", align_corners=False, name=None):
        super().__init__(name)
        self.scale, self.size, self.mode, self.align_corners = scale, size, mode, bool(align_corners)
        resampling.check_upsampling(scale, size, mode, align_corners)

    def output_spatial(self, spatial):
        return resampling.upsample_shape(spatial, self.scale, self.size, self.mode, self.align_corners)

    def axes(self, spatial):
        return resampling.upsample_axes(spatial, self.scale, self.size, self.mode, self.align_corners)
