"""Arrays by the names of inputs and outputs, and targets: checked before any work."""

import numpy as np

from .shapes import as_tensor


def by_name(values, names, what, axes=()):
    """One value, a list or a dict -> dict in the order of `names`.

    `axes` are how many axes each has, so that a list of one array is told from a list of one sample.
    """
    if isinstance(values, dict):
        missing, unknown = [n for n in names if n not in values], [n for n in values if n not in names]
        if missing or unknown:
            raise ValueError(f"{what}s are {names}; got {list(values)}")
        return {name: values[name] for name in names}
    wrapped = isinstance(values, (list, tuple)) and len(values) == 1 and np.ndim(values[0]) in axes
    if len(names) == 1 and not wrapped:
        return {names[0]: values}
    if not isinstance(values, (list, tuple)) or len(values) != len(names):
        got = len(values) if isinstance(values, (list, tuple)) else "one array"
        raise ValueError(f"expects {len(names)} {what}s ({', '.join(names)}) as a list or dict, got {got}")
    return dict(zip(names, values))


def checked_samples(array, shape, dtype, what):
    """An array ``(N, *shape)``, C-contiguous and of that dtype."""
    array = as_tensor(array, dtype, what)
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise ValueError(f"{what} has shape {array.shape}, expects (N, {', '.join(map(str, shape))})")
    return array


def checked_inputs(x, shapes, dtype, picky):
    """Arrays in the order of the inputs, of the same number of samples.

    Parameters
    ----------
    x : array, list of array or dict of str to array
    shapes : dict of str to tuple of int
        Of each input's samples.
    dtype : numpy dtype
    picky : dict of str to list of Layer
        Those that check an input's values.
    """
    arrays = by_name(x, list(shapes), "input", [1 + len(shape) for shape in shapes.values()])
    arrays = {name: checked_samples(a, shapes[name], dtype, f"input {name!r}") for name, a in arrays.items()}
    if len({len(a) for a in arrays.values()}) > 1:
        raise ValueError(f"inputs have different numbers of samples: {', '.join(str(len(a)) for a in arrays.values())}")
    for name, array in arrays.items():
        check_values(array, picky[name], name)
    return list(arrays.values())


def check_values(array, picky, name):
    """ValueError where one of the layers that check an input's values cannot take these."""
    for layer in picky:
        try:
            layer.check_input(array)
        except ValueError as error:
            raise ValueError(f"input {name!r}: {error}") from None


def checked_labels(labels, shape, what):
    """Labels ``(N, *positions)`` as int64, each from 0 to the number of classes - 1."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integer labels, got {labels.dtype}")
    if labels.shape[1:] != shape[1:] or labels.ndim != len(shape):
        expected = ", ".join(["N", *map(str, shape[1:])])
        raise ValueError(f"{what} has shape {labels.shape}, expects labels of shape ({expected})")
    if labels.size and not (0 <= labels.min() and labels.max() < shape[0]):
        raise ValueError(f"{what} has labels from {labels.min()} to {labels.max()}, expects 0 to {shape[0] - 1}")
    return np.ascontiguousarray(labels, np.int64)


def check_samples(arrays, targets):
    """ValueError unless inputs and targets have the same number of samples, at least one."""
    counts = {len(a) for a in (*arrays, *targets)}
    if len(counts) > 1:
        raise ValueError(f"inputs have {len(arrays[0])} samples, targets {', '.join(str(len(t)) for t in targets)}")
    if counts == {0}:
        raise ValueError("there is no sample to learn from")


def checked_rows(rows, count):
    """Numbers of samples as int64, each from 0 to count - 1, at least one."""
    rows = np.asarray(rows)
    if rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise TypeError(f"rows must be a vector of integers, got {rows.dtype} of shape {rows.shape}")
    rows = np.ascontiguousarray(rows, np.int64)
    if not rows.size or rows.view(np.uint64).max() >= count:    # as unsigned, a negative number is a large one
        raise ValueError(f"rows must be numbers from 0 to {count - 1}, at least one; got {rows}")
    return rows
