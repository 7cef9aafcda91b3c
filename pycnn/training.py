"""The fit loop: epochs of batches, with progress, validation, callbacks, and a state from which training can go on."""

from __future__ import annotations

import math
import signal
import threading
import time

import numpy as np

from .batches import check_repeatable, checked_batch, class_weights, training_data, validation_batches
from .callbacks import Callback, Checkpoint
from .metrics import Sums, total_loss
from .optimizers import SDLM, SGD, get_optimizer
from .progress import Progress, described
from .shapes import integer


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
        ``augment(batch, rng) -> batch``, applied to each batch of the first input. If its attribute `changes_targets` is
        true, ``augment(batch, targets, rng) -> (batch, targets)``, applied to the first target as well.
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


def evaluated(trainer, data, sums, bar=None):
    """Adds losses and right predictions over all batches of the data to `sums`, and returns them."""
    for xs, ys, count in data.slices():
        sums.add(trainer.evaluate(xs, ys).tolist(), count)
        if bar is not None and time.perf_counter() >= bar.due:
            bar.show(sums)
    return sums


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
        if not self.batch and isinstance(self.optimizer, SDLM):
            self._trainer.estimate_curvature(*self._data.first(order, self.optimizer.samples))
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
