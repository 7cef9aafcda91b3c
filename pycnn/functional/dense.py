"""Dense layers."""

from .. import shapes
from . import programs


def dense_forward(x, w, b=None):
    """Dense layer y = x w^T + b.

    Parameters
    ----------
    x : array_like (N, C)
    w : array_like (K, C)
    b : array_like (K,), optional

    Returns
    -------
    y : ndarray (N, K)
    """
    dtype = programs.dtype_of(x, w, b)
    x, w = programs.tensor(x, dtype, "x", (2,)), _matrix(w, dtype, "w")
    (n, c), k = x.shape, w.shape[0]
    if w.shape[1] != c:
        raise ValueError(f"weights {w.shape} read {w.shape[1]} features; the input has {c}")
    b = b if b is None else programs.tensor_of(b, dtype, "b", (k,))

    def lay_out(p):
        source, weights, bias = p.read(x.shape), p.read(w.shape), p.read((k,)) if b is not None else 0
        y = p.tensor((n, k))
        p.program.dense_forward(n, c, k, programs.IDENTITY, source, weights, bias, y)
        p.write(y, (n, k))

    return programs.run("dense_forward", (), lay_out, dtype, programs.given(x, w, b), [((n, k), dtype)])[0]


def dense_backward_data(dy, w):
    """Gradient of a dense layer with respect to its input: dx = dy w, ``(N, C)`` from ``(N, K)`` and ``(K, C)``."""
    dtype = programs.dtype_of(dy, w)
    dy, w = programs.tensor(dy, dtype, "dy", (2,)), _matrix(w, dtype, "w")
    n, (k, c) = dy.shape[0], w.shape
    if dy.shape[1] != k:
        raise ValueError(f"weights {w.shape} make {k} outputs; the gradient has {dy.shape[1]}")

    def lay_out(p):
        gradient, weights, dx = p.read(dy.shape), p.read(w.shape), p.tensor((n, c))
        p.program.dense_backward_data(n, c, k, programs.IDENTITY, gradient, weights, 0, dx)
        p.write(dx, (n, c))

    return programs.run("dense_backward_data", (), lay_out, dtype, [dy, w], [((n, c), dtype)])[0]


def dense_backward_weights(dy, x):
    """Gradients of a dense layer with respect to weights and bias: dw = dy^T x, ``(K, C)``, and db = sum_n dy[n]."""
    dtype = programs.dtype_of(dy, x)
    dy, x = programs.tensor(dy, dtype, "dy", (2,)), programs.tensor(x, dtype, "x", (2,))
    (n, k), c = dy.shape, x.shape[1]
    if len(x) != n:
        raise ValueError(f"dy {dy.shape} and x {x.shape} must have the same number of samples")

    def lay_out(p):
        gradient, source, dw, db = p.read(dy.shape), p.read(x.shape), p.tensor((k, c)), p.memory(k)
        p.program.dense_backward_weights(n, c, k, False, None, gradient, source, dw, db)
        p.write(dw, (k, c))
        p.write(db, (k,))

    return tuple(programs.run("dense_backward_weights", (), lay_out, dtype, [dy, x], [((k, c), dtype), ((k,), dtype)]))


def _matrix(w, dtype, what):
    """Weights (K, C), neither of them zero."""
    w = shapes.as_tensor(w, dtype, what, 2)
    if not w.size:
        raise ValueError(f"{what} must not be empty, got shape {w.shape}")
    return w
