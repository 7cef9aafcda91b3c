"""Which way should filters move over a spectrogram: along frequency, or along time?

Each network learns twenty words as a number of voices say them, and is tried on six voices that it never heard. The
speech is synthetic, by eSpeak NG (apt install espeak-ng), and takes a minute to make the first time; spectrograms need
scipy (pip install pycnn[speech]).

    python speech.py [--quick]
"""

import sys
from functools import partial

import numpy as np

import pycnn
from pycnn.callbacks import CosineDecay
from pycnn.datasets.speech import TEST_VOICES, VOICES, spoken_words
from pycnn.models import speech

quick = "--quick" in sys.argv
few = dict(words=("yes", "no", "stop"), voices=VOICES[:2], test_voices=TEST_VOICES[:2], pitches=(50,)) if quick else {}
voices, seeds, epochs = ([1, 2], 1, 4) if quick else ([1, 2, 3, 6, 12], 3, 30)

(x, y), test = spoken_words(**few)
classes, of_a_voice = y.max() + 1, len(x) // max(voices)
networks = {
    "along frequency": partial(speech, "frequency"),
    "along time": partial(speech, "time"),
    "in sections": partial(speech, "frequency", sections=11, filters=19),
}

print(f"{'voices heard':16s}" + "".join(f"{name:>18s}" for name in networks))
for count in voices:
    heard, row = slice(count * of_a_voice), []
    for build in networks.values():
        scores = []
        for seed in range(seeds):
            net = build(classes=classes, seed=seed)
            net.fit(x[heard], y[heard], optimizer=pycnn.AdamW(2e-3, weight_decay=0.1), epochs=epochs, batch_size=64,
                    seed=seed, callbacks=[CosineDecay(epochs)])
            scores.append(net.evaluate(*test, verbose=0)["accuracy"])
        row.append(np.mean(scores))
    print(f"{count:<16d}" + "".join(f"{score:18.1%}" for score in row))
