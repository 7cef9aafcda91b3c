"""Strides, dilations and padding of sliding windows, as ONNX's attributes say them."""

from __future__ import annotations

LARGEST = 2**20     # kernel, stride, dilation or padding


def check_sizes(**given):
    """ValueError unless attributes hold integers of a sensible size."""
    for what, values in given.items():
        for n in values or ():
            if not isinstance(n, int) or abs(n) > LARGEST:
                raise ValueError(f"{what} {list(values)} must be integers of at most {LARGEST}")


def explicit_padding(spatial, kernel, strides, dilations, pads, auto_pad):
    """(strides, dilations, padding (before, after) of each axis)."""
    check_sizes(kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads)
    rank = len(spatial)
    strides, dilations = (tuple(given or (1,) * rank) for given in (strides, dilations))
    if not len(kernel) == len(strides) == len(dilations) == rank:
        raise ValueError(f"a kernel {tuple(kernel)} with strides {strides} and dilations {dilations} does not fit the "
                         f"{rank} spatial axes of the input")
    if auto_pad in ("NOTSET", "") and pads:
        if len(pads) != 2 * rank:
            raise ValueError(f"pads {pads} are not two for each of {rank} spatial axes")
        return strides, dilations, tuple(zip(pads[:rank], pads[rank:]))
    if auto_pad in ("NOTSET", "", "VALID"):
        return strides, dilations, ((0, 0),) * rank
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"unknown auto_pad {auto_pad!r}")
    pairs = []
    for n, k, s, d in zip(spatial, kernel, strides, dilations):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        pairs.append((total // 2, total - total // 2) if auto_pad == "SAME_UPPER" else (total - total // 2, total // 2))
    return strides, dilations, tuple(pairs)
