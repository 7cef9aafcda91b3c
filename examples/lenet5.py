"""LeNet-5 exactly as published in 1998, layer by layer, and trained as its authors trained it: one digit at a time, with
second derivatives (SDLM). Prints the published counts and leaves pictures of the output's centres and of its mistakes.

    python lenet5.py [--quick]
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

import pycnn
from pycnn import layers as L
from pycnn.callbacks import LearningRateSchedule
from pycnn.models import c3_connections, digit_bitmaps, lenet5_images

quick = "--quick" in sys.argv
published = dict(activation="scaled_tanh", weight_init="lecun_1998")    # 1.7159 tanh(2x/3), uniform in +-2.4/fan-in

image = pycnn.Input((1, 32, 32), name="image")
h = L.Conv(6, 5, name="C1", **published)(image)
h = L.Subsample(2, name="S2", **published)(h)
h = L.Conv(16, 5, connections=c3_connections(), name="C3", **published)(h)
h = L.Subsample(2, name="S4", **published)(h)
h = L.Conv(120, 5, name="C5", **published)(h)
h = L.Dense(84, name="F6", **published)(L.Flatten(name="flatten")(h))
net = pycnn.Network(image, L.RBF(10, digit_bitmaps().reshape(10, 84), name="output")(h), name="lenet5")
net.summary()

(x, y), (x_test, y_test) = pycnn.datasets.digits()
x, x_test = lenet5_images(x), lenet5_images(x_test)
if quick:
    x, y = x[:600], y[:600]

history = net.fit(
    x, y, loss=pycnn.losses.DistanceLoss(margin=10.0), loss_weights=[0.03], optimizer=pycnn.SDLM(eta=0.0005, mu=0.02),
    batch_size=1, epochs=2 if quick else 15, callbacks=[LearningRateSchedule(pycnn.SDLM.schedule)],
    validation_data=(x_test, y_test),
)
print(f"{history['val_accuracy'][-1]:.1%} of the test digits")

distances = net.predict(x_test)
wrong = np.flatnonzero(distances.argmin(axis=1) != y_test)[:10]
figure, axes = plt.subplots(2, 10, figsize=(10, 3), layout="constrained")
figure.suptitle("Centres of the output, and digits taken for another")
for axis, bitmap in zip(axes[0], digit_bitmaps()):
    axis.imshow(-bitmap, cmap="gray")
for axis, i in zip(axes[1], wrong):
    axis.imshow(-x_test[i, 0], cmap="gray")
    axis.set_title(f"{y_test[i]} as {distances[i].argmin()}", fontsize=9)
for axis in axes.flat:
    axis.axis("off")
figure.savefig("lenet5.png", dpi=120)
