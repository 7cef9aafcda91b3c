"""The course of a training."""

from __future__ import annotations

import numpy as np

from ..figures import draw_curves, new_figure, picture_path, write_figure
from ..network import Network
from ..training import History


def training_curves(history, save=None):
    """Loss, accuracy and whatever else a training has kept of each epoch.

    Parameters
    ----------
    history : History or Network
        What `fit` returned; or a network that `fit` trained, also one from a file.
    save : str or path, optional
        A PNG file to be written, with loss and accuracy of the training and the validation data.

    Returns
    -------
    dict of str to array (epochs,)
        ``"epoch"``, the numbers of the epochs, and all figures of the history by their names.

    Raises
    ------
    TypeError, ValueError
        When `history` is something else or has no epoch, or nothing can be written to `save`.
    """
    path = picture_path(save)
    if isinstance(history, Network):
        kept = history.training_state.get("fit", {})
        history = History(kept.get("history", {}), kept.get("epochs", ()))
    if not isinstance(history, History):
        raise TypeError(f"history is what fit returned, or a network it trained; got {type(history).__name__}")
    if not history.epoch:
        raise ValueError("there is no epoch in the history: train the network with fit first")
    write_figure(path, lambda: curves_figure(history))
    return {"epoch": np.array(history.epoch), **{name: np.array(values) for name, values in history.items()}}


def curves_figure(history):
    """The curves as a matplotlib figure."""
    figure = new_figure(6, 3 * sum(kind in history for kind in ("loss", "accuracy")))
    draw_curves(figure, history, "validation")
    return figure
