"""A trained network from elsewhere: basic-pitch (Bittner et al. 2022, arXiv:2203.09893) writes down the notes of a melody.

Its ONNX file ships in a wheel: pip install --no-deps basic-pitch. Leaves onnx_music.png: what was played, and what the
network heard.

    python onnx_music.py [--quick]
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

import pycnn
from pycnn.figures import new_figure

RATE, WINDOW, LOWEST = 22050, 43844, 21     # samples a second, of a window, and the MIDI number of the lowest note
MELODY = [64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64, 64, 62, 62]      # the Ode to Joy
BASS = [48, 55, 48]
BEAT = 0.38     # seconds

windows = 1 if "--quick" in sys.argv else 3
samples = np.arange(windows * WINDOW)
sound, played = np.zeros(len(samples)), []
for line, beats in ((MELODY, 1), (BASS, 5)):
    for number, note in enumerate(line):
        t = samples / RATE - number * beats * BEAT
        pitch, sounding = 440 * 2 ** ((note - 69) / 12), (t >= 0) & (t < beats * BEAT)
        for k in range(1, 6):       # overtones, which fade the sooner the higher they are
            sound += sounding * 0.3 / k * np.sin(2 * np.pi * k * pitch * t) * np.exp(-k * np.abs(t) / beats)
        played.append((number * beats * BEAT, beats * BEAT, note))

package = importlib.util.find_spec("basic_pitch")
if package is None:
    sys.exit("the network is not here: pip install --no-deps basic-pitch")
net = pycnn.onnx.load(Path(package.submodule_search_locations[0], "saved_models/icassp_2022/nmp.onnx"))
heard = net.predict(sound.reshape(windows, WINDOW, 1), batch_size=1, verbose=1)["StatefulPartitionedCall:1"]
roll = np.concatenate(heard).T      # notes, frames

seconds = windows * WINDOW / RATE
sure = [(begin, note) for begin, length, note in played if begin + length <= seconds]
frames = [slice(*(int(roll.shape[1] / seconds * (begin + share * BEAT)) for share in (0.2, 0.8))) for begin, _ in sure]
found = sum(roll[note - LOWEST, at].mean() > 0.3 for (_, note), at in zip(sure, frames))
print(f"{net.count_parameters():,} parameters; heard {found} of {len(sure)} notes")

figure = new_figure(11, 4.5)
axes = figure.subplots()
picture = axes.imshow(roll, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, LOWEST - 0.5, LOWEST + 87.5))
for begin, length, note in played:
    axes.add_patch(type(axes.patch)((begin, note - 0.5), length, 1, fill=False, edgecolor="cyan", linewidth=1))
axes.set(xlim=(0, seconds), ylim=(44, 72), xlabel="seconds", ylabel="note (MIDI)", title="Played (outlines) and heard")
figure.colorbar(picture, label="probability")
figure.savefig("onnx_music.png")
