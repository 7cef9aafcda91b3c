"""A convolutional network that takes the noise out of small images."""

import numpy as np

from .. import layers as L
from ..datasets.augment import RandomNoise
from ..figures import rows_of_images
from ..graph import Input
from ..network import Network
from ..optimizers import Adam
from ..tasks import SHOWN_BATCH, Model, Recipe
from .autoencoder import Reconstruction, dark, encode, examples

NOISE = RandomNoise(0.5)
TEST_SEED = 1       # of the noise on test images, the same for every network


def denoiser(shape=(1, 28, 28), maps=(32, 16, 8), seed=0):
    """Convolutions of 32, 16 and 8 maps with two poolings, and transposed convolutions that mirror them.

    Parameters
    ----------
    shape : tuple of int
        ``(C, H, W)`` of the images, with H and W multiples of 4 and values in [0, 1]; the output has the same.
    maps : tuple of int
        Of the three convolutions.
    seed : int or numpy.random.Generator
        For the first values of the parameters.

    Returns
    -------
    Network
        With the layers encode1, pool1, encode2, pool2, encode3, decode1, decode2 and decode3. Train it with noisy
        images as input and the clean ones as target.

    Raises
    ------
    ValueError
        If H or W is not a multiple of 4.

    Examples
    --------
    >>> from pycnn.models import denoiser
    >>> denoiser().count_parameters()
    9001
    """
    image = Input(shape, name="image")
    first, second, code = maps
    h = encode(image, (first, second, code), "denoiser")
    h = L.ConvTranspose(second, 2, stride=2, activation="relu", name="decode1")(h)
    h = L.ConvTranspose(first, 2, stride=2, activation="relu", name="decode2")(h)
    h = L.Conv(image.shape[0], 3, padding=1, activation="sigmoid", bias_init=dark, name="decode3")(h)
    return Network(image, h, name="denoiser", seed=seed)


def psnr(images, clean):
    """Peak signal to noise ratio in dB of images in [0, 1]: 10 log10(1 / mean squared error), over all of them."""
    return float(-10 * np.log10(np.mean(np.square(images - clean), dtype=np.float64)))


class Denoising(Reconstruction):
    """Clean images as targets, noise on what the network sees: fresh in every batch of the training (by `NOISE`, the
    recipe's augmentation), and fixed on test images."""

    def test_data(self, x, y):
        return NOISE(x, np.random.default_rng(TEST_SEED)), x

    def scores(self, net, x, y, verbose=0):
        noisy, clean = self.test_data(x, y)
        after, before = psnr(net.predict(noisy, batch_size=SHOWN_BATCH), clean), psnr(noisy, clean)
        return {"psnr": after, "psnr_of_noisy": before, "gain": after - before}

    def sentence(self, scores):
        return f"PSNR of noisy test images {scores['psnr_of_noisy']:.2f} dB, denoised {scores['psnr']:.2f} dB"

    def figure(self, net, history, x, y, *, data, title):
        noisy, clean = self.test_data(examples(x, y), None)
        output = net.predict(noisy, batch_size=SHOWN_BATCH)
        return rows_of_images({"noisy": noisy, "denoised": output, "clean": clean}, title=title)


DENOISER = Model(denoiser, {
    "digits": Recipe(30, 32, Adam, 3e-3, warmup=1, augment=NOISE),
    "fashion-mnist": Recipe(4, 64, Adam, 3e-3, warmup=1, augment=NOISE),
}, Denoising())
