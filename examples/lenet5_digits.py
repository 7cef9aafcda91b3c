"""LeNet-5 written out layer by layer, trained on the 5,000 digits that come with pycnn.

Leaves lenet5_digits.safetensors (the network) and lenet5_digits.png (how it learned, what it confuses, its first
filters). The network is that of LeCun, Bottou, Bengio and Haffner (1998) with max pooling, full connections, and scores
at its end.

    python lenet5_digits.py [--quick]
"""

import sys

import pycnn
from pycnn import layers as L
from pycnn.callbacks import CosineDecay
from pycnn.datasets.augment import RandomShift
from pycnn.figures import training_figure

epochs = 2 if "--quick" in sys.argv else 40

(x, y), (x_test, y_test) = pycnn.datasets.digits()

image = pycnn.Input((1, 28, 28), name="image")
h = L.Conv(6, 5, padding=2, activation="tanh", name="C1")(image)       # 6 maps of 28x28
h = L.MaxPool(2, name="S2")(h)                                         # 6 maps of 14x14
h = L.Conv(16, 5, activation="tanh", name="C3")(h)                     # 16 maps of 10x10
h = L.MaxPool(2, name="S4")(h)                                         # 16 maps of 5x5
h = L.Dense(120, activation="tanh", name="C5")(L.Flatten()(h))
h = L.Dense(84, activation="tanh", name="F6")(h)
net = pycnn.Network(image, L.Dense(10, name="digit")(h), name="LeNet-5")
net.summary()

history = net.fit(
    x, y, optimizer=pycnn.AdamW(0.002, weight_decay=0.1), epochs=epochs, batch_size=64, augment=RandomShift(2),
    validation_data=(x_test, y_test), callbacks=[CosineDecay(epochs, warmup=1)],
)
scores = net.evaluate(x_test, y_test)
print(f"test accuracy {scores['accuracy']:.1%}, loss {scores['loss']:.3f}")

net.save("lenet5_digits.safetensors")
training_figure(net, history, x_test, y_test, title="LeNet-5", held_out="test").savefig("lenet5_digits.png")
print("wrote lenet5_digits.safetensors and lenet5_digits.png")
