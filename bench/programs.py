"""Kernels as a plan calls them: layouts chosen, memory laid out, and only the call itself left to be timed."""

import numpy as np

from pycnn import _kernels as K
from pycnn import config, shapes
from pycnn.layouts import lanes_of_pass, x_layout_of_pass
from pycnn.storage import aligned_vector

from .layers import PASSES


class Call:
    """One pass of a convolution, its weights packed in every call as in training.

    Calling it runs the kernel once.
    """

    def __init__(self, layer, which, dtype=np.float32):
        self.kernels = config.kernels(dtype)
        self.dtype = np.dtype(dtype)
        self._memory = []
        self._program = K.Program(self.kernels)
        self._layer, lanes = layer, self.kernels.lanes
        # A transposed convolution is the backward pass of the convolution from its output to its input.
        x_shape, y_shape = (layer.y_shape, layer.x_shape) if layer.transposed else (layer.x_shape, layer.y_shape)
        if layer.transposed:
            which = {"forward": "backward_data", "backward_data": "forward"}.get(which, which)
        n, c, k, rank = layer.n, x_shape[1], y_shape[1], len(layer.spatial)
        padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * rank
        window = shapes.window(x_shape[2:], y_shape[2:], layer.kernel, (layer.stride,) * rank, (layer.dilation,) * rank, padding)
        conv = (n, c, k, layer.groups, window, config.get_winograd())

        layout = lanes_of_pass(self.kernels, conv, PASSES.index(which))
        x_layout = x_layout_of_pass(lanes, conv, PASSES.index(which)) if layout == K.CHANNELS else layout
        x, y = self._tensor(x_layout, x_shape), self._tensor(layout, y_shape)
        w, b = self._vector(np.prod(layer.w_shape)), self._vector(k)
        none = (0, 0.0)
        if which == "forward":
            packed = self._vector(self.kernels.conv_packed_size(conv, layout, x_layout, False))
            self._program.conv_pack(conv, layout, x_layout, False, w, b, packed)
            self._program.conv_forward(conv, layout, x_layout, none, None, x, packed, y, 0)
        elif which == "backward_data":
            packed = self._vector(self.kernels.conv_packed_size(conv, layout, x_layout, True))
            self._program.conv_pack(conv, layout, x_layout, True, w, 0, packed)
            self._program.conv_backward_data(conv, layout, x_layout, none, none, y, packed, 0, x)
        else:
            partial = self._vector(self.kernels.conv_partial_size(conv, layout, x_layout))
            self._program.conv_backward_weights(conv, layout, x_layout, None, y, x, partial)
            self._program.conv_reduce_weights(conv, layout, x_layout, False, partial, w, b)

    def _vector(self, size):
        """Address of so many random reals."""
        vector = aligned_vector(int(size), self.dtype)
        vector[:] = np.random.default_rng(0).uniform(-1, 1, vector.shape)
        self._memory.append(vector)
        return vector.ctypes.data

    def _tensor(self, layout, shape):
        n, c, *spatial = shape
        lanes = self.kernels.lanes
        n = -(-n // lanes) * lanes if layout == K.SAMPLES else n
        c = -(-c // lanes) * lanes if layout == K.CHANNELS else c
        return self._vector(n * c * np.prod(spatial))

    def __call__(self):
        self._program.run(threads=config.get_num_threads())
