"""What a network's outputs come to over many batches: losses, accuracies, and what is taken for what."""

import math

import numpy as np


class Sums:
    """Losses and right predictions, summed over batches.

    Attributes
    ----------
    outputs : list of [float, float]
        Of each output that has a loss: its loss times samples, and the right predictions.
    samples : int
    """

    def __init__(self, trainer, saved=None):
        saved = saved or {"outputs": [[0.0, 0.0] for _ in trainer.losses], "samples": 0}
        self.outputs, self.samples = [list(pair) for pair in saved["outputs"]], saved["samples"]
        shapes = trainer.net.output_shapes
        self._names = list(trainer.losses)
        self._positions = [math.prod(shapes[n][1:]) if of.labels else 0 for n, (of, _) in trainer.losses.items()]

    def add(self, results, samples):
        """Adds what the trainer returned for a batch."""
        for sums, (loss, right) in zip(self.outputs, results):
            sums[0] += loss * samples
            sums[1] += right
        self.samples += samples

    def names(self):
        """The keys of `metrics`."""
        kinds = ["loss", "accuracy"] if any(self._positions) else ["loss"]
        several = len(self._names) > 1
        own = [[f"{n}_loss"] + ([f"{n}_accuracy"] if p else []) for n, p in zip(self._names, self._positions)]
        return kinds + [key for keys in own for key in keys if several]

    def metrics(self):
        """Loss and accuracy of all, and of each output where there are several."""
        samples = max(1, self.samples)
        own, right, labels = {}, 0.0, 0
        for name, positions, (loss, correct) in zip(self._names, self._positions, self.outputs):
            own[f"{name}_loss"] = loss / samples
            if positions:
                own[f"{name}_accuracy"] = correct / (samples * positions)
                right, labels = right + correct, labels + samples * positions
        values = {"loss": sum(loss for loss, _ in self.outputs) / samples, "accuracy": right / max(1, labels), **own}
        return {name: values[name] for name in self.names()}


def total_loss(results):
    """The loss of a batch, from what the trainer returned for it."""
    return sum(loss for loss, _ in results)


def confusion_counts(labels, predicted, classes):
    """How often each class (row) was taken for each class (column): an array of int (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
