"""What the filters of a network of sentences fire on: the words before which each answers most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import functional
from ..figures import draw_curves, new_figure


@dataclass(frozen=True)
class Filter:
    """What one filter looks for.

    Attributes
    ----------
    layer : str
    map : int
    effect : float
        By how much its answers to sentences vary, times how much they count for the second class against the first.
    ngrams : list of (str, float)
        The words to which it answers most, each once, and the answer.
    """

    layer: str
    map: int
    effect: float
    ngrams: list


def strongest_ngrams(net, x, vocabulary, per_layer=3, count=5):
    """The words on which the filters fire that count most, for and against the second class.

    Parameters
    ----------
    net : Network
        Of `pycnn.models.text`.
    x : array of int (N, length)
        Sentences to look at.
    vocabulary : pycnn.datasets.Vocabulary
    per_layer : int
        Filters of each width and of either direction.
    count : int
        N-grams of each filter.

    Returns
    -------
    list of Filter
        Those for the first class, then those for the second.
    """
    columns = functional.embedding_forward(x, net["table"].weight)
    convs = [name for name in net.layers if name.startswith("conv")]
    weight, begin, found = net["output"].weight, 0, ([], [])
    for name in convs:
        conv = net[name]
        answers = functional.conv_forward(columns, conv.weight, conv.bias)
        best, where = np.maximum(answers.max(2), 0), answers.argmax(2)
        effects = (weight[1] - weight[0])[begin : begin + len(conv.bias)] * best.std(0)
        begin += len(conv.bias)
        order = np.argsort(effects)
        for side, maps in zip(found, (order[:per_layer], order[::-1][:per_layer])):
            for k in maps:
                ngrams = {}
                for i in np.argsort(-best[:, k]):
                    words = vocabulary.decode(x[i, where[i, k] : where[i, k] + conv.kernel_size])
                    ngrams.setdefault(" ".join(words), float(best[i, k]))
                    if len(ngrams) == count:
                        break
                side.append(Filter(name, int(k), float(effects[k]), list(ngrams.items())))
    return [*found[0], *found[1]]


def text_figure(net, history, x, vocabulary, *, class_names, title=None):
    """Curves of the training, and the words on which the filters fire that count most for either class.

    Parameters
    ----------
    net, x, vocabulary
        As `strongest_ngrams` takes them.
    history : History
        What `fit` returned; there are no curves where it is empty.
    class_names : sequence of str
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    filters = strongest_ngrams(net, x, vocabulary, per_layer=2, count=4)
    widths = [5, 8] if history.epoch else [8]
    figure = new_figure(sum(widths), 6.5)
    parts = figure.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0]
    if history.epoch:
        draw_curves(parts[0], history, "test")
    half = len(filters) // 2
    sides = zip(parts[-1].subplots(1, 2), (filters[:half], filters[half:]), class_names, ("tab:red", "tab:green"))
    for axes, of_class, name, colour in sides:
        draw_ngrams(axes, of_class, colour)
        axes.set_title(f"Filters that count for {name}")
    if title:
        figure.suptitle(title, fontsize=15)
    return figure


def draw_ngrams(axes, filters, colour):
    """A block for each filter: its n-grams over bars as long as its answers."""
    longest = max(answer for one in filters for _, answer in one.ngrams)
    row = 0
    for one in filters:
        axes.text(0, row, f"{one.layer}, map {one.map}", va="center", fontsize=9, weight="bold")
        for words, answer in one.ngrams:
            row += 1
            axes.barh(row, answer, height=0.9, color=colour, alpha=0.35)
            axes.text(0.02 * longest, row, f"{words}  ({answer:.1f})", va="center", fontsize=9)
        row += 1.3
    axes.set_xlim(0, 1.25 * longest)
    axes.set_ylim(row - 0.7, -0.7)
    axes.axis("off")
