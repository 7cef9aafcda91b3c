"""Capsules: vectors whose length says whether something is there, and whose direction says how (Sabour, Frosst & Hinton
2017, Dynamic Routing Between Capsules, arXiv:1710.09829)."""

from math import prod

import numpy as np

from .. import _kernels as K
from ..initializers import normal_of
from ..shapes import integer
from .base import Layer, ParameterSpec, one_shape
from .conv import Conv

CAPSULES = "(capsules, dimension)"


class PrimaryCapsules(Conv):
    """The first capsules: a convolution whose maps are regrouped into vectors and squashed.

    Input ``(C, ...)``, output ``(capsules * positions, dimension)``: of each kind of capsule, all positions of the
    convolution in row order. Map ``kind * dimension + d`` has coordinate d of a kind. Weight and bias are those of a
    `Conv` with ``capsules * dimension`` filters. (Sabour et al. 2017, section 4.)

    Parameters
    ----------
    capsules : int
        Kinds of capsules.
    dimension : int
        Coordinates of each.
    kernel_size, stride, padding, dilation, bias, weight_init, bias_init
        As in `Conv`.
    """

    fuses_activation = fuses_pool = passes_curvature = False

    def __init__(self, capsules=32, dimension=8, kernel_size=9, stride=2, padding=0, dilation=1, bias=True,
                 weight_init="default", bias_init="zeros", name=None):
        self.capsules, self.dimension = integer(capsules, "capsules", 1), integer(dimension, "dimension", 1)
        super().__init__(self.capsules * self.dimension, kernel_size, stride, padding, dilation, bias=bias,
                         weight_init=weight_init, bias_init=bias_init, name=name)

    def output_shape(self, *shapes):
        _, *positions = super().output_shape(*shapes)
        return (self.capsules * prod(positions), self.dimension)

    def fuses_norm(self, shape):
        return False

    def fuses_sum(self, shape):
        return False

    def layout(self, b, s):
        return K.SAMPLES

    def _sizes(self, b, s):
        """(groups, coordinates of a group, their positions) of the maps as kernels know them."""
        return b.planes(K.SAMPLES, self.capsules), self.dimension, s.output.channels // self.capsules

    def forward(self, b, s):
        s.maps = b.inner_stage(s, super().output_shape(s.inputs[0].shape))
        s.maps.layout = super().layout(b, s.maps)
        super().forward(b, s.maps)
        maps = b.value(s.maps.output, K.SAMPLES)
        b.call("squash_forward", *self._sizes(b, s), maps, b.new_value(s.output, K.SAMPLES))

    def backward(self, b, s, dy):
        maps = s.maps.output
        dmaps, _, _ = b.new_gradient(maps, K.SAMPLES, fuses=False)
        b.call("squash_backward", *self._sizes(b, s), dy, b.value(maps, K.SAMPLES), dmaps)
        super().backward(b, s.maps, b.finished_gradient(maps, s.maps.layout))


class Capsules(Layer):
    """Capsules that find, by routing by agreement, which of the capsules below belong to them.

    Input ``(I, E)``, output ``(capsules, dimension)``; weight ``(I, capsules, dimension, E)``. Capsule i votes
    ``u_ij = W_ij u_i`` for capsule j, and in each iteration, b starting at 0, ::

        c_ij = softmax over j of b_ij,    v_j = squash(sum over i of c_ij u_ij),    b_ij += u_ij . v_j

    Gradients pass through all of it. (Sabour et al. 2017, procedure 1.)

    Parameters
    ----------
    capsules : int
    dimension : int
        Coordinates of each.
    iterations : int
        At least 1, which weighs all votes alike.
    weight_init : str or callable
        See `pycnn.initializers`; normal with a standard deviation of 0.01 where missing.
    """

    passes_curvature = False

    def __init__(self, capsules=10, dimension=16, iterations=3, weight_init="default", name=None):
        super().__init__(name)
        self.capsules, self.dimension = integer(capsules, "capsules", 1), integer(dimension, "dimension", 1)
        self.iterations = integer(iterations, "iterations", 1)
        self.weight_init = weight_init

    def output_shape(self, *shapes):
        one_shape(shapes, (2,), CAPSULES)
        return (self.capsules, self.dimension)

    def parameters(self, shape):
        inputs, size = shape
        start = normal_of(lambda *_: 0.01) if self.weight_init == "default" else self.weight_init
        return {"weight": ParameterSpec((inputs, self.capsules, self.dimension, size), start, inputs * size,
                                        self.capsules * self.dimension, switches=2)}

    def count_connections(self, shape):
        return prod(shape) * self.capsules * self.dimension

    def of_maps(self, kind, learns):
        return learns.any(axis=0)

    def entries_of_maps(self, kind, maps):
        return np.s_[:, maps]

    def entry_of_connection(self, target, source):
        inputs, capsules = self._parameters["weight"].shape[:2]
        if not (0 <= target < capsules and 0 <= source < inputs):
            raise ValueError(f"it has {capsules} capsules that read {inputs}")
        return "weight", (source, target)

    def layout(self, b, s):
        return K.SAMPLES

    def forward(self, b, s):
        size = b.size(s.output, K.SAMPLES) * self.iterations
        s.routing = (b.batch, *s.inputs[0].shape, *s.output.shape, self.iterations)
        s.sums, s.traces = b.buffer(size), b.buffer(2 * size)
        u, weight = b.value(s.inputs[0], K.SAMPLES), b.parameter(self, "weight")
        b.call("route_forward", s.routing, u, weight, s.sums, s.traces, b.new_value(s.output, K.SAMPLES))

    def backward(self, b, s, dy):
        x, dx, dw, accumulate = s.inputs[0], None, None, False
        u, weight = b.value(x, K.SAMPLES), b.parameter(self, "weight")
        b.call("route_backward", s.routing, dy, u, weight, s.sums, s.traces)
        if b.learns(self):
            accumulate, dw = b.accumulates(self), b.gradient(self, "weight")
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, K.SAMPLES, fuses=False)
        b.call("route_gradients", s.routing, accumulate, u, weight, s.traces, dx, dw)


