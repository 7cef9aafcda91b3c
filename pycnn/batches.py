"""Batches, of arrays or of an iterable, checked before any work."""

from itertools import islice

import numpy as np

from .optimizers import finite
from .shapes import as_tensor, integer


def training_data(net, x, y, loss, batch_size, shuffle, augment):
    """ArrayData where there is `y`, else BatchData."""
    augment = None if augment is None else Augmentation(net, loss, augment)
    if y is not None:
        return ArrayData(*checked_batch(net, x, y, loss), batch_size, bool(shuffle), augment)
    if isinstance(x, (np.ndarray, dict)) or not hasattr(x, "__iter__"):
        raise TypeError(f"y is missing: without it, x must be an iterable of batches (x, y), got {type(x).__name__}")
    return BatchData(net, x, loss, augment)


def validation_batches(net, data, loss, batch_size):
    """The batches of fit's `validation_data`."""
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    try:
        return training_data(net, x, y, loss, batch_size, False, None)
    except (ValueError, TypeError) as error:
        raise type(error)(f"validation_data: {error}") from None


def checked_batch(net, x, y, loss):
    """Lists of checked inputs and targets of the same number of samples, at least one."""
    xs, ys = net.check_inputs(x), net.check_targets(y, loss)
    for target in ys:
        if len(target) != len(xs[0]):
            raise ValueError(f"x has {len(xs[0])} samples, but y has {len(target)}")
    if len(xs[0]) == 0:
        raise ValueError("there are no samples")
    return xs, ys


def check_repeatable(data, epochs, what):
    """ValueError for a generator that would have to serve several epochs."""
    if epochs > 1 and isinstance(data, BatchData) and hasattr(data.source, "__next__"):
        raise ValueError(f"{what} is a generator, which serves one epoch, not {epochs}; pass arrays, or an iterable "
                         f"that can be iterated anew, such as a list or a DataLoader")


def class_weights(net, loss, weights):
    """fit's `class_weight` as an array with a value for each class, or None."""
    if weights is None:
        return None
    classes = {net.output_shapes[name][0] for name, of in net.losses_by_output(loss).items() if of.labels}
    if len(classes) != 1:
        raise ValueError("class_weight needs cross-entropy, and the same number of classes at every output with it")
    (count,) = classes
    if not isinstance(weights, dict):
        return as_tensor(weights, np.float64, "class_weight", 1)
    values = np.ones(count)
    for label, weight in weights.items():
        if not 0 <= integer(label, "a class of class_weight") < count:
            raise ValueError(f"class_weight: there is no class {label}; they are 0 to {count - 1}")
        values[label] = finite(weight, f"class_weight of class {label}")
    return values


class ArrayData:
    """Batches of whole arrays, as the trainer takes them: without a copy unless they are augmented."""

    def __init__(self, xs, ys, batch_size, shuffle, augment):
        self.xs, self.ys, self.samples = xs, ys, len(xs[0])
        self.batch_size, self.shuffle, self.augment = batch_size, shuffle, augment

    def described(self):
        """The data in words."""
        return f"{self.samples} samples in batches of {self.batch_size}"

    def order(self, rng):
        """The rows in the order of a new epoch."""
        return rng.permutation(self.samples) if self.shuffle else np.arange(self.samples)

    def batches(self, order, rng, first=0):
        """(xs, ys, rows, samples) of each batch, from batch `first` on."""
        for begin in range(first * self.batch_size, self.samples, self.batch_size):
            rows = order[begin : begin + self.batch_size]
            if self.augment is None:
                yield self.xs, self.ys, rows, len(rows)
            else:
                yield *self.augment([x[rows] for x in self.xs], [y[rows] for y in self.ys], rng), None, len(rows)

    def first(self, order, count):
        """(xs, ys) of the first samples of an epoch."""
        rows = np.arange(min(count, self.samples)) if order is None else order[:count]
        return [x[rows] for x in self.xs], [y[rows] for y in self.ys]

    def slices(self):
        """(xs, ys, samples) of each batch, in order."""
        for begin in range(0, self.samples, self.batch_size):
            end = min(begin + self.batch_size, self.samples)
            yield [x[begin:end] for x in self.xs], [y[begin:end] for y in self.ys], end - begin


class BatchData:
    """Batches of an iterable."""

    samples = None

    def __init__(self, net, source, loss, augment):
        self.net, self.source, self.loss, self.augment = net, source, loss, augment

    def described(self):
        return "batches of an iterable"

    def order(self, rng):
        return None

    def first(self, order, count):
        raise ValueError("SDLM averages second derivatives over samples before each epoch; pass arrays x and y, not batches")

    def batches(self, order, rng, first=0):
        for xs, ys, count in islice(self.slices(), first, None):
            yield *((xs, ys) if self.augment is None else self.augment(xs, ys, rng)), None, count

    def slices(self):
        number = 0
        for number, batch in enumerate(self.source, 1):
            if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
                raise ValueError(f"batch {number} must be a pair (x, y), got {type(batch).__name__}")
            try:
                xs, ys = checked_batch(self.net, *batch, self.loss)
            except (ValueError, TypeError) as error:
                raise type(error)(f"batch {number}: {error}") from None
            yield xs, ys, len(xs[0])
        if not number:
            raise ValueError("the iterable of batches is empty")


class Augmentation:
    """fit's `augment`, applied to the first input of a batch, and to the first target too if it `changes_targets`."""

    def __init__(self, net, loss, function):
        self.net, self.loss, self.function = net, loss, function
        self.changes_targets = getattr(function, "changes_targets", False)

    def __call__(self, xs, ys, rng):
        """Lists of the inputs and targets, checked."""
        first = xs[0].copy()
        if self.changes_targets:
            first, target = self.function(first, ys[0].copy(), rng)
            ys = self.net.check_targets(dict(zip(self.net.losses_by_output(self.loss), [target, *ys[1:]])), self.loss)
            if len(ys[0]) != len(xs[0]):
                raise ValueError(f"augment made {len(ys[0])} targets of {len(xs[0])}")
        else:
            first = self.function(first, rng)
        first = np.asarray(first)
        if first.shape != xs[0].shape:
            raise ValueError(f"augment made a batch of shape {first.shape} of one of {xs[0].shape}")
        first = as_tensor(first, xs[0].dtype, "the augmented batch")
        self.net.check_values(self.net.input_names[0], first)
        return [first, *xs[1:]], ys
