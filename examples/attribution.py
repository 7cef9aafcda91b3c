"""Where a network looks: digits at random places of a noisy canvas, and whether saliency and Grad-CAM point at them.

Prints of how many test images the peak lies in the smallest rectangle around the digit's ink, and leaves
attribution.png: one digit of each kind above its attributions.

    python attribution.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn import layers as L
from pycnn.callbacks import CosineDecay
from pycnn.datasets.augment import Compose, RandomNoise, RandomShift
from pycnn.visualize import attribution_figure, grad_cam, saliency

quick = "--quick" in sys.argv
side, epochs, count = (40, 1, 60) if quick else (64, 25, 1000)

edge = (side - 28) // 2
(x, y), (x_test, y_test) = pycnn.datasets.digits()
x, x_test = (np.pad(images, ((0, 0), (0, 0), (edge, edge), (edge, edge))) for images in (x, x_test[:count]))
shift, noise = RandomShift(edge), RandomNoise(0.3)
rng = np.random.default_rng(0)
clean = shift(x_test, rng)
seen = noise(clean, rng)

image = pycnn.Input((1, side, side), name="image")
h = image
for number, maps in enumerate((16, 32, 64), 1):
    h = L.Conv(maps, 5 if number == 1 else 3, padding="same", bias=False, weight_init="he_normal")(h)
    h = L.MaxPool(2)(L.ReLU()(L.BatchNorm()(h)))
net = pycnn.Network(image, L.Dense(10, name="output")(L.GlobalMaxPool()(h)))
net.fit(x, y, optimizer=pycnn.AdamW(0.005), epochs=epochs, batch_size=64, augment=Compose(shift, noise),
        callbacks=[CosineDecay(epochs)])
print(f"accuracy {net.evaluate(seen, y_test[:count])['accuracy']:.1%}")

frame = np.zeros((count, side, side), bool)
for box, digit in zip(frame, clean[:, 0]):
    rows, columns = np.nonzero(digit > 0.3)
    box[rows.min():rows.max() + 1, columns.min():columns.max() + 1] = True
print(f"the rectangle is {frame.mean():.1%} of the canvas; in it is the peak of")
for name, heat in {"saliency": saliency(net, seen), "saliency, smooth": saliency(net, seen, smooth=16),
                   "Grad-CAM": grad_cam(net, seen)}.items():
    peak = heat.reshape(count, -1).argmax(1)
    print(f"{name:17} {frame.reshape(count, -1)[np.arange(count), peak].mean():.1%}")

shown = [int(np.flatnonzero(y_test[:count] == digit)[0]) for digit in range(10)]
attribution_figure(net, seen[shown], save="attribution.png")
