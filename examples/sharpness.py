"""M-layers: LeNet-5 whose pooling learns how sharp it is, from the average (0) towards the maximum (> 0) or minimum (< 0).

Leaves a picture of how the sharpness of each map moves from epoch to epoch.

    python sharpness.py [--quick]
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

import pycnn
from pycnn import models
from pycnn.callbacks import LambdaCallback, LearningRateSchedule

quick = "--quick" in sys.argv
net = models.lenet5("m")
(x, y), (x_test, y_test) = pycnn.datasets.digits()
x, x_test = models.lenet5_images(x), models.lenet5_images(x_test)
if quick:
    x, y = x[:600], y[:600]

courses = {name: [net[name].sharpness.copy()] for name in ("M2", "M4")}
follow = LambdaCallback(on_epoch_end=lambda run: [courses[n].append(net[n].sharpness.copy()) for n in courses])
history = net.fit(
    x, y, loss="distance", loss_weights=[0.03], optimizer=pycnn.SDLM(0.0005), batch_size=1, epochs=2 if quick else 15,
    callbacks=[LearningRateSchedule(pycnn.SDLM.schedule), follow], validation_data=(x_test, y_test),
)
print(f"{history['val_accuracy'][-1]:.1%} of the test digits; sharpness of M2: {np.round(net['M2'].sharpness, 3)}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for axis, (name, course) in zip(axes, courses.items()):
    axis.plot(course)
    axis.axhline(0, color="black", linewidth=0.5)
    axis.set(title=f"{name}: a line for each map", xlabel="epoch", ylabel="sharpness")
figure.savefig("sharpness.png", dpi=120)
