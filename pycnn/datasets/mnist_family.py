"""MNIST and Fashion-MNIST, from files where they are, else by download."""

import os

import numpy as np

from .idx import read_idx

FILES = {   # part -> name of its file
    "x_train": "train-images-idx3-ubyte", "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte",
}
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"     # of the package dataset-fashion-mnist
URLS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}
MD5 = {     # of the .gz files, as their publishers give them
    "mnist": {
        "x_train": "f68b3c2dcbeaaa9fbdd348bbdeb94873", "y_train": "d53e105ee54ea40749a09fcbcd1e9432",
        "x_test": "9fb629c4189551a2d022fa330f9573f3", "y_test": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "fashion-mnist": {
        "x_train": "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "y_train": "25c81989df183df01b3e8a0aad5dffbe",
        "x_test": "bef4ecab320f06d8554ea6380940ec79", "y_test": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}


def mnist(data_dir=None):
    """MNIST (LeCun, Cortes, Burges): 60,000 and 10,000 handwritten digits, 28x28.

    Parameters
    ----------
    data_dir : path, optional
        Folder with the four idx files, plain or .gz. Without it: the folder (or its subfolder ``mnist``) that the
        environment variable PYCNN_DATA names, else a download (pooch, hash-checked, kept for the next time).

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        float32 ``(N, 1, 28, 28)`` in [0, 1] and int64 ``(N,)``.

    Raises
    ------
    FileNotFoundError
        When the data cannot be had; the message says how to get it.
    ValueError
        When a file is damaged.
    """
    return load_four("mnist", data_dir, [])


def fashion_mnist(data_dir=None):
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; MIT): 60,000 and 10,000 articles of clothing, 28x28.

    As `mnist`; Debian's package ``dataset-fashion-mnist`` is found where it is installed, and the subfolder of PYCNN_DATA is
    ``fashion-mnist``.
    """
    return load_four("fashion-mnist", data_dir, [DEBIAN_FOLDER])


def load_four(name, data_dir, other_folders):
    paths = find_files(name, data_dir, other_folders) or download(name)
    parts = {part: read_idx(path) for part, path in paths.items()}
    return tuple(checked_pair(paths, parts, side) for side in ("train", "test"))


def find_files(name, data_dir, other_folders):
    """Part -> path in the first folder that has all four files, or None."""
    if data_dir is not None:
        folders = [os.fspath(data_dir)]
    else:
        root = os.environ.get("PYCNN_DATA")
        folders = ([os.path.join(root, name), root] if root else []) + other_folders
    for folder in folders:
        found = {part: path for part, file in FILES.items()
                 for path in [os.path.join(folder, file), os.path.join(folder, file + ".gz")][::-1] if os.path.isfile(path)}
        if len(found) == len(FILES):
            return found
    if data_dir is not None:
        raise FileNotFoundError(f"{data_dir}: does not hold the four files {', '.join(FILES.values())} (or with .gz)")
    return None


def download(name):
    """Part -> path of the files, fetched or kept from before."""
    try:
        import pooch
    except ImportError as error:
        raise FileNotFoundError(ways_to_get(name, "pooch, which downloads it, is not installed")) from error
    try:
        return {part: pooch.retrieve(f"{URLS[name]}{file}.gz", f"md5:{MD5[name][part]}", fname=f"{file}.gz",
                                     path=pooch.os_cache(os.path.join("pycnn", name)), progressbar=False)
                for part, file in FILES.items()}
    except Exception as error:      # whatever the network and its libraries raise
        raise FileNotFoundError(ways_to_get(name, f"the download failed: {error}")) from error


def ways_to_get(name, why):
    debian = "install Debian's package dataset-fashion-mnist (apt install dataset-fashion-mnist)"
    ways = [
        "put the four idx files in a folder and name it by data_dir= or the environment variable PYCNN_DATA",
        "pip install pycnn[data] on a machine with a network, which downloads it",
        debian if name == "fashion-mnist" else "use pycnn.datasets.digits(), 5,000 of its images, which need no download",
    ]
    return f"{name} is not here ({why}). Three ways to get it: " + "; ".join(f"({i}) {way}" for i, way in enumerate(ways, 1))


def checked_pair(paths, parts, side):
    images, labels = parts[f"x_{side}"], parts[f"y_{side}"]
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(f"{paths[f'x_{side}']} holds images {images.shape} and {paths[f'y_{side}']} labels {labels.shape}; "
                         f"expected (N, H, W) and (N,)")
    return images[:, np.newaxis].astype(np.float32) / 255, labels.astype(np.int64)
