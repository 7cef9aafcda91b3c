"""Feature maps and layers frozen while the training goes on, from a callback.

After a third of the epochs two maps of C3 are frozen, in the midst of an epoch; after two thirds both convolutions.
Prints how much each part has changed in every epoch: what is frozen stays as it is, and the rest goes on learning.

    python freeze.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn import layers as L
from pycnn.callbacks import Callback

epochs = 6 if "--quick" in sys.argv else 12


class Freeze(Callback):
    """Freezes step by step, and keeps a row of the table for every epoch."""

    def on_epoch_begin(self, run):
        self.before = {name: value.copy() for name, value in run.net.parameters.items()}
        if run.epoch == 2 * epochs // 3 + 1:
            run.net["C1"].trainable = run.net["C3"].trainable = False

    def on_batch_end(self, run):
        if run.epoch == epochs // 3 and run.batch == 30:
            run.net["C3"].freeze(maps=[0, 3])

    def on_epoch_end(self, run):
        change = {name: np.abs(value - self.before[name]) for name, value in run.net.parameters.items()}
        maps = change["C3/weight"].max(axis=(1, 2, 3))
        columns = [change["C1/weight"].max(), maps[0], maps[1], maps[3], change["F5/weight"].max()]
        rows.append((run.epoch, run.net.count_parameters(trainable=True), *columns, run.logs["val_accuracy"]))


(x, y), test = pycnn.datasets.digits()

image = pycnn.Input((1, 28, 28), name="image")
h = L.MaxPool(2)(L.Conv(6, 5, padding=2, activation="relu", name="C1")(image))
h = L.MaxPool(2)(L.Conv(16, 5, activation="relu", name="C3")(h))
h = L.Dense(84, activation="relu", name="F5")(L.Flatten()(h))
net = pycnn.Network(image, L.Dense(10, name="digit")(h))

rows = []
net.fit(x, y, optimizer=pycnn.Adam(0.001), epochs=epochs, batch_size=64, validation_data=test, callbacks=[Freeze()])

print("                 greatest change of a weight in")
print("epoch  learning       C1  C3 map 0  C3 map 1  C3 map 3       F5  test accuracy")
for epoch, learning, c1, map0, map1, map3, f5, accuracy in rows:
    print(f"{epoch:5d}  {learning:8,d}  {c1:7.5f}  {map0:8.5f}  {map1:8.5f}  {map3:8.5f}  {f5:7.5f}  {accuracy:13.1%}")
