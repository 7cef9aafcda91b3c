"""The digits turned, scaled and shifted at random: what a spatial transformer is for (Jaderberg et al. 2015, appendix A.1)."""

import numpy as np

from .augment import RandomAffine
from .digits import digits

CANVAS = 42             # pixels of a side, as in the paper
TEST_SEED = 9
DISTORTION = RandomAffine(rotation=60, scale=(0.7, 1.2), shift=7)


def distorted_digits():
    """The 5,000 digits of `digits` on a canvas of 42x42, those of the test turned by up to 60 degrees, scaled by 0.7 to 1.2,
    and shifted by up to 7 pixels along each axis.

    The training images stand upright in the middle: ``DISTORTION`` of this module, passed to ``fit`` as `augment`, distorts
    each batch anew in the same way.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        4,000 and 1,000 images, float32 ``(N, 1, 42, 42)`` in [0, 1], and labels int64 ``(N,)``, in the order of `digits`.
        The test images are always the same.
    """
    (x, y), (x_test, y_test) = digits()
    x, x_test = on_canvas(x), on_canvas(x_test)
    return (x, y), (DISTORTION(x_test, np.random.default_rng(TEST_SEED)), y_test)


def on_canvas(images):
    """Images ``(N, 1, 28, 28)`` in the middle of empty ones ``(N, 1, CANVAS, CANVAS)``."""
    edge = (CANVAS - images.shape[-1]) // 2
    return np.pad(images, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
