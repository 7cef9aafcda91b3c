"""What an operator gets: tensors that depend on the inputs of a network, beside the shape that ONNX gives them."""

from __future__ import annotations

from dataclasses import dataclass

from ..layers.base import Node
from .sizes import BATCH, MixesSamples


@dataclass(frozen=True, eq=False)
class Flow:
    """A tensor that depends on the network's inputs.

    Attributes
    ----------
    node : Node
        It holds the values of a sample in row order, in any shape.
    sample : tuple of int
        The shape, without the batch.
    batched : bool
        Whether there is an axis before those of `sample`, the network's batch.
    readers : int
        How many operations and outputs read it.
    """

    node: Node
    sample: tuple
    batched: bool
    readers: int = 1

    @property
    def shape(self):
        return (BATCH, *self.sample) if self.batched else self.sample

    @property
    def rank(self):
        return len(self.sample) + self.batched

    def axis(self, axis):
        """An axis of `sample`, from one of `shape`; MixesSamples for that of the batch."""
        axis = axis_number(axis, self.rank)
        if self.batched and axis == 0:
            raise MixesSamples("it works along axis 0, which holds the samples of a batch")
        return axis - self.batched


def axis_number(axis, rank):
    """An axis that may count from the end."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is none of a tensor with {rank} axes")
    return int(axis) % rank


def given(array):
    """An initializer that makes these values."""
    return lambda *_: array
