"""Models by name: how each is built, and how it is trained on the data sets it is known to learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..datasets import augment
from ..optimizers import AdamW, Optimizer
from .autoencoder import autoencoder
from .digit_bitmaps import digit_bitmaps
from .lenet5 import c3_connections, lenet5, lenet5_images
from .resnet18 import resnet18

__all__ = ["MODELS", "Model", "Recipe", "autoencoder", "c3_connections", "digit_bitmaps", "lenet5", "lenet5_images",
           "resnet18"]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained on a data set: the learning rate falls along a cosine after a warm-up.

    Attributes
    ----------
    epochs, batch_size : int
    optimizer : callable
        ``optimizer(lr) -> Optimizer``.
    lr : float
        The greatest learning rate.
    warmup : int
        Epochs of the warm-up.
    augment : callable or None
        ``augment(batch, rng) -> batch``.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[float], Optimizer]
    lr: float
    warmup: int = 0
    augment: Callable | None = None


@dataclass(frozen=True)
class Model:
    """A model for the command line.

    Attributes
    ----------
    build : callable
        ``build(seed=0) -> Network``.
    recipes : dict of str to Recipe
        By the name of the data set; the first is the default.
    """

    build: Callable
    recipes: dict[str, Recipe]


MODELS = {
    "lenet5": Model(
        lenet5,
        {
            "digits": Recipe(100, 64, partial(AdamW, weight_decay=0.3), 3e-3, augment=augment.RandomShift(2)),
            "fashion-mnist": Recipe(12, 64, partial(AdamW, weight_decay=0.1), 3e-3),
            "mnist": Recipe(20, 64, partial(AdamW, weight_decay=0.1), 2e-3, augment=augment.RandomShift(2)),
        },
    ),
}
