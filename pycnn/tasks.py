"""What a model is trained for: what `fit` takes of a data set, by which recipe, how well it went, and what one looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .callbacks import Callback
from .figures import training_figure
from .optimizers import Optimizer
from .training import evaluate

SHOWN_BATCH = 256       # samples at a time where a network is tried


class Task:
    """Base of the tasks. A subclass says what of it is not as in classification.

    A data set is ``(x, y), (x_test, y_test)``, as the functions of `pycnn.datasets` give it.

    Attributes
    ----------
    loss, loss_weights
        As `fit` takes them.
    """

    loss = "cross_entropy"
    loss_weights = None

    def build_options(self, x, y):
        """What a model's `build` is told of the training data, beside the seed."""
        return {"input_shape": x.shape[1:]}

    def training_data(self, x, y):
        """(inputs, targets) of `fit`."""
        return x, y

    def test_data(self, x, y):
        """(inputs, targets) on which the network is tried."""
        return self.training_data(x, y)

    def scores(self, net, x, y, verbose=0):
        """Figures by name, of a trained network on test data."""
        raise NotImplementedError

    def sentence(self, scores):
        """The scores in words."""
        return ", ".join(f"test {name} {value:.4f}" for name, value in scores.items())

    def figure(self, net, history, x, y, *, data, title):
        """A matplotlib figure of what the network has learned, made with the test data of the data set named `data`."""
        raise NotImplementedError

    def losses(self, net, x, y, verbose=0):
        """What `evaluate` gives for test data."""
        return evaluate(net, *self.test_data(x, y), loss=self.loss, loss_weights=self.loss_weights, batch_size=SHOWN_BATCH,
                        verbose=verbose)


class Classification(Task):
    """Scores of classes, trained by cross-entropy."""

    def build_options(self, x, y):
        return {"input_shape": x.shape[1:], "classes": int(np.max(y)) + 1}

    def scores(self, net, x, y, verbose=0):
        losses = self.losses(net, x, y, verbose)
        return {"accuracy": losses["accuracy"], "loss": losses["loss"]}

    def sentence(self, scores):
        return f"test accuracy {scores['accuracy']:.2%}, test loss {scores['loss']:.4f}"

    def figure(self, net, history, x, y, *, data, title):
        from .datasets import CLASS_NAMES

        return training_figure(net, history, x, y, class_names=CLASS_NAMES.get(data), title=title, held_out="test")


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
        As `fit` takes it.
    callbacks : callable
        ``callbacks() -> list of Callback``, beside that of the learning rate.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[float], Optimizer]
    lr: float
    warmup: int = 0
    augment: Callable | None = None
    callbacks: Callable[[], list[Callback]] = list


@dataclass(frozen=True)
class Model:
    """A model for the command line.

    Attributes
    ----------
    build : callable
        ``build(seed=0, **options) -> Network``, the options being those of the task.
    recipes : dict of str to Recipe
        By the name of the data set; the first is the default.
    task : Task
    """

    build: Callable
    recipes: dict[str, Recipe]
    task: Task = field(default_factory=Classification)
