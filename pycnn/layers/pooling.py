"""Pooling: the maximum or the average of each window of each map."""

from math import prod

from .. import _kernels as K
from ..shapes import per_axis, pool_output_shape, resolve_padding, window
from .base import Layer, one_shape


class Pool(Layer):
    """A window that slides over every map; base of `MaxPool` and `AvgPool`."""

    dilation = 1

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, name=None):
        super().__init__(name)
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, bool(ceil_mode)

    def geometry(self, shape):
        """(window, padding after it) over maps of shape ``(C, ...)``."""
        rank, spatial = len(shape) - 1, shape[1:]
        kernel = per_axis(self.kernel_size, rank, "kernel_size")
        stride = per_axis(kernel if self.stride is None else self.stride, rank, "stride")
        dilation = per_axis(self.dilation, rank, "dilation")
        padding = resolve_padding(self.padding, spatial, kernel, stride, dilation)
        for k, (before, after) in zip(kernel, padding):
            if max(before, after) >= k:
                raise ValueError(f"padding {padding} must be smaller than the kernel {kernel}, else a window sees nothing "
                                 f"but padding")
        out = pool_output_shape(spatial, kernel, stride, padding, dilation, self.ceil_mode)
        w = window(spatial, out, kernel, stride, dilation, [before for before, _ in padding])
        return w, (0,) * (3 - rank) + tuple(after for _, after in padding)

    def output_shape(self, *shapes):
        shape = one_shape(shapes, (2, 3, 4), "(C, L), (C, H, W) or (C, D, H, W)")
        return (shape[0], *self.geometry(shape)[0][1][4 - len(shape):])

    def count_connections(self, shape):
        return prod(self.output_shape(shape)) * prod(self.geometry(shape)[0][2])

    def layout(self, b, s):
        return b.spatial_layout


class MaxPool(Pool):
    """y = the maximum of each window; of equal ones the first, in row order, gets the gradient. NaN wins.

    Input ``(C, ...)``, output ``(C, ...)`` with ``floor((H + pads - dilation (R - 1) - 1) / stride) + 1`` positions an axis
    (``ceil`` with `ceil_mode`, less a window that would start in the padding after).

    Parameters
    ----------
    kernel_size : int or tuple of int
    stride : int or tuple of int, optional
        The kernel size where missing.
    padding : int, tuple of int, tuple of (before, after), "same" or "valid"
        Never wins.
    dilation : int or tuple of int
    ceil_mode : bool
    """

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, name=None):
        super().__init__(kernel_size, stride, padding, ceil_mode, name)
        self.dilation = dilation

    def forward(self, b, s):
        x, y = b.value(s.inputs[0], s.layout), b.new_value(s.output, s.layout)
        s.indices = b.buffer(b.size(s.output, s.layout)) if b.training else None
        b.call("max_pool_forward", self.geometry(s.inputs[0].shape)[0], b.planes(s.layout, s.output.channels),
               x, y, s.indices)

    def backward(self, b, s, dy):
        dx, _, _ = b.new_gradient(s.inputs[0], s.layout, fuses=False)
        b.call("max_pool_backward", self.geometry(s.inputs[0].shape)[0], b.planes(s.layout, s.output.channels),
               dy, s.indices, dx)


class AvgPool(Pool):
    """y = the average of each window.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool`.
    count_include_pad : bool
        Whether padding counts in the divisor. The overhang of a `ceil_mode` window never does.
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, name=None):
        super().__init__(kernel_size, stride, padding, ceil_mode, name)
        self.count_include_pad = bool(count_include_pad)

    @property
    def divisor(self):
        return K.TAPS_AND_PADDING if self.count_include_pad else K.TAPS

    def forward(self, b, s):
        x, y = b.value(s.inputs[0], s.layout), b.new_value(s.output, s.layout)
        b.call("avg_pool_forward", *self.geometry(s.inputs[0].shape), self.divisor,
               b.planes(s.layout, s.output.channels), x, y)

    def backward(self, b, s, dy):
        dx, _, _ = b.new_gradient(s.inputs[0], s.layout, fuses=False)
        b.call("avg_pool_backward", *self.geometry(s.inputs[0].shape), self.divisor, b.second,
               b.planes(s.layout, s.output.channels), dy, dx)


class SumPool(AvgPool):
    """y = the sum of each window.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As in `MaxPool`.
    """

    divisor = K.ONE

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, name=None):
        super().__init__(kernel_size, stride, padding, ceil_mode, name=name)


class GlobalPool(Layer):
    """One number a map: input ``(C, ...)``, output ``(C,)``."""

    def output_shape(self, *shapes):
        return one_shape(shapes, (2, 3, 4), "(C, L), (C, H, W) or (C, D, H, W)")[:1]

    def count_connections(self, shape):
        return prod(shape)

    def layout(self, b, s):
        return b.spatial_layout

    def geometry(self, shape):
        spatial = shape[1:]
        return window(spatial, (1,) * len(spatial), spatial, spatial, (1,) * len(spatial), (0,) * len(spatial)), (0, 0, 0)


class GlobalMaxPool(GlobalPool):
    """y = the maximum of each map."""

    forward, backward = MaxPool.forward, MaxPool.backward


class GlobalAvgPool(GlobalPool):
    """y = the average of each map (Lin et al. 2014, arXiv:1312.4400)."""

    divisor = K.TAPS
    forward, backward = AvgPool.forward, AvgPool.backward
