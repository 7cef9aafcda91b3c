"""Batch normalisation."""

from . import programs

RANKS = (2, 3, 4, 5)


def _checked(x, epsilon, *vectors, **others):
    """(x, vectors (C,), epsilon) in one dtype."""
    dtype = programs.dtype_of(x, *(v for v, _ in vectors), *others.values())
    x = programs.tensor(x, dtype, "x", RANKS)
    vectors = [programs.tensor_of(v, dtype, what, x.shape[1:2]) for v, what in vectors]
    return x, vectors, programs.number(epsilon, "epsilon", 0)


def _statistics(p, sizes, epsilon, x):
    """Address of the statistics of x."""
    partial, statistics = p.memory(p.kernels.batch_norm_partial_size(*sizes)), _memory_for_statistics(p, sizes[2])
    p.program.batch_norm_sums(*sizes, x, partial)
    p.program.batch_norm_statistics(*sizes, epsilon, partial, statistics)
    return statistics


def _memory_for_statistics(p, c):
    return p.memory(3 * programs.round_up(c, p.kernels.lanes))


def batch_norm_forward(x, weight, bias, epsilon=1e-5):
    """y = weight (x - mean) / sqrt(variance + epsilon) + bias, over all samples and positions of each channel.

    Parameters
    ----------
    x : array_like (N, C) or (N, C, *S)
    weight, bias : array_like (C,)
    epsilon : float
        At least 0.

    Returns
    -------
    y : ndarray, of the shape of x
    mean, variance : ndarray (C,)
        Of the channels; the variance is the unbiased one, of which running averages are kept (of one value it is 0).
        The normalisation itself divides by that without Bessel's correction (Ioffe & Szegedy 2015, arXiv:1502.03167).
    """
    x, (weight, bias), epsilon = _checked(x, epsilon, (weight, "weight"), (bias, "bias"))
    sizes, c = programs.map_sizes(x.shape), x.shape[1]

    def lay_out(p):
        source, gamma, beta = p.read(x.shape, sizes[0]), p.read((c,)), p.read((c,))
        statistics, y = _statistics(p, sizes, epsilon, source), p.tensor(x.shape, sizes[0])
        p.program.batch_norm_forward(*sizes, programs.IDENTITY, source, statistics, gamma, beta, 0, y)
        p.write(y, x.shape, sizes[0])
        p.write(statistics, (c,))
        p.write(statistics + 2 * programs.round_up(c, p.kernels.lanes) * p.kernels.real_size, (c,))

    results = [(x.shape, x.dtype), ((c,), x.dtype), ((c,), x.dtype)]
    return tuple(programs.run("batch_norm_forward", (epsilon,), lay_out, x.dtype, [x, weight, bias], results))


def batch_norm_inference(x, weight, bias, running_mean, running_var, epsilon=1e-5):
    """y = weight (x - running_mean) / sqrt(running_var + epsilon) + bias, of the shape of x."""
    vectors = (weight, "weight"), (bias, "bias"), (running_mean, "running_mean"), (running_var, "running_var")
    x, vectors, epsilon = _checked(x, epsilon, *vectors)
    sizes, c = programs.map_sizes(x.shape), x.shape[1]

    def lay_out(p):
        source = p.read(x.shape, sizes[0])
        gamma, beta, mean, variance = (p.read((c,)) for _ in range(4))
        statistics, y = _memory_for_statistics(p, c), p.tensor(x.shape, sizes[0])
        p.program.batch_norm_known(c, epsilon, mean, variance, statistics)
        p.program.batch_norm_forward(*sizes, programs.IDENTITY, source, statistics, gamma, beta, 0, y)
        p.write(y, x.shape, sizes[0])

    return programs.run("batch_norm_inference", (epsilon,), lay_out, x.dtype, [x, *vectors], [(x.shape, x.dtype)])[0]


def batch_norm_backward(dy, x, weight, epsilon=1e-5):
    """Gradients of `batch_norm_forward`: dx of the shape of x, dweight and dbias ``(C,)``."""
    x, (weight,), epsilon = _checked(x, epsilon, (weight, "weight"), dy=dy)
    dy = programs.tensor_of(dy, x.dtype, "dy", x.shape)
    sizes, c = programs.map_sizes(x.shape), x.shape[1]

    def lay_out(p):
        gradient, source = p.read(x.shape, sizes[0], gradient=True), p.read(x.shape, sizes[0])
        gamma, dx, dgamma, dbeta = p.read((c,)), p.tensor(x.shape, sizes[0]), p.memory(c), p.memory(c)
        statistics = _statistics(p, sizes, epsilon, source)
        partial, sums = p.memory(p.kernels.batch_norm_partial_size(*sizes)), _memory_for_statistics(p, c)
        p.program.batch_norm_backward_sums(*sizes, False, gradient, source, statistics, gamma, gamma, partial)
        p.program.batch_norm_backward_weights(*sizes, False, partial, statistics, sums, dgamma, dbeta)
        p.program.batch_norm_backward_data(*sizes, False, gradient, source, statistics, gamma, gamma, sums, dx)
        p.write(dx, x.shape, sizes[0])
        p.write(dgamma, (c,))
        p.write(dbeta, (c,))

    results = [(x.shape, x.dtype), ((c,), x.dtype), ((c,), x.dtype)]
    return tuple(programs.run("batch_norm_backward", (epsilon,), lay_out, x.dtype, [dy, x, weight], results))
