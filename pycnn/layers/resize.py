"""Resizing in all the ways of ONNX."""

from math import floor, inf

from .. import resizing
from ..shapes import per_axis
from .base import number_within
from .function import one_of
from .resample import Resample


class Resize(Resample):
    """y = x at more positions, or fewer, interpolated at coordinates of one's choice (ONNX Resize).

    Input ``(C, ...)``, output ``(C, ...)`` with `size` or ``floor(H scale)`` positions an axis. `Upsample` has the
    usual choices.

    Parameters
    ----------
    scale : float or tuple of float, optional
        One of scale and size at least; with both, the scale says where outputs lie.
    size : int or tuple of int, optional
    mode : {"nearest", "linear", "cubic"}
    coordinates : str
        Where output o lies: ``"half_pixel"`` (at ``(o + 1/2) / scale - 1/2``), ``"half_pixel_symmetric"``,
        ``"pytorch_half_pixel"``, ``"align_corners"``, ``"asymmetric"`` (at ``o / scale``) or ``"tf_crop_and_resize"``.
    rounding : {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}
        Of ``"nearest"``.
    coefficient : float
        That of the cubic kernel (Keys 1981).
    exclude_outside : bool
        Whether taps outside of the input are left out, instead of reading its border.
    antialias : bool
        Whether the kernel widens where the output has fewer positions.
    roi : sequence of (float, float), optional
        Begin and end along each axis, of 0 to 1, that ``"tf_crop_and_resize"`` takes.
    value : float
        What outputs outside of the input are then.
    """

    def __init__(self, scale=None, size=None, mode="nearest", coordinates="half_pixel", rounding="round_prefer_floor",
                 coefficient=-0.75, exclude_outside=False, antialias=False, roi=None, value=0.0, name=None):
        super().__init__(name)
        self.mode = one_of(mode, resizing.MODES, "mode")
        self.coordinates = one_of(coordinates, resizing.COORDINATES, "coordinates")
        self.rounding = one_of(rounding, resizing.ROUNDINGS, "rounding")
        if scale is None and size is None:
            raise ValueError("give a scale or a size")
        if (roi is None) == (coordinates == "tf_crop_and_resize"):
            raise ValueError(f"roi goes with tf_crop_and_resize, got {roi!r} with {coordinates}")
        self.scale = tuple(scale) if isinstance(scale, (tuple, list)) else scale
        for s in () if scale is None else self.scale if isinstance(self.scale, tuple) else (scale,):
            number_within(s, "a scale", 2**31)
        self.size = size
        self.coefficient = number_within(coefficient, "coefficient", above=-inf)
        self.exclude_outside, self.antialias = bool(exclude_outside), bool(antialias)
        self.roi = None
        if roi is not None:
            self.roi = tuple(tuple(number_within(end, "roi", above=-inf) for end in pair) for pair in roi)
        self.value = number_within(value, "value", above=-inf)

    @property
    def empty(self):
        return self.value

    def scales(self, spatial):
        """A scale for each axis."""
        if self.scale is None:
            return tuple(m / n for n, m in zip(spatial, per_axis(self.size, len(spatial), "size")))
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,) * len(spatial)
        if len(scales) != len(spatial):
            raise ValueError(f"scale has {len(scales)} values; expected one number or {len(spatial)} (one per spatial "
                             f"axis)")
        return scales

    def output_spatial(self, spatial):
        if self.roi is not None and len(self.roi) != len(spatial):
            raise ValueError(f"roi has {len(self.roi)} pairs; expected {len(spatial)}, one per spatial axis")
        scales = self.scales(spatial)
        if self.size is not None:
            return per_axis(self.size, len(spatial), "size")
        out = tuple(floor(n * s) for n, s in zip(spatial, scales))
        if min(out) < 1:
            raise ValueError(f"a scale of {self.scale} leaves nothing of {'x'.join(map(str, spatial))} positions")
        return out

    def axes(self, spatial):
        rois = self.roi or ((0.0, 1.0),) * len(spatial)
        return [resizing.axis_matrix(n, m, s, self.mode, self.coordinates, self.rounding, self.coefficient,
                                     self.exclude_outside, self.antialias, roi)
                for n, m, s, roi in zip(spatial, self.output_spatial(spatial), self.scales(spatial), rois)]
