"""pycnn.functional: every kernel agrees with pycnn.reference, for any shape, memory order and number of threads.

A sum of products may differ from the exact one by the rounding of its terms: in float32 by 4 eps sqrt(terms) times the
sum of their absolute values, which is four standard deviations of a random walk of half-ulp steps and more; in float64,
where the reference rounds too, by 1e-10 of that sum.
"""

import inspect
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycnn import _kernels, config, functional, layouts, reference, shapes
from pycnn.storage import aligned_vector
from pycnn.threads import ThreadChoice

DTYPES = [np.float32, np.float64]


def stable(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True)


# ---- what is compared, and how closely --------------------------------------------------------------------------------


def assert_sums_agree(actual, expected, magnitude, terms):
    """`actual` is the rounded sum `expected` of so many terms, whose absolute values add up to `magnitude`."""
    assert actual.shape == expected.shape
    if actual.dtype == np.float32:
        bound = 4 * np.finfo(np.float32).eps * math.sqrt(terms) * magnitude
    else:
        bound = 1e-10 * magnitude
    error = np.abs(actual - expected)
    assert np.all(error <= bound), f"error {np.max(error - bound)} beyond the bound"


def assert_rounded(actual, expected, ulps=16):
    """`actual` is made of a few rounded operations on numbers of the order of one or of `expected`."""
    assert actual.shape == expected.shape
    bound = ulps * np.finfo(actual.dtype).eps * np.maximum(1, np.abs(expected))
    np.testing.assert_array_less(np.abs(actual - expected), bound)


def exact(*arrays):
    """Float64 copies, for the reference."""
    return [a if a is None else np.asarray(a, np.float64) for a in arrays]


def absolute(*arrays):
    return [a if a is None else np.abs(np.asarray(a, np.float64)) for a in arrays]


# ---- what is drawn ----------------------------------------------------------------------------------------------------


def plain(x):
    return x


def fortran(x):
    return np.asfortranarray(x)


def strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2]


def reversed_rows(x):
    return np.ascontiguousarray(x[::-1])[::-1]


def byte_swapped(x):
    return x.astype(x.dtype.newbyteorder())


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


forms = st.sampled_from([plain, fortran, strided, reversed_rows, byte_swapped, read_only])
dtypes = st.sampled_from(DTYPES)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
batches = st.one_of(st.integers(1, 4), st.integers(1, 40))
LARGEST = {1: 24, 2: 9, 3: 5}


def normal(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


@st.composite
def channels(draw):
    """(C/groups, K/groups, groups)"""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5, 16, 19]))
    few = st.integers(1, 3)
    if groups == 1:
        many = st.one_of(st.integers(1, 5), st.integers(1, 36), st.sampled_from([8, 16, 32]))
        return draw(many), draw(many), 1
    if groups > 4:
        return draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 1, 2])), groups
    several = st.one_of(few, st.sampled_from([7, 8, 16, 17]))
    return draw(several), draw(several), groups


@st.composite
def windows(draw, max_kernel=4, max_dilation=3):
    """(in_spatial, kernel, {stride, padding, dilation}) of a convolution that fits."""
    rank = draw(st.integers(1, 3))

    def each(strategy):
        return draw(st.tuples(*[strategy] * rank))

    kernel, stride, dilation = (
        each(st.integers(1, max_kernel)),
        each(st.integers(1, 3)),
        each(st.integers(1, max_dilation)),
    )
    padding = each(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    least = [max(1, d * (k - 1) + 1 - b - a) for k, d, (b, a) in zip(kernel, dilation, padding)]
    size = tuple(n + draw(st.integers(0, LARGEST[rank])) for n in least)
    return size, kernel, {"stride": stride, "padding": padding, "dilation": dilation}


@st.composite
def convolutions(draw):
    """(x_shape, w_shape, parameters)"""
    size, kernel, parameters = draw(windows())
    c, k, groups = draw(channels())
    return (draw(batches), c * groups, *size), (k * groups, c, *kernel), {**parameters, "groups": groups}


@st.composite
def transposed_convolutions(draw):
    """(x_shape, w_shape, parameters), x being what the convolution would make."""
    size, kernel, parameters = draw(windows())
    c, k, groups = draw(channels())
    out = shapes.conv_output_shape(size, kernel, **parameters)
    limits = [max(s, d) - 1 for s, d in zip(parameters["stride"], parameters["dilation"])]
    extra = tuple(draw(st.integers(0, limit)) for limit in limits)
    parameters |= {"groups": groups, "output_padding": extra}
    try:
        shapes.conv_transpose_output_shape(
            out, kernel, *[parameters[p] for p in ("stride", "padding", "dilation")], extra
        )
    except ValueError:
        parameters |= {"padding": 0}
    return (draw(batches), c * groups, *out), (c * groups, k, *kernel), parameters


@st.composite
def poolings(draw, max_dilation=3):
    """(x_shape, parameters) of a pooling all of whose windows hold an input."""
    while True:
        size, kernel, parameters = draw(windows(max_dilation=max_dilation))
        kernel = tuple(k + 1 for k in kernel)
        parameters |= {"kernel_size": kernel, "ceil_mode": draw(st.booleans())}
        try:
            shapes.pool_output_shape(
                size, kernel, *[parameters[p] for p in ("stride", "padding", "dilation", "ceil_mode")]
            )
        except ValueError:
            parameters |= {"padding": 0}
            size = tuple(n + d * k for n, k, d in zip(size, kernel, parameters["dilation"]))
        return (draw(st.integers(1, 3)), draw(st.integers(1, 20)), *size), parameters


# ---- convolution ------------------------------------------------------------------------------------------------------


@given(convolutions(), dtypes, forms, st.booleans(), generators)
@stable(200)
def test_conv_forward_agrees_with_the_reference(convolution, dtype, form, with_bias, rng):
    x_shape, w_shape, parameters = convolution
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    b = normal(rng, w_shape[0], dtype) if with_bias else None
    y = functional.conv_forward(form(x), form(w), b, **parameters)
    assert y.dtype == dtype and y.flags.c_contiguous
    magnitude = reference.conv_forward(*absolute(x, w, b), **parameters)
    assert_sums_agree(y, reference.conv_forward(*exact(x, w, b), **parameters), magnitude, 1 + math.prod(w_shape[1:]))


@given(convolutions(), dtypes, forms, generators)
@stable(200)
def test_conv_backward_data_agrees_with_the_reference(convolution, dtype, form, rng):
    x_shape, w_shape, parameters = convolution
    w, dy = normal(rng, w_shape, dtype), normal(rng, output_shape(x_shape, w_shape, parameters), dtype)
    dx = functional.conv_backward_data(form(dy), form(w), x_shape, **parameters)
    assert dx.dtype == dtype
    magnitude = reference.conv_backward_data(*absolute(dy, w), x_shape, **parameters)
    expected = reference.conv_backward_data(*exact(dy, w), x_shape, **parameters)
    assert_sums_agree(dx, expected, magnitude, w.size / w_shape[1] / parameters["groups"])


@given(convolutions(), dtypes, forms, generators)
@stable(200)
def test_conv_backward_weights_agrees_with_the_reference(convolution, dtype, form, rng):
    x_shape, w_shape, parameters = convolution
    x, dy = normal(rng, x_shape, dtype), normal(rng, output_shape(x_shape, w_shape, parameters), dtype)
    gradients = functional.conv_backward_weights(form(dy), form(x), w_shape, **parameters)
    expected = reference.conv_backward_weights(*exact(dy, x), w_shape, **parameters)
    magnitudes = reference.conv_backward_weights(*absolute(dy, x), w_shape, **parameters)
    for gradient, right, magnitude in zip(gradients, expected, magnitudes):
        assert gradient.dtype == dtype
        assert_sums_agree(gradient, right, magnitude, dy.size / w_shape[0])


@given(transposed_convolutions(), dtypes, forms, st.booleans(), generators)
@stable(200)
def test_conv_transpose_forward_agrees_with_the_reference(convolution, dtype, form, with_bias, rng):
    x_shape, w_shape, parameters = convolution
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    b = normal(rng, w_shape[1] * parameters["groups"], dtype) if with_bias else None
    y = functional.conv_transpose_forward(form(x), form(w), b, **parameters)
    magnitude = reference.conv_transpose_forward(*absolute(x, w, b), **parameters)
    expected = reference.conv_transpose_forward(*exact(x, w, b), **parameters)
    assert_sums_agree(y, expected, magnitude, 1 + w.size / w_shape[1] / parameters["groups"])


@given(transposed_convolutions(), dtypes, forms, generators)
@stable(150)
def test_conv_transpose_backward_agrees_with_the_reference(convolution, dtype, form, rng):
    x_shape, w_shape, parameters = convolution
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    dy = normal(rng, reference.conv_transpose_forward(x, w, **parameters).shape, dtype)
    dx = functional.conv_transpose_backward_data(form(dy), form(w), x_shape, **parameters)
    magnitude = reference.conv_transpose_backward_data(*absolute(dy, w), x_shape, **parameters)
    expected = reference.conv_transpose_backward_data(*exact(dy, w), x_shape, **parameters)
    assert_sums_agree(dx, expected, magnitude, math.prod(w_shape[1:]))

    gradients = functional.conv_transpose_backward_weights(form(dy), form(x), w_shape, **parameters)
    expected = reference.conv_transpose_backward_weights(*exact(dy, x), w_shape, **parameters)
    magnitudes = reference.conv_transpose_backward_weights(*absolute(dy, x), w_shape, **parameters)
    terms = x.size / x_shape[1], dy.size / dy.shape[1]
    for gradient, right, magnitude, count in zip(gradients, expected, magnitudes, terms):
        assert_sums_agree(gradient, right, magnitude, count)


def output_shape(x_shape, w_shape, parameters):
    window = [parameters[p] for p in ("stride", "padding", "dilation")]
    return (x_shape[0], w_shape[0], *shapes.conv_output_shape(x_shape[2:], w_shape[2:], *window))


@pytest.mark.parametrize("padding", ["same", "valid", 1, (2, 1), ((0, 2), (1, 0))])
@pytest.mark.parametrize("n", [2, 20])
def test_every_form_of_padding_agrees_with_the_reference(padding, n):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((n, 5, 8, 7)), rng.standard_normal((5, 5, 3, 4))
    for name in ("conv_forward", "conv_transpose_forward"):
        y = getattr(functional, name)(x, w, stride=2, padding=padding)
        np.testing.assert_allclose(y, getattr(reference, name)(x, w, stride=2, padding=padding), rtol=1e-10, atol=1e-10)


def test_same_padding_of_a_transposed_convolution_reaches_beyond_a_short_kernel():
    x, w = np.ones((2, 1, 3)), np.ones((1, 1, 2))
    y = functional.conv_transpose_forward(x, w, stride=4, padding="same")
    np.testing.assert_array_equal(y, np.tile([1, 1, 0, 0], (2, 1, 3)))


@given(convolutions(), dtypes, generators)
@stable(100)
def test_the_three_passes_of_a_convolution_are_exact_adjoints(convolution, dtype, rng):
    """On small integers all arithmetic is exact: <y, dy> = <x, dx> = <w, dw>."""
    x_shape, w_shape, parameters = convolution
    dy_shape = output_shape(x_shape, w_shape, parameters)
    x, w, dy = [rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape, dy_shape)]
    y = functional.conv_forward(x, w, **parameters)
    dx = functional.conv_backward_data(dy, w, x_shape, **parameters)
    dw, db = functional.conv_backward_weights(dy, x, w_shape, **parameters)
    product = np.vdot(*exact(y, dy))
    assert product == np.vdot(*exact(x, dx)) == np.vdot(*exact(w, dw))
    np.testing.assert_array_equal(db, dy.sum(axis=(0, *range(2, dy.ndim))))


