"""What networks for photographs of 224x224 are tried on here: small images with a margin, a few hundred steps long."""

import numpy as np

from ..tasks import Classification

SIDE = 32           # that the networks halve five times
TRAINED, TESTED = 6400, 2000


class SmallImages(Classification):
    """Classes of images that are padded to 32x32, of a part of the data set."""

    def build_options(self, x, y):
        return {"shape": (x.shape[1], SIDE, SIDE), "classes": int(np.max(y)) + 1}

    def training_data(self, x, y):
        return padded(x[:TRAINED]), y[:TRAINED]

    def test_data(self, x, y):
        return padded(x[:TESTED]), y[:TESTED]

    def figure(self, net, history, x, y, *, data, title):
        return super().figure(net, history, *self.test_data(x, y), data=data, title=title)


def padded(images):
    """Images ``(N, C, H, W)``, H and W at most 32, in the middle of 32x32 zeros."""
    margins = [((SIDE - side) // 2, (SIDE - side + 1) // 2) for side in images.shape[2:]]
    return np.pad(images, ((0, 0), (0, 0), *margins))
