"""Callbacks: what happens between the batches and epochs of a training besides learning."""

from __future__ import annotations

import base64
import csv
import math
import os

import numpy as np

from .optimizers import finite
from .shapes import integer

LARGEST_KEPT = 32 * 2**20   # bytes of best parameters that go into a saved file
HOOKS = ("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_recorded", "on_train_end")


class Callback:
    """Base of the callbacks. Every hook gets the `pycnn.training.Run` under way; here, each does nothing.

    A callback whose decisions depend on earlier epochs gives that memory as JSON-able `state`, so that a resumed
    training goes on as if it had never stopped.
    """

    def on_train_begin(self, run):
        """Before the first epoch, nothing having been trained yet; the place to refuse by ValueError."""

    def on_epoch_begin(self, run):
        """Before the batches of epoch ``run.epoch``, counted from 1."""

    def on_batch_end(self, run):
        """After batch ``run.batch`` of the epoch, counted from 1; its loss is ``run.batch_loss``."""

    def on_epoch_end(self, run):
        """After an epoch and its validation; its figures are ``run.logs``. ``run.stop = True`` ends the training."""

    def on_recorded(self, run):
        """After `on_epoch_end` of all callbacks, when ``run.net.training_state`` says all: the place to save."""

    def on_train_end(self, run):
        """At the end, also after an error or Ctrl-C; ``run.completed`` is False then."""

    def state(self):
        """What the callback remembers, JSON-able."""
        return {}

    def restore(self, state):
        """Remembers `state`, or with an empty one begins anew. Called before every training."""


class LambdaCallback(Callback):
    """Hooks from functions.

    Parameters
    ----------
    **hooks : callable
        ``on_epoch_end=lambda run: ...`` and so on.

    Raises
    ------
    TypeError
        When a name is not a hook's, or a value cannot be called.
    """

    def __init__(self, **hooks):
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"unknown hook {name!r}; known are {', '.join(HOOKS)}")
            if not callable(function):
                raise TypeError(f"{name} must be a function of the run, got {function!r}")
            setattr(self, name, function)


class Monitor(Callback):
    """Base of the callbacks that watch one figure of the history.

    Parameters
    ----------
    monitor : str
        A key of the history. An accuracy is to rise, anything else to fall.
    min_delta : float
        By how much it must be better than the best so far to count.
    """

    def __init__(self, monitor, min_delta=0.0):
        self.monitor = monitor
        self.min_delta = finite(min_delta, "min_delta")
        self.best = None

    def on_train_begin(self, run):
        if self.monitor not in run.metrics:
            hint = "; give validation_data" if str(self.monitor).startswith("val_") else ""
            raise ValueError(f"{type(self).__name__} watches {self.monitor!r}, but this training has only "
                             f"{', '.join(run.metrics)}{hint}")

    def improved(self, run):
        """Whether the epoch is the best so far; if so, it is the new best."""
        value = run.logs[self.monitor]
        rises = self.monitor.endswith("accuracy")
        gain = 0.0 if self.best is None else (value - self.best if rises else self.best - value)
        if math.isnan(value) or (self.best is not None and not gain > self.min_delta):
            return False
        self.best = value
        return True

    def state(self):
        return {"best": self.best}

    def restore(self, state):
        self.best = state.get("best")


class EarlyStopping(Monitor):
    """Stops when a figure has not improved for some epochs.

    Parameters
    ----------
    monitor : str
        A key of the history; see `Monitor`.
    patience : int
        Epochs without improvement after which the training ends, at least 1.
    min_delta : float
        The least improvement that counts.
    restore_best : bool
        Whether the network gets the parameters of its best epoch back when the training ends by itself (not by Ctrl-C
        or an error). The saved file holds them too, up to 32 MiB, so that a resumed training can restore them.
    """

    def __init__(self, monitor="val_loss", patience=10, min_delta=0.0, restore_best=True):
        super().__init__(monitor, min_delta)
        self.patience = integer(patience, "patience", 1)
        self.restore_best = bool(restore_best)
        self.restore({})

    def on_train_begin(self, run):
        super().on_train_begin(run)
        run.stop = run.stop or self.waited >= self.patience

    def on_epoch_end(self, run):
        if self.improved(run):
            self.waited, self.best_epoch = 0, run.epoch
            self._parameters = packed_parameters(run.net) if self.restore_best else b""
        else:
            self.waited += 1
            run.stop = run.stop or self.waited >= self.patience

    def on_train_end(self, run):
        if run.completed and self._parameters:
            unpack_parameters(run.net, self._parameters)

    def state(self):
        kept = self._parameters if len(self._parameters) <= LARGEST_KEPT else b""
        return {**super().state(), "waited": self.waited, "best_epoch": self.best_epoch,
                "parameters": base64.b64encode(kept).decode("ascii")}

    def restore(self, state):
        super().restore(state)
        self.waited = state.get("waited", 0)
        self.best_epoch = state.get("best_epoch")
        self._parameters = base64.b64decode(state.get("parameters", ""))


