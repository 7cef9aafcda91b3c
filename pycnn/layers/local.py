"""Convolution whose weights are not the same everywhere."""

from math import prod

from .. import _kernels as K
from ..shapes import integer, sections_of, three_axes
from .base import ParameterSpec
from .conv import Sliding


class LocallyConnected(Sliding):
    """y[k, q] = f(b[k, s] + sum over c, t of w[k, s, c, t] x[c, q stride + t dilation - before]), s the section of q.

    A convolution with weights of its own at each position (LeCun 1989; Taigman et al. 2014), or in each section of
    neighbouring positions: limited weight sharing (Abdel-Hamid et al. 2012). Of n positions along an axis, cut into m
    sections, section i has those from ``n i // m`` up to ``n (i + 1) // m``. With one section it is a `Conv`.

    Input ``(C, L)``, ``(C, H, W)`` or ``(C, D, H, W)``, output ``(filters, ...)`` as of `Conv`; weight
    ``(filters, *sections, C, *kernel)``, bias ``(filters, *sections)``.

    Parameters
    ----------
    filters : int
        Feature maps of the output.
    kernel_size, stride, dilation : int or tuple of int
    padding : int, tuple of int, tuple of (before, after), "same" or "valid"
    sections : int or tuple of int, optional
        Into how many parts the positions of the output are cut, along each axis; where missing, each position is one.
    bias : bool
    activation : str, optional
    weight_init, bias_init : str or callable
        See `pycnn.initializers`.
    """

    def __init__(self, filters, kernel_size, stride=1, padding=0, dilation=1, sections=None, bias=True, activation=None,
                 weight_init="default", bias_init="zeros", name=None):
        super().__init__(filters, kernel_size, stride, padding, dilation, bias, activation, weight_init, bias_init,
                         name)
        self.sections = sections
        for parts in () if sections is None else sections if isinstance(sections, (tuple, list)) else (sections,):
            integer(parts, "sections", 1)

    def output_shape(self, *shapes):
        out = super().output_shape(*shapes)
        sections_of(self.sections, out[1:])
        return out

    def parameters(self, shape):
        kernel, sections = self._axes(shape)[0], sections_of(self.sections, self.output_shape(shape)[1:])
        fans = (shape[0] * prod(kernel), self.filters * prod(kernel))
        specs = {"weight": ParameterSpec((self.filters, *sections, shape[0], *kernel), self.weight_init, *fans)}
        if self.has_bias:
            specs["bias"] = ParameterSpec((self.filters, *sections), self.bias_init, *fans)
        return specs

    def count_connections(self, shape):
        return prod(self.output_shape(shape)) * (shape[0] * prod(self._axes(shape)[0]) + self.has_bias)

    def layout(self, b, s):
        return K.SAMPLES

    def descriptor(self, b, s):
        """The layer as kernels know it: (n, c, k, window, sections)."""
        shape = s.inputs[0].shape
        sections = three_axes(sections_of(self.sections, s.output.shape[1:]))
        return (b.batch, shape[0], self.filters, self.window(shape), sections)

    def forward(self, b, s):
        x, y = b.value(s.inputs[0], K.SAMPLES), b.new_value(s.output, K.SAMPLES)
        b.call("local_forward", self.descriptor(b, s), s.activation, x, b.parameter(self, "weight"),
               b.parameter(self, "bias"), y)

    def backward(self, b, s, dy):
        x, local = s.inputs[0], self.descriptor(b, s)
        if b.learns(self):
            b.call("local_backward_weights", local, b.accumulates(self), b.learning_maps(self), dy,
                   b.factor(x, K.SAMPLES), b.gradient(self, "weight"), b.gradient(self, "bias"))
        if x.needs_gradient:
            dx, activation, mask = b.new_gradient(x, K.SAMPLES)
            b.call("local_backward_data", local, activation, dy, b.factor_parameter(self, "weight"), mask, dx)
