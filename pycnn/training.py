"""The fit loop: epochs of batches, with progress, validation, callbacks, and a state from which training can go on."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from itertools import islice

import numpy as np

from .callbacks import Callback, Checkpoint
from .optimizers import SGD, finite, get_optimizer
from .shapes import as_tensor, integer

REFRESH_SECONDS = 0.1   # between two updates of the progress bar
LASTING_SECONDS = 1.0   # bars of shorter epochs give way to the next


class TrainingDiverged(FloatingPointError):
    """The loss became infinite or not a number. The parameters are those before that batch."""


class History(dict):
    """What each epoch came to: lists by name, one value an epoch.

    ``loss``, ``accuracy`` (the share of right predictions, with cross-entropy only), ``val_loss``, ``val_accuracy``,
    ``lr``, ``seconds``; with several outputs also ``<output>_loss`` (times its weight) and ``<output>_accuracy``.

    Attributes
    ----------
    epoch : list of int
        Numbers of the epochs, from 1.
    interrupted : bool
        Whether Ctrl-C ended the training.
    """

    def __init__(self, lists=(), epoch=()):
        super().__init__(lists)
        self.epoch = list(epoch)
        self.interrupted = False

    def append(self, epoch, logs):
        """Adds an epoch's figures."""
        self.epoch.append(epoch)
        for key, value in logs.items():
            self.setdefault(key, []).append(value)

    def row(self, i):
        """The figures of the i-th epoch, and ``epoch``, its number."""
        return {"epoch": self.epoch[i], **{key: values[i] for key, values in self.items()}}


def fit(net, x, y=None, *, loss="cross_entropy", optimizer=None, epochs=1, batch_size=32, validation_data=None,
        shuffle=True, seed=0, callbacks=(), class_weight=None, loss_weights=None, clip_norm=None, augment=None,
        resume=False, verbose=1):
    """Trains a network.

    Parameters
    ----------
    net : Network
    x : array, list or dict of array, or iterable of batches
        Inputs ``(N, *shape)``; or without `y` an iterable of batches ``(x, y)`` that can be iterated once an epoch (a
        generator only for one epoch). Its order is kept, whatever `shuffle` says.
    y : array, list or dict of array, optional
        Labels ``(N,)`` or targets ``(N, *shape)``.
    loss : str, Loss, list or dict
        One for all outputs, or one for each. See `pycnn.losses`.
    optimizer : Optimizer or str, optional
        By default ``SGD(0.01, momentum=0.9)``.
    epochs : int
        In all, those before a resumption included.
    batch_size : int
        Samples of a step; the last batch of an epoch may be smaller.
    validation_data : tuple (x, y) or iterable of batches, optional
        What the network is tried on after each epoch.
    shuffle : bool
        Whether every epoch takes the samples in a new order.
    seed : int or numpy.random.Generator
        For that order and for `augment`.
    callbacks : list of Callback
    class_weight : dict of int to float, or array (classes,), optional
        How much each class counts in the cross-entropy; classes that a dict leaves out count 1.
    loss_weights : list or dict of float, optional
        How much each output's loss counts.
    clip_norm : float, optional
        The greatest norm of the gradient of all parameters together.
    augment : callable, optional
        ``augment(batch, rng) -> batch``, applied to each batch of the first input.
    resume : bool
        Go on where ``net.training_state`` ends, also in the midst of an epoch: with the same data and options, a
        training that was stopped, saved, loaded and resumed has bit for bit the parameters and figures of one that
        never stopped. The network's own optimizer goes on then, and callbacks get their memory back by their class.
        Where nothing has been trained yet, training begins.
    verbose : {0, 1, 2}
        Nothing, a progress bar for each epoch (those of epochs under a second give way to the next), or a line for
        each.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, before any work.
    TrainingDiverged
        A FloatingPointError, when the loss becomes infinite or not a number.

    Notes
    -----
    Ctrl-C ends the training after the batch under way, ``history.interrupted`` being True; a second Ctrl-C ends it at
    once.
    """
    epochs, batch_size = integer(epochs, "epochs", 1), integer(batch_size, "batch_size", 1)
    if isinstance(verbose, bool) or verbose not in (0, 1, 2):
        raise ValueError(f"verbose must be 0, 1 or 2, got {verbose!r}")
    if augment is not None and not callable(augment):
        raise TypeError(f"augment must be a function (batch, rng) -> batch, got {augment!r}")
    callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be of class pycnn.callbacks.Callback, got {callback!r}")
    data = training_data(net, x, y, loss, batch_size, shuffle, augment)
    check_repeatable(data, epochs, "x")
    validation = None if validation_data is None else validation_batches(net, validation_data, loss, batch_size)
    check_repeatable(validation, epochs, "validation_data")
    rng, weights = np.random.default_rng(seed), class_weights(net, loss, class_weight)

    saved = net.training_state.get("fit") if resume else None
    if saved and net.optimizer is not None:
        optimizer = net.optimizer
    optimizer = SGD(0.01, momentum=0.9) if optimizer is None else get_optimizer(optimizer)
    trainer = net.trainer(loss, optimizer, loss_weights=loss_weights, class_weights=weights, clip_norm=clip_norm)
    return Run(net, trainer, data, validation, epochs, rng, callbacks, verbose, saved).train()