def packed_parameters(net):
    """All parameters and statistics of a network as bytes, in the order of ``net.parameters`` and ``net.statistics``."""
    return b"".join(value.tobytes() for value in (*net.parameters.values(), *net.statistics.values()))


def unpack_parameters(net, data):
    """Sets what `packed_parameters` took."""
    values = [*net.parameters.values(), *net.statistics.values()]
    pieces = np.split(np.frombuffer(data, values[0].dtype), np.cumsum([value.size for value in values])[:-1])
    for value, piece in zip(values, pieces):
        value[...] = piece.reshape(value.shape)


class Checkpoint(Monitor):
    """Saves the network after every epoch, or after every best one.

    Parameters
    ----------
    path : str or path
        The file. ``{epoch}`` and the keys of the history are filled in, as in
        ``"net-{epoch:03d}-{val_loss:.3f}.safetensors"``.
    monitor : str
        With `save_best_only`, the key of the history that decides; see `Monitor`.
    save_best_only : bool

    Attributes
    ----------
    saved : str or None
        The last file written.
    """

    def __init__(self, path, monitor="val_loss", save_best_only=False):
        super().__init__(monitor)
        self.path = os.fspath(path)
        self.save_best_only = bool(save_best_only)
        self.saved = None
        self._due = False

    def on_train_begin(self, run):
        if self.save_best_only:
            super().on_train_begin(run)
        path = self._path(0, dict.fromkeys(run.metrics, 0.0))
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise ValueError(f"Checkpoint: there is no folder {folder}")

    def on_epoch_end(self, run):
        self._due = self.improved(run) if self.save_best_only else True

    def on_recorded(self, run):
        if self._due:
            path = self._path(run.epoch, run.logs)
            run.net.save(path)
            self.saved = path

    def _path(self, epoch, logs):
        try:
            return self.path.format(epoch=epoch, **logs)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"Checkpoint: {self.path!r} cannot be filled in with epoch, {', '.join(logs)}: "
                             f"{error!r}") from None

    def restore(self, state):
        super().restore(state)
        self.saved = None


class LearningRateSchedule(Callback):
    """Sets the learning rate before every epoch. The optimizer's own rate comes back when the training ends.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, lr) -> float``: the rate of an epoch, counted from 1, given the rate at the start.
    """

    def __init__(self, schedule):
        if not callable(schedule):
            raise TypeError(f"a schedule must be a function (epoch, lr) -> lr, got {schedule!r}")
        self.rate = schedule
        self.base = None

    def on_train_begin(self, run):
        if self.base is None:
            self.base = run.optimizer.lr

    def on_epoch_begin(self, run):
        run.optimizer.lr = self.rate(run.epoch, self.base)

    def on_train_end(self, run):
        run.optimizer.lr = self.base

    def state(self):
        return {"base": self.base}

    def restore(self, state):
        self.base = state.get("base")


