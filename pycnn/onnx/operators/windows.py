"""Strides, dilations and padding of sliding windows, as ONNX's attributes say them."""

from __future__ import annotations


def explicit_padding(spatial, kernel, strides, dilations, pads, auto_pad):
    """(strides, dilations, padding (before, after) of each axis)."""
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
