"""Spoken words as pictures of their sound: bands of frequency by frames of time."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np

from ..files import write_whole
from .cache import cache_folder

PROGRAM = "espeak-ng"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
         "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# Voices of eSpeak NG, an accent and a speaker each: the speakers differ in pitch, formants, breath and roughness.
VOICES = ("en-us+m1", "en+m2", "en-gb-scotland+m3", "en-029+m5", "en-gb-x-gbclan+m6", "en-gb-x-rp+m8", "en-us+f1",
          "en+f2", "en-gb-scotland+f4", "en-029+f5", "en-gb-x-gbcwmd+klatt2", "en-us+grandpa")
TEST_VOICES = ("en-us+m7", "en+f3", "en-029+m4", "en-gb-x-rp+croak", "en-gb-x-gbclan+grandma", "en-gb-scotland+klatt4")
PITCHES = (35, 50, 65)          # of eSpeak NG's scale from 0 to 99
SPEEDS = (130, 160, 190)        # words a minute

BANDS, FRAMES = 40, 56
LOWEST, HIGHEST = 60.0, 8000.0  # Hz
WINDOW_SECONDS, STEP_SECONDS = 0.025, 0.0125
FLOOR = 60.0                    # decibels below the loudest that count as silence
AUDIBLE = 40.0                  # decibels below the loudest frame within which the word lies
TEST_EVERY = 5                  # of the speakers of recordings, one in so many is held back


def spoken_words(data_dir=None, words=WORDS, voices=VOICES, test_voices=TEST_VOICES, pitches=PITCHES, speeds=SPEEDS,
                 verbose=1):
    """Words, each spoken by many voices, as log-mel spectrograms; the test is on voices that the training never heard.

    The corpus is synthetic speech: eSpeak NG says each word in each voice, at each pitch and speed. The first call has
    them spoken (about a minute), and the spectrograms are kept in the folder ``spoken-words`` of the cache.

    Parameters
    ----------
    data_dir : path, optional
        A folder with recordings of your own instead, ``WORD/SPEAKER_*.wav`` with a subfolder for each of the words (the
        layout of Speech Commands, Warden 2018, arXiv:1804.03209). Every fifth speaker is held back for the test.
    words : sequence of str
    voices, test_voices : sequence of str
        Of eSpeak NG (``espeak-ng --voices=en``, ``--voices=variant``), written ``accent+variant``.
    pitches, speeds : sequence of int
        Pitches from 0 to 99; words a minute.
    verbose : {0, 1}
        1 shows a progress bar while the words are spoken.

    Returns
    -------
    (x, y), (x_test, y_test)
        Spectrograms as of `log_mel`, float32 ``(N, 1, 40, 56)`` in [0, 1], and the numbers of their words, int64
        ``(N,)``.

    Raises
    ------
    FileNotFoundError
        Where eSpeak NG or the folder is missing.
    ImportError
        Where scipy is missing.
    ValueError
        When a setting is not as said, the program knows no such voice, or a file is not a recording.
    """
    need_scipy()
    words = checked_names(words, "words", 2)
    if data_dir is not None:
        return recorded(os.fspath(data_dir), words)
    voices, test_voices = checked_names(voices, "voices"), checked_names(test_voices, "test_voices")
    both = sorted(set(voices) & set(test_voices))
    if both:
        raise ValueError(f"voices to test on must not be heard in training, as {', '.join(both)} would")
    ways = [(v, p, s) for v in (*voices, *test_voices) for p, s in product(pitches, speeds)]
    takes = [(word, *way) for way in ways for word in words]
    if not takes:
        raise ValueError("there must be a pitch and a speed at least")
    x = kept_or_made(takes, len(ways) // (len(voices) + len(test_voices)) * len(words), verbose)
    y, heard = np.arange(len(takes)) % len(words), len(words) * len(voices) * len(pitches) * len(speeds)
    return (x[:heard], y[:heard]), (x[heard:], y[heard:])


def checked_names(names, what, least=1):
    """A tuple of different strings."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if len(names) < least or len(set(names)) < len(names) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"{what} must be {least} or more different strings, got {names!r}")
    return names


def need_scipy():
    """ImportError with the remedy, where scipy is missing."""
    try:
        import scipy.io.wavfile
        import scipy.signal  # noqa: F401
    except ImportError:
        raise ImportError("spectrograms need scipy: pip install pycnn[speech]") from None


# ---- spectrograms ----------------------------------------------------------------------------------------------------


def hertz_to_mel(frequency):
    """Of the scale on which equal steps sound equally far apart (O'Shaughnessy 1987): 2595 log10(1 + f / 700)."""
    return 2595 * np.log10(1 + np.asarray(frequency) / 700)


def mel_to_hertz(mel):
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def band_frequencies(bands=BANDS):
    """The middle of each band, in Hz."""
    return mel_to_hertz(np.linspace(hertz_to_mel(LOWEST), hertz_to_mel(HIGHEST), bands + 2))[1:-1]


def mel_filters(frequencies, bands=BANDS):
    """How much each frequency of a spectrum counts in each band: triangles that overlap by half, array
    ``(bands, len(frequencies))``."""
    edges = np.linspace(hertz_to_mel(LOWEST), hertz_to_mel(HIGHEST), bands + 2)
    position = (hertz_to_mel(frequencies) - edges[0]) / (edges[1] - edges[0])
    return np.maximum(0, 1 - np.abs(position - np.arange(1, bands + 1)[:, np.newaxis]))


