"""An autoencoder written out layer by layer: digits through 4 maps of 7x7, and back.

Leaves autoencoder.png: inputs above outputs, by the decoder of transposed convolutions and by that of upsampling.

    python autoencoder.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn import layers as L
from pycnn.callbacks import CosineDecay
from pycnn.figures import rows_of_images

quick = "--quick" in sys.argv
epochs, samples = (2, 500) if quick else (40, None)

x, x_test = (images[:samples] for images, labels in pycnn.datasets.digits())


def encoded():
    """(image, its code): 784 values become 196."""
    image = pycnn.Input((1, 28, 28), name="image")
    h = L.MaxPool(2)(L.Conv(16, 3, padding=1, activation="relu")(image))        # 16 maps of 14x14
    return image, L.MaxPool(2)(L.Conv(4, 3, padding=1, activation="relu")(h))   # 4 maps of 7x7


image, code = encoded()
h = L.ConvTranspose(16, 2, stride=2, activation="relu")(code)                   # each value lays down 2x2 of its own
transposed = pycnn.Network(image, L.ConvTranspose(1, 2, stride=2, activation="sigmoid")(h), name="transposed")

image, code = encoded()
h = L.Conv(16, 3, padding=1, activation="relu")(L.Upsample(2)(code))            # each value four times, then smoothed
h = L.Conv(1, 3, padding=1, activation="sigmoid", name="output")(L.Upsample(2)(h))
upsampled = pycnn.Network(image, h, name="upsampled")
upsampled["output"].bias = -2.0                                                 # dark at first, as most of an image is

rows = {"input": x_test[:12]}
for net in (transposed, upsampled):
    net.fit(x, x, loss="mse", optimizer=pycnn.Adam(0.01), epochs=epochs, batch_size=32,
            callbacks=[CosineDecay(epochs, warmup=epochs // 4)])
    output = net.predict(x_test)
    print(f"{net.name}: {net.count_parameters():,} parameters, mean squared error {np.mean((output - x_test) ** 2):.4f}")
    rows[net.name] = output[:12]
rows_of_images(rows).savefig("autoencoder.png")
print("wrote autoencoder.png")
