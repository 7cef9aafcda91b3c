"""A network that takes noise out of digits: it sees noisy images, and its targets are the clean ones.

The noise is fresh in every batch, so that no image is ever seen twice. Leaves denoiser.png: noisy, denoised, clean.

    python denoiser.py [--quick]
"""

import sys

import numpy as np

import pycnn
from pycnn.callbacks import CosineDecay
from pycnn.datasets.augment import RandomNoise
from pycnn.figures import rows_of_images
from pycnn.models.denoiser import denoiser, psnr

quick = "--quick" in sys.argv
epochs, samples = (2, 500) if quick else (20, None)

x, x_test = (images[:samples] for images, labels in pycnn.datasets.digits())
noise = RandomNoise(0.5)                                        # clipped to [0, 1]
noisy = noise(x_test, np.random.default_rng(1))

net = denoiser()
net.summary()
net.fit(x, x, loss="mse", optimizer=pycnn.Adam(0.003), epochs=epochs, batch_size=32, augment=noise,
        validation_data=(noisy, x_test), callbacks=[CosineDecay(epochs)])

denoised = net.predict(noisy)
print(f"PSNR: noisy {psnr(noisy, x_test):.2f} dB, denoised {psnr(denoised, x_test):.2f} dB")
rows_of_images({"noisy": noisy[:12], "denoised": denoised[:12], "clean": x_test[:12]}).savefig("denoiser.png")
print("wrote denoiser.png")