def log_mel(sound, rate, bands=BANDS, frames=FRAMES):
    """The spectrogram of one word: how loud each band of frequency is in each frame of time.

    Frames of 25 ms, one every 12.5 ms; bands of equal width on the mel scale from 60 to 8000 Hz. The word, from the
    first to the last frame within 40 dB of the loudest, is put in the middle of the frames; what is too long loses both
    its ends.

    Parameters
    ----------
    sound : array (samples,)
    rate : int
        Samples a second.
    bands, frames : int

    Returns
    -------
    array of float32 (bands, frames)
        From 0, 60 dB or more below the loudest, to 1; the lowest band is first.

    Raises
    ------
    ValueError
        If the sound is silent, shorter than a frame, or sampled too seldom.
    """
    from scipy.signal import spectrogram

    sound, length = np.asarray(sound, np.float64), round(WINDOW_SECONDS * rate)
    if sound.ndim != 1 or len(sound) < length or rate < 2 * HIGHEST:
        raise ValueError(f"a recording has one channel, lasts {WINDOW_SECONDS} s at least and has {2 * HIGHEST:.0f} "
                         f"samples a second or more; got shape {sound.shape} at {rate}")
    frequencies, _, power = spectrogram(sound, rate, "hann", length, length - round(STEP_SECONDS * rate))
    energy = np.einsum("bf,ft->bt", mel_filters(frequencies, bands), power)     # on this thread alone
    loudness = energy.sum(axis=0)
    if not loudness.max() > 0:
        raise ValueError("a recording is silent")
    audible = np.flatnonzero(loudness >= loudness.max() * 10 ** (-AUDIBLE / 10))
    decibels = 10 * np.log10(np.maximum(energy / energy.max(), 10 ** (-FLOOR / 10)))
    begin = (audible[0] + audible[-1] + 1 - frames) // 2
    source, target = max(0, begin), max(0, -begin)
    part = decibels[:, source : begin + frames]
    picture = np.zeros((bands, frames), np.float32)
    picture[:, target : target + part.shape[1]] = 1 + part / FLOOR
    return picture


def read_word(path):
    """The spectrogram of a WAV file; ValueError where it is none."""
    from scipy.io import wavfile

    try:
        rate, sound = wavfile.read(path)
        return log_mel(sound if sound.ndim == 1 else sound.mean(axis=1), rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


# ---- recordings ------------------------------------------------------------------------------------------------------


def recorded(folder, words):
    """The data set of a folder with recordings."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: there is no such folder")
    paths = [(label, os.path.join(folder, word, name)) for label, word in enumerate(words)
             if os.path.isdir(os.path.join(folder, word)) for name in sorted(os.listdir(os.path.join(folder, word)))
             if name.lower().endswith(".wav")]
    speakers = [os.path.basename(path).split("_")[0] for _, path in paths]
    held_back = set(sorted(set(speakers))[TEST_EVERY - 1 :: TEST_EVERY])
    if not held_back:
        raise ValueError(f"{folder}: holds WAV files (WORD/SPEAKER_*.wav) of {len(set(speakers))} speakers; "
                         f"{TEST_EVERY} are needed at least, one of whom is held back")
    x = np.stack([read_word(path) for _, path in paths])[:, np.newaxis]
    y, test = np.array([label for label, _ in paths]), np.array([s in held_back for s in speakers])
    return (x[~test], y[~test]), (x[test], y[test])


# ---- synthetic speech ------------------------------------------------------------------------------------------------


def kept_or_made(takes, per_voice, verbose):
    """The spectrograms ``(N, 1, bands, frames)`` of takes, so many of each voice, from the cache if they are there."""
    key = hashlib.sha256(repr((takes, BANDS, FRAMES, FLOOR, AUDIBLE)).encode()).hexdigest()[:16]
    path = os.path.join(cache_folder("spoken-words"), f"{key}.npz")
    if os.path.exists(path):
        with np.load(path) as kept:
            return kept["x"].astype(np.float32) / 255
    x = np.rint(speak_all(takes, verbose) * 255).astype(np.uint8)
    check_voices([take[1] for take in takes[::per_voice]], x.reshape(-1, per_voice, *x.shape[1:]))
    packed = io.BytesIO()
    np.savez_compressed(packed, x=x)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_whole(path, packed.getvalue())
    return x.astype(np.float32) / 255


def check_voices(voices, x):
    """ValueError if two voices sound the same: eSpeak NG leaves out a variant that it does not know."""
    first = {}
    for voice, said in zip(voices, x):
        same = first.setdefault(said.tobytes(), voice)
        if same != voice:
            raise ValueError(f"the voices {same!r} and {voice!r} sound the same; {PROGRAM} --voices=variant lists the "
                             f"speakers that there are")


def speak_all(takes, verbose):
    """The spectrograms of takes (word, voice, pitch, speed)."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise FileNotFoundError(f"the words are spoken by eSpeak NG, and there is no program {PROGRAM} here: install "
                                f"it (apt install espeak-ng), or name a folder with recordings by data_dir=")
    from tqdm import tqdm

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        spoken = pool.map(lambda numbered: speak(program, folder, *numbered), enumerate(takes))
        bar = tqdm(spoken, "speaking", len(takes), unit=" words", disable=not verbose)
        return np.stack(list(bar))[:, np.newaxis]


def speak(program, folder, number, take):
    """The spectrogram of one take."""
    word, voice, pitch, speed = take
    path = os.path.join(folder, f"{number}.wav")
    command = [program, "-v", voice, "-p", str(pitch), "-s", str(speed), "-w", path, word]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode or said.stderr or not os.path.exists(path):
        why = said.stderr.strip() or "it failed"
        raise ValueError(f"{PROGRAM} does not say {word!r} in the voice {voice!r}: {why}")
    picture = read_word(path)
    os.remove(path)
    return picture
