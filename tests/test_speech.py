"""Spoken words: their spectrograms, the network that hears them, and its picture."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import models
from pycnn.datasets import speech as data
from pycnn.models.speech import SPEECH, SPEECH_SECTIONS, strongest_answers

pytest.importorskip("scipy")
WAV = Path(__file__).resolve().parent / "data" / "six.wav"      # "six" as eSpeak NG says it, in American English


def shifted_words(count, rng, bands=40, frames=56):
    """Three patterns of frames, each at a place along frequency of its own, and their numbers."""
    patterns = rng.random((3, 8, frames)) < 0.4
    y, at = rng.integers(0, 3, count), rng.integers(0, bands - 8, count)
    x = 0.1 * rng.random((count, 1, bands, frames))
    for sample, word, band in zip(x, y, at):
        sample[0, band : band + 8] += patterns[word]
    return x.astype(np.float32), y


# ---- spectrograms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [150, 700, 3000, 6500])
def test_a_tone_is_loudest_in_its_band(frequency):
    rate = 22050
    picture = data.log_mel(np.sin(2 * np.pi * frequency * np.arange(rate) / rate), rate)
    assert picture.shape == (40, 56) and picture.dtype == np.float32 and 0 <= picture.min() and picture.max() == 1
    nearest = np.abs(data.hertz_to_mel(data.band_frequencies()) - data.hertz_to_mel(frequency)).argmin()
    assert (picture.argmax(axis=0) == nearest).all()


def test_a_word_lies_in_the_middle_whatever_silence_is_around_it():
    rate, rng = 16000, np.random.default_rng(0)
    word = rng.standard_normal(4000)
    early = data.log_mel(np.concatenate([np.zeros(400), word, np.zeros(8000)]), rate)
    late = data.log_mel(np.concatenate([np.zeros(8000), word, np.zeros(400)]), rate)
    np.testing.assert_array_equal(early, late)
    heard = np.flatnonzero(early.max(axis=0) > 0.5)
    assert abs(heard[0] - (55 - heard[-1])) <= 1


def test_the_bands_share_a_spectrum_out_among_them():
    weights = data.mel_filters(np.linspace(200, 7000, 50))
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(data.mel_to_hertz(data.hertz_to_mel([100.0, 1000.0])), [100, 1000])


def test_a_recording_is_read():
    picture = data.read_word(WAV)
    voiced = picture[: np.searchsorted(data.band_frequencies(), 500)].mean(axis=0)
    hissing = picture[np.searchsorted(data.band_frequencies(), 5000) :].mean(axis=0)
    assert hissing[15] > 2 * voiced[15] and voiced[24] > 2 * hissing[24]        # s, i


@pytest.mark.parametrize("sound, rate, message", [
    (np.zeros(8000), 16000, "silent"),
    (np.ones(100), 16000, "lasts 0.025 s at least"),
    (np.ones(8000), 8000, "16000 samples a second or more"),
    (np.ones((8000, 2)), 16000, "has one channel"),
])
def test_what_is_no_recording_of_a_word_is_refused(sound, rate, message):
    with pytest.raises(ValueError, match=message):
        data.log_mel(sound, rate)


def test_a_folder_of_recordings_is_split_by_its_speakers(tmp_path):
    for word in ("six", "seven"):
        (tmp_path / word).mkdir()
        for speaker in "abcde":
            shutil.copy(WAV, tmp_path / word / f"{speaker}_1.wav")
    (tmp_path / "six" / "notes.txt").write_text("not a recording")
    (x, y), (xt, yt) = data.spoken_words(tmp_path, words=("six", "seven"))
    assert x.shape == (8, 1, 40, 56) and y.tolist() == [0] * 4 + [1] * 4
    assert xt.shape == (2, 1, 40, 56) and yt.tolist() == [0, 1]
    (tmp_path / "six" / "f_1.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="f_1.wav: "):
        data.spoken_words(tmp_path, words=("six", "seven"))


def test_a_folder_without_enough_speakers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="of 0 speakers; 5 are needed"):
        data.spoken_words(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        data.spoken_words(tmp_path / "missing")


# ---- synthetic speech ------------------------------------------------------------------------------------------------

FEW = dict(words=("yes", "no"), voices=("en-us+m1", "en-us+f1"), test_voices=("en-gb-scotland+m3",), pitches=(50,),
           speeds=(140, 180), verbose=0)


@pytest.mark.skipif(not shutil.which(data.PROGRAM), reason="espeak-ng is missing")
def test_words_are_spoken_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    (x, y), (xt, yt) = data.spoken_words(**FEW)
    assert x.shape == (8, 1, 40, 56) and y.tolist() == [0, 1] * 4
    assert xt.shape == (4, 1, 40, 56) and yt.tolist() == [0, 1] * 2
    assert len(np.unique(np.concatenate([x, xt]).reshape(12, -1), axis=0)) == 12
    monkeypatch.setattr(data, "speak_all", None)
    (again, _), _ = data.spoken_words(**FEW)
    np.testing.assert_array_equal(x, again)


@pytest.mark.skipif(not shutil.which(data.PROGRAM), reason="espeak-ng is missing")
@pytest.mark.parametrize("voices, message", [
    (("en-us", "en-us+nobody"), "the voices 'en-us' and 'en-us\\+nobody' sound the same"),
    (("nowhere",), "does not say 'yes' in the voice 'nowhere'"),
])
def test_voices_that_are_not_there_are_refused(voices, message, tmp_path, monkeypatch):
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        data.spoken_words(**{**FEW, "voices": voices})


def test_without_the_program_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    monkeypatch.setattr(data.shutil, "which", lambda _: None)
    with pytest.raises(FileNotFoundError, match="apt install espeak-ng"):
        data.spoken_words(**FEW)


@pytest.mark.parametrize("settings, message", [
    (dict(words=("one",)), "words must be 2 or more"),
    (dict(words=("one", "one")), "different strings"),
    (dict(voices=("en+m2", "en+m3"), test_voices=("en+m3",)), "must not be heard in training"),
    (dict(pitches=()), "there must be a pitch and a speed"),
])
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        data.spoken_words(**settings)


# ---- the network -----------------------------------------------------------------------------------------------------


def test_both_orientations_have_nearly_as_many_parameters():
    frequency, time = (models.speech(axis) for axis in ("frequency", "time"))
    assert frequency["along"].weight.shape == (64, 1, 8, 56) and time["along"].weight.shape == (64, 1, 40, 11)
    assert [frequency.count_parameters(), time.count_parameters()] == [121_556, 121_044]
    sections = SPEECH_SECTIONS.build()
    assert sections["along"].weight.shape == (19, 11, 1, 1, 8, 56) and sections.count_parameters() == 123_301


@pytest.mark.parametrize("arguments, message", [
    (dict(along="width"), "filters move along 'frequency' or 'time'"),
    (dict(input_shape=(40, 56)), r"the shape \(1, bands, frames\)"),
    (dict(input_shape=(1, 7, 56)), "along: kernel 8x56 does not fit"),
    (dict(sections=34), "along: sections 34x1 are more than the positions"),
])
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.speech(**arguments)


@pytest.mark.parametrize("sections", [None, 11])
def test_patterns_are_learned_wherever_they_lie_along_frequency(sections):
    rng = np.random.default_rng(3)
    x, y = shifted_words(300, rng)
    net = models.speech(sections=sections, classes=3, filters=8, units=16)
    history = net.fit(x, y, loss="cross_entropy", optimizer=pycnn.Adam(2e-3), epochs=6, batch_size=25, verbose=0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize("along, sections", [("frequency", None), ("frequency", 11), ("time", None), ("time", 3)])
def test_the_strongest_answers_are_those_of_the_layer(along, sections):
    net = models.speech(along, sections, classes=3, filters=5, units=4)
    x = np.random.default_rng(0).random((1, 40, 56), dtype=np.float32)
    spectrogram = pycnn.Input((1, 40, 56))
    alone = pycnn.Network(spectrogram, type(net["along"])(**{**net["along"].config(), "activation": None})(spectrogram))
    layer = next(layer for layer in alone.layers.values() if "weight" in layer._parameters)
    layer.weight, layer.bias = net["along"].weight, net["along"].bias
    answers = alone.predict(x[np.newaxis])[0].reshape(5, -1).max(axis=1)
    found = strongest_answers(net, x, 5)
    for (weights, (band, frame)), answer in zip(found, np.sort(answers)[::-1]):
        part = x[0, band : band + weights.shape[0], frame : frame + weights.shape[1]]
        assert np.vdot(weights, part) == pytest.approx(answer, rel=1e-4)


@pytest.mark.parametrize("model", [SPEECH, SPEECH_SECTIONS])
def test_the_picture_shows_words_filters_and_what_is_confused(model, tmp_path):
    pytest.importorskip("matplotlib")
    net = model.build(classes=20)
    x = np.random.default_rng(1).random((40, 1, 40, 56), dtype=np.float32)
    y = net.predict(x).argmax(axis=1)
    y[::2] = np.arange(20)
    figure = model.task.figure(net, None, x, y, data="spoken-words", title="a title")
    figure.savefig(tmp_path / "speech.png")
    assert (tmp_path / "speech.png").stat().st_size > 10_000
