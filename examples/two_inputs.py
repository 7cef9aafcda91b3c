"""Two inputs that meet late, and two outputs with losses of their own.

The network sees the image of a digit and, as a vector, another digit k. It says whether the digit in the image is
greater than k (binary cross-entropy), and by how much (mean squared error). Prints a table of answers.

    python two_inputs.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn import layers as L

epochs = 2 if "--quick" in sys.argv else 40
rng = np.random.default_rng(0)


def questions(images, labels):
    """Inputs and targets by name, with a random k for each image."""
    k = rng.integers(0, 10, len(labels))
    difference = (labels - k)[:, np.newaxis]
    return {"image": images, "k": np.eye(10)[k]}, {"greater": difference > 0, "difference": difference}


(x, y), (x_test, y_test) = pycnn.datasets.digits()

image, k = pycnn.Input((1, 28, 28), name="image"), pycnn.Input((10,), name="k")
h = L.MaxPool(2)(L.Conv(8, 5, padding=2, activation="relu")(image))
h = L.MaxPool(2)(L.Conv(16, 5, activation="relu")(h))
h = L.Dense(32, activation="relu")(L.Flatten()(h))
h = L.Dense(64, activation="relu", name="meet")(L.Concat()(h, k))
net = pycnn.Network([image, k], {"greater": L.Dense(1)(h), "difference": L.Dense(1)(h)})
net.summary()

losses = {"greater": "binary_cross_entropy_with_logits", "difference": "mse"}
net.fit(*questions(x, y), loss=losses, loss_weights={"greater": 1.0, "difference": 0.2}, optimizer=pycnn.Adam(0.002),
        epochs=epochs, batch_size=64, validation_data=questions(x_test, y_test))

inputs, targets = questions(x_test, y_test)
answers = net.predict(inputs)
print("digit  k  greater?  said       difference  said")
for i in range(10):
    greater = "yes" if targets["greater"][i] else "no"
    said = "yes" if answers["greater"][i] > 0 else "no"
    print(f"{y_test[i]:5d}  {inputs['k'][i].argmax()}  {greater:8s}  {said:9s}"
          f"{targets['difference'][i, 0]:12d} {answers['difference'][i, 0]:5.1f}")
right = (answers["greater"] > 0) == targets["greater"]
off = np.abs(answers["difference"] - targets["difference"])
print(f"of {len(right):,}: {right.mean():.1%} right about greater, {off.mean():.2f} off in the difference on average")
