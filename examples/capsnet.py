"""A small capsule network on the digits that come with pycnn: it names a digit, and draws it again from 16 numbers.

Leaves capsnet.png: digits beside what is drawn of them, and what each of the 16 numbers of one digit changes. (Sabour,
Frosst and Hinton 2017, Dynamic Routing Between Capsules.)

    python capsnet.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn import layers as L
from pycnn.models import capsules_figure

quick = "--quick" in sys.argv
epochs, maps, kinds = (1, 8, 2) if quick else (12, 32, 8)

(x, y), (x_test, y_test) = pycnn.datasets.digits()
if quick:
    x, y, x_test, y_test = x[:320], y[:320], x_test[:100], y_test[:100]

image, label = pycnn.Input((1, 28, 28), name="image"), pycnn.Input((10,), name="label")
h = L.Conv(maps, 9, activation="relu", name="conv")(image)              # maps of 20x20
h = L.PrimaryCapsules(kinds, 8, 9, stride=2, name="primary")(h)         # 36 capsules of each kind, with 8 coordinates
h = L.Capsules(10, 16, iterations=3, name="capsules")(h)                # a capsule of 16 coordinates for each digit
capsule = L.Mask(name="capsule")(h, label)                              # that of the label, or else the longest
d = L.Dense(512, activation="relu", name="decode1")(capsule)
d = L.Dense(1024, activation="relu", name="decode2")(d)
d = L.Dense(784, activation="sigmoid", name="reconstruction")(d)
net = pycnn.Network([image, label], {"reconstruction": d, "lengths": L.Length(name="lengths")(h), "capsule": capsule})
net.summary()


def sample(x, y, labelled):
    """(inputs, targets): an image, and its label or zeros; the image again, and its label."""
    return {"image": x, "label": labelled * np.eye(10)[y]}, {"reconstruction": x.reshape(len(x), 784), "lengths": y}


losses = {"reconstruction": "mse", "lengths": "margin"}
weights = {"reconstruction": 0.0005 * 784, "lengths": 1}                # the squared errors of all pixels, times 0.0005
net.fit(*sample(x, y, 1), loss=losses, loss_weights=weights, optimizer=pycnn.Adam(0.001), epochs=epochs, batch_size=64)
scores = net.evaluate(*sample(x_test, y_test, 0), loss=losses, loss_weights=weights)
print(f"test accuracy {scores['accuracy']:.1%}")
capsules_figure(net, x_test, y_test, title="Capsules").savefig("capsnet.png")
print("wrote capsnet.png")