class StepDecay(LearningRateSchedule):
    """lr * factor^floor((epoch - 1) / every).

    Parameters
    ----------
    factor : float
        At least 0.
    every : int
        Epochs between two steps.
    """

    def __init__(self, factor, every):
        self.factor, self.every = finite(factor, "factor"), integer(every, "every", 1)
        super().__init__(lambda epoch, lr: lr * self.factor ** ((epoch - 1) // self.every))


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the learning rate down to `min_lr`, after a linear warm-up (Loshchilov & Hutter 2017,
    arXiv:1608.03983, eq. 5, without restarts).

    Epoch e of the warm-up has ``lr e / warmup``; the k-th of the n epochs behind it (k from 0) has
    ``min_lr + (lr - min_lr) (1 + cos(pi k / n)) / 2``.

    Parameters
    ----------
    epochs : int
        Epochs in all, warm-up included; later ones keep `min_lr`.
    warmup : int
        Epochs of the warm-up, fewer than `epochs`.
    min_lr : float
    """

    def __init__(self, epochs, warmup=0, min_lr=0.0):
        self.epochs, self.warmup = integer(epochs, "epochs", 1), integer(warmup, "warmup", 0)
        self.min_lr = finite(min_lr, "min_lr")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup must be less than the {self.epochs} epochs, got {self.warmup}")
        super().__init__(self._rate)

    def _rate(self, epoch, lr):
        if epoch <= self.warmup:
            return lr * epoch / self.warmup
        done = min(1.0, (epoch - 1 - self.warmup) / (self.epochs - self.warmup))
        return self.min_lr + (lr - self.min_lr) * (1 + math.cos(math.pi * done)) / 2


class ReduceOnPlateau(Monitor):
    """Multiplies the learning rate by a factor when a figure has not improved for some epochs. The optimizer's own rate
    comes back when the training ends.

    Parameters
    ----------
    monitor : str
        A key of the history; see `Monitor`.
    factor : float
        In [0, 1).
    patience : int
        Epochs without improvement before a reduction, at least 1.
    min_lr : float
        The rate never falls below it.
    min_delta : float
        The least improvement that counts.
    """

    def __init__(self, monitor="val_loss", factor=0.1, patience=5, min_lr=0.0, min_delta=0.0):
        super().__init__(monitor, min_delta)
        self.factor = finite(factor, "factor", 0.0, 1.0)
        self.patience = integer(patience, "patience", 1)
        self.min_lr = finite(min_lr, "min_lr")
        self.restore({})

    def on_train_begin(self, run):
        super().on_train_begin(run)
        if self.base is None:
            self.base = self.lr = run.optimizer.lr
        run.optimizer.lr = self.lr

    def on_epoch_end(self, run):
        if self.improved(run):
            self.waited = 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.waited = 0
            self.lr = run.optimizer.lr = min(self.lr, max(self.lr * self.factor, self.min_lr))

    def on_train_end(self, run):
        run.optimizer.lr = self.base

    def state(self):
        return {**super().state(), "waited": self.waited, "base": self.base, "lr": self.lr}

    def restore(self, state):
        super().restore(state)
        self.waited, self.base, self.lr = state.get("waited", 0), state.get("base"), state.get("lr")


class MaxNorm(Callback):
    """After each batch, shortens the weight vectors of a layer that have grown longer than a limit, to that limit
    (Hinton et al. 2012, arXiv:1207.0580).

    Parameters
    ----------
    layer : str
        Name of the layer; each filter or unit has a vector, of all its weights.
    limit : float
        Greatest L2 norm, more than 0.

    Raises
    ------
    ValueError
        When the training begins and the network has no such layer, or it has no weight.
    """

    def __init__(self, layer, limit):
        self.layer, self.limit = layer, finite(limit, "limit")
        if self.limit == 0:
            raise ValueError("limit must be more than 0, got 0")

    def on_train_begin(self, run):
        if f"{self.layer}/weight" not in run.net.parameters:
            raise ValueError(f"MaxNorm: no layer {self.layer!r} with a weight is in this network")

    def on_batch_end(self, run):
        weight = run.net[self.layer].weight
        vectors = weight.reshape(len(weight), -1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors *= self.limit / np.maximum(norms, self.limit)


class CSVLog(Callback):
    """Writes the history to a CSV file: a header, and a row as each epoch ends.

    A new training writes the file anew; a resumed one writes the earlier epochs again first.

    Parameters
    ----------
    path : str or path
    """

    def __init__(self, path):
        self.path = os.fspath(path)

    def on_train_begin(self, run):
        rows = [run.history.row(i) for i in range(len(run.history.epoch))]
        self._write("w", [["epoch", *run.metrics], *([row[key] for key in ("epoch", *run.metrics)] for row in rows)])

    def on_epoch_end(self, run):
        self._write("a", [[run.epoch, *(run.logs[key] for key in run.metrics)]])

    def _write(self, mode, rows):
        with open(self.path, mode, newline="", encoding="utf-8") as f:
            csv.writer(f).writerows(rows)
