"""The course of a training as curves."""

from __future__ import annotations

import numpy as np


def draw_curves(part, history, held_out):
    """Loss and, where there is one, accuracy of each epoch."""
    kinds = [kind for kind in ("loss", "accuracy") if kind in history]
    for axes, kind in zip(np.atleast_1d(part.subplots(len(kinds), 1, sharex=True)), kinds):
        marker = "o" if len(history.epoch) < 15 else None
        for key, label in ((kind, "training"), (f"val_{kind}", held_out)):
            if key in history:
                axes.plot(history.epoch, history[key], label=label, marker=marker, markersize=3)
        if kind == "loss" and min(history[kind]) > 0:
            axes.set_yscale("log")
        axes.set_title(kind.capitalize())
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
