"""Data sets, their files, and augmentation."""

import gzip
import os
import struct
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycnn import datasets
from pycnn.datasets import augment, mnist_family
from pycnn.datasets.idx import read_idx


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_four(folder, count=5, compress=False):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in mnist_family.FILES.items():
        array = rng.integers(0, 256, (count, 4, 3) if part[0] == "x" else (count,), dtype=np.uint8)
        data = idx_bytes(array)
        (folder / (name + ".gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)


def test_digits_are_4000_and_1000_images_stratified_and_scaled():
    (x, y), (xt, yt) = datasets.digits()
    assert x.shape == (4000, 1, 28, 28) and xt.shape == (1000, 1, 28, 28)
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    assert (np.bincount(y) == 400).all() and (np.bincount(yt) == 100).all()


def test_digits_are_the_same_every_time_and_the_two_parts_share_no_image():
    (x, y), (xt, yt) = datasets.digits()
    (x2, _), (xt2, yt2) = datasets.digits()
    assert (x == x2).all() and (xt == xt2).all() and (yt == yt2).all()
    assert len({i.tobytes() for i in x} & {i.tobytes() for i in xt}) == 0


def test_digits_come_in_mixed_order():
    (_, y), _ = datasets.digits()
    assert len(set(y[:64].tolist())) == 10


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_idx_files_are_read_as_they_were_written(tmp_path_factory, shape, compress):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if compress else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
    assert np.array_equal(read_idx(path), array)


@pytest.mark.parametrize("data", [
    b"", b"\0\0", b"\0\0\x08\x02\0\0\0\x05", b"\0\0\x0d\x01\0\0\0\x01a", b"\x01\0\x08\x01\0\0\0\x01a", b"\0\0\x08\0",
    idx_bytes(np.zeros((3, 3), np.uint8))[:-1], idx_bytes(np.zeros((3, 3), np.uint8)) + b"x",
    b"\0\0\x08\x03" + b"\xff" * 12,
], ids=["empty", "stub", "short header", "floats", "wrong magic", "no axes", "short", "long", "huge"])
def test_a_damaged_idx_file_is_an_error_that_names_it(tmp_path, data):
    path = tmp_path / "digits-idx"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="digits-idx"):
        read_idx(path)


def test_a_truncated_gzip_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "digits.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))[:-9])
    with pytest.raises(ValueError, match="digits.gz"):
        read_idx(path)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("load", [datasets.mnist, datasets.fashion_mnist])
def test_a_folder_with_the_four_files_is_enough(tmp_path, load, compress):
    write_four(tmp_path, compress=compress)
    (x, y), (xt, yt) = load(tmp_path)
    assert x.shape == (5, 1, 4, 3) and x.dtype == np.float32 and y.shape == (5,) and y.dtype == np.int64


def test_the_environment_names_the_folder_and_a_subfolder_goes_first(tmp_path, monkeypatch):
    write_four(tmp_path, count=3)
    write_four(tmp_path / "fashion-mnist", count=4)
    monkeypatch.setenv("PYCNN_DATA", str(tmp_path))
    assert len(datasets.fashion_mnist()[0][0]) == 4
    assert len(datasets.mnist()[0][0]) == 3


def test_a_named_folder_without_the_files_is_an_error_that_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        datasets.mnist(tmp_path)


def test_images_and_labels_of_different_numbers_are_an_error(tmp_path):
    write_four(tmp_path)
    (tmp_path / mnist_family.FILES["y_train"]).write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with pytest.raises(ValueError, match="train-labels"):
        datasets.mnist(tmp_path)


def fake_pooch(monkeypatch, retrieve):
    pooch = types.SimpleNamespace(retrieve=retrieve, os_cache=lambda name: name)
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    monkeypatch.delenv("PYCNN_DATA", raising=False)


def test_the_download_is_checked_by_the_published_hashes(tmp_path, monkeypatch):
    write_four(tmp_path, compress=True)
    asked = []

    def retrieve(url, known_hash, fname, path, progressbar):
        asked.append((url, known_hash))
        return str(tmp_path / fname)

    fake_pooch(monkeypatch, retrieve)
    assert len(datasets.mnist()[0][0]) == 5
    assert len(asked) == 4 and all(known.startswith("md5:") and len(known) == 36 for _, known in asked)


@pytest.mark.parametrize("load", [datasets.mnist, datasets.fashion_mnist])
def test_without_any_source_the_error_says_three_ways_to_get_the_data(monkeypatch, load):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    fake_pooch(monkeypatch, refuse)
    monkeypatch.setattr(mnist_family, "DEBIAN_FOLDER", "/nonexistent")
    with pytest.raises(FileNotFoundError, match=r"\(1\).*PYCNN_DATA.*\(2\).*pip install.*\(3\)"):
        load()


@pytest.mark.skipif(not os.path.isdir(mnist_family.DEBIAN_FOLDER), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_found():
    (x, y), (xt, yt) = datasets.fashion_mnist()
    assert x.shape == (60000, 1, 28, 28) and xt.shape == (10000, 1, 28, 28)
    assert (np.bincount(y) == 6000).all() and (np.bincount(yt) == 1000).all()


@pytest.mark.parametrize("shape", [(7, 2, 9), (7, 1, 6, 5), (3, 2, 4, 5, 6)])
def test_a_shift_moves_each_sample_by_at_most_the_given_positions(shape):
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    shifted = augment.RandomShift(2, fill=-1)(x, np.random.default_rng(1))
    assert shifted.shape == x.shape and shifted.dtype == x.dtype
    padded = np.pad(x, [(0, 0), (0, 0)] + [(2, 2)] * (x.ndim - 2), constant_values=-1)
    for sample, source in zip(shifted, padded):
        candidates = [source[(slice(None), *(slice(o, o + n) for o, n in zip(at, x.shape[2:])))]
                      for at in np.ndindex(*(5,) * (x.ndim - 2))]
        assert any(np.array_equal(sample, c) for c in candidates)


def test_a_flip_mirrors_about_half_of_the_samples():
    x = np.random.default_rng(0).random((200, 1, 3, 4))
    flipped = augment.RandomFlip()(x, np.random.default_rng(1))
    mirrored = np.array([np.array_equal(a, b[..., ::-1]) for a, b in zip(flipped, x)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(flipped, x)])
    assert (mirrored ^ kept).all() and 60 < mirrored.sum() < 140


def test_board_symmetries_are_eight_and_move_the_target_with_the_stones():
    sources = augment.board_symmetries(5)
    assert sources.shape == (8, 25) and len({tuple(s) for s in sources}) == 8
    assert (sources[0] == np.arange(25)).all() and (np.sort(sources) == np.arange(25)).all()
    beside = {(a, b) for a in range(25) for b in (a - 1, a + 1, a - 5, a + 5) if 0 <= b < 25 and (a % 5 - b % 5) in (-1, 0, 1)}
    assert all({(s[a], s[b]) for a, b in beside} == beside for s in sources)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3, 5, 5)).astype(np.float32), rng.integers(0, 25, 200)
    turned, targets = augment.BoardSymmetries()(x, y, rng)
    rows = np.arange(200)
    assert turned.shape == x.shape and turned.dtype == x.dtype
    np.testing.assert_array_equal(turned.reshape(200, 3, 25)[rows, :, targets], x.reshape(200, 3, 25)[rows, :, y])
    assert len({(t == x[i]).all() for i, t in enumerate(turned)}) == 2


def test_augmentations_depend_on_nothing_but_the_generator():
    x = np.random.default_rng(0).random((16, 1, 8, 8))
    both = augment.Compose(augment.RandomShift(1), augment.RandomFlip())
    a, b = (both(x, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(a, b) and not np.array_equal(a, x)


@pytest.mark.parametrize("make", [lambda: augment.RandomShift(-1), lambda: augment.RandomShift(1.5), lambda: augment.RandomFlip(p=2)])
def test_impossible_augmentations_are_refused(make):
    with pytest.raises(ValueError):
        make()
