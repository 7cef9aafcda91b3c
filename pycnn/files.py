"""Files written whole or not at all, and tensors with a description in one safetensors file."""

from __future__ import annotations

import json
import os
import tempfile

import numpy as np

KEY = "pycnn"       # of the description, in the file's metadata


def write_tensors(path, tensors, description):
    """Writes tensors by name, and a description that JSON can hold."""
    from safetensors.numpy import save

    write_whole(path, save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, {KEY: json.dumps(description)}))


def write_whole(path, data):
    """Writes bytes beside `path`, flushes to disk, and renames."""
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    flush_folder(folder)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def flush_folder(folder):
    """Makes a rename in the folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_tensors(path):
    """(tensors by name, description); OSError where the file cannot be read, ValueError where it is something else."""
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    with open(path, "rb"):      # the error of a missing or unreadable file is the system's own
        pass
    try:
        with safe_open(path, framework="numpy") as f:
            metadata = f.metadata() or {}
            tensors = {name: f.get_tensor(name) for name in f.keys()}
    except (SafetensorError, TypeError, AttributeError) as error:   # the last two: a dtype that NumPy lacks
        raise ValueError(f"{path}: not a safetensors file, or damaged: {error}") from error
    if KEY not in metadata:
        raise ValueError(f"{path}: a safetensors file, but not one that pycnn wrote")
    try:
        description = json.loads(metadata[KEY])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: its description of the network cannot be read: {error}") from error
    if not isinstance(description, dict):
        raise ValueError(f"{path}: its description of the network is not an object")
    return tensors, description
