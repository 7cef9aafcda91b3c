"""What LeNet-5 has learned of Fashion-MNIST: the inputs that filters, neurons and outputs like best, and images that fool.

Leaves a sheet for each layer (C1.png, C3.png, flatten.png, C5.png, output.png), classes.png and fooled.png.

    python what_it_likes.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn.callbacks import CosineDecay
from pycnn.models import lenet5
from pycnn.visualize import class_image, fool, maximize_activation

quick = "--quick" in sys.argv
epochs, steps = (1, 5) if quick else (12, 200)

(x, y), (x_test, y_test) = pycnn.datasets.digits() if quick else pycnn.datasets.fashion_mnist()
net = lenet5(input_shape=x.shape[1:])
net.fit(x, y, optimizer=pycnn.AdamW(3e-3, weight_decay=0.1), epochs=epochs, batch_size=64,
        callbacks=[CosineDecay(epochs)])


def sums(images, layer):
    """What each map answers, summed over its positions: an array (N, maps)."""
    values = pycnn.View(net, layer)(images)[layer]
    return values.reshape(*values.shape[:2], -1).sum(2)


for layer in ("C1", "C3", "flatten", "C5", "output"):
    maps = list(range(min(64, net.graph.find(layer).shape[0])))
    images = maximize_activation(net, layer, maps, steps=steps, save=f"{layer}.png")
    best = sums(x, layer).max(0)[maps]          # of all training images
    ratios = (sums(images, layer).diagonal() / np.where(best > 0, best, np.nan))[best > 0]
    print(f"{layer}: {np.median(ratios):.1f} times the best training image (median), "
          f"at least 5 times: {np.mean(ratios >= 5):.0%}")

classes = class_image(net, steps=300, save="classes.png")
fooled = fool(net, start=x_test[0], save="fooled.png")
for name, images in (("class images", classes), ("images that fool", fooled)):
    powers = np.exp(net.predict(images))
    print(f"{name}: called their class with {(powers / powers.sum(1, keepdims=True)).diagonal().min():.1%} or more")
