"""Affine maps and the sampling of maps at the positions of a grid: what layers and functions check alike."""

from __future__ import annotations

from math import prod

from . import _kernels as K
from .shapes import per_axis

MODES = {"bilinear": K.LINEAR, "nearest": K.NEAREST, "bicubic": K.CUBIC}
PADDING_MODES = {"zeros": K.ZERO, "border": K.BORDER, "reflection": K.REFLECTED}
AXIS_TAPS = {"bilinear": 2, "nearest": 1, "bicubic": 4}


def check_modes(mode, padding_mode, align_corners):
    """ValueError or TypeError unless these are modes of a sampling."""
    for value, known, what in ((mode, MODES, "mode"), (padding_mode, PADDING_MODES, "padding_mode")):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
    check_corners(align_corners)


def check_corners(align_corners):
    if not isinstance(align_corners, bool):
        raise TypeError(f"align_corners must be True or False, got {align_corners!r}")


def sampled_shape(x_shape, grid_shape, mode):
    """Shape of maps ``(C, *S)`` sampled at a grid ``(*out, rank)``.

    Raises
    ------
    ValueError
        If the grid is not one for the rank of the maps, or the mode not one of that rank.
    """
    rank = len(x_shape) - 1
    if not 1 <= rank <= 3:
        raise ValueError(f"got maps of shape {tuple(x_shape)}, expects (C, L), (C, H, W) or (C, D, H, W)")
    if len(grid_shape) != rank + 1 or grid_shape[-1] != rank:
        sizes = ", ".join(("D", "H", "W")[3 - rank :])
        raise ValueError(f"got a grid of shape {tuple(grid_shape)}, expects ({sizes}, {rank}) for maps of shape "
                         f"{tuple(x_shape)}")
    if mode == "bicubic" and rank == 3:
        raise ValueError("bicubic takes maps with one or two spatial axes, got three")
    return (x_shape[0], *grid_shape[:-1])


def sampling(batch, x_shape, grid_shape, mode, padding_mode, align_corners):
    """A sampling as ``_kernels`` takes it, of shapes without the batch."""
    rank = len(x_shape) - 1
    return (batch, x_shape[0], three(x_shape[1:]), prod(grid_shape[:-1]), rank, MODES[mode], PADDING_MODES[padding_mode],
            align_corners)


def three(sizes):
    """Depth, height and width; a lower rank has leading ones."""
    return (1,) * (3 - len(sizes)) + tuple(sizes)


def affine_rank(theta_shape):
    """The rank of an affine map ``(rank, rank + 1)``, or flat; ValueError if it has another shape."""
    for rank in (1, 2, 3):
        if tuple(theta_shape) in ((rank, rank + 1), (rank * (rank + 1),)):
            return rank
    raise ValueError(f"got an affine map of shape {tuple(theta_shape)}, expects (2, 3) or (6,) for two axes, (3, 4) or (12,) "
                     f"for three, (1, 2) or (2,) for one")


def grid_size(size, rank):
    """Positions of a grid along each axis, from one integer or `rank`."""
    return per_axis(size, rank, "size")
