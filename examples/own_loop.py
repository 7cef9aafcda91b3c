"""A training loop of one's own: train_on_batch in a plain for loop instead of fit.

Each step draws a batch at random, shifts its images, sets the learning rate and learns. Prints a table: every so many
steps the mean loss since the last row, and the accuracy on the test images.

    python own_loop.py [--quick]
"""

import sys

import numpy as np
from tqdm import tqdm

import pycnn
from pycnn import layers as L
from pycnn.datasets.augment import RandomShift

steps, rows_apart = (120, 40) if "--quick" in sys.argv else (3000, 300)

(x, y), (x_test, y_test) = pycnn.datasets.digits()

image = pycnn.Input((1, 28, 28), name="image")
h = L.MaxPool(2)(L.Conv(8, 5, padding=2, activation="relu")(image))
h = L.MaxPool(2)(L.Conv(16, 5, activation="relu")(h))
h = L.Dense(84, activation="relu")(L.Flatten()(h))
net = pycnn.Network(image, L.Dense(10)(h))

rng = np.random.default_rng(0)
shift = RandomShift(2)
optimizer = pycnn.Adam(0.003)
losses = []

print(" step  learning rate   loss  test accuracy")
for step in tqdm(range(1, steps + 1), desc="training", unit="step", leave=False):
    chosen = rng.integers(0, len(x), 64)
    optimizer.lr = 0.003 * (1 - step / steps) + 1e-4
    figures = net.train_on_batch(shift(x[chosen], rng), y[chosen], optimizer=optimizer)
    losses.append(figures["loss"])
    if step % rows_apart == 0:
        accuracy = net.evaluate(x_test, y_test)["accuracy"]
        tqdm.write(f"{step:5d}  {optimizer.lr:13.5f}  {np.mean(losses):5.3f}  {accuracy:13.1%}")
        losses.clear()
