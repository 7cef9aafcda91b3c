"""A convolutional network with batch normalisation, dropout and augmentation, written out and trained on Fashion-MNIST.

Leaves convnet.png: how it learned, what it confuses, its first filters. With --quick it learns 500 of the digits that come
with pycnn, for one epoch.

    python convnet.py [--quick]
"""

import sys

import pycnn
from pycnn import layers as L
from pycnn.callbacks import CosineDecay
from pycnn.datasets.augment import Compose, RandomFlip, RandomShift
from pycnn.figures import training_figure

quick = "--quick" in sys.argv
epochs = 1 if quick else 25
(x, y), (x_test, y_test) = pycnn.datasets.digits() if quick else pycnn.datasets.fashion_mnist()
names = None if quick else pycnn.datasets.CLASS_NAMES["fashion-mnist"]
if quick:
    x, y, x_test, y_test = x[:500], y[:500], x_test[:200], y_test[:200]


def normalised(h, filters):
    """A convolution, its batch normalisation, and a rectifier."""
    return L.ReLU()(L.BatchNorm()(L.Conv(filters, 3, padding=1, bias=False, weight_init="he_normal")(h)))


image = pycnn.Input((1, 28, 28), name="image")
h = L.Dropout(0.25)(L.MaxPool(2)(normalised(normalised(image, 48), 48)))      # 48 maps of 14x14
h = L.Dropout(0.25)(L.MaxPool(2)(normalised(normalised(h, 96), 96)))          # 96 maps of 7x7
h = L.ReLU()(L.BatchNorm()(L.Dense(256, bias=False, weight_init="he_normal")(L.Flatten()(h))))
net = pycnn.Network(image, L.Dense(10, name="class")(L.Dropout(0.5)(h)), name="convnet")
net.summary()

history = net.fit(
    x, y, optimizer=pycnn.AdamW(0.003, weight_decay=0.05), epochs=epochs, batch_size=128,
    augment=RandomShift(2) if quick else Compose(RandomShift(2), RandomFlip()),
    validation_data=(x_test, y_test), callbacks=[CosineDecay(epochs, warmup=0 if quick else 1)],
)
scores = net.evaluate(x_test, y_test)
print(f"test accuracy {scores['accuracy']:.2%}, loss {scores['loss']:.3f}")
training_figure(net, history, x_test, y_test, class_names=names, title="convnet", held_out="test").savefig("convnet.png")
print("wrote convnet.png")
