"""Convolution of any rank, stride, padding, dilation and grouping."""

from math import prod

import numpy as np

from .. import _kernels as K
from .. import config
from ..connections import check_sources, checked_table, connection_number, maps_of_connections
from ..layouts import reads_plain, writes_plain
from ..shapes import conv_output_shape, integer, per_axis, resolve_padding, window
from .base import Layer, ParameterSpec, activation_code, one_shape
from .dense import dense_backward, dense_forward


class Sliding(Layer):
    """Base of the layers whose filters slide over maps: their settings, and the size of what comes out."""

    fuses_activation = True

    def __init__(self, filters, kernel_size, stride, padding, dilation, bias, activation, weight_init, bias_init, name):
        super().__init__(name)
        self.filters = integer(filters, "filters", 1)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.has_bias, self.activation = bool(bias), activation
        self.weight_init, self.bias_init = weight_init, bias_init
        activation_code(activation)

    def _axes(self, shape):
        """Kernel, stride, padding and dilation for each spatial axis."""
        rank = len(shape) - 1
        kernel = per_axis(self.kernel_size, rank, "kernel_size")
        stride = per_axis(self.stride, rank, "stride")
        dilation = per_axis(self.dilation, rank, "dilation")
        return kernel, stride, resolve_padding(self.padding, shape[1:], kernel, stride, dilation), dilation

    def output_shape(self, *shapes):
        shape = one_shape(shapes, (2, 3, 4), "(C, L), (C, H, W) or (C, D, H, W)")
        try:
            return (self.filters, *conv_output_shape(shape[1:], *self._axes(shape)))
        except ValueError as error:
            raise ValueError(f"{error} ({shape[0]} {'map' if shape[0] == 1 else 'maps'})") from None

    def window(self, shape):
        """The window as kernels know it."""
        kernel, stride, padding, dilation = self._axes(shape)
        return window(shape[1:], conv_output_shape(shape[1:], kernel, stride, padding, dilation), kernel, stride, dilation,
                      [before for before, _ in padding])


