"""The output layer of LeNet-5: Euclidean radial basis functions around pictures of the classes."""

import numpy as np

from .. import _kernels as K
from ..shapes import integer
from .base import Layer, ParameterSpec, one_shape


class RBF(Layer):
    """y_k = sum over c of (x_c - w_kc)^2: the squared distance of the input from each centre.

    Input ``(C,)``, output ``(units,)``; weight ``(units, C)``, the centres (LeCun et al. 1998, eq. 7). The loss
    ``"distance"`` belongs to it.

    Parameters
    ----------
    units : int
        Centres.
    centers : array (units, C), optional
        Where they are at first, as `pycnn.models.digit_bitmaps` draws them; -1 and 1 at random where missing.
    fixed : bool
        Whether they begin frozen; ``layer.trainable`` changes it.
    """

    def __init__(self, units, centers=None, fixed=True, name=None):
        super().__init__(name)
        self.units, self.fixed = integer(units, "units", 1), bool(fixed)
        self.centers = None if centers is None else np.array(centers, np.float64)
        if self.centers is not None and (self.centers.ndim != 2 or len(self.centers) != self.units
                                         or not np.isfinite(self.centers).all()):
            raise ValueError(f"centers must be finite, of shape ({self.units}, C); got shape {self.centers.shape}")
        self._trainable = not self.fixed

    def output_shape(self, *shapes):
        shape = one_shape(shapes, (1,), "(C,); put a Flatten before it")
        if self.centers is not None and self.centers.shape[1] != shape[0]:
            raise ValueError(f"its centres have {self.centers.shape[1]} coordinates, its input {shape[0]}")
        return (self.units,)

    def _first_centers(self, shape, fan_in, fan_out, rng):
        return rng.choice([-1.0, 1.0], shape) if self.centers is None else self.centers

    def parameters(self, shape):
        return {"weight": ParameterSpec((self.units, shape[0]), self._first_centers, shape[0], self.units, switches=2)}

    def count_connections(self, shape):
        return self.units * shape[0]

    def entry_of_connection(self, target, source):
        units, inputs = self._parameters["weight"].shape
        if not (0 <= target < units and 0 <= source < inputs):
            raise ValueError(f"it has {units} centres of {inputs} coordinates")
        return "weight", (target, source)

    def layout(self, b, s):
        return K.PLAIN

    def forward(self, b, s):
        x = s.inputs[0]
        b.call("rbf_forward", b.batch, x.channels, self.units, b.value(x, K.PLAIN), b.parameter(self, "weight"),
               b.new_value(s.output, K.PLAIN))

    def backward(self, b, s, dy):
        x = s.inputs[0]
        values, centers = b.value(x, K.PLAIN), b.parameter(self, "weight")
        if b.learns(self):
            b.call("rbf_backward_weights", b.batch, x.channels, self.units, b.accumulates(self), b.second, dy, values,
                   centers, b.gradient(self, "weight"))
        if x.needs_gradient:
            dx, _, _ = b.new_gradient(x, K.PLAIN, fuses=False)
            b.call("rbf_backward_data", b.batch, x.channels, self.units, b.second, dy, s.output.slope, values, centers, dx)
