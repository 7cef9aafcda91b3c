"""Random draws, dropout and noise.

Draw i of sample n is word n % 4 of philox(counter = (i, n / 4, stream, run), key); i is the place in the sample.
"""

import numpy as np

LOW = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011).

    Parameters
    ----------
    counter : array of uint32 (..., 4)
    key : int
        Below 2^64; its low half is the first word.

    Returns
    -------
    array of uint32 (..., 4)
    """
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (b >> np.uint64(32)) ^ c1 ^ k0, b & LOW, (a >> np.uint64(32)) ^ c3 ^ k1, a & LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & LOW, (k1 + np.uint64(0xBB67AE85)) & LOW
    return np.stack([c0, c1, c2, c3], -1).astype(np.uint32)


def draws(samples, count, seed, stream=0, run=0):
    """The words of all four samples of each group: array of uint32 (ceil(samples / 4), count, 4)."""
    quad, place = np.meshgrid(np.arange(-(-samples // 4)), np.arange(count), indexing="ij")
    return philox(np.stack([place, quad, np.full_like(quad, stream), np.full_like(quad, run)], -1), seed)


def _of_samples(values, samples):
    return np.moveaxis(values, -1, 1).reshape(-1, values.shape[1])[:samples]


def dropout(x, p=0.5, *, seed, maps=False):
    """y = 0 where a draw of 32 bits is below p 2^32, else x / (1 - p)."""
    return dropped(x, p, seed, maps)


def gaussian_noise(x, deviation, *, seed):
    """y = x + deviation z, two z of two words each (Box & Muller 1958)."""
    return with_noise(x, deviation, seed)


def dropped(x, p, seed, maps=False, stream=0, run=0):
    """`dropout` as a layer does it, in a run of its own and by a stream of its own."""
    count = x.shape[1] if maps else int(np.prod(x.shape[1:]))
    below = _of_samples(draws(len(x), count, seed, stream, run) < np.uint32(int(p * 2**32)), len(x))
    shape = (*x.shape[:2], *[1] * (x.ndim - 2)) if maps else x.shape
    return np.where(below.reshape(shape), 0, x / (1 - p)).astype(x.dtype)


def with_noise(x, deviation, seed, stream=0, run=0):
    """`gaussian_noise` as a layer adds it."""
    words = draws(len(x), int(np.prod(x.shape[1:])), seed, stream, run)
    radius = np.sqrt(-2 * np.log(words[..., 0::2] / 2**32 + 2**-33))
    angle = 2 * np.pi * (words[..., 1::2].astype(np.int32) / 2**32)
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(words.shape)
    return (x + deviation * _of_samples(z, len(x)).reshape(x.shape)).astype(x.dtype)
