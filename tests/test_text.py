"""Sentences: their words and numbers, the archive they come from, and the network that reads them."""

import hashlib
import io
import subprocess
import tarfile
import types
import zipfile

import numpy as np
import pytest

import pycnn
from pycnn import cli, datasets, models
from pycnn.commands import files
from pycnn.datasets import Vocabulary, sentences
from pycnn.training import History

GOOD = ["a fine film", "truly fine work", "fine , very fine"]
BAD = ["a dull film", "truly dull work", "dull , very dull"]
RATINGS = ("1\t2.5\tA fine film!\r\n2\t-0.5\tIt isn't fine.\r\n3\t0\tA film.\r\n4\t1\tA fine film!\r\n"
           "5\t-3.0\tDull caf\u00e9 film\r\n")


def write_archive(path, text=RATINGS):
    """An archive as the package's; its hash."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        info = tarfile.TarInfo(sentences.FILE)
        info.size = len(text.encode())
        archive.addfile(info, io.BytesIO(text.encode()))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(sentences.INNER_ARCHIVE, inner.getvalue())
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive where it is looked for."""
    folder = tmp_path / "movie-reviews"
    folder.mkdir()
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    monkeypatch.setattr(sentences, "SHA256", write_archive(folder / sentences.ARCHIVE))
    monkeypatch.setattr(sentences, "TEST_SENTENCES", 1)
    return folder / sentences.ARCHIVE


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sentence, words", [
    ("", []), ("--- ...", []), ("Isn't it?", ["is", "n't", "it", "?"]), ("We've they'll", ["we", "'ve", "they", "'ll"]),
    ("''Conan'' (1982), 1.5 stars!", ["conan", "(", "1982", ")", ",", "1", "5", "stars", "!"]),
    ("CAF\u00c9s", ["caf\u00e9s"]), ("rock'n'roll", ["rock", "n", "roll"]),
])
def test_sentences_are_cut_into_words(sentence, words):
    assert sentences.words_of(sentence) == words


def test_a_vocabulary_numbers_frequent_words_first_and_leaves_rare_ones_out():
    vocabulary = Vocabulary.of(["b a a", "b a c", "d d"])
    assert vocabulary.words == ["", "<unknown>", "a", "b", "d", "c"] and len(vocabulary) == 6
    assert Vocabulary.of(["b a a", "b a c", "d d"], least=2).words[2:] == ["a", "b", "d"]


def test_sentences_become_rows_of_numbers_and_words_again():
    vocabulary = Vocabulary(["a", "b"])
    ids = vocabulary.encode(["b a zebra", "", "a a a a a"], 4)
    assert ids.tolist() == [[3, 2, 1, 0], [0, 0, 0, 0], [2, 2, 2, 2]] and ids.dtype == np.int64
    assert [vocabulary.decode(row) for row in ids] == [["b", "a", "<unknown>"], [], ["a"] * 4]
    with pytest.raises(ValueError, match="length must be at least 1"):
        vocabulary.encode(["a"], 0)
    with pytest.raises(TypeError, match="a list of sentences, got the string 'a b'"):
        vocabulary.encode("a b", 4)


# ---- the archive -----------------------------------------------------------------------------------------------------


def test_an_archive_is_read_each_sentence_once_and_none_that_neither_praises_nor_blames(archive):
    (train, labels), (test, test_labels) = datasets.movie_review_sentences()
    found = dict(zip(train + test, [*labels, *test_labels]))
    assert found == {"A fine film!": 1, "It isn't fine.": 0, "Dull caf\u00e9 film": 0}
    assert len(test) == 1 and labels.dtype == np.int64
    (x, y), (xt, yt) = datasets.movie_reviews()
    assert x.shape == (2, 60) and xt.shape == (1, 60) and np.array_equal(y, labels) and np.array_equal(yt, test_labels)
    assert x.max() < len(datasets.movie_review_vocabulary())


def test_a_damaged_archive_is_an_error_that_names_it(archive):
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ValueError, match="vaderSentiment-0.5.zip: is damaged"):
        datasets.movie_reviews()


@pytest.mark.parametrize("line", ["", "1\t2.5", "1\tmuch\tA film", "1\t2\tA\tfilm"])
def test_a_line_that_is_no_rated_sentence_is_an_error_that_says_which(line):
    with pytest.raises(ValueError, match="ratings: line 2 is not"):
        sentences.parsed_ratings(f"1\t2.5\tA film\n{line}\n3\t1\tB\n", "ratings")


