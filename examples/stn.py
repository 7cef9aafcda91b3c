"""A spatial transformer: the same network with it and without, trained on digits that are turned, scaled and shifted.

Leaves stn.png: test digits, which part of them the transformer reads, and what it makes of them.

    python stn.py [--quick]
"""

import sys

import pycnn
from pycnn.callbacks import CosineDecay
from pycnn.datasets.augment import RandomAffine
from pycnn.models import stn, transformer_figure

quick = "--quick" in sys.argv
epochs = 1 if quick else 60

(x, y), (x_test, y_test) = pycnn.datasets.distorted_digits()        # upright for training, distorted for the test
if quick:
    x, y = x[:1000], y[:1000]
distortion = RandomAffine(rotation=60, scale=(0.7, 1.2), shift=7)   # each batch is distorted anew

accuracy = {}
for transformer in (False, True):
    net = stn(transformer)
    net.fit(
        x, y, optimizer=pycnn.AdamW(0.002, weight_decay=0.3), epochs=epochs, batch_size=64, augment=distortion,
        callbacks=[CosineDecay(epochs, warmup=0 if quick else 2)],
    )
    accuracy[transformer] = net.evaluate(x_test, y_test)["accuracy"]

print(f"test accuracy {accuracy[True]:.1%} with the transformer, {accuracy[False]:.1%} without")
transformer_figure(net, x_test, y_test).savefig("stn.png")
