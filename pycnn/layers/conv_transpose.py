"""Transposed convolution of any rank, stride, padding, dilation and grouping."""

from math import prod

import numpy as np

from .. import _kernels as K
from .. import config
from ..layouts import writes_plain
from ..shapes import conv_transpose_output_shape, integer, per_axis, transposed_padding, window
from .base import Layer, ParameterSpec, activation_code, one_shape

IDENTITY = (0, 0.0)


class ConvTranspose(Layer):
    """y[k, p] = f(b[k] + sum over c, q, t of w[c, k, t] x[c, q]) over all q, t with q stride + t dilation - before = p.

    Each value of the input lays a copy of the kernel on the output; where copies overlap they add up. It is the adjoint of
    a convolution from its output to its input.

    Input ``(C, L)``, ``(C, H, W)`` or ``(C, D, H, W)``, output ``(filters, ...)`` with
    ``(H - 1) stride - pads + dilation (R - 1) + output_padding + 1`` positions an axis; weight
    ``(C, filters/groups, R, S)``, bias ``(filters,)``.

    Parameters
    ----------
    filters : int
        Feature maps of the output.
    kernel_size, stride, dilation : int or tuple of int
    padding : int, tuple of int, tuple of (before, after), "same" or "valid"
        Cut off the output; "same" makes the output ``H stride``.
    output_padding : int or tuple of int
        Extends the area that is computed, at its end.
    groups : int
        Into how many independent convolutions the channels are split.
    bias : bool
    activation : str, optional
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    fuses_activation = True

    def __init__(self, filters, kernel_size, stride=1, padding=0, output_padding=0, dilation=1, groups=1, bias=True,
                 activation=None, weight_init="default", bias_init="zeros", name=None):
        super().__init__(name)
        self.filters = integer(filters, "filters", 1)
        self.groups = integer(groups, "groups", 1)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.output_padding, self.has_bias, self.activation = output_padding, bool(bias), activation
        self.weight_init, self.bias_init = weight_init, bias_init
        activation_code(activation)
        if self.filters % self.groups:
            raise ValueError(f"{self.filters} filters do not divide into {self.groups} groups")

    def _axes(self, shape):
        """Kernel, stride and dilation for each spatial axis."""
        rank = len(shape) - 1
        return (per_axis(self.kernel_size, rank, "kernel_size"), per_axis(self.stride, rank, "stride"),
                per_axis(self.dilation, rank, "dilation"))

    def output_shape(self, *shapes):
        shape = one_shape(shapes, (2, 3, 4), "(C, L), (C, H, W) or (C, D, H, W)")
        if shape[0] % self.groups:
            raise ValueError(f"the {shape[0]} channels of its input do not divide into {self.groups} groups")
        kernel, stride, dilation = self._axes(shape)
        return (self.filters, *conv_transpose_output_shape(shape[1:], kernel, stride, self.padding, dilation,
                                                           self.output_padding))

    def parameters(self, shape):
        kernel, stride, _ = self._axes(shape)
        taps = prod(kernel)
        fans = (max(1, shape[0] // self.groups * taps // prod(stride)), self.filters // self.groups * taps)
        specs = {"weight": ParameterSpec((shape[0], self.filters // self.groups, *kernel), self.weight_init, *fans, switches=2)}
        if self.has_bias:
            specs["bias"] = ParameterSpec((self.filters,), self.bias_init, *fans)
        return specs

    def count_connections(self, shape):
        taps = prod(self._axes(shape)[0])
        return prod(shape) * self.filters // self.groups * taps + prod(self.output_shape(shape)) * self.has_bias

    def of_maps(self, kind, learns):
        if kind == "bias":
            return learns
        return learns.reshape(self.groups, -1, learns.shape[1]).any(axis=1).ravel()

    def entries_of_maps(self, kind, maps):
        if kind == "bias":
            return maps
        channels, per_group = self._parameters["weight"].shape[:2]
        return np.repeat(maps.reshape(self.groups, per_group), channels // self.groups, axis=0)

    def entry_of_connection(self, target, source):
        channels, per_group = self._parameters["weight"].shape[:2]
        group = target // per_group
        if not (0 <= target < self.filters and 0 <= source < channels and source // (channels // self.groups) == group):
            raise ValueError(f"map {target} does not read map {source}")
        return "weight", (source, target - group * per_group)

    def fuses_sum(self, shape):
        return True

    def layout(self, b, s):
        return b.spatial_layout

    def descriptor(self, batch, shape, second=False):
        """The convolution from the output to the input, as kernels know it: (n, c, k, groups, window, winograd)."""
        spatial = self.output_shape(shape)[1:]
        kernel, stride, dilation = self._axes(shape)
        padding = transposed_padding(self.padding, shape[1:], kernel, stride, dilation, self.output_padding)
        w = window(spatial, shape[1:], kernel, stride, dilation, [before for before, _ in padding])
        return (batch, self.filters, shape[0], self.groups, w, not second and config.get_winograd())

    def output_layout(self, b, s):
        channels = s.inputs[0].channels
        few = s.layout == K.CHANNELS and writes_plain(b.kernels.lanes, channels, self.filters, self.groups)
        return K.PLAIN if few else s.layout

    def _packed(self, b, s, y_layout, backward, weight, bias):
        packed = b.buffer(b.kernels.conv_packed_size(s.conv, s.layout, y_layout, backward))
        b.prepare("conv_pack", s.conv, s.layout, y_layout, backward, weight, bias, packed)
        return packed

    def forward(self, b, s):
        s.conv = self.descriptor(b.batch, s.inputs[0].shape, b.second)
        layout = self.output_layout(b, s)
        packed = self._packed(b, s, layout, True, b.parameter(self, "weight"), b.parameter(self, "bias"))
        b.call("conv_backward_data", s.conv, s.layout, layout, s.activation, IDENTITY, b.value(s.inputs[0], s.layout),
               packed, None, b.new_value(s.output, layout), s.added and b.value(s.added, layout))

    def backward(self, b, s, dy):
        x, layouts = s.inputs[0], (s.layout, s.layout)
        if s.added:
            b.pass_gradient(s.added, dy, s.layout)
        if b.learns(self):
            partial, accumulate = b.buffer(b.kernels.conv_partial_size(s.conv, *layouts)), b.accumulates(self)
            b.call("conv_backward_weights", s.conv, *layouts, None, b.factor(x, s.layout), dy, partial)
            b.call("conv_reduce_weights", s.conv, *layouts, accumulate, partial, b.gradient(self, "weight"), None)
            if self.has_bias:
                b.call("scale_maps_backward_weights", s.layout, b.batch, self.filters, s.output.positions, accumulate, dy, dy,
                       None, b.gradient(self, "bias"))
        if x.needs_gradient:
            packed = self._packed(b, s, s.layout, False, b.factor_parameter(self, "weight"), None)
            dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
            b.call("conv_forward", s.conv, *layouts, IDENTITY, None, dy, packed, dx, None)
