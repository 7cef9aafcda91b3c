"""Sizes that depend on the batch: arithmetic on shapes in which the number of samples is a symbol."""

from __future__ import annotations

import numpy as np


class MixesSamples(ValueError):
    """What the model does joins or moves the samples of a batch, or depends on how many there are."""


class Size:
    """``times N + plus``, where N is the number of samples of a batch, whatever it will be.

    Sums, differences, multiples and exact quotients of sizes are sizes, and plain integers where N drops out. What
    would need to know N raises MixesSamples.

    Examples
    --------
    >>> BATCH * 3 - BATCH
    2 N
    >>> (BATCH * 6) // (BATCH * 2)
    3
    """

    __slots__ = ("plus", "times")

    def __init__(self, times, plus=0):
        self.times, self.plus = int(times), int(plus)

    def __repr__(self):
        return f"{self.times} N" + (f" + {self.plus}" if self.plus else "") if self.times != 1 or self.plus else "N"

    def __eq__(self, other):
        return isinstance(other, Size) and (self.times, self.plus) == (other.times, other.plus)

    def __hash__(self):
        return hash((self.times, self.plus))

    def __add__(self, other):
        times, plus = parts(other)
        return made(self.times + times, self.plus + plus)

    def __neg__(self):
        return Size(-self.times, -self.plus)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        times, plus = parts(other)
        if times:
            raise MixesSamples("the square of the number of samples is no size of a tensor that a network makes")
        return made(self.times * plus, self.plus * plus)

    def __floordiv__(self, other):
        times, plus = parts(other)
        if times:
            quotient = self.times // times
            if (self.times, self.plus) == (quotient * times, quotient * plus):
                return quotient
        elif plus and self.times % plus == 0:       # (k d N + p) // d = k N + p // d
            return made(self.times // plus, self.plus // plus)
        raise MixesSamples(f"{self!r} divided by {other!r} depends on the number of samples N")

    __truediv__ = __floordiv__

    def __mod__(self, other):
        return self - (self // other) * other

    def _unknown(self, *_):
        raise MixesSamples(f"the model computes with the size {self!r}, which depends on the number of samples N")

    def _divides(self, other):
        raise MixesSamples(f"{other!r} divided by {self!r} depends on the number of samples N")

    __radd__, __rmul__ = __add__, __mul__
    __rfloordiv__ = __rtruediv__ = __rmod__ = _divides
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __index__ = __float__ = __bool__ = __pow__ = __rpow__ = _unknown


BATCH = Size(1)


def parts(value):
    """(times, plus) of a size or an integer."""
    return (value.times, value.plus) if isinstance(value, Size) else (0, int(value))


def made(times, plus):
    """The size, as an integer where it does not depend on N."""
    return Size(times, plus) if times else plus


def vector(sizes):
    """Sizes as ONNX has them, a vector of int64; of objects where one depends on N."""
    return simplified(np.array(list(sizes), object).reshape(len(sizes)))


def simplified(array):
    """Of objects only where an entry depends on N."""
    if array.dtype == object and not any(isinstance(size, Size) for size in array.flat):
        return array.astype(np.int64)
    return array