LANES = config.kernels(np.float32).lanes


@pytest.mark.parametrize(
    "n, c, k, groups, expected",
    [
        (LANES, 6, LANES, 1, (_kernels.CHANNELS, _kernels.CHANNELS)),
        (LANES, 3, LANES, 1, (_kernels.CHANNELS, _kernels.PLAIN)),
        (LANES - 1, 1, LANES, 1, (_kernels.CHANNELS, _kernels.PLAIN)),
        (LANES, 1, LANES // 2, 1, (_kernels.SAMPLES, _kernels.SAMPLES)),
        (LANES - 1, 2 * LANES, 2 * LANES, 2 * LANES, (_kernels.CHANNELS, _kernels.CHANNELS)),
        (LANES, 2 * LANES, 2 * LANES, 2, (_kernels.CHANNELS, _kernels.CHANNELS)),
    ],
)
def test_the_lanes_are_samples_where_channels_would_waste_them(n, c, k, groups, expected):
    conv = functional.convolution._convolution((n, c, 5, 5), (k, c // groups, 3, 3), 1, 0, 1, groups)
    assert functional.convolution._layouts(config.kernels(np.float32), conv, _kernels.FORWARD) == expected


# of source and target
PLAIN_TARGETS = {"lanes are sources": (_kernels.CHANNELS, _kernels.PLAIN), "lanes are columns": (_kernels.PLAIN,) * 2}


@contextmanager
def every_pass_to_plain(chosen):
    """Convolutions have lanes of sources or of columns, whatever their shape."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional.programs, "cache", functional.programs.ProgramCache(4, 2**26))
        patch.setattr(functional.convolution, "_by_planes", lambda *_: False)
        of_y_and_x = {_kernels.FORWARD: chosen[::-1], _kernels.BACKWARD_DATA: chosen}
        patch.setattr(functional.convolution, "_layouts", lambda kernels, conv, which: of_y_and_x[which])
        yield


@pytest.mark.parametrize("lanes", PLAIN_TARGETS)
@given(convolutions(), dtypes, st.booleans(), generators)
@stable(150)
def test_passes_to_plain_agree_with_the_reference(lanes, convolution, dtype, with_bias, rng):
    x_shape, w_shape, parameters = convolution
    parameters["groups"] = 1
    w_shape = (w_shape[0], x_shape[1], *w_shape[2:])
    x, w = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    b = normal(rng, w_shape[0], dtype) if with_bias else None
    dy = normal(rng, output_shape(x_shape, w_shape, parameters), dtype)
    with every_pass_to_plain(PLAIN_TARGETS[lanes]):
        y = functional.conv_forward(x, w, b, **parameters)
        dx = functional.conv_backward_data(dy, w, x_shape, **parameters)
    magnitude = reference.conv_forward(*absolute(x, w, b), **parameters)
    assert_sums_agree(y, reference.conv_forward(*exact(x, w, b), **parameters), magnitude, 1 + math.prod(w_shape[1:]))
    magnitude = reference.conv_backward_data(*absolute(dy, w), x_shape, **parameters)
    expected = reference.conv_backward_data(*exact(dy, w), x_shape, **parameters)
    assert_sums_agree(dx, expected, magnitude, w.size / w_shape[1])


@pytest.mark.parametrize("lanes", PLAIN_TARGETS)
@pytest.mark.parametrize(
    "c, k, size, kernel, stride", [(3, 70, (45, 61), 5, 1), (1, 40, (90, 33), 7, 2), (5, 20, (64, 70), 3, 4)]
)
def test_passes_to_plain_of_large_maps_agree_with_the_reference(lanes, c, k, size, kernel, stride):
    """More rows, columns and channels than one task, tile or panel holds."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, c, *size)), rng.standard_normal((k, c, kernel, kernel))
    with every_pass_to_plain(PLAIN_TARGETS[lanes]):
        y = functional.conv_forward(x, w, stride=stride, padding=2)
        dx = functional.conv_backward_data(y, w, x.shape, stride=stride, padding=2)
    np.testing.assert_allclose(y, reference.conv_forward(x, w, stride=stride, padding=2), rtol=0, atol=1e-11)
    expected = reference.conv_backward_data(y, w, x.shape, stride=stride, padding=2)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "sources, targets, groups, width, expected",
    [
        (64, 3, 1, 224, PLAIN_TARGETS["lanes are sources"]),
        (64, 3, 1, 7, PLAIN_TARGETS["lanes are sources"]),
        (4, 1, 1, 28, PLAIN_TARGETS["lanes are columns"]),
        (2, 2, 1, 2, (_kernels.CHANNELS, _kernels.CHANNELS)),
        (64, 16, 1, 224, (_kernels.CHANNELS, _kernels.CHANNELS)),
        (64, 12, 1, 224, (_kernels.CHANNELS, _kernels.CHANNELS)),
        (64, 4, 2, 224, (_kernels.CHANNELS, _kernels.CHANNELS)),
    ],
)
def test_targets_of_few_channels_are_plain(sources, targets, groups, width, expected):
    assert layouts.pass_from_plain(16, sources, targets, groups, width) == expected
    assert layouts.writes_plain(16, sources, targets, groups) == (expected[1] == _kernels.PLAIN)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "n, c, k, groups, size, kernel, stride, padding, dilation",
    [
        (2, 19, 19, 19, (28, 28), (3, 3), 1, 1, 1),
        (2, 19, 19, 19, (37, 41), (3, 3), 2, 1, 1),
        (1, 5, 10, 5, (33, 70), (5, 5), 2, ((2, 1), (1, 2)), 1),
        (1, 6, 6, 6, (21, 35), (7, 4), 1, 3, 1),
        (1, 6, 6, 6, (40, 40), (3, 3), 3, 2, 2),
        (1, 4, 4, 4, (300, 20), (3, 3), 1, 1, 1),
        (2, 24, 24, 6, (18, 20), (3, 3), 1, 1, 1),
        (2, 24, 48, 12, (18, 20), (3, 3), 2, 1, 1),
        (1, 48, 24, 12, (9, 9), (5, 5), 1, 2, 1),
    ],
)
def test_convolution_in_small_groups_over_several_vectors_of_a_row(
    n, c, k, groups, size, kernel, stride, padding, dilation, dtype
):
    rng = np.random.default_rng(0)
    parameters = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    x, w, b = normal(rng, (n, c, *size), dtype), normal(rng, (k, c // groups, *kernel), dtype), normal(rng, k, dtype)
    y = functional.conv_forward(x, w, b, **parameters)
    magnitude = reference.conv_forward(*absolute(x, w, b), **parameters)
    assert_sums_agree(y, reference.conv_forward(*exact(x, w, b), **parameters), magnitude, 1 + w[0].size)
    dy = normal(rng, y.shape, dtype)
    dx = functional.conv_backward_data(dy, w, x.shape, **parameters)
    magnitude = reference.conv_backward_data(*absolute(dy, w), x.shape, **parameters)
    expected = reference.conv_backward_data(*exact(dy, w), x.shape, **parameters)
    assert_sums_agree(dx, expected, magnitude, w[:, 0].size / groups)
    results = functional.conv_backward_weights(dy, x, w.shape, **parameters)
    expected = reference.conv_backward_weights(*exact(dy, x), w.shape, **parameters)
    magnitudes = reference.conv_backward_weights(*absolute(dy, x), w.shape, **parameters)
    for result, sums, magnitude in zip(results, expected, magnitudes):
        assert_sums_agree(result, sums, magnitude, dy[:, 0].size)


@pytest.mark.parametrize("c, k, groups", [(24, 24, 6), (6, 12, 6), (12, 6, 6), (19, 19, 19)])
@pytest.mark.parametrize("width", [3, 20])
def test_no_nan_of_one_group_reaches_another(c, k, groups, width):
    rng = np.random.default_rng(0)
    x, w = normal(rng, (1, c, 5, width), np.float32), normal(rng, (k, c // groups, 3, 3), np.float32)
    dy = normal(rng, (1, k, 5, width), np.float32)
    x[:, : c // groups] = dy[:, : k // groups] = np.nan
    y = functional.conv_forward(x, w, padding=1, groups=groups)
    dx = functional.conv_backward_data(dy, w, x.shape, padding=1, groups=groups)
    dw, db = functional.conv_backward_weights(dy, x, w.shape, padding=1, groups=groups)
    for of_first, others in [(y[:, : k // groups], y[:, k // groups :]), (dx[:, : c // groups], dx[:, c // groups :]),
                             (dw[: k // groups], dw[k // groups :]), (db[: k // groups], db[k // groups :])]:
        assert np.isnan(of_first).all() and np.isfinite(others).all()


# ---- dense ------------------------------------------------------------------------------------------------------------

features = st.one_of(st.integers(1, 9), st.integers(1, 150))


@given(batches, features, features, dtypes, forms, st.booleans(), generators)
@stable(150)
def test_dense_agrees_with_the_reference(n, c, k, dtype, form, with_bias, rng):
    x, w, dy = normal(rng, (n, c), dtype), normal(rng, (k, c), dtype), normal(rng, (n, k), dtype)
    b = normal(rng, k, dtype) if with_bias else None
    y = functional.dense_forward(form(x), form(w), b)
    assert_sums_agree(y, reference.dense_forward(*exact(x, w, b)), reference.dense_forward(*absolute(x, w, b)), c + 1)
    dx = functional.dense_backward_data(form(dy), form(w))
    assert_sums_agree(
        dx, reference.dense_backward_data(*exact(dy, w)), reference.dense_backward_data(*absolute(dy, w)), k
    )
    gradients = functional.dense_backward_weights(form(dy), form(x))
    expected = reference.dense_backward_weights(*exact(dy, x))
    for gradient, right, magnitude in zip(gradients, expected, reference.dense_backward_weights(*absolute(dy, x))):
        assert gradient.dtype == dtype
        assert_sums_agree(gradient, right, magnitude, n)


# ---- pooling ----------------------------------------------------------------------------------------------------------


@given(poolings(), dtypes, forms, st.sampled_from([2, 50]), generators)
@stable(200)
def test_max_pool_agrees_with_the_reference_on_ties_nan_and_infinity(pooling, dtype, form, values, rng):
    x_shape, parameters = pooling
    x = rng.integers(0, values, x_shape).astype(dtype)
    x[rng.random(x_shape) < 0.05] = np.nan
    x[rng.random(x_shape) < 0.05] = -np.inf
    y, indices = functional.max_pool_forward(form(x), **parameters)
    expected, positions = reference.max_pool_forward(x, **parameters)
    assert y.dtype == dtype and indices.dtype == np.int64
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, positions)


@given(poolings(), dtypes, forms, generators)
@stable(150)
def test_max_pool_backward_is_the_exact_adjoint_of_the_choice(pooling, dtype, form, rng):
    x_shape, parameters = pooling
    x = rng.integers(-9, 10, x_shape).astype(dtype)
    y, indices = functional.max_pool_forward(x, **parameters)
    dy = rng.integers(-9, 10, y.shape).astype(dtype)
    expected = reference.max_pool_backward(dy, indices, x_shape)
    gathered = functional.max_pool_backward(form(dy), form(indices), x_shape, **parameters)
    scattered = functional.max_pool_backward(form(dy), form(indices), x_shape)
    assert gathered.dtype == scattered.dtype == dtype
    np.testing.assert_array_equal(gathered, expected)
    np.testing.assert_array_equal(scattered, expected)
    assert np.vdot(*exact(y, dy)) == np.vdot(*exact(x, gathered))


@given(poolings(), dtypes, generators)
@stable(100)
def test_max_pool_backward_refuses_exactly_the_positions_outside_their_windows(pooling, dtype, rng):
    x_shape, parameters = pooling
    y, indices = functional.max_pool_forward(normal(rng, x_shape, dtype), **parameters)
    dy = rng.integers(-9, 9, y.shape).astype(dtype)      # sums are exact
    size, rank = x_shape[2:], len(x_shape) - 2
    output = tuple(rng.integers(y.shape))
    one = {name: parameters[name] for name in ("kernel_size", "stride", "dilation")}
    axes = zip(output[2:], *(shapes.per_axis(one[name], rank, name) for name in one),
               shapes.resolve_padding(parameters["padding"], size, *one.values()))
    taps = [o * stride - before + dilation * np.arange(kernel) for o, kernel, stride, dilation, (before, _) in axes]
    window = np.ix_(*(t[(t >= 0) & (t < n)] for t, n in zip(taps, size)))
    allowed = set(np.arange(math.prod(size)).reshape(size)[window].ravel().tolist())
    for position in [*rng.integers(0, math.prod(size), 3), *allowed, *(max(allowed) + n for n in (1, 2**32, -(2**32)))]:
        indices[output] = position
        if position in allowed:
            dx = functional.max_pool_backward(dy, indices, x_shape, **parameters)
            np.testing.assert_array_equal(dx, functional.max_pool_backward(dy, indices, x_shape))
        else:
            with pytest.raises(ValueError, match="a position outside its window|must lie in"):
                functional.max_pool_backward(dy, indices, x_shape, **parameters)


@given(poolings(max_dilation=1), dtypes, forms, st.booleans(), generators)
@stable(200)
def test_avg_pool_agrees_with_the_reference(pooling, dtype, form, count_include_pad, rng):
    x_shape, parameters = pooling
    parameters = {name: p for name, p in parameters.items() if name != "dilation"}
    parameters["count_include_pad"] = count_include_pad
    taps = math.prod(parameters["kernel_size"])
    x = normal(rng, x_shape, dtype)
    y = functional.avg_pool_forward(form(x), **parameters)
    magnitude = reference.avg_pool_forward(*absolute(x), **parameters)
    assert_sums_agree(y, reference.avg_pool_forward(*exact(x), **parameters), magnitude, taps)

    dy = normal(rng, y.shape, dtype)
    dx = functional.avg_pool_backward(form(dy), x_shape, **parameters)
    magnitude = reference.avg_pool_backward(*absolute(dy), x_shape, **parameters)
    assert_sums_agree(dx, reference.avg_pool_backward(*exact(dy), x_shape, **parameters), magnitude, taps)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 50), (2, 20, 9, 7), (17, 1, 3, 4, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_global_pooling_agrees_with_the_reference(shape, dtype):
    rng = np.random.default_rng(2)
    x, size = normal(rng, shape, dtype), math.prod(shape[2:])
    y = functional.global_avg_pool_forward(x)
    magnitude = reference.global_avg_pool_forward(*absolute(x))
    assert_sums_agree(y, reference.global_avg_pool_forward(*exact(x)), magnitude, size)
    dy = normal(rng, y.shape, dtype)
    expected = reference.global_avg_pool_backward(*exact(dy), shape)
    assert_sums_agree(functional.global_avg_pool_backward(dy, shape), expected, np.abs(expected), 1)

    y, indices = functional.global_max_pool_forward(x)
    expected, positions = reference.global_max_pool_forward(x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, positions)
    np.testing.assert_array_equal(
        functional.global_max_pool_backward(dy, indices, shape), reference.global_max_pool_backward(dy, indices, shape)
    )


# ---- what is too large for the caches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", [0, 1])
def test_large_arrays_are_pooled_as_small_ones_are(dtype, padding):
    rng = np.random.default_rng(0)
    x = normal(rng, (24, 5, 183, 301), dtype)       # more bytes than are kept in the caches, in rows of odd length
    x[rng.integers(24, size=9), 2, 100] = np.nan
    window = (2 + padding, 2, padding)

    def results(x):
        y, indices = functional.max_pool_forward(x, *window)
        mean = functional.avg_pool_forward(x, *window)
        return (y, indices, functional.max_pool_backward(y, indices, x.shape, *window),
                mean, functional.avg_pool_backward(mean, x.shape, *window))

    for large, *small in zip(results(x), *(results(x[i : i + 1]) for i in range(len(x)))):
        np.testing.assert_array_equal(large, np.concatenate(small))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "tanh"])
def test_large_arrays_are_activated_as_small_ones_are(dtype, kind):
    rng = np.random.default_rng(0)
    x, dy = (normal(rng, (4_000_003,), dtype) for _ in range(2))
    y = functional.activation_forward(x, kind)
    dx = functional.activation_backward(dy, y, kind)
    for part in np.array_split(np.arange(len(x)), 5):
        small = functional.activation_forward(x[part], kind)
        np.testing.assert_array_equal(y[part], small)
        np.testing.assert_array_equal(dx[part], functional.activation_backward(dy[part], small, kind))


def aligned(array):
    """A copy that begins on a cache line, with a vector of slack behind it."""
    copy = aligned_vector(array.size, array.dtype)
    copy[:] = array.ravel()
    return copy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [_kernels.SAMPLES, _kernels.CHANNELS])
@pytest.mark.parametrize("shape", [(3, 5, 7), (37, 19, 33), (67, 35, 1601), (32, 64, 2048)])
def test_reorders_bring_tensors_into_lanes_and_back(dtype, layout, shape):
    kernels = config.kernels(np.dtype(dtype))
    (n, c, s), v = shape, kernels.lanes
    x = normal(np.random.default_rng(0), shape, dtype)
    axis = 0 if layout == _kernels.SAMPLES else 1
    fill = "edge" if layout == _kernels.SAMPLES else "constant"
    expected = np.pad(x, [(0, -size % v if a == axis else 0) for a, size in enumerate(shape)], fill)
    for gradient in (False, True):
        if gradient and layout == _kernels.SAMPLES:
            expected[n:] = 0
        plain, lanes, back = aligned(x), aligned(np.full_like(expected, np.nan)), aligned(np.full_like(x, np.nan))
        program = _kernels.Program(kernels)
        program.reorder(_kernels.PLAIN, layout, gradient, n, c, s, plain.ctypes.data, lanes.ctypes.data)
        program.reorder(layout, _kernels.PLAIN, gradient, n, c, s, lanes.ctypes.data, back.ctypes.data)
        program.run(threads=2)
        if layout == _kernels.SAMPLES:
            unpacked = lanes.reshape(-1, c, s, v).transpose(0, 3, 1, 2)
        else:
            unpacked = lanes.reshape(n, -1, s, v).transpose(0, 1, 3, 2)
        np.testing.assert_array_equal(unpacked.reshape(expected.shape), expected)
        np.testing.assert_array_equal(back, x.ravel())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (3, 3, 0)])
@pytest.mark.parametrize("planes, size", [(3, (9, 12)), (19, (130, 203))])
def test_pooling_in_lanes_agrees_with_pooling_of_planes(dtype, kernel, stride, padding, planes, size):
    kernels, rng = config.kernels(np.dtype(dtype)), np.random.default_rng(0)
    v = kernels.lanes
    planes = -(-planes * 16 // v)           # as many reals with any vector
    x = rng.integers(-20, 20, (planes, v, *size)).astype(dtype)
    x[rng.integers(planes, size=5), 0, 3, 4] = np.nan
    y, positions = functional.max_pool_forward(x, kernel, stride, padding)
    out = y.shape[2:]
    dy = rng.integers(-20, 20, y.shape).astype(dtype)

    def lanes(a):
        return aligned(np.moveaxis(a, 1, -1))

    window = shapes.window(size, out, *((k,) * 2 for k in (kernel, stride, 1, padding)))
    source, target, taps, gradient, dx = (lanes(a) for a in (x, y * 0, y * 0, dy, x * 0))
    mean, dmean = lanes(y * 0), lanes(x * 0)
    program = _kernels.Program(kernels)
    after = (0, padding, padding)
    program.max_pool_forward(window, planes, source.ctypes.data, target.ctypes.data, taps.ctypes.data)
    program.max_pool_backward(window, planes, gradient.ctypes.data, taps.ctypes.data, dx.ctypes.data)
    program.avg_pool_forward(window, after, _kernels.TAPS_AND_PADDING, planes, source.ctypes.data, mean.ctypes.data)
    program.avg_pool_backward(window, after, _kernels.TAPS_AND_PADDING, False, planes, gradient.ctypes.data, dmean.ctypes.data)
    program.run(threads=2)
    np.testing.assert_array_equal(target, lanes(y))
    np.testing.assert_array_equal(dx, lanes(functional.max_pool_backward(dy, positions, x.shape, kernel, stride, padding)))
    rounded = 16 * np.finfo(dtype).eps * 20
    np.testing.assert_allclose(mean, lanes(functional.avg_pool_forward(x, kernel, stride, padding)), 0, rounded)
    expected = lanes(functional.avg_pool_backward(dy, x.shape, kernel, stride, padding))
    np.testing.assert_allclose(dmean, expected, 0, rounded)


# ---- activations, softmax, joining ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [None, 0.3])
@pytest.mark.parametrize("kind", _kernels.ACTIVATIONS)
def test_an_activation_and_its_gradient_agree_with_the_reference(kind, alpha, dtype):
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [normal(rng, 2000, dtype), 20 * normal(rng, 2000, dtype), dtype([0, -0.0, 1e-6, -1e-6, 700, -700])]
    )
    x = x.reshape(2, 1, -1)
    y = functional.activation_forward(x, kind, alpha)
    assert y.dtype == dtype
    assert_rounded(y, reference.activation_forward(*exact(x), kind, alpha), ulps=4)
    y, dy = y.astype(dtype), normal(rng, x.shape, dtype)
    dx = functional.activation_backward(dy, y, kind, alpha)
    expected = reference.activation_backward(*exact(dy, y), kind, alpha)
    assert np.all(np.abs(dx - expected) <= 4 * np.finfo(dtype).eps * np.abs(dy))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape, axis", [((7,), 0), ((5, 1), 1), ((40, 10), 1), ((3, 37, 5), 1), ((3, 4, 5, 6), -1), ((20, 9), 0)]
)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_and_its_gradient_agree_with_the_reference(name, shape, axis, dtype):
    rng = np.random.default_rng(4)
    x, dy = 30 * normal(rng, shape, dtype), normal(rng, shape, dtype)
    y = getattr(functional, name)(x, axis)
    assert y.dtype == dtype
    assert_rounded(y, getattr(reference, name)(*exact(x), axis))
    dx = getattr(functional, name + "_backward")(dy, y, axis)
    expected = getattr(reference, name + "_backward")(*exact(dy, y), axis)
    assert_sums_agree(dx, expected, np.abs(dy) + np.abs(dy).sum(axis=axis, keepdims=True), shape[axis] + 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (5000,), (3, 4, 5, 6)])
def test_sums_and_products_of_arrays_are_those_of_numpy(shape, dtype):
    rng = np.random.default_rng(5)
    a, b, c = normal(rng, (3, *shape), dtype)
    np.testing.assert_array_equal(functional.add(a), a)
    np.testing.assert_array_equal(functional.add(a, b, c), a + b + c)
    np.testing.assert_array_equal(functional.multiply(a, b), a * b)
    for actual, expected in zip(functional.multiply_backward(a, b, c), reference.multiply_backward(a, b, c)):
        np.testing.assert_array_equal(actual, expected)
    for copy in functional.add_backward(a, 3):
        np.testing.assert_array_equal(copy, a)
        assert not np.shares_memory(copy, a)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(-4, 3), dtypes, generators)
@stable(60)
def test_concat_and_its_gradient_are_those_of_numpy(sizes, axis, dtype, rng):
    shape = [2, 3, 4, 5]
    arrays = []
    for n in sizes:
        shape[axis] = n
        arrays.append(normal(rng, shape, dtype))
    whole = functional.concat(arrays, axis)
    np.testing.assert_array_equal(whole, np.concatenate(arrays, axis))
    for part, array in zip(functional.concat_backward(whole, sizes, axis), arrays, strict=True):
        np.testing.assert_array_equal(part, array)


# ---- losses and optimisers --------------------------------------------------------------------------------------------


def assert_losses_agree(actual, expected):
    """(loss, gradient) pairs, of means of numbers of the order of one: the gradient is compared with its largest."""
    (loss, gradient), (right, right_gradient) = actual, expected
    eps = float(np.finfo(gradient.dtype).eps)
    assert isinstance(loss, float)
    assert loss == pytest.approx(right, rel=16 * eps)
    assert gradient.shape == right_gradient.shape
    np.testing.assert_allclose(gradient, right_gradient, rtol=16 * eps, atol=16 * eps * np.max(np.abs(right_gradient)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (65, 10), (33, 100), (4, 5, 7), (3, 21, 6, 9)])
@pytest.mark.parametrize("weights", ["none", "classes", "samples", "labels", "classes and labels"])
def test_softmax_cross_entropy_agrees_with_the_reference(shape, weights, dtype):
    rng = np.random.default_rng(6)
    scores = 5 * normal(rng, shape, dtype)
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    of_classes = (rng.random(shape[1]) + 0.1).astype(dtype) if "classes" in weights else None
    of_samples = None
    if "samples" in weights or "labels" in weights:
        of_samples = rng.random(labels.shape if "labels" in weights else shape[0]).astype(dtype)
    actual = functional.softmax_cross_entropy(scores, labels, of_samples, of_classes)
    combined = np.ones(labels.shape)
    if of_classes is not None:
        combined *= of_classes[labels]
    if of_samples is not None:
        combined *= of_samples.reshape(of_samples.shape + (1,) * (labels.ndim - of_samples.ndim))
    assert actual[1].dtype == dtype
    assert_losses_agree(actual, reference.softmax_cross_entropy(*exact(scores), labels, combined))


@pytest.mark.parametrize("label_type", [np.int64, np.int32, np.uint8, ">i8"])
def test_labels_may_be_of_any_integer_type(label_type):
    scores, labels = np.eye(4, dtype=np.float32), np.arange(4)
    assert_losses_agree(
        functional.softmax_cross_entropy(scores, labels.astype(label_type)),
        reference.softmax_cross_entropy(*exact(scores), labels),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (40, 500)])
def test_losses_of_numbers_agree_with_the_reference(shape, dtype):
    rng = np.random.default_rng(7)
    y, target = normal(rng, shape, dtype), normal(rng, shape, dtype)
    p, hot = rng.uniform(0.01, 0.99, shape).astype(dtype), (rng.random(shape) < 0.5).astype(dtype)
    assert_losses_agree(functional.mean_squared_error(y, target), reference.mean_squared_error(*exact(y, target)))
    assert_losses_agree(functional.binary_cross_entropy(p, hot), reference.binary_cross_entropy(*exact(p, hot)))
    assert_losses_agree(
        functional.binary_cross_entropy_with_logits(10 * y, hot),
        reference.binary_cross_entropy_with_logits(*exact(10 * y, hot)),
    )


def test_losses_are_finite_where_logarithms_are_not():
    loss, gradient = functional.binary_cross_entropy([0.0, 1.0], [1.0, 0.0])
    assert loss == 100 and np.all(np.isfinite(gradient))
    loss, gradient = functional.binary_cross_entropy_with_logits([-1000.0, 1000.0], [1.0, 0.0])
    assert loss == 1000 and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (9000,)])
