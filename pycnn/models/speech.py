"""Words from their spectrograms, by filters that move along one axis only (Abdel-Hamid et al. 2012, 2014)."""

from __future__ import annotations

from functools import partial

import numpy as np

from .. import functional as F
from .. import layers as L
from ..datasets import CLASS_NAMES
from ..datasets.speech import STEP_SECONDS, band_frequencies
from ..figures import draw_confusion, new_figure
from ..graph import Input
from ..metrics import confusion_counts
from ..network import Network
from ..optimizers import AdamW
from ..tasks import Classification, Model, Recipe

WIDTHS = {"frequency": 8, "time": 11}       # of a filter, in bands or frames
POOLS = {"frequency": 3, "time": 4}         # positions that one maximum is taken of
WORDS_SHOWN = (0, 6, 10, 18)                # in the picture: zero, six, yes, stop
RANKS = ("strongest answer", "second strongest", "third strongest")


def speech(along="frequency", sections=None, input_shape=(1, 40, 56), classes=20, filters=64, units=128, seed=0):
    """One convolution along the frequency of a spectrogram, maxima of neighbouring positions, and two dense layers.

    A filter spans all frames and a few bands, and moves up and down: another voice shifts the formants of a word, and
    pooling over neighbouring bands forgives that (Abdel-Hamid, Mohamed, Jiang & Penn 2012; Abdel-Hamid et al. 2014,
    "Convolutional neural networks for speech recognition"). As the bottom and the top of a spectrum do not look alike,
    the weights may be shared within sections of bands only.

    Parameters
    ----------
    along : {"frequency", "time"}
        The axis that filters move along; they span the other. With the default shape both have nearly the same number
        of parameters.
    sections : int, optional
        Into how many parts the positions are cut, each with filters of its own (limited weight sharing); one where
        missing. As many as there are maxima give each its own.
    input_shape : tuple of int
        ``(1, bands, frames)``.
    classes : int
        Scores at the output.
    filters : int
    units : int
        Of the hidden layer.
    seed : int or numpy.random.Generator
        For the first values of the parameters, and for dropout.

    Returns
    -------
    Network
        With the layers ``along``, ``pool``, ``flatten``, ``hidden``, ``dropout`` and ``output``.

    Raises
    ------
    ValueError
        For another axis, an input too small for the filters, or more sections than positions.

    Examples
    --------
    >>> from pycnn.models import speech
    >>> speech().count_parameters(), speech("time").count_parameters()
    (121556, 121044)
    >>> speech(sections=11, filters=19).count_parameters()
    123301
    """
    if along not in WIDTHS:
        raise ValueError(f"filters move along {' or '.join(map(repr, WIDTHS))}, not {along!r}")
    spectrogram = Input(input_shape, name="spectrogram")
    if len(spectrogram.shape) != 3:
        raise ValueError(f"a spectrogram has the shape (1, bands, frames), got {spectrogram.shape}")
    axis = 0 if along == "frequency" else 1

    def on_axis(value, other):
        return (value, other) if axis == 0 else (other, value)

    kernel = on_axis(WIDTHS[along], spectrogram.shape[2 - axis])
    options = dict(activation="relu", weight_init="he_normal", name="along")
    if sections is None:
        h = L.Conv(filters, kernel, **options)(spectrogram)
    else:
        h = L.LocallyConnected(filters, kernel, sections=on_axis(sections, 1), **options)(spectrogram)
    h = L.MaxPool(on_axis(POOLS[along], 1), name="pool")(h)
    h = L.Dense(units, activation="relu", weight_init="he_normal", name="hidden")(L.Flatten(name="flatten")(h))
    h = L.Dense(classes, name="output")(L.Dropout(0.5, name="dropout")(h))
    return Network(spectrogram, h, name="speech", seed=seed)


# ---- what the first filters answer to --------------------------------------------------------------------------------


