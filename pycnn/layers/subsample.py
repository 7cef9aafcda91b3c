"""The subsampling layers of LeNet-5 and myCNN: S-layers and M-layers."""

from math import prod

import numpy as np

from .. import _kernels as K
from ..connections import check_sources, checked_table, connection_number, maps_of_connections
from .base import ParameterSpec, activation_code
from .pooling import Pool


class Subsample(Pool):
    """S-layer: y = f(a_c * (the sum of each window) + b_c), with a coefficient and a bias for each map.

    Input ``(C, ...)``, output ``(C, ...)`` with ``floor((H - R) / stride) + 1`` positions an axis; coefficient and bias
    ``(C,)``. (LeCun et al. 1998, section II.B.)

    Parameters
    ----------
    kernel_size : int or tuple of int
    stride : int or tuple of int, optional
        The kernel size where missing; a smaller one makes windows overlap.
    activation : str, optional
    bias : bool
    weight_init, bias_init : str or callable
        See `pycnn.initializers`; the fan-in is the size of the window.
    """

    fuses_activation = True

    def __init__(self, kernel_size, stride=None, activation=None, bias=True, weight_init="default", bias_init="zeros",
                 name=None):
        super().__init__(kernel_size, stride, name=name)
        self.activation, self.has_bias = activation, bool(bias)
        self.weight_init, self.bias_init = weight_init, bias_init
        activation_code(activation)

    def parameters(self, shape):
        fan_in = prod(self.geometry(shape)[0][2])
        specs = {"coefficient": ParameterSpec(shape[:1], self.weight_init, fan_in, 1)}
        if self.has_bias:
            specs["bias"] = ParameterSpec(shape[:1], self.bias_init, fan_in, 1)
        return specs

    def count_connections(self, shape):
        return super().count_connections(shape) + prod(self.output_shape(shape)) * self.has_bias

    def layout(self, b, s):
        return b.layout_of_maps(s.inputs[0])

    def _sizes(self, b, s):
        return s.layout, b.batch, s.output.channels, s.output.positions

    def forward(self, b, s):
        s.sums = b.buffer(b.size(s.output, s.layout))
        b.call("avg_pool_forward", *self.geometry(s.inputs[0].shape), K.ONE, b.planes(s.layout, s.output.channels),
               b.value(s.inputs[0], s.layout), s.sums)
        b.call("scale_maps_forward", *self._sizes(b, s), s.activation, s.sums, b.parameter(self, "coefficient"),
               b.parameter(self, "bias"), b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x = s.inputs[0]
        if b.learns(self):
            b.call("scale_maps_backward_weights", *self._sizes(b, s), b.accumulates(self), dy,
                   b.factor_buffer(s.sums, b.size(s.output, s.layout)), b.gradient(self, "coefficient"),
                   b.gradient(self, "bias"))
        if x.needs_gradient:
            sums = b.buffer(b.size(s.output, s.layout))
            b.call("scale_maps_backward_data", *self._sizes(b, s), dy, b.factor_parameter(self, "coefficient"), sums)
            dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
            b.call("avg_pool_backward", *self.geometry(x.shape), K.ONE, False, b.planes(s.layout, x.channels), sums, dx)


class SoftMaxPool(Pool):
    """M-layer: y = F(x, a) = sum_i x_i exp(a x_i) / sum_i exp(a x_i) over each window, with a sharpness a for each map.

    a = 0 is average pooling, a -> inf max pooling, a -> -inf min pooling (N. Chumerin, myCNN). Input ``(C, ...)``, output
    ``(C, ...)``; sharpness ``(C,)``, zero at first. With a table, y_k is the sum of F over the maps that k reads, and
    there is a sharpness for each connection, in the order of ``numpy.argwhere(connections)``.

    Parameters
    ----------
    kernel_size : int or tuple of int
    stride : int or tuple of int, optional
        The kernel size where missing.
    connections : array of bool (maps, C), optional
        Each map reads its own where missing.
    sharpness_init : str or callable
        See `pycnn.initializers`.
    """

    def __init__(self, kernel_size, stride=None, connections=None, sharpness_init="zeros", name=None):
        super().__init__(kernel_size, stride, name=name)
        self.connections = None if connections is None else checked_table(connections, None)
        self.sharpness_init = sharpness_init

    def _table(self, channels):
        return np.eye(channels, dtype=bool) if self.connections is None else self.connections

    def output_shape(self, *shapes):
        shape = super().output_shape(*shapes)
        if self.connections is not None:
            check_sources(self.connections, shape[0])
        return (len(self._table(shape[0])), *shape[1:])

    def parameters(self, shape):
        return {"sharpness": ParameterSpec((int(self._table(shape[0]).sum()),), self.sharpness_init,
                                           prod(self.geometry(shape)[0][2]), 1)}

    def count_connections(self, shape):
        return int(self._table(shape[0]).sum()) * prod(self.output_shape(shape)[1:]) * prod(self.geometry(shape)[0][2])

    def of_maps(self, kind, learns):
        return maps_of_connections(self._table(len(learns)), learns)

    def entries_of_maps(self, kind, maps):
        return maps[np.argwhere(self._table(len(maps)))[:, 0]]

    def entry_of_connection(self, target, source):
        return "sharpness", connection_number(self._table(len(self.learning_maps())), target, source)

    def layout(self, b, s):
        return K.SAMPLES

    def table(self, b, s):
        """The connections as kernels know them: (n, c, k, pairs, window, flags of what learns)."""
        shape = s.inputs[0].shape
        pairs = np.argwhere(self._table(shape[0])).tolist()
        flags = b.learning_entries(self, "sharpness", None)
        return (b.batch, shape[0], s.output.channels, pairs, self.geometry(shape)[0], flags)

    def forward(self, b, s):
        b.call("softmax_pool_forward", self.table(b, s), b.value(s.inputs[0], K.SAMPLES), b.parameter(self, "sharpness"),
               b.new_value(s.output, K.SAMPLES))

    def backward(self, b, s, dy):
        x, table = s.inputs[0], self.table(b, s)
        values, sharpness = b.value(x, K.SAMPLES), b.parameter(self, "sharpness")
        if b.learns(self):
            b.call("softmax_pool_backward_weights", table, b.accumulates(self), b.second, dy, values, sharpness,
                   b.gradient(self, "sharpness"))
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, K.SAMPLES, fuses=False)
            b.call("softmax_pool_backward_data", table, b.second, dy, values, sharpness, dx)
