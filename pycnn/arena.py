"""What kernel calls work on: memory of one arena, laid out by lifetime, and arrays of the caller's."""

from __future__ import annotations

from dataclasses import dataclass

from .storage import ALIGNMENT


class Buffer:
    """Memory of the arena that lives from its first to its last call."""

    __slots__ = ("size", "first", "last", "offset")

    def __init__(self, size):
        self.size, self.first, self.last, self.offset = size, None, None, None

    def at(self, begin):
        """The same memory, from real number `begin` on."""
        return Piece(self, begin)


@dataclass
class Piece:
    buffer: Buffer
    begin: int


@dataclass
class Slot:
    """An array of the caller's: the number of its pointer among the program's slots."""

    number: int


def set_lives(calls, prepared):
    """Sets the first and last of all calls that use a buffer. The first `prepared` of them are not made in every run: what
    they leave for the others lives on."""
    for i, (_, _, arguments) in enumerate(calls):
        for argument in arguments:
            for a in argument if isinstance(argument, list) else (argument,):
                buffer = a.buffer if isinstance(a, Piece) else a
                if isinstance(buffer, Buffer):
                    buffer.first = i if buffer.first is None else buffer.first
                    buffer.last = len(calls) if buffer.first < prepared <= i else i


def place_buffers(buffers, real_size):
    """Sets the offset of each buffer, in bytes; returns the bytes of the arena.

    Largest first, each at the lowest place that is free as long as it lives. A vector of slack follows every buffer.
    """
    placed, total = [], 0
    for buffer in sorted((b for b in buffers if b.first is not None), key=lambda b: -b.size):
        size = -(-buffer.size * real_size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        offset = 0
        for begin, end, other in placed:
            if other.first <= buffer.last and buffer.first <= other.last and begin < offset + size and offset < end:
                offset = end
        buffer.offset = offset
        placed.append((offset, offset + size, buffer))
        placed.sort(key=lambda p: p[0])
        total = max(total, offset + size)
    return total
