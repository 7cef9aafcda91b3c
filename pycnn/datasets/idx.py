"""The idx format of the MNIST family: a magic number, the sizes of the axes (big-endian), and the bytes."""

import gzip
import os
import struct
import zlib
from math import prod

import numpy as np

UNSIGNED_BYTES = 0x08
LARGEST = 2**31     # bytes of a file's contents; more is no data set of this family


def read_idx(path):
    """The array of unsigned bytes in an idx or idx.gz file.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is not an idx file of unsigned bytes, or is shorter or longer than its header says.
    """
    path = os.fspath(path)
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as f:
        try:
            header = f.read(4)
            if len(header) < 4 or header[:2] != b"\0\0" or header[2] != UNSIGNED_BYTES or not 1 <= header[3] <= 4:
                raise ValueError(f"{path}: not an idx file of unsigned bytes (it begins with {header.hex() or 'nothing'})")
            sizes = f.read(4 * header[3])
            if len(sizes) < 4 * header[3]:
                raise ValueError(f"{path}: ends within its header")
            shape = struct.unpack(f">{header[3]}I", sizes)
            expected = prod(shape)
            if expected > LARGEST:
                raise ValueError(f"{path}: its header announces {shape}, more than {LARGEST:,} bytes")
            data = f.read(expected + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: not a whole gzip file: {error}") from error
    if len(data) != expected:
        raise ValueError(f"{path}: its header announces {expected:,} bytes of data, it has "
                         f"{'more' if len(data) > expected else f'{len(data):,}'}")
    return np.frombuffer(data, np.uint8).reshape(shape)
