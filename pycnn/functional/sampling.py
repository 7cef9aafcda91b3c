"""Affine grids, and maps read at the positions of a grid: the parts of a spatial transformer."""

from .. import sampling, shapes
from . import programs


def affine_grid_forward(theta, size, align_corners=False):
    """grid[n, q] = theta[n] (base(q), 1) (Jaderberg et al. 2015, arXiv:1506.02025, eq. 1).

    Parameters
    ----------
    theta : array_like (N, rank, rank + 1)
        Affine maps of rank 1 to 3; a flat one of 2, 6 or 12 numbers will do too.
    size : int or tuple of int
        Positions along each axis.
    align_corners : bool
        Whether -1 and 1 are the middles of the outermost positions, instead of their outer edges.

    Returns
    -------
    grid : ndarray (N, *size, rank)
        Coordinates x, y, z: the last axis comes first.
    """
    dtype = programs.dtype_of(theta)
    theta = shapes.as_tensor(theta, dtype, "theta", (2, 3))
    rank = sampling.affine_rank(theta.shape[1:])
    size = sampling.grid_size(size, rank)
    sampling.check_corners(align_corners)
    shape = programs.shape_of((len(theta), *size, rank), "the grid")

    def lay_out(p):
        source, grid = p.read(theta.shape), p.tensor(shape)
        p.program.affine_grid_forward(len(theta), rank, sampling.three(size), align_corners, source, grid)
        p.write(grid, shape)

    return programs.run("affine_grid_forward", (size, align_corners), lay_out, dtype, [theta], [(shape, dtype)])[0]


def affine_grid_backward(dgrid, align_corners=False):
    """dtheta[n] = sum over q of dgrid[n, q] (base(q), 1): ``(N, rank, rank + 1)`` from ``(N, *size, rank)``."""
    dtype = programs.dtype_of(dgrid)
    dgrid = programs.tensor(dgrid, dtype, "dgrid")
    n, *size, rank = dgrid.shape
    if rank != len(size):
        raise ValueError(f"dgrid must have shape (N, *size, {len(size)}), got {dgrid.shape}")
    sampling.check_corners(align_corners)
    shape = (n, rank, rank + 1)

    def lay_out(p):
        gradient, dtheta = p.read(dgrid.shape), p.tensor(shape)
        p.program.affine_grid_backward(n, rank, sampling.three(size), align_corners, gradient, dtheta)
        p.write(dtheta, shape)

    return programs.run("affine_grid_backward", (align_corners,), lay_out, dtype, [dgrid], [(shape, dtype)])[0]


def _checked(x, grid, mode, padding_mode, align_corners, *others):
    """(x, grid, shape of y, key of the program, the sampling as kernels know it)"""
    dtype = programs.dtype_of(x, grid, *others)
    x = programs.tensor(x, dtype, "x")
    grid = programs.tensor(grid, dtype, "grid", (x.ndim,))
    if len(grid) != len(x):
        raise ValueError(f"x {x.shape} and grid {grid.shape} must have the same number of samples")
    sampling.check_modes(mode, padding_mode, align_corners)
    y_shape = (len(x), *sampling.sampled_shape(x.shape[1:], grid.shape[1:], mode))
    key = mode, padding_mode, align_corners
    shapes.check_size(y_shape, "the output")
    return x, grid, y_shape, key, sampling.sampling(len(x), x.shape[1:], grid.shape[1:], *key)


def grid_sample_forward(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """y[n, c, q] = x[n, c] at the coordinates grid[n, q] (Jaderberg et al. 2015, arXiv:1506.02025, eq. 3).

    Parameters
    ----------
    x : array_like (N, C, *S)
    grid : array_like (N, *out, rank)
        Coordinates x, y, z, the last axis first, each from -1 to 1 over the maps. NaN gives NaN.
    mode : {"bilinear", "nearest", "bicubic"}
        ``"bicubic"`` is for one or two spatial axes.
    padding_mode : {"zeros", "border", "reflection"}
        What lies outside the maps.
    align_corners : bool
        Whether -1 and 1 are the middles of the outermost positions, instead of their outer edges.

    Returns
    -------
    y : ndarray (N, C, *out)
    """
    x, grid, y_shape, key, sample = _checked(x, grid, mode, padding_mode, align_corners)

    def lay_out(p):
        source, at, y = p.read(x.shape), p.read(grid.shape), p.tensor(y_shape)
        p.program.grid_sample_forward(sample, source, at, y)
        p.write(y, y_shape)

    return programs.run("grid_sample_forward", key, lay_out, x.dtype, [x, grid], [(y_shape, x.dtype)])[0]


def grid_sample_backward(dy, x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """Gradients of `grid_sample_forward`: dx ``(N, C, *S)`` and dgrid ``(N, *out, rank)``, zero for ``"nearest"``."""
    x, grid, y_shape, key, sample = _checked(x, grid, mode, padding_mode, align_corners, dy)
    dy = programs.tensor_of(dy, x.dtype, "dy", y_shape)

    def lay_out(p):
        gradient, source, at = p.read(y_shape), p.read(x.shape), p.read(grid.shape)
        dx, dgrid = p.tensor(x.shape), p.tensor(grid.shape)
        p.program.grid_sample_backward_data(sample, gradient, at, dx)
        p.program.grid_sample_backward_grid(sample, gradient, source, at, dgrid)
        p.write(dx, x.shape)
        p.write(dgrid, grid.shape)

    results = [(x.shape, x.dtype), (grid.shape, x.dtype)]
    return tuple(programs.run("grid_sample_backward", key, lay_out, x.dtype, [dy, x, grid], results))