def evaluate(net, x, y=None, *, loss="cross_entropy", batch_size=256, class_weight=None, loss_weights=None, verbose=0):
    """The loss of a network, and its accuracy where the loss is cross-entropy.

    Parameters
    ----------
    net : Network
    x, y, loss, class_weight, loss_weights
        As `fit` takes them.
    batch_size : int
        Samples at a time.
    verbose : {0, 1}
        1 shows a progress bar.

    Returns
    -------
    dict of str to float
        ``loss``, ``accuracy``, and with several outputs ``<output>_loss`` and ``<output>_accuracy``.
    """
    data = training_data(net, x, y, loss, integer(batch_size, "batch_size", 1), False, None)
    weights, kept = class_weights(net, loss, class_weight), net.optimizer
    trainer = net.trainer(loss, kept or SGD(), loss_weights=loss_weights, class_weights=weights)
    net.optimizer = kept
    bar = Progress(verbose, net)
    bar.begin("evaluate", data.samples)
    sums = Sums(trainer)
    try:
        evaluated(trainer, data, sums, bar)
    finally:
        bar.end(sums)
    return sums.metrics()


def train_on_batch(net, x, y, *, loss="cross_entropy", optimizer=None, class_weight=None, loss_weights=None,
                   clip_norm=None):
    """One training step on one batch.

    Parameters
    ----------
    net : Network
    x, y : array, list or dict of array
    optimizer : Optimizer or str, optional
        By default the one that the network was last trained with, else ``SGD(0.01, momentum=0.9)``.
    loss, class_weight, loss_weights, clip_norm
        As `fit` takes them.

    Returns
    -------
    dict of str to float
        As of `evaluate`, before the step.

    Raises
    ------
    TrainingDiverged
        When the loss is infinite or not a number; the parameters are as they were.
    """
    xs, ys = checked_batch(net, x, y, loss)
    last = net.optimizer
    if optimizer is None:
        optimizer = last or SGD(0.01, momentum=0.9)
    elif isinstance(optimizer, str) and type(last) is type(get_optimizer(optimizer)):
        optimizer = last
    weights = class_weights(net, loss, class_weight)
    trainer = net.trainer(loss, optimizer, loss_weights=loss_weights, class_weights=weights, clip_norm=clip_norm)
    sums, results = Sums(trainer), trainer.step(xs, ys).tolist()
    total = total_loss(results)
    if not math.isfinite(total):
        raise TrainingDiverged(f"the loss is {total}; the parameters are as before this batch")
    sums.add(results, len(xs[0]))
    return sums.metrics()


# ---- data ------------------------------------------------------------------------------------------------------------


def training_data(net, x, y, loss, batch_size, shuffle, augment):
    """ArrayData where there is `y`, else BatchData."""
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
    classes = {net.output_shapes[name][0] for name, of in net._losses(loss).items() if of.labels}
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
                xs = augmented([x[rows] for x in self.xs], self.augment, rng)
                yield xs, [y[rows] for y in self.ys], None, len(rows)

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

    def batches(self, order, rng, first=0):
        for xs, ys, count in islice(self.slices(), first, None):
            yield (xs if self.augment is None else augmented(xs, self.augment, rng)), ys, None, count

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


def augmented(xs, augment, rng):
    """The inputs of a batch, the first one augmented."""
    first = np.asarray(augment(xs[0].copy(), rng))
    if first.shape != xs[0].shape:
        raise ValueError(f"augment made a batch of shape {first.shape} of one of {xs[0].shape}")
    return [as_tensor(first, xs[0].dtype, "the augmented batch"), *xs[1:]]


# ---- figures ---------------------------------------------------------------------------------------------------------


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


def evaluated(trainer, data, sums, bar=None):
    """Adds losses and right predictions over all batches of the data to `sums`, and returns them."""
    for xs, ys, count in data.slices():
        sums.add(trainer.evaluate(xs, ys).tolist(), count)
        if bar is not None and time.perf_counter() >= bar.due:
            bar.show(sums)
    return sums


