"""What the commands read and write: networks, data sets, folders; and what they say of it."""

from __future__ import annotations

import inspect
import os

from .. import datasets
from ..network import load


class InputError(ValueError):
    """What was given on the command line cannot be used."""


def say(args, text):
    """Prints, unless silenced."""
    if args.verbose:
        print(text)


def load_network(path, shapes=None):
    """The network of a file, of pycnn or, by its name, of ONNX; or InputError.

    `shapes` says those of inputs that an ONNX file leaves open.
    """
    try:
        if is_onnx(path):
            from ..onnx import load as load_onnx

            return load_onnx(path, shapes or None)
        if shapes:
            raise InputError(f"{path}: not an ONNX file, so its inputs have shapes already")
        return load(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def input_names(path):
    """The names of a network's inputs, which an ONNX file says before their shapes are known."""
    if not is_onnx(path):
        return load_network(path).input_names
    from ..onnx.reader import input_names as of_onnx

    try:
        return of_onnx(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def is_onnx(path):
    return path.lower().endswith(".onnx")


def load_data(name, folder):
    """((x, y), (x_test, y_test)) of a data set; InputError if the folder is not one of it."""
    read = getattr(datasets, name.replace("-", "_"))
    if folder is None:
        return read()
    if not inspect.signature(read).parameters:
        where = "ship with pycnn" if name == "digits" else "are kept in the folder that PYCNN_DATA names"
        raise InputError(f"--data-dir: the {name} {where}")
    try:
        return read(folder)
    except OSError as error:
        raise InputError(f"--data-dir: {error}") from None


def data_of(args, net):
    """The data set that the arguments name, or the one that the network was trained on; InputError without either."""
    data = args.data or net.training_state.get("command", {}).get("data")
    if data is None:
        raise InputError(f"{args.file} does not say what it was trained on; name a data set with --data")
    return data


def class_names(data):
    """Names of a data set's classes, or None where they are numbers."""
    return datasets.CLASS_NAMES.get(data)


def output_folder(path):
    """The folder, made if there is none; InputError if nothing can be written to it."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"--out {path}: no permission to write there")
    return path
