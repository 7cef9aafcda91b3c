"""Affine grids, and maps read at the positions of a grid (Jaderberg et al. 2015, arXiv:1506.02025).

Coordinates count from the last axis, x, y, z, and go from -1 to 1 over it: from edge to edge, or with `align_corners` from
the middle of the first position to that of the last.
"""

import numpy as np

KEYS = -0.75        # the parameter of the cubic convolution (Keys 1981), as in ONNX


def _base(size, align_corners, dtype):
    """The coordinates of the positions of a grid: ``(*size, rank + 1)``, the last of them 1."""
    axes = [(2 * np.arange(n, dtype=dtype) + (1 - n)) / dtype.type(max(1, n - align_corners)) for n in size]
    base = np.meshgrid(*axes, indexing="ij")[::-1]
    return np.stack([*base, np.ones(size, dtype)], axis=-1)


def affine_grid_forward(theta, size, align_corners=False):
    """grid[n, q] = theta[n] (base(q), 1), of maps ``(N, rank, rank + 1)``.

    Returns
    -------
    grid : array (N, *size, rank)

    Examples
    --------
    >>> affine_grid_forward(np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]]]), (1, 4))[0, 0].tolist()
    [[-0.75, 0.5], [-0.25, 0.5], [0.25, 0.5], [0.75, 0.5]]
    """
    return np.einsum("nab,...b->n...a", theta, _base(tuple(size), align_corners, theta.dtype))


def affine_grid_backward(dgrid, align_corners=False):
    """dtheta[n] = sum over q of dgrid[n, q] (base(q), 1), ``(N, rank, rank + 1)``."""
    base = _base(dgrid.shape[1:-1], align_corners, dgrid.dtype)
    n, rank = len(dgrid), dgrid.shape[-1]
    return np.einsum("nqa,qb->nab", dgrid.reshape(n, -1, rank), base.reshape(-1, rank + 1))


def _folded(u, n, align_corners):
    """Coordinates reflected at the ends of an axis of n positions, and the slope of that."""
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if span == 0:
        return 0 * u, 0 * u
    folds, rest = np.divmod(np.abs(u - low), span)
    odd = folds % 2 == 1
    return np.where(odd, span - rest, rest) + low, np.where(u < low, -1, 1) * np.where(odd, -1, 1)


def _inside(u, n, padding_mode, align_corners):
    """Coordinates brought to the axis as the padding has it, and the slope of that."""
    slope = np.ones_like(u)
    if padding_mode == "zeros":
        return u, slope
    if padding_mode == "reflection":
        u, slope = _folded(u, n, align_corners)
    return np.clip(u, 0, n - 1), np.where((u > 0) & (u < n - 1), slope, 0)


def _cubic(d):
    """The weight at a distance of 0 to 2, and its slope."""
    near = ((KEYS + 2) * d - (KEYS + 3)) * d * d + 1
    far = KEYS * (((d - 5) * d + 8) * d - 4)
    slopes = (3 * (KEYS + 2) * d - 2 * (KEYS + 3)) * d, KEYS * ((3 * d - 10) * d + 8)
    return np.where(d <= 1, near, far), np.where(d <= 1, *slopes)


def _axis_taps(g, n, mode, padding_mode, align_corners):
    """[(position, weight, slope of the weight by g)] along an axis of n positions; there is none outside 0 ... n-1."""
    u = (g + 1) * (n - 1) / 2 if align_corners else ((g + 1) * n - 1) / 2
    scale = (n - 1) / 2 if align_corners else n / 2
    if padding_mode != "reflection":
        u = np.clip(u, -3, n + 2)       # farther out nothing changes any more
    if mode == "bicubic":
        first, taps = np.floor(u), []
        for j in range(-1, 3):
            distance = u - first - j
            weight, slope = _cubic(np.abs(distance))
            slope = slope * np.sign(distance) * scale
            taps.append((_inside(first + j, n, padding_mode, align_corners)[0], weight, slope))
        return taps
    u, slope = _inside(u, n, padding_mode, align_corners)
    if mode == "nearest":
        return [(np.rint(u), 1 + 0 * u, np.zeros_like(u))]
    first = np.floor(u)
    return [(first, 1 - (u - first), -slope * scale), (first + 1, u - first, slope * scale)]


def _taps(x, grid, mode, padding_mode, align_corners):
    """For every tap: (index of x ``(N, 1, *out)`` an axis, whether it is there, weight, [slope by each coordinate])."""
    size = x.shape[2:]
    axes = [_axis_taps(grid[..., a], size[-1 - a], mode, padding_mode, align_corners) for a in range(len(size))]
    samples = np.arange(len(x)).reshape(-1, *[1] * len(size))
    for numbers in np.ndindex(*[len(taps) for taps in axes]):
        taps = [taps[i] for taps, i in zip(axes, numbers)]
        there = np.logical_and.reduce([(p >= 0) & (p < n) for (p, _, _), n in zip(taps, size[::-1])])
        index = [np.where(there, p, 0).astype(int) for p, _, _ in taps[::-1]]
        weight = np.prod([w for _, w, _ in taps], axis=0)
        slopes = [np.prod([t[2] if a == b else t[1] for b, t in enumerate(taps)], axis=0) for a in range(len(size))]
        yield (samples, slice(None), *index), there, weight.astype(x.dtype), [s.astype(x.dtype) for s in slopes]


def grid_sample_forward(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """y[n, c, q] = sum over taps t of w_t x[n, c, p_t], with the positions and weights that grid[n, q] gives.

    The nearest position has the weight 1; or of the two nearest along each axis each has 1 - its distance; or the four nearest
    have those of Keys' cubic. A tap outside is zero, or with ``"border"`` and ``"reflection"`` lies inside.

    Returns
    -------
    y : array (N, C, *out)

    Examples
    --------
    >>> x = np.array([[[[1.0, 3.0]]]])
    >>> grid_sample_forward(x, np.array([[[[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]]])).tolist()
    [[[[2.0, 3.0, 1.5]]]]
    """
    y = np.zeros((*grid.shape[:-1], x.shape[1]), x.dtype)
    for index, there, weight, _ in _taps(x, grid, mode, padding_mode, align_corners):
        y += np.where(there[..., None], x[index], 0) * weight[..., None]
    return np.moveaxis(y, -1, 1)


def grid_sample_backward(dy, x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """Gradients of `grid_sample_forward`: dx ``(N, C, *S)`` and dgrid ``(N, *out, rank)``, zero for ``"nearest"``."""
    dx, dgrid = np.zeros_like(x), np.zeros_like(grid)
    dy = np.moveaxis(dy, 1, -1)
    for index, there, weight, slopes in _taps(x, grid, mode, padding_mode, align_corners):
        np.add.at(dx, index, np.where(there, weight, 0)[..., None] * dy)
        of_tap = (np.where(there[..., None], x[index], 0) * dy).sum(axis=-1)
        for a, slope in enumerate(slopes):
            dgrid[..., a] += slope * of_tap
    return dx, dgrid
