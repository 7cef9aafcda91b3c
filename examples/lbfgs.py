"""A network trained by an optimizer from elsewhere: scipy's L-BFGS, on all parameters as one vector.

    python lbfgs.py [--quick]
"""

import sys

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

import pycnn
from pycnn import layers as L

quick = "--quick" in sys.argv
(x, y), test = pycnn.datasets.digits()
x, y = x[:500 if quick else 2000], y[:500 if quick else 2000]

image = pycnn.Input((1, 28, 28), name="image")
h = L.Subsample(2, activation="tanh", name="S2")(L.Conv(8, 5, activation="tanh", name="C1")(image))
net = pycnn.Network(image, L.Dense(10, name="digit")(L.Flatten()(h)), dtype="float64")


def loss_and_gradient(vector):
    net.set_parameters(vector)
    loss, gradient = net.flat_gradient(x, y)
    return loss + 1e-3 * vector @ vector, gradient + 2e-3 * vector


steps = 15 if quick else 100
with tqdm(total=steps, desc="L-BFGS", unit="step") as bar:
    result = minimize(loss_and_gradient, net.get_parameters(), jac=True, method="L-BFGS-B", options={"maxiter": steps},
                      callback=lambda _: bar.update())
net.set_parameters(result.x)
print(f"loss {result.fun:.4f} after {result.nit} steps, {net.evaluate(*test)['accuracy']:.1%} of the test digits, "
      f"greatest slope {np.abs(result.jac).max():.1e}")
