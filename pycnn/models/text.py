"""A convolutional network of sentences (Kim 2014, "Convolutional neural networks for sentence classification")."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .. import layers as L
from ..callbacks import MaxNorm
from ..datasets import CLASS_NAMES
from ..datasets.sentences import PADDING, movie_review_vocabulary
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..shapes import integer
from ..tasks import Classification, Model, Recipe
from .text_figure import text_figure


def near_zero(shape, fan_in, fan_out, rng):
    """Rows of the table at first: uniform in +-0.25, as Kim starts words that have no known vector."""
    return rng.uniform(-0.25, 0.25, shape)


def text(vocabulary, length, classes=2, dimension=300, widths=(3, 4, 5), maps=100, dropout=0.5, seed=0):
    """Scores of classes from the strongest answers of filters that move along the sentence.

    A word is a column of numbers, learnt; a filter spans all of them and a few words, and what goes on is the greatest
    of its answers, wherever in the sentence it is (arXiv:1408.5882, CNN-rand). Hold the norms of the last weights at 3
    with `pycnn.callbacks.MaxNorm`, as Kim does.

    Parameters
    ----------
    vocabulary : int
        How many words there are; number 0 is none, and fills up short sentences.
    length : int
        Words of a sentence, at least the greatest width.
    classes : int
    dimension : int
        Numbers of a word.
    widths : sequence of int
        Words that filters span.
    maps : int
        Filters of each width.
    dropout : float
        Share of the strongest answers that are dropped in training.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the input words and the layers table, conv3, max3 (and so on for the other widths), joined, dropout and
        output.

    Raises
    ------
    ValueError
        If there is no width, one twice, or one greater than the length.

    Examples
    --------
    >>> from pycnn.models import text
    >>> text(vocabulary=1000, length=60).count_parameters()
    660902
    """
    widths = [integer(width, "a width", 1) for width in widths]
    if not widths or len(set(widths)) < len(widths):
        raise ValueError(f"text: widths must be one or more different numbers, got {widths}")
    words = Input((length,), name="words")
    columns = L.Embedding(vocabulary, dimension, padding_id=PADDING, weight_init=near_zero, name="table")(words)
    strongest = [
        L.GlobalMaxPool(name=f"max{width}")(L.Conv(maps, width, activation="relu", name=f"conv{width}")(columns))
        for width in widths
    ]
    joined = L.Concat(name="joined")(strongest) if len(widths) > 1 else strongest[0]
    scores = L.Dense(classes, name="output")(L.Dropout(dropout, name="dropout")(joined))
    return Network(words, scores, name="text", seed=seed)


class Sentences(Classification):
    """Classification of sentences, whose words are those of a vocabulary.

    Attributes
    ----------
    vocabulary : callable
        ``vocabulary() -> Vocabulary``.
    """

    def __init__(self, vocabulary: Callable):
        self.vocabulary = vocabulary

    def build_options(self, x, y):
        return {"vocabulary": len(self.vocabulary()), "length": x.shape[1], "classes": int(y.max()) + 1}

    def figure(self, net, history, x, y, *, data, title):
        return text_figure(net, history, x, self.vocabulary(), class_names=CLASS_NAMES[data], title=title)


TEXT = Model(text, {
    "movie-reviews": Recipe(4, 50, partial(AdamW, weight_decay=0.1), 1e-3, callbacks=lambda: [MaxNorm("output", 3)]),
}, Sentences(movie_review_vocabulary))
