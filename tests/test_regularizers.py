"""Regularisers of ascents: penalties are gradients of what they say, operations do what they say."""

import numpy as np
import pytest

from pycnn.visualize.regularizers import (L1, Blur, ClipSmallContributions, ClipSmallNorms, Jitter, L2Decay, TotalVariation,
                                          blurred)

SHAPES = [(3, 2, 9, 7), (2, 4, 11), (3, 6), (1, 1, 4, 5, 3)]


def images(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty, value", [
    (L1(0.3), lambda x: 0.3 * np.abs(x).sum()),
    (TotalVariation(0.2), lambda x: 0.2 * sum(np.abs(np.diff(x, axis=a)).sum() for a in range(2, x.ndim))),
])
def test_the_slope_of_a_penalty_is_its_gradient(shape, penalty, value):
    x, direction = images(shape), 1e-7 * images(shape, 1)
    change = value(x + direction) - value(x - direction)
    assert 2 * np.sum(penalty.slope(x) * direction) == pytest.approx(change, rel=1e-6, abs=1e-12)


def test_decay_takes_a_share_away():
    x = images((2, 3, 4))
    wanted = 0.9 * x
    L2Decay(0.1).after(x, None, 0)
    np.testing.assert_allclose(x, wanted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.5, 1.3])
def test_blur_is_a_gaussian_filter_along_each_spatial_axis(shape, sigma):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images(shape)
    reach = max(1, int(np.ceil(3 * sigma)))
    wanted = ndimage.gaussian_filter(x, sigma, axes=range(2, x.ndim), mode="nearest", radius=reach) if x.ndim > 2 else x
    np.testing.assert_allclose(blurred(x, sigma), wanted, rtol=1e-10, atol=1e-12)


def test_blur_waits_for_its_step():
    x = images((1, 1, 5, 5))
    before, blur = x.copy(), Blur(every=3, sigma=1)
    for step in (0, 1):
        blur.after(x, None, step)
        np.testing.assert_array_equal(x, before)
    blur.after(x, None, 2)
    assert np.abs(x - before).max() > 0.01


def test_pixels_of_small_norm_become_zero():
    x = np.array([[[[3.0, 0.1, 2.0, 0.0]], [[-4.0, 0.1, 0.0, 0.3]]]])     # norms 5, 0.14, 2, 0.3
    ClipSmallNorms(0.5, every=1).after(x, None, 0)
    np.testing.assert_array_equal(x[0, :, 0], [[3, 0, 2, 0], [-4, 0, 0, 0]])


def test_pixels_of_small_contribution_become_zero():
    x = np.array([[[3.0, 1.0, 2.0, 5.0]], [[1.0, 1.0, 1.0, 1.0]]])
    gradient = np.array([[[0.1, -2.0, 0.2, 1.0]], [[4.0, 3.0, 2.0, 1.0]]])
    ClipSmallContributions(0.5, every=1).after(x, gradient, 0)
    np.testing.assert_array_equal(x[:, 0], [[0, 1, 0, 5], [1, 1, 0, 0]])


@pytest.mark.parametrize("shape", SHAPES)
def test_jitter_is_taken_back(shape):
    x, rng = images(shape), np.random.default_rng(0)
    before, jitter, moved = x.copy(), Jitter(2), False
    for _ in range(5):
        back = jitter.before(x, rng)
        moved |= bool(np.any(x != before))
        back()
        np.testing.assert_array_equal(x, before)
    assert moved == (len(shape) > 2)


@pytest.mark.parametrize("make, error", [
    (lambda: L1(-1), ValueError), (lambda: L1(float("nan")), ValueError), (lambda: L2Decay(1.5), ValueError),
    (lambda: TotalVariation("much"), TypeError), (lambda: Blur(every=0), ValueError), (lambda: Blur(sigma=0), ValueError),
    (lambda: ClipSmallNorms(0), ValueError), (lambda: ClipSmallContributions(0.1, every=0), ValueError),
    (lambda: Jitter(0), ValueError), (lambda: Jitter(1.5), TypeError),
])
def test_wrong_arguments_are_refused(make, error):
    with pytest.raises(error):
        make()
