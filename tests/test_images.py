"""Photographs as the functions of visualize take them."""

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn.visualize import as_image
from pycnn.visualize.images import image_input, in_channels, resized, triangles, write_image


@pytest.mark.parametrize(("shape", "expected"), [
    ((4, 5, 3), (3, 4, 5)), ((4, 5, 1), (1, 4, 5)), ((4, 5), (1, 4, 5)), ((3, 4, 5), (3, 4, 5)), ((1, 4, 5), (1, 4, 5)),
])
def test_bytes_become_shares_of_255_with_the_channels_first(shape, expected):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = as_image(pixels)
    assert image.dtype == np.float32 and image.shape == expected and image.flags.c_contiguous
    rows_and_columns = pixels.reshape(4, 5, -1).transpose(2, 0, 1) if shape[0] == 4 else pixels
    np.testing.assert_array_equal(np.rint(image * 255), rows_and_columns)


def test_floats_are_copied():
    given = np.random.default_rng(0).random((3, 4, 5))
    image = as_image(given)
    np.testing.assert_array_equal(image, given.astype(np.float32))
    image[:] = 0
    assert given.all()


@pytest.mark.parametrize(("image", "error"), [
    (np.zeros((3, 4, 5), int), TypeError),
    (np.full((3, 4, 5), 1.5), ValueError),
    (np.full((3, 4, 5), -0.5), ValueError),
    (np.full((3, 4, 5), np.nan), ValueError),
    (np.zeros((4, 5, 3)), ValueError),
    (np.zeros((4, 5, 4), np.uint8), ValueError),
    (np.zeros((1, 3, 4, 5)), ValueError),
    (np.zeros((3, 0, 5)), ValueError),
])
def test_what_is_no_image_is_refused(image, error):
    with pytest.raises(error, match="photo"):
        as_image(image, "photo")


def test_grey_is_the_luminance_and_colour_of_grey_its_repetition():
    colour = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    grey = in_channels(colour, 1)
    np.testing.assert_allclose(grey[0], 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2], rtol=1e-6)
    np.testing.assert_array_equal(in_channels(grey, 3), np.stack([grey[0]] * 3))
    assert in_channels(colour, 3) is colour


def test_resizing_keeps_a_flat_image_and_takes_means_of_pairs_at_half_the_size():
    flat = np.full((3, 7, 9), 0.25, np.float32)
    np.testing.assert_allclose(resized(flat, (11, 4)), np.full((3, 11, 4), 0.25), rtol=1e-6)
    weights = triangles(8, 4)
    np.testing.assert_allclose(weights[1], [0, 0.125, 0.375, 0.375, 0.125, 0, 0, 0])
    np.testing.assert_allclose(triangles(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_array_equal(triangles(6, 6), np.eye(6))


def test_the_input_of_images_is_the_one_that_layers_read():
    image, extra = pycnn.Input((3, 8, 8), name="image"), pycnn.Input((4,), name="extra")
    h = L.Conv(2, 3, name="maps")(image)
    net = pycnn.Network([image, extra], L.Dense(2, name="scores")(L.Concat()(L.Flatten()(h), extra)))
    assert image_input(net, ["maps"]) == ("image", (3, 8, 8))
    with pytest.raises(ValueError, match="depend on one input of images"):
        image_input(net, ["scores"])


def test_a_written_image_is_read_back_pixel_by_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    write_image(tmp_path / "a.png", as_image(pixels))
    read = pytest.importorskip("matplotlib.image").imread(tmp_path / "a.png")
    np.testing.assert_array_equal(np.rint(read[..., :3] * 255), pixels)