class Progress:
    """A tqdm bar, or nothing.

    Attributes
    ----------
    due : float
        When the bar is to be shown anew, in seconds of `time.perf_counter`.
    """

    def __init__(self, verbose, net):
        self._on = verbose == 1
        self.unit = " images" if any(len(shape) >= 3 for shape in net.input_shapes.values()) else " samples"
        self.due = math.inf
        self._figures = self._last = None

    def begin(self, title, samples, done=0):
        """A new bar that counts to `samples`, `done` of them counted already; it begins with the last one's figures."""
        if self._on:
            from tqdm import tqdm

            self._bar = tqdm(total=samples, initial=done, desc=title, unit=self.unit, unit_scale=True, leave=False,
                             postfix=self._figures)
            self._title, self._begun = title, time.perf_counter()
            self.due = self._begun + REFRESH_SECONDS

    def show(self, sums, metrics=None):
        """Shows how far it has come, and what the figures are."""
        self._bar.n = sums.samples
        self._bar.set_postfix_str(described(metrics or sums.metrics()))
        self.due = time.perf_counter() + REFRESH_SECONDS

    def end(self, sums, metrics=None):
        """Leaves the bar with the final figures if it took long, and takes it away if not, or without figures."""
        if self._on:
            self._bar.leave = metrics is not None and time.perf_counter() - self._begun >= LASTING_SECONDS
            if metrics is not None:
                self.show(sums, metrics)
                self._figures = described(metrics)
                self._last = None if self._bar.leave else f"{self._title}: {self._figures}"
            self._bar.close()
            self.due = math.inf

    def close(self):
        """Writes the figures of the last bar, if it was taken away."""
        if self._last:
            print(self._last, file=sys.stderr)


def described(metrics):
    """Losses and accuracies in words."""
    return ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())


# ---- the loop --------------------------------------------------------------------------------------------------------


