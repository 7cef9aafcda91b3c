"""The 5,000 handwritten digits that ship with the package: a sample of MNIST, 500 of each."""

from importlib import resources

import numpy as np

TEST_PER_CLASS = 100
SPLIT_SEED = 5      # of the fixed split and order


def digits():
    """5,000 handwritten digits, 28x28, of MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0); they ship with pycnn.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        4,000 and 1,000 images, float32 ``(N, 1, 28, 28)`` in [0, 1], ink 1 on paper 0, and labels int64 ``(N,)``. The
        split is stratified (400 and 100 of each digit), and it and the order are always the same.
    """
    with resources.files(__package__).joinpath("data/digits.npz").open("rb") as f, np.load(f) as data:
        images, labels = data["images"], data["labels"].astype(np.int64)
    rng = np.random.default_rng(SPLIT_SEED)
    order = rng.permutation(len(labels))
    of_class = [order[labels[order] == c] for c in range(10)]
    test = rng.permutation(np.concatenate([rows[:TEST_PER_CLASS] for rows in of_class]))
    train = rng.permutation(np.concatenate([rows[TEST_PER_CLASS:] for rows in of_class]))
    images = images[:, np.newaxis].astype(np.float32) / 255
    return (images[train], labels[train]), (images[test], labels[test])
