"""Layers that draw at random while a network is trained, and do nothing when it predicts.

What they draw follows from the network's ``seed`` and the number of the optimizer's step, for each sample and place:
the same in every layout and on any number of threads. ``Network.gradients`` draws as the next training step would.
"""

from math import inf

from .base import Layer, number_within, one_shape


class AtRandom(Layer):
    """Base of the layers of this file."""

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def draws(self, b):
        """Whether the stage does anything on builder `b`."""
        return b.training

    def forward(self, b, s):
        if not self.draws(b):
            b.alias_value(s.output, s.inputs[0], s.layout)
            return
        s.stream = b.new_stream()
        x = b.value(s.inputs[0], s.layout)
        self.call(b, s, x, b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        b.pass_gradient(s.inputs[0], dy, s.layout, multiplied=not self.draws(b) and s.inputs[0].uses == 1)


class Dropout(AtRandom):
    """y = 0 with probability p, else x / (1 - p); in predictions y = x (Srivastava et al. 2014, JMLR 15).

    Parameters
    ----------
    p : float
        At least 0 and less than 1.
    maps : bool
        Whether whole maps are dropped instead of single values (Tompson et al. 2015, arXiv:1411.4280: spatial dropout).
    """

    def __init__(self, p=0.5, maps=False, name=None):
        super().__init__(name)
        self.p, self.maps = number_within(p, "p", above=-inf), bool(maps)
        if not 0 <= self.p < 1:
            raise ValueError(f"p must be a probability less than 1, got {p!r}")

    def draws(self, b):
        return b.training and self.p > 0

    def call(self, b, s, x, y, scale=None):
        """Calls the kernel, which makes of values what it makes of their gradients."""
        scale = 1 / (1 - self.p) if scale is None else scale
        b.call("dropout", s.layout, b.batch, s.output.channels, s.output.positions, self.maps, self.p, scale, s.stream,
               b.draws, x, y)

    def backward(self, b, s, dy):
        if not self.draws(b):
            super().backward(b, s, dy)
        elif s.inputs[0].needs_gradient:
            dx, _, _ = b.new_gradient(s.inputs[0], s.layout, fuses=False, over=dy)
            self.call(b, s, dy, dx, (1 - self.p) ** (-2 if b.second else -1))


class GaussianNoise(AtRandom):
    """y = x + deviation times noise of the standard normal distribution; in predictions y = x.

    Parameters
    ----------
    deviation : float
        Greater than 0.
    """

    def __init__(self, deviation, name=None):
        super().__init__(name)
        self.deviation = number_within(deviation, "deviation")

    def call(self, b, s, x, y):
        b.call("gaussian_noise", s.layout, b.batch, s.output.channels, s.output.positions, self.deviation, s.stream,
               b.draws, x, y)
