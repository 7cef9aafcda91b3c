"""The confusion matrix as a picture."""

from __future__ import annotations

import numpy as np


def draw_confusion(part, confusion, names):
    """The confusion matrix, with numbers where the classes are few enough to read them."""
    axes = part.subplots()
    shares = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    few = len(names) <= 20
    if few:
        size = 10 if len(names) <= 10 else 7
        for (i, j), count in np.ndenumerate(confusion):
            if count:
                ink = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, count, ha="center", va="center", fontsize=size, color=ink)
        long = max(map(len, names)) > 3
        axes.set_xticks(range(len(names)), names, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right, total = np.trace(confusion), confusion.sum()
    axes.set_title(f"Confusion matrix: {right:,} of {total:,} right ({right / max(1, total):.1%})")