class OfCapsules(Layer):
    """A layer that takes capsules one by one, in either layout of maps: a capsule is a map of its coordinates."""

    passes_curvature = False

    def layout(self, b, s):
        return b.layout_of_maps(s.inputs[0])

    def _planes(self, b, s):
        return b.planes(s.layout, s.inputs[0].channels)


class Squash(OfCapsules):
    """y = |x|^2 / (1 + |x|^2) x / |x|, for each capsule: its direction, with a length below 1.

    Input and output ``(capsules, dimension)``. (Sabour et al. 2017, eq. 1; at 0 both y and its derivative are 0.)
    """

    def output_shape(self, *shapes):
        return one_shape(shapes, (2,), CAPSULES)

    def _sizes(self, b, s):
        return self._planes(b, s), s.output.positions, 1

    def forward(self, b, s):
        b.call("squash_forward", *self._sizes(b, s), b.value(s.inputs[0], s.layout), b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        dx, _, _ = b.new_gradient(s.inputs[0], s.layout, fuses=False)
        b.call("squash_backward", *self._sizes(b, s), dy, b.value(s.inputs[0], s.layout), dx)


class Length(OfCapsules):
    """y = |x|, the length of each capsule; at 0 its derivative counts as 0.

    Input ``(capsules, dimension)``, output ``(capsules,)``. The loss ``"margin"`` belongs to it.
    """

    def output_shape(self, *shapes):
        return one_shape(shapes, (2,), CAPSULES)[:1]

    def forward(self, b, s):
        x = s.inputs[0]
        b.call("length_forward", self._planes(b, s), x.positions, b.value(x, s.layout), b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x = s.inputs[0]
        dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
        b.call("length_backward", self._planes(b, s), x.positions, dy, b.value(x, s.layout), dx)


class Mask(Layer):
    """Keeps one capsule of each sample, and makes the others zero.

    Called as ``Mask()(capsules, target)``: inputs ``(capsules, dimension)`` and ``(capsules,)``, output
    ``(capsules * dimension,)``. The capsule that is kept is the one where the target is greatest, a one-hot label, or
    the longest of a sample whose target is nowhere above zero: pass zeros where there is no label. ``Mask()(capsules)``
    always keeps the longest. No gradient goes to the target. (Sabour et al. 2017, section 4.1.)
    """

    passes_curvature = False

    def output_shape(self, *shapes):
        if len(shapes) not in (1, 2):
            raise ValueError(f"takes capsules, or capsules and a target, got {len(shapes)} inputs")
        shape = one_shape(shapes[:1], (2,), CAPSULES)
        if len(shapes) == 2 and shapes[1] != shape[:1]:
            raise ValueError(f"its target must be {shape[:1]}, a value for each capsule, got {shapes[1]}")
        return (prod(shape),)

    def layout(self, b, s):
        return K.SAMPLES

    def forward(self, b, s):
        capsules, *target = (b.value(x, K.SAMPLES) for x in s.inputs)
        s.kept = b.buffer(b.whole_vectors(b.batch))
        b.call("mask_forward", b.batch, *s.inputs[0].shape, capsules, target[0] if target else None,
               b.new_value(s.output, K.SAMPLES), s.kept)

    def backward(self, b, s, dy):
        x = s.inputs[0]
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, K.SAMPLES, fuses=False)
            b.call("mask_backward", b.batch, *x.shape, dy, s.kept, dx)
