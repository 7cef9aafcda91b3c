"""Batch normalisation."""

from math import prod

from .activations import ReLU
from .base import Layer, ParameterSpec, number_within, one_shape

IDENTITY = (0, 0.0)
RECTIFIER = ReLU().code


class BatchNorm(Layer):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, for each map (Ioffe & Szegedy 2015, arXiv:1502.03167).

    Input and output ``(C,)`` or ``(C, ...)``; weight, bias, running_mean and running_var ``(C,)``. Training steps and
    gradients take mean and variance over the batch and all positions, predictions and evaluations take the running
    averages ``running += momentum (batch - running)`` that training steps leave, of the mean and of the unbiased
    variance. ``trainable`` concerns weight and bias only, as in PyTorch: frozen, the layer goes on averaging.

    Parameters
    ----------
    epsilon : float
        Greater than 0.
    momentum : float
        In (0, 1].
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    fuses_activation = True
    passes_curvature = False

    def __init__(self, epsilon=1e-5, momentum=0.1, weight_init="ones", bias_init="zeros", name=None):
        super().__init__(name)
        self.epsilon = number_within(epsilon, "epsilon")
        self.momentum = number_within(momentum, "momentum", 1)
        self.weight_init, self.bias_init = weight_init, bias_init

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def parameters(self, shape):
        return {"weight": ParameterSpec(shape[:1], self.weight_init), "bias": ParameterSpec(shape[:1], self.bias_init)}

    def statistics(self, shape):
        return {"running_mean": (shape[:1], 0.0), "running_var": (shape[:1], 1.0)}

    def count_connections(self, shape):
        return 2 * prod(shape)

    def fuses_sum(self, shape):
        return True

    def layout(self, b, s):
        return b.layout_of_maps(s.inputs[0])

    def _sizes(self, b, s):
        return s.layout, b.batch, s.output.channels, s.output.positions

    def known_statistics(self, b, maps):
        """The statistics that the running averages give."""
        statistics = b.buffer(2 * b.whole_vectors(maps))
        b.prepare("batch_norm_known", maps, self.epsilon, b.statistic(self, "running_mean"), b.statistic(self, "running_var"),
                  statistics)
        return statistics

    def forward(self, b, s):
        x, sizes = b.value(s.inputs[0], s.layout), self._sizes(b, s)
        if b.training:
            partial = b.buffer(b.kernels.batch_norm_partial_size(*sizes))
            s.statistics = b.buffer(3 * b.whole_vectors(s.output.channels))
            b.call("batch_norm_sums", *sizes, x, partial)
            b.call("batch_norm_statistics", *sizes, self.epsilon, partial, s.statistics)
        else:
            s.statistics = self.known_statistics(b, s.output.channels)
        arguments = (*sizes, s.activation, x, s.statistics, b.parameter(self, "weight"), b.parameter(self, "bias"))
        if s.added:
            b.call("batch_norm_forward", *arguments, b.value(s.added, s.layout), b.new_value(s.output, s.layout))
        else:
            b.value_made_again(s.output, s.layout, "batch_norm_forward", *arguments, None)
        if self.rectifies(b, s):
            s.output.activation = IDENTITY

    def rectifies(self, b, s):
        """Whether the backward pass multiplies by f' itself: it can where that follows from x."""
        return s.activation == RECTIFIER and not s.added and b.rectified == "gradient"

    def backward(self, b, s, dy):
        x, sizes, rectified = s.inputs[0], self._sizes(b, s), self.rectifies(b, s)
        values, learns = b.value(x, s.layout), b.learns(self)
        known = s.statistics, b.parameter(self, "weight"), b.parameter(self, "bias")
        sums = b.buffer(2 * b.whole_vectors(s.output.channels))
        if s.added:
            b.pass_gradient(s.added, dy, s.layout)
        if b.training:
            partial = b.buffer(b.kernels.batch_norm_partial_size(*sizes))
            b.call("batch_norm_backward_sums", *sizes, rectified, dy, values, *known, partial)
            b.call("batch_norm_backward_weights", *sizes, learns and b.accumulates(self), partial, s.statistics, sums,
                   *(b.gradient(self, name) if learns else None for name in ("weight", "bias")))
        else:       # known statistics do not depend on x
            b.prepare("fill", 2 * b.whole_vectors(s.output.channels), 0.0, sums)
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, s.layout, fuses=False, over=dy)
            b.call("batch_norm_backward_data", *sizes, rectified, dy, values, *known, sums, dx)

    def update(self, b, s, guard, scale):
        b.call("batch_norm_running", s.output.channels, b.batch * s.output.positions, self.momentum, s.statistics, guard,
               scale, b.statistic(self, "running_mean"), b.statistic(self, "running_var"))
