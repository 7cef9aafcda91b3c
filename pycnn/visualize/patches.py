"""A network that learns, in about a minute and from a few photographs, features worth dreaming of."""

from __future__ import annotations

import numpy as np

from .. import layers as L
from ..callbacks import CosineDecay
from ..graph import Input
from ..network import Network
from ..optimizers import AdamW
from ..shapes import integer
from ..training import fit
from .images import as_image, in_channels, resized

SIDE = 64                       # of a patch
SCALES = (1.0, 0.6, 0.35)       # of the photographs, once their shorter side has PHOTO_SIDE pixels
PHOTO_SIDE = 512
STAGES = ((32, 5), (48, 3), (64, 3), (96, 3), (128, 3))     # filters and their size
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "grass", "brick", "gravel", "immunohistochemistry", "retina",
               "hubble_deep_field", "coins", "moon")


def patch_network(images=None, *, patches=300, epochs=8, seed=0, verbose=1):
    """A network that was trained to tell which photograph a patch 64x64 was cut from.

    To do so it must know what surfaces look like: fur, brick, stars. Contrast, brightness and colours of the patches
    change at random, so that these do not give the answer away.

    Parameters
    ----------
    images : list of array, optional
        Two at least; see `as_image`. By default twelve that come with scikit-image.
    patches : int
        Cut from each, at three scales.
    epochs : int
    seed : int or numpy.random.Generator
    verbose : int
        1 shows a progress bar.

    Returns
    -------
    Network
        With the layers conv1, norm1, relu1, ... relu5, and classes, with a map for each image. Up to there it takes
        images of any size.

    Raises
    ------
    ValueError, TypeError
        When there are too few images, or arguments are out of range.
    ImportError
        When scikit-image is missing, and no images are given.
    """
    patches, epochs = integer(patches, "patches", 3), integer(epochs, "epochs", 1)
    images = skimage_photographs() if images is None else [as_image(image, "each of images") for image in images]
    if len(images) < 2:
        raise ValueError(f"a patch can come from one of two images at least, got {len(images)}")
    rng = np.random.default_rng(seed)
    x = np.concatenate([cut_patches(in_channels(image, 3), patches, rng) for image in images])
    y = np.repeat(np.arange(len(images)), len(x) // len(images))
    h = image = Input((3, SIDE, SIDE), name="image")
    for number, (filters, size) in enumerate(STAGES, 1):
        if number > 1:
            h = L.AvgPool(2, name=f"pool{number - 1}")(h)
        h = L.Conv(filters, size, padding=size // 2, bias=False, weight_init="he_normal", name=f"conv{number}")(h)
        h = L.ReLU(name=f"relu{number}")(L.BatchNorm(name=f"norm{number}")(h))
    h = L.GlobalAvgPool(name="mean")(L.Conv(len(images), 1, name="classes")(h))
    net = Network(image, h, name="patches", seed=rng)
    fit(net, x, y, optimizer=AdamW(0.003, weight_decay=0.05), epochs=epochs, batch_size=64, seed=rng,
        callbacks=[CosineDecay(epochs, warmup=min(1, epochs - 1))], verbose=verbose)
    return net


def skimage_photographs():
    """Twelve photographs that come with scikit-image, as float32 ``(C, H, W)`` in [0, 1]."""
    try:
        from skimage import data
    except ImportError:
        raise ImportError("its photographs need scikit-image: pip install pycnn[style], or give images") from None
    return [as_image(getattr(data, name)()) for name in PHOTOGRAPHS]


def cut_patches(image, count, rng):
    """Patches of an image ``(3, H, W)`` at random, mirrored and repainted: ``(3 (count // 3), 3, 64, 64)``."""
    found = []
    for scale in SCALES:
        factor = scale * PHOTO_SIDE / min(image.shape[1:])
        seen = resized(image, [max(SIDE, round(n * factor)) for n in image.shape[1:]])
        for _ in range(count // len(SCALES)):
            top, left = (rng.integers(n - SIDE + 1) for n in seen.shape[1:])
            patch = seen[:, top : top + SIDE, left : left + SIDE]
            found.append(patch[:, :, :: rng.choice((-1, 1))])
    x = np.stack(found)
    grey = x.mean(axis=1, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.3, 1, (len(x), 1, 1, 1))
    contrast = rng.uniform(0.6, 1.4, (len(x), 1, 1, 1)) * rng.uniform(0.9, 1.1, (len(x), 3, 1, 1))
    x = (x - 0.5) * contrast + 0.5 + rng.uniform(-0.07, 0.07, (len(x), 3, 1, 1))
    return np.clip(x, 0, 1).astype(np.float32)