@pytest.mark.parametrize(
    "name, states, parameters",
    [
        ("sgd_update", 1, {"lr": 0.1}),
        ("sgd_update", 1, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
        ("sgd_update", 1, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("adam_update", 2, {"lr": 0.01, "t": 1}),
        ("adam_update", 2, {"lr": 0.01, "t": 7, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
        ("adam_update", 2, {"lr": 0.01, "t": 7, "weight_decay": 0.1, "decoupled": True}),
        ("rmsprop_update", 1, {"lr": 0.01}),
        ("rmsprop_update", 2, {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9}),
    ],
)
def test_an_update_agrees_with_the_reference_and_changes_nothing_in_place(name, states, parameters, shape, dtype):
    rng = np.random.default_rng(8)
    arrays = [normal(rng, shape, dtype) for _ in range(2)]
    arrays += [rng.uniform(0.5, 1, shape).astype(dtype) for _ in range(states)]
    before = [a.copy() for a in arrays]
    updated = getattr(functional, name)(*arrays, **parameters)
    expected = getattr(reference, name)(*exact(*arrays), **parameters)
    for actual, right in zip(updated, expected, strict=True):
        assert actual.dtype == dtype
        assert_rounded(actual, right)
    for array, copy in zip(arrays, before):
        np.testing.assert_array_equal(array, copy)


def test_state_that_is_left_out_starts_at_zero():
    w, g, zero = np.ones(5), np.full(5, 2.0), np.zeros(5)
    for actual, expected in [
        (functional.sgd_update(w, g, lr=1, momentum=0.9), functional.sgd_update(w, g, zero, lr=1, momentum=0.9)),
        (functional.adam_update(w, g, None, None, 1, lr=1), functional.adam_update(w, g, zero, zero, 1, lr=1)),
        (functional.rmsprop_update(w, g, None, lr=1), functional.rmsprop_update(w, g, zero, zero, lr=1)),
    ]:
        np.testing.assert_array_equal(actual, expected)


# ---- normalisation ----------------------------------------------------------------------------------------------------

maps = st.one_of(
    st.tuples(st.integers(1, 300), st.integers(1, 40)),
    st.tuples(batches, st.integers(1, 40), st.integers(1, 30)),
    st.tuples(batches, st.integers(1, 40), st.integers(1, 9), st.integers(1, 40)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(40, 100), st.integers(40, 100)),
    st.tuples(batches, st.integers(1, 20), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)


def norm_bound(x, epsilon):
    """How far the normalised x may be off, in standard deviations: x, the mean and their difference are rounded numbers of
    the size of the largest x, and the deviation is a sum of as many squares as there are values of a map."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *[1] * (x.ndim - 2))
    inverse = (1 / np.sqrt(x.var(axis=axes, dtype=np.float64) + epsilon)).reshape(shape)
    xhat = np.abs(x - x.mean(axis=axes, dtype=np.float64).reshape(shape)) * inverse
    eps = np.finfo(x.dtype).eps if x.dtype == np.float32 else 1e-11
    return 8 * eps * (np.abs(x).max(axis=axes).reshape(shape) * inverse + xhat) * (1 + xhat), inverse


@stable(200)
@given(maps, dtypes, forms, st.sampled_from([0.0, 1.0, 30.0]), st.sampled_from([1e-5, 0.1]), generators)
def test_batch_norm_agrees_with_the_reference(shape, dtype, form, offset, epsilon, rng):
    c = shape[1]
    x = form(normal(rng, shape, dtype) * rng.uniform(0.5, 2, (c, *[1] * (len(shape) - 2))).astype(dtype) + dtype(offset))
    weight, bias = normal(rng, (c,), dtype), normal(rng, (c,), dtype)
    bound, _ = norm_bound(np.asarray(x, dtype), epsilon)
    by_channel = (-1, *[1] * (len(shape) - 2))
    y, mean, variance = functional.batch_norm_forward(x, weight, bias, epsilon)
    expected, expected_mean, expected_variance = reference.batch_norm_forward(*exact(x, weight, bias), epsilon)
    assert y.dtype == mean.dtype == variance.dtype == dtype
    rounding = 8 * (np.finfo(np.float32).eps if dtype == np.float32 else 1e-12) * (1 + np.abs(expected))
    assert np.all(np.abs(y - expected) <= np.abs(weight).reshape(by_channel) * bound + rounding)
    axes, count = (0, *range(2, len(shape))), math.prod(shape) // c
    assert_sums_agree(mean, expected_mean, np.abs(np.asarray(x, np.float64)).mean(axis=axes), count)
    np.testing.assert_allclose(variance, expected_variance, rtol=2e-5 if dtype == np.float32 else 1e-10,
                               atol=np.finfo(dtype).eps * (1 + offset))
    known = abs(normal(rng, (c,), dtype)) + dtype(0.5)
    y = functional.batch_norm_inference(x, weight, bias, bias, known, epsilon)
    expected = reference.batch_norm_inference(*exact(x, weight, bias, bias, known), epsilon)
    assert_rounded(y, expected, 16 + 8 * offset)


@stable(200)
@given(maps, dtypes, forms, st.sampled_from([0.1, 1.0]), generators)
def test_batch_norm_backward_agrees_with_the_reference(shape, dtype, form, epsilon, rng):
    x, dy, weight = normal(rng, shape, dtype), normal(rng, shape, dtype), normal(rng, shape[1:2], dtype)
    results = functional.batch_norm_backward(form(dy), form(x), weight, epsilon)
    expected = reference.batch_norm_backward(*exact(dy, x, weight), epsilon)
    axes, count = (0, *range(2, len(shape))), x.size // shape[1]
    bound, inverse = norm_bound(x, epsilon)
    xhat = np.abs(x - x.mean(axis=axes, keepdims=True)) * inverse
    sizes = [(np.abs(dy) * (1 + xhat)).sum(axis=axes), np.abs(dy).sum(axis=axes)]
    for actual, of, size in zip(results[1:], expected[1:], sizes):
        assert actual.dtype == dtype
        assert_sums_agree(actual, of, 4 * size, count)
    means = [(size / count).reshape(1, -1, *[1] * (len(shape) - 2)) for size in sizes]
    magnitude = np.abs(weight).reshape(1, -1, *[1] * (len(shape) - 2)) * inverse * (
        np.abs(dy) + means[1] + (1 + xhat) * means[0])
    assert_sums_agree(results[0], expected[0], 16 * magnitude, 1)


@pytest.mark.parametrize("shape", [(40, 3), (5, 3, 70, 70), (33, 17, 3, 5)])
def test_batch_norm_keeps_its_digits_far_from_zero(shape):
    """The variance is taken around the mean: of numbers near 1000 with deviation 1, single-pass sums of squares have lost
    all but one digit."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) + np.float32(1000)
    _, mean, variance = functional.batch_norm_forward(x, np.ones(shape[1]), np.ones(shape[1]))
    _, expected_mean, expected = reference.batch_norm_forward(*exact(x, np.ones(shape[1]), np.ones(shape[1])))
    np.testing.assert_allclose(mean, expected_mean, rtol=2e-7)
    np.testing.assert_allclose(variance, expected, rtol=2e-5)


# ---- threads, and programs that are kept ------------------------------------------------------------------------------


@pytest.fixture
def restored_threads():
    before = _kernels.max_threads()
    yield
    config._thread_limit = None
    _kernels.set_max_threads(before)


def call_everything(rng, dtype):
    """Results of kernels that have enough work to share."""
    results = []
    for n, c, k, size, kernel, groups in [
        (8, 16, 32, (28, 28), (3, 3), 1),
        (4, 3, 20, (33, 31), (5, 5), 1),
        (37, 5, 6, (20, 19), (3, 3), 1),
        (20, 24, 24, (15, 15), (3, 3), 24),
        (3, 32, 64, (40,), (3,), 2),
        (2, 8, 16, (9, 11, 10), (3, 2, 3), 1),
    ]:
        x, w = normal(rng, (n, c, *size), dtype), normal(rng, (k, c // groups, *kernel), dtype)
        y = functional.conv_forward(x, w, padding=1, groups=groups)
        dy = normal(rng, y.shape, dtype)
        results += [y, functional.conv_backward_data(dy, w, x.shape, padding=1, groups=groups)]
        results += functional.conv_backward_weights(dy, x, w.shape, padding=1, groups=groups)
        pooled, indices = functional.max_pool_forward(y, 3, stride=2)
        results += [pooled, functional.max_pool_backward(pooled, indices, y.shape, 3, stride=2)]
        mean = functional.avg_pool_forward(y, 2)
        results += [mean, functional.avg_pool_backward(mean, y.shape, 2)]
        results += [functional.activation_forward(y, "tanh"), functional.log_softmax(y)]
        results += functional.softmax_cross_entropy(y, rng.integers(0, k, (n, *y.shape[2:])))
        results += functional.mean_squared_error(y, dy)
        results += functional.batch_norm_forward(y, np.arange(k), np.ones(k))
        results += functional.batch_norm_backward(dy, y, np.ones(k))
    x, w, dy = normal(rng, (130, 400), dtype), normal(rng, (300, 400), dtype), normal(rng, (130, 300), dtype)
    results += [functional.dense_forward(x, w), functional.dense_backward_data(dy, w)]
    results += functional.dense_backward_weights(dy, x)
    results += functional.adam_update(w, w[::-1], None, None, 1, lr=0.1)
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_bit_identical_for_any_number_of_threads(dtype, restored_threads, monkeypatch):
    monkeypatch.setattr(ThreadChoice, "threads", lambda _, limit: limit)
    runs = []
    for threads in (1, 2, 3):
        config.set_num_threads(threads)
        runs.append(call_everything(np.random.default_rng(9), dtype))
    for first, *others in zip(*runs, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("n", [3, 21])
def test_a_program_that_runs_again_remembers_nothing(n):
    """Lanes and padding that no input fills hold no NaN of the call before."""
    rng = np.random.default_rng(10)

    def call(x, w, dy):
        y, indices = functional.max_pool_forward(x, 2)
        return [
            functional.conv_forward(x, w, padding=1, stride=2),
            functional.conv_backward_data(dy, w, x.shape, padding=1, stride=2),
            *functional.conv_backward_weights(dy, x, w.shape, padding=1, stride=2),
            functional.dense_forward(x[:, :, 0, 0], w[:, :, 0, 0]),
            functional.dense_backward_data(dy[:, :, 0, 0], w[:, :, 0, 0]),
            *functional.dense_backward_weights(dy[:, :, 0, 0], x[:, :, 0, 0]),
            y,
            functional.max_pool_backward(y, indices, x.shape, 2),
            functional.avg_pool_forward(x, 3),
            functional.softmax(x),
            *functional.batch_norm_backward(x, x, x[0, :, 0, 0]),
            functional.batch_norm_inference(x, *(x[0, :, 0, :4] ** 2).T),
            *functional.mean_squared_error(x, -x),
        ]

    shapes_ = (n, 5, 7, 6), (19, 5, 3, 3), (n, 19, 4, 3)
    arrays = [rng.standard_normal(s) for s in shapes_]
    first = call(*arrays)
    call(*(np.full(s, np.nan) for s in shapes_))
    for actual, expected in zip(call(*arrays), first, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.fixture
def cache(monkeypatch):
    """A small cache of our own: 4 programs and a megabyte."""
    cache = functional.programs.ProgramCache(4, 2**20)
    monkeypatch.setattr(functional.programs, "cache", cache)
    return cache


def test_programs_are_kept_and_the_oldest_dropped(cache, monkeypatch):
    laid_out = []
    prepared = functional.programs.Prepared
    monkeypatch.setattr(functional.programs, "Prepared", lambda *a: laid_out.append(1) or prepared(*a))
    for n in (1, 2, 3, 4, 1, 5, 1, 2):
        functional.multiply(np.ones(n), np.ones(n))
    assert len(laid_out) == 6  # 1 to 5, and 2 again, which had become the oldest
    assert len(cache) == 4
    functional.multiply(np.ones(2, np.float32), np.ones(2, np.float32))
    assert len(laid_out) == 7


def test_programs_are_bounded_by_their_memory_together(cache):
    for n in range(100, 110):
        functional.multiply(np.ones((n, 100)), np.ones((n, 100)))
        assert 0 < cache.nbytes <= 2**20
    assert len(cache) == 4
    kept = cache.nbytes
    functional.multiply(np.ones((1000, 100)), np.ones((1000, 100)))
    assert cache.nbytes == kept  # too large to keep, and no reason to drop others
    functional.multiply(np.ones((400, 100)), np.ones((400, 100)))
    assert len(cache) == 1


def test_a_program_in_use_is_not_shared_and_is_kept_after_use(cache):
    functional.multiply([2.0], [3.0])
    (key,) = cache._programs
    mine = cache.take(key)
    assert len(cache) == cache.nbytes == 0
    functional.multiply([2.0], [3.0])
    assert len(cache) == 1
    cache.put(key, mine)
    assert len(cache) == 1 and cache.nbytes == mine.nbytes


def test_threads_of_python_may_call_at_once():
    rng = np.random.default_rng(11)
    w = rng.standard_normal((4, 3, 3, 3))
    xs = [rng.standard_normal((2, 3, 30, 30)) for _ in range(32)]
    expected = [functional.conv_forward(x, w) for x in xs]
    with ThreadPoolExecutor(4) as pool:
        for actual, right in zip(pool.map(lambda x: functional.conv_forward(x, w), xs), expected):
            np.testing.assert_array_equal(actual, right)


# ---- dtypes and empty batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x_type, w_type, expected",
    [
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (">f8", np.float32, np.float64),
        (np.float16, np.float16, np.float32),
        (np.int64, bool, np.float32),
        (np.longdouble, np.float32, np.float32),
    ],
)
def test_the_arithmetic_is_float64_if_any_array_is(x_type, w_type, expected):
    x, w = np.ones((1, 2, 3), x_type), np.ones((1, 2, 2), w_type)
    y = functional.conv_forward(x, w)
    assert y.dtype == expected
    np.testing.assert_array_equal(y, [[[4, 4]]])


def test_lists_of_numbers_are_float32():
    assert functional.dense_forward([[1, 2]], [[3.5, 4]]).dtype == np.float32
    assert functional.dense_forward(np.ones((1, 2)), [[3.5, 4]]).dtype == np.float64


def test_an_empty_batch_gives_empty_results():
    x, w, dy = np.ones((0, 4, 6, 5)), np.ones((2, 4, 3, 3)), np.ones((0, 2, 4, 3))
    assert functional.conv_forward(x, w).shape == (0, 2, 4, 3)
    assert functional.conv_backward_data(dy, w, x.shape).shape == x.shape
    assert functional.conv_transpose_forward(dy, w).shape == x.shape
    dw, db = functional.conv_backward_weights(dy, x, w.shape)
    np.testing.assert_array_equal(dw, np.zeros_like(w))
    np.testing.assert_array_equal(db, [0, 0])
    y, indices = functional.max_pool_forward(x, 2)
    assert y.shape == indices.shape == (0, 4, 3, 2)
    assert functional.max_pool_backward(y, indices, x.shape).shape == x.shape
    assert functional.max_pool_backward(y, indices, x.shape, 2).shape == x.shape
    assert functional.avg_pool_backward(functional.avg_pool_forward(x, 2), x.shape, 2).shape == x.shape
    assert functional.global_avg_pool_forward(x).shape == (0, 4, 1, 1)
    assert functional.dense_forward(x[:, :, 0, 0], w[:, :, 0, 0]).shape == (0, 2)
    np.testing.assert_array_equal(functional.dense_backward_weights(dy[:, :, 0, 0], x[:, :, 0, 0])[0], np.zeros((2, 4)))
    y, mean, variance = functional.batch_norm_forward(x, np.ones(4), np.ones(4))
    assert y.shape == functional.batch_norm_backward(x, x, np.ones(4))[0].shape == x.shape
    assert functional.softmax(x).shape == functional.activation_forward(x, "relu").shape == x.shape
    assert functional.add(x, x).shape == functional.multiply(x, x).shape == x.shape
    loss, gradient = functional.softmax_cross_entropy(np.ones((0, 3)), np.ones(0, int))
    assert math.isnan(loss) and gradient.shape == (0, 3)


# ---- bad input --------------------------------------------------------------------------------------------------------

X, W, B = np.ones((2, 4, 8, 8)), np.ones((6, 4, 3, 3)), np.ones(6)
Y = np.ones((2, 6, 6, 6))
HUGE = 2**40


@pytest.mark.parametrize(
    "name, arguments, parameters, error, message",
    [
        ("conv_forward", (X[0, 0], W), {}, ValueError, r"x must have 3 or 4 or 5 axes, got shape \(8, 8\)"),
        ("conv_forward", (X, W[0]), {}, ValueError, r"weights of an input \(2, 4, 8, 8\) must have 4 axes"),
        ("conv_forward", (X * 1j, W), {}, TypeError, "x must hold real numbers, got dtype complex128"),
        ("conv_forward", (X, W.astype(object)), {}, TypeError, "w must hold real numbers, got dtype object"),
        ("conv_forward", (X, W.astype(str)), {}, TypeError, "w must hold real numbers"),
        ("conv_forward", (X[:, :3], W), {}, ValueError, "in 1 groups read 4 channels; the input has 3"),
        ("conv_forward", (X[:, :0], W), {}, ValueError, "x must have at least one channel and position"),
        ("conv_forward", (X[..., :0], W), {}, ValueError, "x must have at least one channel and position"),
        ("conv_forward", (X, W[:0]), {}, ValueError, "weights must not be empty"),
        ("conv_transpose_forward", (Y, W[:, :0]), {}, ValueError, "weights must not be empty"),
        (
            "conv_forward",
            (X, W),
            {"groups": 4},
            ValueError,
            "the filters of weights .* must be a multiple of groups, 4",
        ),
        ("conv_forward", (X, W), {"groups": 2}, ValueError, "in 2 groups read 8 channels; the input has 4"),
        ("conv_forward", (X, W), {"groups": 0}, ValueError, "groups must be at least 1, got 0"),
        ("conv_forward", (X, W), {"groups": 1.0}, TypeError, "groups must be an integer, got 1.0"),
        ("conv_forward", (X, W), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ("conv_forward", (X, W), {"stride": (1, 2, 3)}, ValueError, "stride has 3 values"),
        ("conv_forward", (X, W), {"stride": math.nan}, TypeError, "stride must be an integer, got nan"),
        ("conv_forward", (X, W), {"dilation": -1}, ValueError, "dilation must be at least 1, got -1"),
        ("conv_forward", (X, W), {"dilation": True}, TypeError, "dilation must be an integer, got True"),
        ("conv_forward", (X, W), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ("conv_forward", (X, W), {"padding": "full"}, ValueError, '"same" or "valid"'),
        ("conv_forward", (X[..., :2], W), {}, ValueError, "kernel 3x3 does not fit its input 8x2; pad it or use"),
        ("conv_forward", (X, W), {"dilation": 4}, ValueError, "kernel 3x3 dilated to 9x9 does not fit its input 8x8"),
        ("conv_forward", (X, W, B[:5]), {}, ValueError, r"b must have shape \(6,\), got \(5,\)"),
        ("conv_forward", (X, W), {"padding": HUGE}, ValueError, "the output of shape .* is too large"),
        ("conv_backward_data", (Y[:, :5], W, X.shape), {}, ValueError, r"dy must have shape \(2, 6, 6, 6\), got"),
        ("conv_backward_data", (Y, W, (2, 4, 8)), {}, ValueError, r"an input \(2, 4, 8\) must have 3 axes"),
        ("conv_backward_data", (Y, W, (2, 4, 8, 8.0)), {}, TypeError, "x_shape must be an integer, got 8.0"),
        ("conv_backward_data", (Y, W, 8), {}, TypeError, "x_shape must be a tuple of integers, got 8"),
        ("conv_backward_data", (Y, W, (2, 4, HUGE, HUGE)), {}, ValueError, "x_shape of shape .* is too large"),
        ("conv_backward_weights", (Y, X, (6, 4, 2, 3)), {}, ValueError, r"dy must have shape \(2, 6, 7, 6\), got"),
        ("conv_backward_weights", (Y, X, (6, 4, 0, 3)), {}, ValueError, "w_shape must have at least one"),
        ("conv_transpose_forward", (Y, W[:5]), {}, ValueError, "read 5 channels; the input has 6"),
        ("conv_transpose_forward", (Y, W), {"output_padding": 1}, ValueError, "output_padding must be less than"),
        ("conv_transpose_forward", (Y, W), {"padding": 4}, ValueError, "leaves nothing of an output 8x8"),
        ("conv_transpose_forward", (Y, W, B), {}, ValueError, r"b must have shape \(4,\), got \(6,\)"),
        ("conv_transpose_forward", (Y, W), {"stride": HUGE}, ValueError, "stride must be at most 2147483647"),
        ("conv_transpose_backward_data", (X[:1], W, Y.shape), {}, ValueError, r"dy must have shape \(2, 4, 8, 8\)"),
        ("conv_transpose_backward_weights", (X, Y, W.shape), {"groups": 4}, ValueError, "input channels of weights"),
        ("dense_forward", (X, W), {}, ValueError, "x must have 2 axes"),
        ("dense_forward", (X[:, :, 0, 0], W[:, :3, 0, 0]), {}, ValueError, "read 3 features; the input has 4"),
        ("dense_forward", (X[:, :, 0, 0], W[:0, :, 0, 0]), {}, ValueError, "w must not be empty"),
        ("dense_backward_data", (B[None], X[:, :, 0, 0]), {}, ValueError, "make 2 outputs; the gradient has 6"),
        ("dense_backward_weights", (B[None], X[:, :, 0, 0]), {}, ValueError, "the same number of samples"),
        ("max_pool_forward", (X, 9), {}, ValueError, "kernel 9x9 does not fit its input 8x8"),
        ("max_pool_forward", (X, 2), {"padding": 2}, ValueError, "would hold nothing but padding"),
        ("max_pool_forward", (X, (2, 2, 2)), {}, ValueError, "kernel_size has 3 values"),
        ("max_pool_forward", (X, 2.0), {}, TypeError, "kernel_size must be an integer, got 2.0"),
        ("avg_pool_forward", (X, 2), {"stride": 0}, ValueError, "stride must be at least 1"),
        ("avg_pool_backward", (X, X.shape, 2), {}, ValueError, r"dy must have shape \(2, 4, 4, 4\)"),
        ("max_pool_backward", (X, X, X.shape), {}, TypeError, "indices must be integers, got dtype float64"),
        (
            "max_pool_backward",
            (X, X.astype(int) * 64, X.shape),
            {},
            ValueError,
            r"indices must lie in 0 ... 63, got 64",
        ),
        ("max_pool_backward", (X, X.astype(int), (2, 3, 8, 8)), {}, ValueError, r"dy must have shape \(2, 3\)"),
        ("global_max_pool_backward", (X, X.astype(int), X.shape), {}, ValueError, r"dy must have shape \(2, 4, 1, 1\)"),
        ("activation_forward", (X, "sine"), {}, ValueError, "activation must be one of identity, relu, .*, got 'sine'"),
        ("activation_forward", (X, "elu", -1), {}, ValueError, "elu: alpha must be a finite number of at least 0"),
        ("activation_forward", (X, "elu", "1"), {}, TypeError, "elu: alpha must be a number, got '1'"),
        ("activation_backward", (X, Y, "relu"), {}, ValueError, r"dy must have shape \(2, 6, 6, 6\)"),
        ("softmax", (X, 4), {}, ValueError, "axis 4 is out of range for an array of 4 axes"),
        ("softmax", (X, 1.0), {}, TypeError, "axis must be an integer"),
        ("log_softmax_backward", (X, Y), {}, ValueError, "dy must have shape"),
        ("add", (), {}, ValueError, "at least one array"),
        ("add", (X, Y), {}, ValueError, "arrays of one shape are expected"),
        ("multiply", (X, B), {}, ValueError, "arrays of one shape are expected"),
        ("concat", ([X, Y],), {}, ValueError, "differ along axis 1 only"),
        ("concat", ([X, X[0]],), {}, ValueError, "differ along axis 1 only"),
        ("concat", ([],), {}, ValueError, "at least one array"),
        ("concat_backward", (X, (1, 2)), {}, ValueError, r"sizes \(1, 2\) must add up to 4"),
        ("concat_backward", (X, (5, -1)), {}, ValueError, "a size must be at least 0"),
        ("softmax_cross_entropy", (W[..., 0, 0], B), {}, TypeError, "labels must be integers, got dtype float64"),
        (
            "softmax_cross_entropy",
            (W[..., 0, 0], np.arange(6)),
            {},
            ValueError,
            "labels must lie in 0 ... 3, got 0 ... 5",
        ),
        ("softmax_cross_entropy", (W[..., 0, 0], [0, 1]), {}, ValueError, r"labels must have shape \(6,\)"),
        ("softmax_cross_entropy", (W[..., 0, 0], [0] * 6, [1, 2]), {}, ValueError, "sample_weights must have shape"),
        ("softmax_cross_entropy", (W[..., 0, 0], [0] * 6, None, B), {}, ValueError, "class_weights must have shape"),
        ("mean_squared_error", (X, Y), {}, ValueError, "target must have shape"),
        ("batch_norm_forward", (X, B, B), {}, ValueError, r"weight must have shape \(4,\), got \(6,\)"),
        ("batch_norm_forward", (X, B[:4], B), {}, ValueError, r"bias must have shape \(4,\)"),
        ("batch_norm_forward", (X, B[:4], B[:4], -1), {}, ValueError, "epsilon must be a finite number of at least 0"),
        ("batch_norm_inference", (X, B[:4], B[:4], B, B), {}, ValueError, "running_mean must have shape"),
        ("batch_norm_backward", (Y, X, B[:4]), {}, ValueError, "dy must have shape"),
        ("sgd_update", (X, Y), {"lr": 1}, ValueError, "g must have shape"),
        ("sgd_update", (X, X), {"lr": math.nan}, ValueError, "lr must be a finite number of at least 0, got nan"),
        ("sgd_update", (X, X), {"lr": "fast"}, TypeError, "lr must be a number, got 'fast'"),
        ("sgd_update", (X, X), {"lr": 1, "momentum": -1}, ValueError, "momentum must be a finite number of at least 0"),
        ("adam_update", (X, X, X, X, 0), {"lr": 1}, ValueError, "t must be at least 1, got 0"),
        ("adam_update", (X, X, X, X, 1), {"lr": 1, "beta1": 1}, ValueError, "beta1 and beta2 must be less than 1"),
        ("rmsprop_update", (X, X, Y), {"lr": 1}, ValueError, "s must have shape"),
    ],
)
def test_bad_input_is_refused_before_any_work(name, arguments, parameters, error, message, monkeypatch):
    monkeypatch.setattr(functional.programs, "run", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(error, match=message):
        getattr(functional, name)(*arguments, **parameters)


def test_every_function_takes_the_arguments_of_the_reference():
    for name in functional.__all__:
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (functional, reference))
        assert list(ours)[: len(theirs)] == list(theirs)


def test_every_function_of_the_reference_is_here():
    kernels = {name for name in vars(reference) if callable(getattr(reference, name)) and not name.startswith("_")}
    assert kernels - set(functional.__all__) <= set(vars(shapes))


def test_the_reference_is_not_imported_by_the_library():
    assert "reference" not in vars(functional) and "reference" not in vars(sys.modules["pycnn.config"])