class Conv(Sliding):
    """y[k] = f(b[k] + sum over c of w[k, c] * x[c]), as cross-correlation.

    Input ``(C, L)``, ``(C, H, W)`` or ``(C, D, H, W)``, output ``(filters, ...)`` with
    ``floor((H + pads - dilation (R - 1) - 1) / stride) + 1`` positions an axis; weight ``(filters, C/groups, R, S)``,
    bias ``(filters,)``.

    Parameters
    ----------
    filters : int
        Feature maps of the output.
    kernel_size, stride, dilation : int or tuple of int
    padding : int, tuple of int, tuple of (before, after), "same" or "valid"
    groups : int
        Into how many independent convolutions the channels are split.
    connections : array of bool (filters, C), optional
        Which maps of the input each filter reads; all where missing. Other weights do not exist: weight is then
        ``(connections, R, S)``, in the order of ``numpy.argwhere(connections)``.
    bias : bool
    activation : str, optional
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    def __init__(self, filters, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, activation=None,
                 connections=None, weight_init="default", bias_init="zeros", name=None):
        super().__init__(filters, kernel_size, stride, padding, dilation, bias, activation, weight_init, bias_init, name)
        self.groups = integer(groups, "groups", 1)
        if self.filters % self.groups:
            raise ValueError(f"{self.filters} filters do not divide into {self.groups} groups")
        self.connections = None if connections is None else checked_table(connections, self.filters)
        if connections is not None and self.groups > 1:
            raise ValueError("a table of connections and groups exclude each other")

    @property
    def fuses_pool(self):
        return self.connections is None

    def output_shape(self, *shapes):
        out, channels = super().output_shape(*shapes), shapes[0][0]
        if channels % self.groups:
            raise ValueError(f"the {channels} channels of its input do not divide into {self.groups} groups")
        if self.connections is not None:
            check_sources(self.connections, channels)
        return out

    def parameters(self, shape):
        kernel, fan_in = self._axes(shape)[0], shape[0] // self.groups
        taps = prod(kernel)
        fans = (fan_in * taps, self.filters // self.groups * taps)
        if self.connections is None:
            specs = {"weight": ParameterSpec((self.filters, fan_in, *kernel), self.weight_init, *fans, switches=2)}
        else:
            pairs = np.argwhere(self.connections)
            ends = (self.connections.sum(axis=1)[pairs[:, 0]], self.connections.sum(axis=0)[pairs[:, 1]])
            fan_in, fan_out = (count.reshape(-1, *[1] * len(kernel)) * taps for count in ends)
            specs = {"weight": ParameterSpec((len(pairs), *kernel), self.weight_init, fan_in, fan_out)}
            fans = (np.maximum(1, self.connections.sum(axis=1)) * taps, 1)
        if self.has_bias:
            specs["bias"] = ParameterSpec((self.filters,), self.bias_init, *fans)
        return specs

    def count_connections(self, shape):
        taps = prod(self._axes(shape)[0])
        positions = prod(Conv.output_shape(self, shape)[1:])
        pairs = self.filters * (shape[0] // self.groups) if self.connections is None else int(self.connections.sum())
        return positions * (pairs * taps + self.filters * self.has_bias)

    def descriptor(self, batch, shape, second=False):
        """The convolution as kernels know it: (n, c, k, groups, window, winograd)."""
        winograd = not second and config.get_winograd()     # second derivatives may not round below zero
        return (batch, shape[0], self.filters, self.groups, self.window(shape), winograd)

    def of_maps(self, kind, learns):
        if self.connections is None or kind == "bias":
            return super().of_maps(kind, learns)
        return maps_of_connections(self.connections, learns)

    def entries_of_maps(self, kind, maps):
        return maps if self.connections is None or kind == "bias" else maps[np.argwhere(self.connections)[:, 0]]

    def entry_of_connection(self, target, source):
        if self.connections is not None:
            return "weight", connection_number(self.connections, target, source)
        filters, per_group = self._parameters["weight"].shape[:2]
        group = target // (filters // self.groups)
        if not (0 <= target < filters and 0 <= source - group * per_group < per_group):
            raise ValueError(f"map {target} does not read map {source}")
        return "weight", (target, source - group * per_group)

    def is_dense(self, shape):
        """Whether the kernel covers the whole input, so that the convolution is a dense layer of its values."""
        kernel, _, padding, dilation = self._axes(shape)
        whole = kernel == shape[1:] and not any(map(any, padding)) and all(d == 1 or k == 1 for d, k in zip(dilation, kernel))
        return whole and self.groups == 1 and self.connections is None

    def fuses_norm(self, shape):
        return self.connections is None

    def fuses_sum(self, shape):
        return self.connections is None and not self.is_dense(shape)

    def layout(self, b, s):
        if self.connections is not None:
            return K.SAMPLES
        return K.PLAIN if self.is_dense(s.inputs[0].shape) and s.pool is None else b.spatial_layout

    def input_layout(self, b, s):
        x = s.inputs[0]
        plain = s.layout == K.CHANNELS and reads_plain(x.channels, self.groups) and x.layout == K.PLAIN
        return K.PLAIN if plain else s.layout

    def output_layout(self, b, s):
        channels = s.inputs[0].channels
        few = self.input_layout(b, s) == K.CHANNELS and writes_plain(b.kernels.lanes, channels, self.filters, self.groups)
        return K.PLAIN if few and s.pool is None else s.layout

    def gradient_layout(self, b, s):
        """The layout in which the gradient to the input is made."""
        x = s.inputs[0]
        few = s.layout == K.CHANNELS and writes_plain(b.kernels.lanes, self.filters, x.channels, self.groups)
        return K.PLAIN if few and x.layout == K.PLAIN else s.layout

    def table(self, b, s):
        """The connections as kernels know them: (n, c, k, pairs, window, flags of what learns)."""
        n, c, k, _, w, _ = self.descriptor(b.batch, s.inputs[0].shape, b.second)
        return (n, c, k, np.argwhere(self.connections).tolist(), w, b.learning_entries(self, "weight", "bias"))

    def forward_connected(self, b, s):
        x, y = b.value(s.inputs[0], K.SAMPLES), b.new_value(s.output, K.SAMPLES)
        b.call("connected_forward", self.table(b, s), s.activation, x, b.parameter(self, "weight"),
               b.parameter(self, "bias"), y)

    def backward_connected(self, b, s, dy):
        x, table = s.inputs[0], self.table(b, s)
        if b.learns(self):
            b.call("connected_backward_weights", table, b.accumulates(self), dy, b.factor(x, K.SAMPLES),
                   b.gradient(self, "weight"), b.gradient(self, "bias"))
        if x.needs_gradient:
            dx, activation, mask = b.new_gradient(x, K.SAMPLES)
            b.call("connected_backward_data", table, activation, dy, b.factor_parameter(self, "weight"), mask, dx)

    def forward(self, b, s):
        if self.connections is not None:
            self.forward_connected(b, s)
            return
        if s.layout == K.PLAIN:
            dense_forward(b, s)
            return
        x_layout, layout = self.input_layout(b, s), self.output_layout(b, s)
        s.conv = conv = self.descriptor(b.batch, s.inputs[0].shape, b.second)
        x = b.value(s.inputs[0], x_layout)
        packed = b.buffer(b.kernels.conv_packed_size(conv, layout, x_layout, False))
        b.prepare("conv_pack", conv, layout, x_layout, False, *b.linear_parameters(s), packed)
        y, indices, pool = b.new_value(s.output, layout), None, None
        if s.pool:
            s.pool_window = pool = s.pool.geometry((self.filters, *conv[4][1][4 - len(s.inputs[0].shape):]))[0]
            s.indices = indices = b.buffer(b.size(s.output, s.layout)) if b.backward else None
        if pool is None or b.kernels.conv_fuses_pool(conv, layout, x_layout, pool):
            added = s.added and b.value(s.added, layout)
            b.call("conv_forward", conv, layout, x_layout, s.activation, pool, x, packed, y, indices, added)
            return
        full = b.buffer(b.tensor_size(s.layout, self.filters, prod(conv[4][1])))
        b.call("conv_forward", conv, layout, x_layout, s.activation, None, x, packed, full, None)
        b.call("max_pool_forward", pool, b.planes(s.layout, self.filters), full, y, indices)

    def backward(self, b, s, dy):
        if self.connections is not None:
            self.backward_connected(b, s, dy)
            return
        if s.layout == K.PLAIN:
            dense_backward(self, b, s, dy)
            return
        x, conv = s.inputs[0], s.conv
        x_layout = self.input_layout(b, s)
        if s.added:
            b.pass_gradient(s.added, dy, s.layout)
        if s.pool:
            positions = prod(conv[4][1])
            full = b.buffer(b.tensor_size(s.layout, self.filters, positions))
            b.call("max_pool_backward", s.pool_window, b.planes(s.layout, self.filters), dy, s.indices, full)
            dy = full
        if b.learns(self):
            partial = b.buffer(b.kernels.conv_partial_size(conv, s.layout, x_layout))
            b.call("conv_backward_weights", conv, s.layout, x_layout, b.learning_maps(self), dy, b.factor(x, x_layout),
                   partial)
            b.call("conv_reduce_weights", conv, s.layout, x_layout, b.accumulates(self), partial,
                   b.gradient(self, "weight"), b.gradient(self, "bias"))
        if x.needs_gradient:
            dx_layout = self.gradient_layout(b, s)
            packed = b.buffer(b.kernels.conv_packed_size(conv, s.layout, dx_layout, True))
            b.prepare("conv_pack", conv, s.layout, dx_layout, True, b.factor_weight(s), None, packed)
            dx, activation, mask, added = b.last_gradient(x, dx_layout)
            b.call("conv_backward_data", conv, s.layout, dx_layout, (0, 0.0), activation, dy, packed, mask, dx, added)
