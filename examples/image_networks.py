"""ResNet-18, VGG-16 and MobileNet on small images, for a few hundred steps: their numbers of parameters, as published for
224x224 and as trained here for 32x32, and how their losses fall, in image_networks.png.

    python image_networks.py [--quick]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import pycnn
from pycnn import models
from pycnn.callbacks import LambdaCallback

quick = "--quick" in sys.argv
(x, y), (x_test, y_test) = pycnn.datasets.digits() if quick else pycnn.datasets.fashion_mnist()
samples, tested = (64, 32) if quick else (6400, 2000)
x, x_test = (np.pad(a, ((0, 0), (0, 0), (2, 2), (2, 2))) for a in (x[:samples], x_test[:tested]))     # 28x28 -> 32x32
y, y_test = y[:samples], y_test[:tested]

networks = {
    "ResNet-18": (models.resnet18, {}, 1e-3),
    "VGG-16": (models.vgg16, {}, 1e-4),             # without normalisation: a low rate
    "MobileNet": (models.mobilenet, {"width": 0.25} if quick else {}, 3e-3),
}
figure = Figure(figsize=(8, 4), layout="constrained")
axes = figure.subplots()
for name, (build, options, lr) in networks.items():
    if quick and name == "VGG-16":
        continue                                    # 34 million parameters take a while
    net = build(classes=10, shape=(1, 32, 32), **options)
    print(f"{name}: {build().count_parameters():,} parameters as published, {net.count_parameters():,} here")
    losses = []
    net.fit(x, y, optimizer=pycnn.AdamW(lr), epochs=1 if quick else 2, batch_size=32,
            callbacks=[LambdaCallback(on_batch_end=lambda run, to=losses: to.append(run.batch_loss))])
    print(f"{name}: {net.evaluate(x_test, y_test)['accuracy']:.1%} of {tested:,} test images, after {len(losses)} steps")
    mean = np.convolve(losses, np.full(min(20, len(losses)), 1 / min(20, len(losses))), "valid")
    axes.plot(np.arange(len(mean)) + len(losses) - len(mean) + 1, mean, label=name)
axes.set(xlabel="step, of 32 images", ylabel="loss, mean of 20 steps", title="The first steps of three networks")
axes.grid(alpha=0.3)
axes.legend()
figure.savefig("image_networks.png", dpi=100)
