"""The network that learns from patches of photographs."""

import numpy as np
import pytest

from pycnn.view import View
from pycnn.visualize import patch_network
from pycnn.visualize.patches import PHOTOGRAPHS, cut_patches, skimage_photographs

PLACES = np.indices((80, 96)) / 100
STRIPES = np.stack([np.sin(60 * PLACES[1]) * 0.4 + 0.5] * 3)
NOISE = np.random.default_rng(0).random((1, 80, 96))


def test_patches_are_parts_of_the_image_in_range():
    patches = cut_patches(STRIPES.astype(np.float32), 7, np.random.default_rng(0))
    assert patches.shape == (6, 3, 64, 64) and patches.dtype == np.float32
    assert patches.min() >= 0 and patches.max() <= 1
    np.testing.assert_allclose(patches, np.broadcast_to(patches[:, :, :1], patches.shape), atol=1e-5)


def test_the_network_tells_photographs_apart_and_takes_larger_ones():
    net = patch_network([STRIPES, NOISE], patches=96, epochs=8, verbose=0)
    for label, image in enumerate((STRIPES, NOISE)):
        scores = net.predict(cut_patches(image.astype(np.float32), 30, np.random.default_rng(1)))
        assert np.mean(scores.argmax(1) == label) > 0.9
    assert View(net, "classes", input_shapes=(3, 96, 128)).output_shapes == {"classes": (2, 6, 8)}


def test_the_photographs_of_scikit_image_are_those_named():
    pytest.importorskip("skimage")
    photographs = skimage_photographs()
    assert len(photographs) == len(PHOTOGRAPHS)
    assert {len(photograph) for photograph in photographs} == {1, 3}


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"images": [NOISE]}, ValueError, "two images"),
    ({"images": [NOISE, 2 * NOISE]}, ValueError, "each of images"),
    ({"patches": 2}, ValueError, "patches"),
    ({"epochs": 1.5}, TypeError, "epochs"),
])
def test_wrong_arguments_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        patch_network(**{"images": [STRIPES, NOISE], "verbose": 0, **options})