def test_a_missing_archive_is_fetched_once(tmp_path, monkeypatch):
    calls = []

    def run(command, **options):
        calls.append(command)
        monkeypatch.setattr(sentences, "SHA256", write_archive(tmp_path / "made.zip"))
        (tmp_path / "made.zip").rename(f"{command[command.index('--dest') + 1]}/{sentences.ARCHIVE}")
        return types.SimpleNamespace(stderr="", returncode=0)

    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        datasets.movie_review_sentences()
    assert len(calls) == 1 and calls[0][-1] == "vaderSentiment==0.5"
    assert [file.name for file in (tmp_path / "movie-reviews").iterdir()] == [sentences.ARCHIVE]


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    result = types.SimpleNamespace(stderr="x\nno network\n", returncode=1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    with pytest.raises(FileNotFoundError, match="no network.*pip download --no-deps vaderSentiment==0.5.*-reviews"):
        datasets.movie_reviews()


# ---- the network -----------------------------------------------------------------------------------------------------


def small_problem():
    vocabulary = Vocabulary.of(GOOD + BAD)
    x = vocabulary.encode((GOOD + BAD) * 10, 6)
    return vocabulary, x, np.repeat([1, 0], 3).tolist() * 10


def small_net(vocabulary, **options):
    return models.text(len(vocabulary), 6, dimension=8, widths=(1, 2), maps=6, **options)


def test_the_network_has_the_parameters_of_its_parts():
    net = models.text(vocabulary=1000, length=60)
    assert net.count_parameters() == 1000 * 300 + 300 * 100 * (3 + 4 + 5) + 300 + 2 * 300 + 2 == 660_902
    assert net.output_shapes == {"output": (2,)} and not net["table"].weight[0].any()
    assert models.text(10, 5, widths=[2], classes=4).output_shapes == {"output": (4,)}


@pytest.mark.parametrize("options", [
    {"widths": ()}, {"widths": (3, 3)}, {"widths": (0,)}, {"widths": (7,)}, {"dropout": 1},
])
def test_impossible_networks_are_refused(options):
    with pytest.raises(ValueError):
        models.text(10, 6, **options)


def test_it_learns_which_words_count_and_shows_them():
    vocabulary, x, y = small_problem()
    net = small_net(vocabulary)
    history = net.fit(x, y, optimizer=pycnn.Adam(0.02), epochs=15, batch_size=20, verbose=0,
                      callbacks=[pycnn.callbacks.MaxNorm("output", 3)])
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    filters = models.strongest_ngrams(net, x[:6], vocabulary, per_layer=1, count=2)
    assert [(one.layer, one.effect > 0) for one in filters] == [("conv1", False), ("conv2", False), ("conv1", True),
                                                                  ("conv2", True)]
    assert filters[0].ngrams[0][0] == "dull" and filters[2].ngrams[0][0] == "fine"
    assert "dull" in filters[1].ngrams[0][0].split() and "fine" in filters[3].ngrams[0][0].split()


def test_the_answers_of_the_strongest_are_the_maxima_that_the_network_computes():
    vocabulary, x, _ = small_problem()
    net = small_net(vocabulary)
    net["output"].weight[...] = np.eye(2, 12, 4)       # scores that are the answers of two filters of conv1
    net["output"].bias[...] = 0
    found = {one.map: one for one in models.strongest_ngrams(net, x[:6], vocabulary, per_layer=1, count=1)
             if one.layer == "conv1"}
    assert sorted(found) == [4, 5]
    for k, one in found.items():
        assert one.ngrams[0][1] == pytest.approx(net.predict(x[:6])[:, k - 4].max(), rel=1e-5)


def test_the_picture_shows_curves_and_words():
    pytest.importorskip("matplotlib")
    vocabulary, x, y = small_problem()
    net = small_net(vocabulary)
    for history, parts in ((net.fit(x, y, verbose=0), 4), (History(), 2)):
        figure = models.text_figure(net, history, x, vocabulary, class_names=("blame", "praise"), title="a title")
        axes = [a for part in figure.subfigs for a in part.axes]
        assert len(axes) == parts and figure.get_suptitle() == "a title"
        assert [a.get_title() for a in axes[-2:]] == ["Filters that count for blame", "Filters that count for praise"]
        assert any("fine" in text.get_text() or "dull" in text.get_text() for text in axes[-1].texts)


def test_the_command_trains_it_and_evaluates_its_file(archive, tmp_path, monkeypatch, capsys):
    text = "".join(f"{i}\t{1 - i % 2 * 2}\t{(GOOD, BAD)[i % 2][i % 3]} number {i}\n" for i in range(40))
    monkeypatch.setattr(sentences, "SHA256", write_archive(archive, text))
    monkeypatch.setattr(sentences, "TEST_SENTENCES", 10)
    out = str(tmp_path / "out")
    assert cli.main(["train", "text", "--epochs", "1", "--samples", "20", "--out", out, "--verbose", "0"]) == 0
    assert cli.main(["evaluate", f"{out}/text.safetensors", "--verbose", "0"]) == 0
    assert "movie-reviews: test accuracy" in capsys.readouterr().out
    net = pycnn.load(f"{out}/text.safetensors")
    assert net["table"].vocabulary == len(datasets.movie_review_vocabulary())
    assert np.linalg.norm(net["output"].weight, axis=1).max() <= 3


def test_the_command_says_that_the_sentences_come_from_no_other_folder(tmp_path):
    with pytest.raises(files.InputError, match="the movie-reviews are kept in the folder that PYCNN_DATA names"):
        files.load_data("movie-reviews", str(tmp_path))