def strongest_answers(net, x, count):
    """Which filters answer to a spectrogram most, and where.

    Parameters
    ----------
    net : Network
        As of `speech`.
    x : array (1, bands, frames)
    count : int
        How many filters.

    Returns
    -------
    list of (array, (int, int))
        The weights ``(rows, columns)`` of each with the band and frame of their first, the strongest answer first.
    """
    layer, x = net["along"], np.asarray(x, np.float32)[np.newaxis]
    shared = isinstance(layer, L.Conv)
    maps = (F.conv_forward if shared else F.local_conv_forward)(x, layer.weight, layer.bias)[0]
    answers = maps.reshape(len(maps), -1)
    found = []
    for k in np.argsort(-answers.max(axis=1), kind="stable")[:count]:
        place = np.unravel_index(answers[k].argmax(), maps.shape[1:])
        weights = layer.weight[k]
        if not shared:
            parts = weights.shape[:2]
            weights = weights[tuple(((q + 1) * m - 1) // n for q, m, n in zip(place, parts, maps.shape[1:]))]
        found.append((weights[0], tuple(int(q) for q in place)))
    return found


class SpokenWords(Classification):
    """Words by their spectrograms."""

    def figure(self, net, history, x, y, *, data, title):
        names = CLASS_NAMES[data]
        classes = net.output_shapes["output"][0]
        predicted = net.predict(x).argmax(axis=1)
        figure = new_figure(18, 8)
        left, right = figure.subfigures(1, 2, width_ratios=(11, 7))
        shown = [np.flatnonzero((y == label) & (predicted == label))[:1] for label in WORDS_SHOWN]
        draw_answers(left, net, [(names[y[i]], x[i]) for rows in shown for i in rows])
        draw_confusion(right, confusion_counts(np.asarray(y), predicted, classes), names)
        figure.suptitle(title, fontsize=15)
        return figure


def draw_answers(part, net, words):
    """A row for each word: its spectrogram with the places of the strongest answers, and the filters that gave them."""
    from matplotlib.patches import Rectangle

    if not words:
        return
    rows = part.subplots(len(words), 1 + len(RANKS), sharex=True, sharey=True, squeeze=False)
    for row, (name, x) in zip(rows, words):
        row[0].imshow(x[0], origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=1)
        row[0].set_title(f"\u201c{name}\u201d")
        mark_frequencies(row[0], x.shape[1])
        for number, (weights, (band, frame)) in enumerate(strongest_answers(net, x, len(RANKS))):
            colour, (height, width) = f"C{number}", weights.shape
            canvas, limit = np.full(x[0].shape, np.nan), float(np.abs(weights).max()) or 1.0
            canvas[band : band + height, frame : frame + width] = weights
            row[1 + number].imshow(canvas, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit)
            row[1 + number].set_title(RANKS[number], color=colour, fontsize=9)
            corner = (frame - 0.5, band - 0.5)
            for axes in (row[0], row[1 + number]):
                axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=2))
    for axes in rows[-1]:
        mark_seconds(axes, words[0][1].shape[2])


def mark_frequencies(axes, bands):
    """Kilohertz, upwards."""
    hertz = band_frequencies(bands)
    ticks = [250, 500, 1000, 2000, 4000]
    axes.set_yticks(np.interp(ticks, hertz, np.arange(bands)), [f"{f / 1000:g}" for f in ticks])
    axes.set_ylabel("kHz")


def mark_seconds(axes, frames):
    """Seconds, to the right."""
    seconds = np.arange(0, frames * STEP_SECONDS, 0.2)
    axes.set_xticks(seconds / STEP_SECONDS, [f"{s:.1f}" for s in seconds])
    axes.set_xlabel("s")


def model(**options):
    """Of `pycnn train`: `speech` with these options."""
    return Model(partial(speech, **options), {"spoken-words": RECIPE}, SpokenWords())


RECIPE = Recipe(30, 64, partial(AdamW, weight_decay=0.1), 2e-3)
SPEECH, SPEECH_TIME, SPEECH_SECTIONS = model(), model(along="time"), model(sections=11, filters=19)