class Run:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    net : Network
    optimizer : Optimizer
        Its ``lr`` may be set at any time.
    epochs : int
        In all.
    epoch : int
        The epoch under way, or the last one done, counted from 1.
    batch : int
        Batches done of the epoch under way.
    batch_loss : float
        Of the last batch.
    metrics : list of str
        Keys of `logs`.
    logs : dict of str to float
        The figures of the last epoch.
    history : History
    stop : bool
        Set it to end the training after the epoch.
    completed : bool
        Whether the training has ended without an error or Ctrl-C.
    """

    def __init__(self, net, trainer, data, validation, epochs, rng, callbacks, verbose, saved):
        self.net, self.optimizer, self.epochs = net, trainer.optimizer, epochs
        self._trainer, self._data, self._validation = trainer, data, validation
        self._rng, self._callbacks, self._verbose = rng, callbacks, verbose
        self._batch_hooks = [c.on_batch_end for c in callbacks
                             if getattr(c.on_batch_end, "__func__", None) is not Callback.on_batch_end]
        self._progress = Progress(verbose, net)
        self._interrupt = DelayedInterrupt()
        names = Sums(trainer).names()
        self.metrics = [*names, *(f"val_{name}" for name in names if validation), "lr", "seconds"]
        self.batch_loss, self.logs = math.nan, {}
        self.stop = self.completed = False
        self._restore(saved or {})

    def _restore(self, saved):
        """Takes up the state of an earlier run, or with an empty one the beginning."""
        if saved:
            self._check_resumable(saved)
        self._finished, self.batch = saved.get("epoch", 0), saved.get("batch", 0)
        self.epoch = self._finished
        lists = saved.get("history", {})
        self.history = History({key: list(values) for key, values in lists.items()}, saved.get("epochs", ()))
        self._sums = Sums(self._trainer, saved.get("sums"))
        self._seconds = saved.get("seconds", 0.0)
        if saved:
            self._rng = generator_of(saved["random_state"])
        self._order_state = saved.get("order_state")
        memories = saved.get("callbacks", {})
        for name, callback in zip(self._callback_names(), self._callbacks):
            callback.restore(memories.get(name, {}))

    def _check_resumable(self, saved):
        if saved["metrics"] != self.metrics:
            raise ValueError(f"the training to resume has the figures {', '.join(saved['metrics'])}, this one "
                             f"{', '.join(self.metrics)}; give it the same loss and validation_data")
        if saved["batch"] and saved["data"] != self._data.described():
            raise ValueError(f"the training to resume stopped in the midst of an epoch of {saved['data']}, "
                             f"this one has {self._data.described()}")

    def _callback_names(self):
        """The class of each callback, numbered where it comes again."""
        kinds = [type(c).__name__ for c in self._callbacks]
        return [f"{kind} {kinds[:i].count(kind) + 1}" for i, kind in enumerate(kinds)]

    def _record(self):
        """Writes into the network's training state all that a resumed run needs."""
        self.net.training_state["fit"] = {
            "metrics": self.metrics, "data": self._data.described(),
            "epoch": self._finished, "batch": self.batch, "seconds": self._seconds,
            "sums": {"outputs": [list(pair) for pair in self._sums.outputs], "samples": self._sums.samples},
            "random_state": state_of(self._rng), "order_state": self._order_state,
            "history": {key: list(values) for key, values in self.history.items()}, "epochs": list(self.history.epoch),
            "callbacks": {name: c.state() for name, c in zip(self._callback_names(), self._callbacks)},
        }

    def _call(self, hook):
        for callback in self._callbacks:
            getattr(callback, hook)(self)

    def train(self):
        """Trains to the last epoch, or until something ends it; returns the history."""
        self._call("on_train_begin")
        try:
            with self._interrupt:
                while self._finished < self.epochs and not self.stop:
                    self._interrupt.check()
                    self._train_epoch()
                self._interrupt.check()
            self.completed = True
        except KeyboardInterrupt:
            self.history.interrupted = True
        finally:
            self._progress.close()
            self._record()
            self._call("on_train_end")
        return self.history

    def _train_epoch(self):
        self.epoch = self._finished + 1
        self._call("on_epoch_begin")
        order = self._begin_order()
        title = f"epoch {self.epoch}/{self.epochs}"
        self._progress.begin(title, self._data.samples, self._sums.samples)
        begun, logs = time.perf_counter() - self._seconds, None
        try:
            self._train_batches(order, begun)
            logs = self._sums.metrics()
            if self._validation is not None:
                tried = evaluated(self._trainer, self._validation, Sums(self._trainer))
                logs.update((f"val_{name}", value) for name, value in tried.metrics().items())
        finally:
            self._progress.end(self._sums, logs)
        seconds = time.perf_counter() - begun
        if self._verbose == 2:
            speed = f"{self._sums.samples / seconds:,.0f}{self._progress.unit}/s"
            print(f"{title}: {described(logs)}, {seconds:.2f} s, {speed}", flush=True)
        logs.update(lr=self.optimizer.lr, seconds=seconds)
        self._finish_epoch(logs)

    def _begin_order(self):
        """The order of the epoch; in the midst of one, as it was, with the random state of the stop restored."""
        if not self.batch:
            self._order_state = state_of(self._rng)
            return self._data.order(self._rng)
        return self._data.order(generator_of(self._order_state))

    def _train_batches(self, order, begun):
        step, sums, progress, clock = self._trainer.step, self._sums, self._progress, time.perf_counter
        for xs, ys, rows, count in self._data.batches(order, self._rng, self.batch):
            results = step(xs, ys, rows).tolist()
            self.batch_loss = total_loss(results)
            if not math.isfinite(self.batch_loss):
                raise self._diverged()
            sums.add(results, count)
            self.batch += 1
            now = clock()
            self._seconds = now - begun
            for hook in self._batch_hooks:
                hook(self)
            self._interrupt.check()
            if now >= progress.due:
                progress.show(sums)

    def _finish_epoch(self, logs):
        self.logs = logs
        self.history.append(self.epoch, logs)
        self._finished, self.batch, self._seconds = self.epoch, 0, 0.0
        self._sums = Sums(self._trainer)
        self._call("on_epoch_end")
        self._record()
        self._call("on_recorded")

    def _diverged(self):
        files = [c.saved for c in self._callbacks if isinstance(c, Checkpoint) and c.saved]
        where = f"; {files[-1]} holds the network after the last epoch that was saved" if files else ""
        return TrainingDiverged(
            f"the loss became {self.batch_loss} in epoch {self.epoch}, batch {self.batch + 1}; the parameters are "
            f"those before that batch{where}. Try a lower learning rate, or clip_norm"
        )


class DelayedInterrupt:
    """Lets Ctrl-C wait for the end of a batch, so that parameters and state agree; a second one does not wait."""

    def __init__(self):
        self._asked, self._previous = False, None

    def __enter__(self):
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *error):
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _ask(self, number, frame):
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def check(self):
        """KeyboardInterrupt if there has been a Ctrl-C."""
        if self._asked:
            raise KeyboardInterrupt


def state_of(rng):
    """The state of a Generator, JSON-able."""
    return plain(rng.bit_generator.state)


def generator_of(state):
    """The Generator of such a state."""
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


def plain(value):
    """Arrays as lists, dicts of them likewise."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
