"""Pooling: the maximum or the average of each window of each map."""

from math import prod

from .. import _kernels as K
from ..functional.programs import number
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
        s.indices = b.buffer(b.size(s.output, s.layout)) if b.backward else None
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
    dilation : int or tuple of int
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, dilation=1, name=None):
        super().__init__(kernel_size, stride, padding, ceil_mode, name)
        self.count_include_pad, self.dilation = bool(count_include_pad), dilation

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


class LPPool(Pool):
    """y = (the sum of |x|^p over each window)^(1/p), padding counting as nothing (ONNX LpPool).

    Input and output as in `MaxPool`. p = 1 sums magnitudes, p = 2 is the Euclidean norm, a large p is near the maximum.
    The derivative is taken as 0 where all of a window is 0.

    Parameters
    ----------
    p : float
        Finite, at least 1.
    kernel_size, stride, padding, ceil_mode, dilation
        As in `MaxPool`.
    """

    def __init__(self, p, kernel_size, stride=None, padding=0, ceil_mode=False, dilation=1, name=None):
        super().__init__(kernel_size, stride, padding, ceil_mode, name)
        self.p, self.dilation = number(p, "p", 1), dilation

    def forward(self, b, s):
        x, planes = s.inputs[0], b.planes(s.layout, s.output.channels)
        b.call("lp_pool_forward", self.geometry(x.shape)[0], self.p, planes, b.value(x, s.layout),
               b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x, planes = s.inputs[0], b.planes(s.layout, s.output.channels)
        dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
        b.call("lp_pool_backward", self.geometry(x.shape)[0], self.p, b.second, planes, dy, b.value(x, s.layout),
               b.value(s.output, s.layout), dx)


class MaxUnpool(Pool):
    """y = x where the maxima of `pooled` lay, 0 elsewhere: ``MaxUnpool(2)(x, pooled)`` undoes ``MaxPool(2)(pooled)``.

    Inputs x of the shape that ``MaxPool`` makes of `pooled`, and `pooled`, the tensor ``(C, ...)`` that was max-pooled,
    of which only the places of the maxima count: it gets no gradient. Output of the shape of `pooled`. Where windows
    overlap, values that meet add up. (Zeiler et al. 2011; ONNX MaxUnpool.)

    Parameters
    ----------
    kernel_size, stride, padding
        Those of the pooling.
    """

    def __init__(self, kernel_size, stride=None, padding=0, name=None):
        super().__init__(kernel_size, stride, padding, name=name)

    def output_shape(self, *shapes):
        if len(shapes) != 2:
            raise ValueError(f"takes two inputs, the values and the tensor that was max-pooled, got {len(shapes)}")
        x, pooled = shapes
        expected = super().output_shape(pooled)
        if x != expected:
            raise ValueError(f"its first input must have the shape {expected} that pooling makes of the second, got {x}")
        return pooled

    def count_connections(self, x, pooled):
        return prod(x)

    def forward(self, b, s):
        x, pooled = s.inputs
        window, planes = self.geometry(pooled.shape)[0], b.planes(s.layout, pooled.channels)
        maxima, s.indices = b.buffer(b.size(x, s.layout)), b.buffer(b.size(x, s.layout))
        b.call("max_pool_forward", window, planes, b.value(pooled, s.layout), maxima, s.indices)
        b.call("max_pool_backward", window, planes, b.value(x, s.layout), s.indices, b.new_value(s.output, s.layout))

    def backward(self, b, s, dy):
        x, pooled = s.inputs
        if x.needs_gradient:
            window, planes = self.geometry(pooled.shape)[0], b.planes(s.layout, pooled.channels)
            dx, _, _ = b.new_gradient(x, s.layout, fuses=False)
            b.call("max_unpool_backward", window, planes, dy, s.indices, dx)


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
