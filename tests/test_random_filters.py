"""The network of random filters at many scales."""

import numpy as np
import pytest

from pycnn.view import View
from pycnn.visualize import random_filters


def test_scales_end_where_the_image_does():
    assert list(random_filters((3, 512, 512)).layers)[-1] == "filters16"
    assert random_filters((1, 58, 70)).output_shapes == {"filters1": (64, 52, 64), "filters2": (64, 22, 28)}
    assert random_filters((1, 57, 70)).output_shapes == {"filters1": (64, 51, 64)}


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_have_the_same_norm_and_do_not_answer_to_grey(channels):
    net = random_filters((channels, 64, 64), maps=16, size=5)
    for name in net.output_names:
        np.testing.assert_allclose(np.square(net[name].weight).sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    for maps in net.predict(np.full((1, channels, 64, 64), 0.5)).values():
        np.testing.assert_allclose(maps, 0, atol=1e-6)


def test_each_scale_is_half_the_one_before():
    net = random_filters((1, 64, 64), maps=4, scales=2)
    ramp = np.broadcast_to(np.arange(64.0), (1, 1, 64, 64))
    half = View(net, "half2")(ramp)["half2"][0, 0]
    np.testing.assert_allclose(half, np.broadcast_to(np.arange(31) * 2 + 1.5, (31, 31)), rtol=1e-5)


def test_the_seed_draws_the_filters():
    first, again, other = (random_filters((3, 16, 16), seed=seed)["filters1"].weight for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"shape": (2, 64, 64)}, ValueError, "C being 1 or 3"),
    ({"shape": (3, 6, 64)}, ValueError, "need an image of that size"),
    ({"size": 6}, ValueError, "odd"),
    ({"maps": 3}, ValueError, "maps"),
    ({"scales": 1.5}, TypeError, "scales"),
])
def test_wrong_arguments_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        random_filters(**{"shape": (3, 64, 64), **options})
