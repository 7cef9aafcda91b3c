"""Local response normalisation."""

from .. import _kernels as K
from ..shapes import per_axis
from .base import Layer, number_within, one_shape


class LocalResponseNorm(Layer):
    """y_c = x_c / (k + alpha / size * the sum of x^2 over `size` channels around c)^beta (Krizhevsky et al. 2012, "ImageNet
    classification with deep convolutional neural networks", section 3.3), as LRN of ONNX and in PyTorch.

    Input and output ``(C,)`` or ``(C, ...)``. The window is that of ONNX, ``c - floor((size - 1) / 2)`` to
    ``c + floor(size / 2)``, of which channels that are there count. The paper's alpha is not divided by the size.

    Parameters
    ----------
    size : int
    alpha, beta, k : float
        Greater than 0.
    """

    passes_curvature = False

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=1.0, name=None):
        super().__init__(name)
        self.size = per_axis(size, 1, "size")[0]
        self.alpha, self.beta, self.k = (number_within(v, w) for v, w in ((alpha, "alpha"), (beta, "beta"), (k, "k")))

    def output_shape(self, *shapes):
        return one_shape(shapes, range(1, 5), "1 to 4 axes")

    def layout(self, b, s):
        x = s.inputs[0]
        return K.SAMPLES if x.layout == K.SAMPLES or len(x.shape) == 1 else K.PLAIN

    def _arguments(self, b, s):
        """The response, and the sizes (outer, channels, inner) of a tensor in the stage's layout."""
        channels, lanes = s.output.channels, b.kernels.lanes if s.layout == K.SAMPLES else 1
        return (self.size, self.alpha, self.beta, self.k), -(-b.batch // lanes), channels, s.output.positions * lanes

    def forward(self, b, s):
        b.call("local_response_forward", *self._arguments(b, s), b.value(s.inputs[0], s.layout),
               b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x = s.inputs[0]
        dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
        b.call("local_response_backward", *self._arguments(b, s), dy, b.value(x, s.layout), dx)
