"""Normalisation of each sample by itself: of groups of its maps, of each map, or of all it has."""

from math import prod

from .. import _kernels as K
from ..shapes import integer
from .base import Layer, ParameterSpec, number_within, one_shape


class SampleNorm(Layer):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, with mean and variance over groups of a sample's values."""

    fuses_activation = True
    passes_curvature = False

    def __init__(self, epsilon=1e-5, weight_init="ones", bias_init="zeros", name=None):
        super().__init__(name)
        self.epsilon = number_within(epsilon, "epsilon")
        self.weight_init, self.bias_init = weight_init, bias_init

    def divided(self, shape):
        """(maps, groups of maps, positions of a map) of an input of that shape."""
        raise NotImplementedError

    def output_shape(self, *shapes):
        shape = one_shape(shapes, range(1, 5), "1 to 4 axes")
        maps, groups, positions = self.divided(shape)
        if maps // groups * positions == 1:
            raise ValueError(f"its input {shape} has one value in each group, of which nothing is left without the mean")
        return shape

    def parameters(self, shape):
        of = shape[:1]
        return {"weight": ParameterSpec(of, self.weight_init), "bias": ParameterSpec(of, self.bias_init)}

    def count_connections(self, shape):
        return 2 * prod(shape)

    def layout(self, b, s):
        return b.layout_of_maps(s.inputs[0])

    def _sizes(self, b, s):
        return s.layout, b.batch, *self.divided(s.output.shape)

    def forward(self, b, s):
        sizes = self._sizes(b, s)
        s.statistics = b.buffer(b.kernels.group_norm_statistics_size(*sizes))
        b.call("group_norm_forward", *sizes, self.epsilon, s.activation, b.value(s.inputs[0], s.layout),
               b.parameter(self, "weight"), b.parameter(self, "bias"), s.statistics, b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x, sizes = s.inputs[0], self._sizes(b, s)
        values = b.value(x, s.layout)
        if b.learns(self):
            partial = b.buffer(b.kernels.group_norm_partial_size(*sizes))
            b.call("group_norm_backward_weights", *sizes, dy, values, s.statistics, partial)
            b.call("group_norm_reduce_weights", *sizes, b.accumulates(self), partial, b.gradient(self, "weight"),
                   b.gradient(self, "bias"))
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, s.layout, fuses=False, over=dy)
            b.call("group_norm_backward_data", *sizes, dy, values, s.statistics, b.parameter(self, "weight"), dx)


class GroupNorm(SampleNorm):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, with mean and variance over each group of a sample's maps (Wu
    & He 2018, arXiv:1803.08494).

    Input and output ``(C,)`` or ``(C, ...)``; weight and bias ``(C,)``. A group is ``C / groups`` neighbouring maps with all
    their positions. What other samples are in the batch makes no difference, nor whether the network is trained.

    Parameters
    ----------
    groups : int
        By which C divides.
    epsilon : float
        Greater than 0.
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    def __init__(self, groups, epsilon=1e-5, weight_init="ones", bias_init="zeros", name=None):
        super().__init__(epsilon, weight_init, bias_init, name)
        self.groups = integer(groups, "groups", 1)

    def divided(self, shape):
        if shape[0] % self.groups:
            raise ValueError(f"the {shape[0]} channels of its input do not divide into {self.groups} groups")
        return shape[0], self.groups, prod(shape[1:])


class InstanceNorm(SampleNorm):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, with mean and variance over each map of each sample (Ulyanov et
    al. 2016, arXiv:1607.08022).

    Input and output ``(C, ...)``; weight and bias ``(C,)``.

    Parameters
    ----------
    epsilon : float
        Greater than 0.
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    def divided(self, shape):
        return shape[0], shape[0], prod(shape[1:])


class LayerNorm(SampleNorm):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, with mean and variance over all values of a sample (Ba et al.
    2016, arXiv:1607.06450).

    Input, output, weight and bias ``(C,)`` or ``(C, ...)``: each value has a weight and a bias of its own.

    Parameters
    ----------
    epsilon : float
        Greater than 0.
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    def divided(self, shape):
        return prod(shape), 1, 1

    def parameters(self, shape):
        return {"weight": ParameterSpec(shape, self.weight_init), "bias": ParameterSpec(shape, self.bias_init)}

    def layout(self, b, s):
        return K.SAMPLES if s.inputs[0].layout == K.SAMPLES else K.PLAIN
