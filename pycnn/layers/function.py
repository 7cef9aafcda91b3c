"""Layers in NumPy: the base of those that compute between two kernels, and one of the user's own."""

import numpy as np

from .. import _kernels as K
from ..shapes import check_size, integer
from .base import Layer


class Computed(Layer):
    """y = function(x...), computed by Python between two kernels; base of layers in NumPy.

    A subclass says what `Lambda` takes: ``function(*xs) -> y`` and ``gradient(dy, *xs) -> dx``, or a tuple of them.
    """

    passes_curvature = False
    gradient = None

    def function(self, *xs):
        raise NotImplementedError

    def layout(self, b, s):
        return K.PLAIN

    def forward(self, b, s):
        def compute(*arrays):
            *xs, y = arrays
            self._store(self.function(*xs), y, "function")

        xs = [(b.value(x, K.PLAIN), x.shape) for x in s.inputs]
        b.call_python(compute, xs, [(b.new_value(s.output, K.PLAIN), s.output.shape)])

    def backward(self, b, s, dy):
        wanted = [i for i, x in enumerate(s.inputs) if x.needs_gradient]
        if not wanted:
            return
        if self.gradient is None:
            raise ValueError(f"{self.name}: has no gradient, and something below it learns or its input's gradient is "
                             f"asked for")
        count = len(s.inputs)

        def compute(*arrays):
            results = self.gradient(*arrays[: 1 + count])
            results = results if isinstance(results, tuple) else (results,)
            if len(results) != count:
                raise ValueError(f"{self.name}: gradient returned {len(results)} arrays for {count} inputs")
            for i, dx in zip(wanted, arrays[1 + count :]):
                self._store(0.0 if results[i] is None else results[i], dx, "gradient")

        given = [(dy, s.output.shape), *((b.value(x, K.PLAIN), x.shape) for x in s.inputs)]
        made = [(b.new_gradient(s.inputs[i], K.PLAIN, fuses=False)[0], s.inputs[i].shape) for i in wanted]
        b.call_python(compute, given, made)

    def _store(self, result, where, what):
        result = np.asarray(result)
        if result.shape not in ((), where.shape):
            raise ValueError(f"{self.name}: {what} returned an array of shape {result.shape}, expects {where.shape}")
        where[...] = result


class Lambda(Computed):
    """y = function(x...), computed by Python between two kernels.

    Parameters
    ----------
    function : callable
        ``function(*xs) -> y`` of arrays ``(N, *shape)``, one for each input, which must not be written.
    gradient : callable, optional
        ``gradient(dy, *xs) -> dx``, or a tuple with one for each input; None stands for a gradient of zero. Needed where
        something below the layer learns.
    shape : tuple of int or callable, optional
        Shape of y without the batch, or ``shape(*input_shapes)``; that of the first input where missing.

    Raises
    ------
    ValueError
        While it runs, when a function returns an array of another shape. Nothing has been updated then. An error of a
        function's own goes through to the caller.

    Notes
    -----
    A network with such a layer cannot be saved: a file holds no functions.

    Examples
    --------
    >>> import numpy as np
    >>> from pycnn.layers import Lambda
    >>> square = Lambda(np.square, lambda dy, x: 2 * x * dy)
    """

    def __init__(self, function, gradient=None, shape=None, name=None):
        super().__init__(name)
        for what, value in (("function", function), ("gradient", gradient)):
            if not callable(value) and (value is not None or what == "function"):
                raise TypeError(f"{what} must be a function of arrays, got {value!r}")
        self.function, self.gradient = function, gradient
        self.shape = shape if callable(shape) or shape is None else checked_shape(shape)

    def output_shape(self, *shapes):
        if not shapes:
            raise ValueError("takes at least one input")
        shape = shapes[0] if self.shape is None else self.shape
        return checked_shape(shape(*shapes)) if callable(shape) else shape

    def config(self):
        raise ValueError(f"{self.name}: a Lambda holds functions, which a file cannot")

    def __repr__(self):
        return f"Lambda({self.function!r}, gradient={self.gradient!r}, shape={self.shape!r})"


def one_of(value, known, what):
    """`value`, if it is among the known names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
    return value


def checked_shape(shape):
    """A shape without the batch, as a tuple of ints."""
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    shape = tuple(integer(size, "each size of a shape", 1) for size in shape)
    if not 1 <= len(shape) <= 4:
        raise ValueError(f"a shape has 1 to 4 axes besides the batch, got {shape}")
    check_size(shape, "its output")
    return shape
