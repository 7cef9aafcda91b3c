"""The gradient of the loss to an image, as a picture.

It says where more ink (red) or less ink (blue) would make the network more certain of the right digit. Leaves
gradients.png, with one digit of each kind above its gradient.

    python gradients.py [--quick]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import pycnn
from pycnn import layers as L

epochs = 2 if "--quick" in sys.argv else 5

(x, y), (x_test, y_test) = pycnn.datasets.digits()

image = pycnn.Input((1, 28, 28), name="image")
h = L.MaxPool(2)(L.Conv(8, 5, padding=2, activation="relu")(image))
h = L.MaxPool(2)(L.Conv(16, 5, activation="relu")(h))
h = L.Dense(84, activation="relu")(L.Flatten()(h))
net = pycnn.Network(image, L.Dense(10)(h))
net.fit(x, y, optimizer=pycnn.Adam(0.002), epochs=epochs, batch_size=64, validation_data=(x_test, y_test))

first = [int(np.flatnonzero(y_test == digit)[0]) for digit in range(10)]
figure = Figure(figsize=(15, 3.4), layout="constrained")
axes = figure.subplots(2, 10)
for digit, row in enumerate(first):
    one = x_test[row:row + 1]
    loss, gradients = net.gradients(one, y_test[row:row + 1])
    uphill = -gradients["inputs/image"][0, 0]       # less loss is more certainty
    limit = np.abs(uphill).max() or 1.0
    axes[0, digit].imshow(one[0, 0], cmap="gray_r")
    axes[0, digit].set_title(f"{digit}: loss {loss:.3f}")
    axes[1, digit].imshow(uphill, cmap="RdBu_r", vmin=-limit, vmax=limit)
for ax in axes.flat:
    ax.axis("off")
figure.savefig("gradients.png")
print("wrote gradients.png")
