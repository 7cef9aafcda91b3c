"""pycnn.reference against loops over pixels, adjoints, finite differences, known answers and PyTorch."""

import doctest
import importlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycnn import reference as R

EXAMPLES = settings(max_examples=150, deadline=None)
ACTIVATIONS = ["identity", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "scaled_tanh", "softplus", "selu"]


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def numerical_gradient(f, x, step=1e-6):
    """Central differences of the scalar f at x."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (f(up) - f(down)) / (2 * step)
    return gradient


def assert_gradient(f, dx, x):
    np.testing.assert_allclose(dx, numerical_gradient(f, x), rtol=1e-6, atol=1e-8)


# ---- one pixel at a time -------------------------------------------------------------------------------


def position(q, tap, stride, dilation, pads):
    return tuple(i * s + t * d - before for i, t, s, d, (before, _) in zip(q, tap, stride, dilation, pads))


def inside(p, size):
    return all(0 <= i < n for i, n in zip(p, size))


def conv_pixels(x, w, b, out, stride, dilation, pads, groups):
    y = np.zeros((len(x), len(w), *out))
    for n, k in np.ndindex(y.shape[:2]):
        first = k // (len(w) // groups) * w.shape[1]
        for q in np.ndindex(out):
            y[(n, k, *q)] = b[k]
            for c, *tap in np.ndindex(w.shape[1:]):
                p = position(q, tap, stride, dilation, pads)
                if inside(p, x.shape[2:]):
                    y[(n, k, *q)] += w[(k, c, *tap)] * x[(n, first + c, *p)]
    return y


def conv_transpose_pixels(x, w, b, out, stride, dilation, pads, groups):
    y = np.zeros((len(x), len(b), *out)) + b.reshape(-1, *[1] * len(out))
    for n, c, *q in np.ndindex(x.shape):
        first = c // (len(w) // groups) * w.shape[1]
        for k, *tap in np.ndindex(w.shape[1:]):
            p = position(q, tap, stride, dilation, pads)
            if inside(p, out):
                y[(n, first + k, *p)] += w[(c, k, *tap)] * x[(n, c, *q)]
    return y


def windows(size, kernel, out, stride, dilation, pads):
    """Every output position, and the positions that its window holds, in row order."""
    for q in np.ndindex(out):
        yield q, [position(q, tap, stride, dilation, pads) for tap in np.ndindex(kernel)]


@st.composite
def slides(draw, dilations=2):
    """A kernel that fits its padded input, in one to three dimensions."""
    rank = draw(st.integers(1, 3))

    def axes(least, most):
        return tuple(draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank)))

    kernel, stride, dilation = axes(1, 3), axes(1, 3), axes(1, dilations)
    pads = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    spare = axes(0, 3)
    size = tuple(max(1, d * (k - 1) + 1 - sum(pad)) + s
                 for k, d, pad, s in zip(kernel, dilation, pads, spare))
    return size, kernel, stride, dilation, pads


def convolved(size, kernel, stride, dilation, pads):
    return tuple(len(range(-before, i + after - d * (k - 1), s))
                 for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads))


@EXAMPLES
@given(slides(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_convolution_equals_its_definition_pixel_by_pixel(slide, groups, c, k):
    size, kernel, stride, dilation, pads = slide
    x, w, b = normal(2, groups * c, *size), normal(groups * k, c, *kernel, seed=1), normal(groups * k, seed=2)
    out = convolved(*slide)
    y = R.conv_forward(x, w, b, stride=stride, padding=pads, dilation=dilation, groups=groups)
    expected = conv_pixels(x, w, b, out, stride, dilation, pads, groups)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@EXAMPLES
@given(slides(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(0, 1))
def test_transposed_convolution_equals_its_definition_pixel_by_pixel(slide, groups, c, k, extra):
    _, kernel, stride, dilation, pads = slide
    size = convolved(*slide)
    extra = tuple(min(extra, max(s, d) - 1) for s, d in zip(stride, dilation))
    out = tuple((i - 1) * s + d * (r - 1) + 1 - sum(pad) + e
                for i, r, s, d, pad, e in zip(size, kernel, stride, dilation, pads, extra))
    x, w, b = normal(2, groups * c, *size), normal(groups * c, k, *kernel, seed=1), normal(groups * k, seed=2)
    options = {"stride": stride, "padding": pads, "output_padding": extra, "dilation": dilation}
    if min(out) < 1:
        with pytest.raises(ValueError, match="nothing is left"):
            R.conv_transpose_forward(x, w, b, groups=groups, **options)
        return
    y = R.conv_transpose_forward(x, w, b, groups=groups, **options)
    expected = conv_transpose_pixels(x, w, b, out, stride, dilation, pads, groups)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert R.conv_transpose_output_shape(size, kernel, **options) == out


@EXAMPLES
@given(slides(), st.booleans(), st.randoms(use_true_random=False))
def test_max_pooling_equals_its_definition_pixel_by_pixel(slide, ceil_mode, random):
    size, kernel, stride, dilation, pads = slide
    x = np.array([random.choice([-math.inf, -1.0, 0.0, 2.0, math.nan]) for _ in range(2 * math.prod(size))])
    x = x.reshape(1, 2, *size)
    out = R.pool_output_shape(size, kernel, stride, pads, dilation, ceil_mode)
    held = [(q, [p for p in window if inside(p, size)])
            for q, window in windows(size, kernel, out, stride, dilation, pads)]
    if not all(window for _, window in held):
        with pytest.raises(ValueError, match="nothing but padding"):
            R.max_pool_forward(x, kernel, stride, pads, dilation, ceil_mode)
        return
    y, indices = R.max_pool_forward(x, kernel, stride, pads, dilation, ceil_mode)
    assert y.shape == indices.shape == (1, 2, *out) and indices.dtype == np.int64
    dy = normal(*y.shape)
    dx = np.zeros_like(x)
    for c, (q, window) in itertools.product(range(2), held):
        values = [x[(0, c, *p)] for p in window]
        nans = [i for i, value in enumerate(values) if math.isnan(value)]
        best = nans[0] if nans else values.index(max(values))
        assert indices[(0, c, *q)] == np.ravel_multi_index(window[best], size)
        np.testing.assert_equal(y[(0, c, *q)], values[best])
        dx[(0, c, *window[best])] += dy[(0, c, *q)]
    np.testing.assert_allclose(R.max_pool_backward(dy, indices, x.shape), dx, rtol=1e-12, atol=1e-12)


@EXAMPLES
@given(slides(dilations=1), st.booleans(), st.booleans())
def test_average_pooling_equals_its_definition_pixel_by_pixel(slide, ceil_mode, count_include_pad):
    size, kernel, stride, dilation, pads = slide
    x = normal(1, 2, *size)
    rules = (kernel, stride, pads, ceil_mode, count_include_pad)
    y = R.avg_pool_forward(x, *rules)
    dy = normal(*y.shape, seed=1)
    dx = np.zeros_like(x)
    padded = tuple(i + sum(pad) for i, pad in zip(size, pads))
    for q, window in windows(size, kernel, y.shape[2:], stride, dilation, pads):
        held = [p for p in window if inside(p, size)]
        in_padded = [p for p in window if inside([i + pad[0] for i, pad in zip(p, pads)], padded)]
        count = len(in_padded if count_include_pad else held)
        for c in range(2):
            np.testing.assert_allclose(y[(0, c, *q)], sum(x[(0, c, *p)] for p in held) / count, atol=1e-13)
            for p in held:
                dx[(0, c, *p)] += dy[(0, c, *q)] / count
    np.testing.assert_allclose(R.avg_pool_backward(dy, x.shape, *rules), dx, rtol=1e-12, atol=1e-12)


# ---- sizes and padding ---------------------------------------------------------------------------------


@EXAMPLES
@given(slides(), st.booleans())
def test_pooling_covers_the_input_once_in_ceil_mode_and_never_starts_behind_it(slide, ceil_mode):
    size, kernel, stride, dilation, pads = slide
    floor = convolved(*slide)
    out = R.pool_output_shape(size, kernel, stride, pads, dilation, ceil_mode)
    for i, k, s, d, (before, after), few, many in zip(size, kernel, stride, dilation, pads, floor, out):
        last_reached = (few - 1) * s + d * (k - 1) + 1 == i + before + after
        if not ceil_mode or last_reached or few * s >= i + before:
            assert many == few
        else:
            assert many == few + 1


@EXAMPLES
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_gives_the_size_over_the_stride_rounded_up_with_odd_padding_after(
        size, kernel, stride, dilation):
    ((before, after),) = R.resolve_padding("same", (size,), kernel, stride, dilation)
    assert after - before in (0, 1)
    out = R.conv_output_shape((size,), kernel, stride, "same", dilation)
    assert out == (math.ceil(size / stride),)
    assert R.pool_output_shape((size,), kernel, stride, "same", dilation, ceil_mode=True) == out


@EXAMPLES
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_same_transposed_convolution_is_the_adjoint_of_a_same_convolution_from_in_times_stride(
        size, kernel, stride, dilation):
    x, w, big = normal(1, 2, size), normal(2, 3, kernel, seed=1), normal(1, 3, size * stride, seed=2)
    options = {"stride": stride, "padding": "same", "dilation": dilation}
    y = R.conv_transpose_forward(x, w, **options)
    assert y.shape == big.shape
    np.testing.assert_allclose((y * big).sum(), (x * R.conv_forward(big, w, **options)).sum(), atol=1e-12)


def test_padding_takes_all_its_forms():
    assert R.resolve_padding(2, (9, 9), 3) == ((2, 2), (2, 2))
    assert R.resolve_padding((1, 2), (9, 9), 3) == ((1, 1), (2, 2))
    assert R.resolve_padding(((1, 2), (0, 3)), (9, 9), 3) == ((1, 2), (0, 3))
    assert R.resolve_padding(((1, 2),), (9,), 3) == ((1, 2),)
    assert R.resolve_padding("valid", (9, 9), 3) == ((0, 0), (0, 0))
    assert R.resolve_padding("same", (9, 9), (3, 4)) == ((1, 1), (1, 2))


def test_sizes_of_lenet5_are_those_of_its_paper():
    c1 = R.conv_output_shape((32, 32), (5, 5))
    s2 = R.pool_output_shape(c1, 2)
    c3 = R.conv_output_shape(s2, 5)
    s4 = R.pool_output_shape(c3, (2, 2))
    c5 = R.conv_output_shape(s4, 5)
    assert [c1, s2, c3, s4, c5] == [(28, 28), (14, 14), (10, 10), (5, 5), (1, 1)]


@pytest.mark.parametrize("call, message", [
    (lambda: R.conv_forward(np.ones((1, 1, 4, 4)), np.ones((1, 1, 5, 5))), "does not fit"),
    (lambda: R.conv_forward(np.ones((1, 3, 4, 4)), np.ones((1, 2, 3, 3))), "channels"),
    (lambda: R.conv_forward(np.ones((1, 4, 4, 4)), np.ones((3, 2, 3, 3)), groups=2), "multiple of groups"),
    (lambda: R.conv_forward(np.ones((1, 1, 4)), np.ones((1, 1, 3, 3))), "rank"),
    (lambda: R.conv_forward(np.ones((1, 1, 4)), np.ones((1, 1, 3)), np.ones(2)), "b must have shape"),
    (lambda: R.conv_forward(np.ones((1, 1, 4)), np.ones((1, 1, 3)), stride=0), "stride"),
    (lambda: R.conv_forward(np.ones((1, 1, 4)), np.ones((1, 1, 3)), padding=-1), "padding"),
    (lambda: R.conv_forward(np.ones((1, 1, 4)), np.ones((1, 1, 3)), padding=(1, 1)), "padding"),
    (lambda: R.conv_forward(np.ones((1, 1, 4)), np.ones((1, 1, 3)), padding="full"), "padding"),
    (lambda: R.conv_backward_data(np.ones((1, 1, 3)), np.ones((1, 1, 3)), (1, 1, 4)), "shape of the output"),
    (lambda: R.conv_transpose_forward(np.ones((1, 1, 1)), np.ones((1, 1, 2)), padding=1), "nothing is left"),
    (lambda: R.conv_transpose_output_shape((3,), 2, 2, "same", output_padding=1), "output_padding"),
    (lambda: R.conv_transpose_output_shape((3,), 2, 2, output_padding=2), "output_padding"),
    (lambda: R.max_pool_forward(np.ones((1, 1, 4)), 2, padding=2), "nothing but padding"),
    (lambda: R.avg_pool_forward(np.ones((1, 1, 4)), 5), "does not fit"),
    (lambda: R.activation_forward(np.ones(3), "sinus"), "sinus"),
    (lambda: R.activation_forward(np.ones(3), "elu", alpha=-1.0), "alpha"),
    (lambda: R.add(np.ones(3), np.ones((3, 1))), "one shape"),
    (lambda: R.concat_backward(np.ones((2, 5)), (2, 2)), "add up to 5"),
    (lambda: R.mean_squared_error(np.ones(3), np.ones((3, 1))), "one shape"),
    (lambda: R.softmax_cross_entropy(np.ones((2, 3)), np.array([0, 3])), "0 ... 2"),
    (lambda: R.softmax_cross_entropy(np.ones((2, 3)), np.array([[0, 1]])), "labels"),
    (lambda: R.softmax_cross_entropy(np.ones((2, 3)), np.array([0, 1]), np.ones(3)), "sample_weights"),
    (lambda: R.softmax_cross_entropy(np.ones((2, 3)), np.array([0, 1]), None, np.ones(2)), "class_weights"),
])
def test_arguments_that_do_not_fit_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- convolution ---------------------------------------------------------------------------------------


@EXAMPLES
@given(slides(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_convolution_gradients_are_its_adjoints(slide, groups, c, k):
    size, kernel, stride, dilation, pads = slide
    options = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    x, w, b = normal(2, groups * c, *size), normal(groups * k, c, *kernel, seed=1), normal(groups * k, seed=2)
    y = R.conv_forward(x, w, **options)
    dy = normal(*y.shape, seed=3)
    dx = R.conv_backward_data(dy, w, x.shape, **options)
    dw, db = R.conv_backward_weights(dy, x, w.shape, **options)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, b.shape)
    product = (y * dy).sum()
    np.testing.assert_allclose([(x * dx).sum(), (w * dw).sum()], product, rtol=1e-10, atol=1e-10)
    with_bias = R.conv_forward(x, w, b, **options)
    np.testing.assert_allclose(((with_bias - y) * dy).sum(), (b * db).sum(), rtol=1e-10, atol=1e-10)


@EXAMPLES
@given(slides(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_transposed_convolution_gradients_are_its_adjoints(slide, groups, c, k, extra):
    _, kernel, stride, dilation, pads = slide
    size = tuple(3 + i for i in range(len(kernel)))
    extra = tuple(min(extra, max(s, d) - 1) for s, d in zip(stride, dilation))
    options = {"stride": stride, "padding": pads, "output_padding": extra, "dilation": dilation,
               "groups": groups}
    x, w, b = normal(2, groups * c, *size), normal(groups * c, k, *kernel, seed=1), normal(groups * k, seed=2)
    y = R.conv_transpose_forward(x, w, **options)
    dy = normal(*y.shape, seed=3)
    dx = R.conv_transpose_backward_data(dy, w, x.shape, **options)
    dw, db = R.conv_transpose_backward_weights(dy, x, w.shape, **options)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, b.shape)
    product = (y * dy).sum()
    np.testing.assert_allclose([(x * dx).sum(), (w * dw).sum()], product, rtol=1e-10, atol=1e-10)
    with_bias = R.conv_transpose_forward(x, w, b, **options)
    np.testing.assert_allclose(((with_bias - y) * dy).sum(), (b * db).sum(), rtol=1e-10, atol=1e-10)


def test_convolution_gradients_equal_finite_differences():
    options = {"stride": (2, 1), "padding": ((1, 0), (1, 2)), "dilation": (1, 2), "groups": 2}
    x, w, b = normal(2, 4, 4, 5), normal(6, 2, 3, 2, seed=1), normal(6, seed=2)
    dy = normal(*R.conv_forward(x, w, b, **options).shape, seed=3)

    def product(x, w, b):
        return (R.conv_forward(x, w, b, **options) * dy).sum()

    dw, db = R.conv_backward_weights(dy, x, w.shape, **options)
    assert_gradient(lambda x: product(x, w, b), R.conv_backward_data(dy, w, x.shape, **options), x)
    assert_gradient(lambda w: product(x, w, b), dw, w)
    assert_gradient(lambda b: product(x, w, b), db, b)


def test_transposed_convolution_gradients_equal_finite_differences():
    options = {"stride": (2, 1), "padding": ((1, 0), (1, 1)), "output_padding": (1, 0), "dilation": (1, 2),
               "groups": 2}
    x, w, b = normal(2, 4, 3, 3), normal(4, 3, 3, 2, seed=1), normal(6, seed=2)
    dy = normal(*R.conv_transpose_forward(x, w, b, **options).shape, seed=3)

    def product(x, w, b):
        return (R.conv_transpose_forward(x, w, b, **options) * dy).sum()

    dw, db = R.conv_transpose_backward_weights(dy, x, w.shape, **options)
    assert_gradient(lambda x: product(x, w, b), R.conv_transpose_backward_data(dy, w, x.shape, **options), x)
    assert_gradient(lambda w: product(x, w, b), dw, w)
    assert_gradient(lambda b: product(x, w, b), db, b)


def test_convolution_does_not_flip_its_kernel():
    x = np.array([[[1.0, 2.0, 4.0, 8.0]]])
    w = np.array([[[1.0, 10.0]]])
    assert R.conv_forward(x, w).tolist() == [[[21.0, 42.0, 84.0]]]
    assert R.conv_forward(x, w, np.array([0.5]), stride=2, padding=1).tolist() == [[[10.5, 42.5, 8.5]]]


def test_a_filter_as_deep_as_its_input_collapses_to_one_map():
    x = np.arange(12.0).reshape(1, 3, 2, 2)
    assert R.conv_forward(x, np.ones((1, 3, 2, 2))).tolist() == [[[[66.0]]]]


def test_transposed_convolution_adds_up_where_copies_of_the_kernel_overlap():
    x, w = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0, 100.0]]])
    assert R.conv_transpose_forward(x, w, stride=2).tolist() == [[[1.0, 10.0, 102.0, 20.0, 200.0]]]
    assert R.conv_transpose_forward(x, w, stride=2, padding=1).tolist() == [[[10.0, 102.0, 20.0]]]


def test_output_padding_extends_what_is_computed_and_does_not_append_zeros():
    x, w = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0, 100.0]]])
    y = R.conv_transpose_forward(x, w, stride=2, padding=1, output_padding=1)
    assert y.tolist() == [[[10.0, 102.0, 20.0, 200.0]]]


def test_transposed_convolution_of_kernel_2_stride_2_has_no_overlap():
    x, w = normal(1, 1, 3, 3), normal(1, 1, 2, 2, seed=1)
    y = R.conv_transpose_forward(x, w, stride=2)
    np.testing.assert_allclose(y[0, 0], np.kron(x[0, 0], w[0, 0]))


def test_dense_gradients_equal_finite_differences():
    x, w, b, dy = normal(3, 4), normal(5, 4, seed=1), normal(5, seed=2), normal(3, 5, seed=3)
    dw, db = R.dense_backward_weights(dy, x)
    assert_gradient(lambda x: (R.dense_forward(x, w, b) * dy).sum(), R.dense_backward_data(dy, w), x)
    assert_gradient(lambda w: (R.dense_forward(x, w, b) * dy).sum(), dw, w)
    assert_gradient(lambda b: (R.dense_forward(x, w, b) * dy).sum(), db, b)


def test_dense_layer_equals_a_1x1_convolution():
    x, w, b = normal(3, 4), normal(5, 4, seed=1), normal(5, seed=2)
    y = R.conv_forward(x[:, :, None], w[:, :, None], b)
    np.testing.assert_allclose(R.dense_forward(x, w, b), y[:, :, 0], rtol=1e-12)


# ---- pooling -------------------------------------------------------------------------------------------


def test_max_pooling_ties_go_to_the_first_in_row_order():
    y, indices = R.max_pool_forward(np.array([[[[1.0, 3.0], [3.0, 3.0]]]]), 2)
    assert (y.item(), indices.item()) == (3.0, 1)


def test_nan_wins_in_max_pooling():
    y, indices = R.max_pool_forward(np.array([[[1.0, math.nan, math.inf, 2.0]]]), 2)
    assert math.isnan(y[0, 0, 0]) and y[0, 0, 1] == math.inf
    assert indices.tolist() == [[[1, 2]]]


def test_padding_never_wins_in_max_pooling():
    y, indices = R.max_pool_forward(np.array([[[-math.inf, -2.0, -math.inf]]]), 2, padding=1)
    assert y.tolist() == [[[-math.inf, -2.0]]]
    assert indices.tolist() == [[[0, 1]]]


def test_overlapping_max_windows_add_their_gradients():
    x = np.array([[[1.0, 5.0, 2.0]]])
    _, indices = R.max_pool_forward(x, 2, stride=1)
    assert R.max_pool_backward(np.array([[[10.0, 7.0]]]), indices, x.shape).tolist() == [[[0.0, 17.0, 0.0]]]


def test_average_pooling_counts_padding_as_told_and_never_the_overhang():
    x = np.array([[[3.0, 6.0, 9.0, 12.0]]])
    assert R.avg_pool_forward(x, 3, 2, padding=1).tolist() == [[[3.0, 9.0]]]
    assert R.avg_pool_forward(x, 3, 2, padding=1, count_include_pad=False).tolist() == [[[4.5, 9.0]]]
    assert R.avg_pool_forward(x, 3, 2, padding=1, ceil_mode=True).tolist() == [[[3.0, 9.0, 6.0]]]
    assert R.avg_pool_forward(x[:, :, :3], 2, ceil_mode=True).tolist() == [[[4.5, 9.0]]]


def test_a_window_that_would_start_in_the_padding_after_is_dropped():
    assert R.pool_output_shape((4,), 2, 2, padding=1, ceil_mode=True) == (3,)
    assert R.pool_output_shape((4,), 2, 3, padding=1, ceil_mode=True) == (2,)
    assert R.pool_output_shape((4,), 1, 5, padding=((0, 0),), ceil_mode=True) == (1,)


@pytest.mark.parametrize("size", [(5,), (2, 3), (2, 1, 3)])
def test_global_pooling_equals_pooling_with_a_window_of_everything(size):
    x, dy = normal(2, 3, *size), normal(2, 3, *[1] * len(size), seed=1)
    np.testing.assert_allclose(R.global_avg_pool_forward(x), R.avg_pool_forward(x, size), rtol=1e-12)
    dx = R.avg_pool_backward(dy, x.shape, size)
    np.testing.assert_allclose(R.global_avg_pool_backward(dy, x.shape), dx, rtol=1e-12)
    y, indices = R.global_max_pool_forward(x)
    np.testing.assert_array_equal((y, indices), R.max_pool_forward(x, size))
    assert_gradient(lambda x: (R.global_max_pool_forward(x)[0] * dy).sum(),
                    R.global_max_pool_backward(dy, indices, x.shape), x)


def test_global_max_pooling_takes_the_first_maximum_and_the_first_nan():
    x = np.array([[[1.0, 4.0, 4.0], [1.0, math.nan, math.nan]]])
    y, indices = R.global_max_pool_forward(x)
    np.testing.assert_array_equal(y, [[[4.0], [math.nan]]])
    assert indices.tolist() == [[[1], [1]]]


# ---- activations and softmax ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation_gradient_from_the_output_equals_finite_differences(kind):
    x, dy = normal(40), normal(40, seed=1)
    y = R.activation_forward(x, kind)
    dx = R.activation_backward(dy, y, kind)
    assert_gradient(lambda x: (R.activation_forward(x, kind) * dy).sum(), dx, x)


@pytest.mark.parametrize("kind", ["leaky_relu", "elu"])
@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.5])
def test_activation_gradient_follows_alpha(kind, alpha):
    x, dy = normal(40), normal(40, seed=1)
    y = R.activation_forward(x, kind, alpha=alpha)
    dx = R.activation_backward(dy, y, kind, alpha=alpha)
    assert_gradient(lambda x: (R.activation_forward(x, kind, alpha=alpha) * dy).sum(), dx, x)


@pytest.mark.parametrize("kind, x, y", [
    ("relu", -2.0, 0.0), ("relu", 3.0, 3.0), ("leaky_relu", -2.0, -0.02), ("elu", -1.0, math.exp(-1) - 1),
    ("sigmoid", 0.0, 0.5), ("sigmoid", math.log(3), 0.75), ("tanh", math.log(2), 0.6),
    ("scaled_tanh", 1.5 * math.log(2), 1.7159 * 0.6), ("softplus", 0.0, math.log(2)),
    ("identity", -2.0, -2.0),
])
def test_activations_have_known_values(kind, x, y):
    np.testing.assert_allclose(R.activation_forward(np.array([x]), kind), [y], rtol=1e-15, atol=1e-15)


def test_scaled_tanh_maps_one_to_one():
    x = np.array([1.0, -1.0])
    np.testing.assert_allclose(R.activation_forward(x, "scaled_tanh"), x, atol=1e-4)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.filterwarnings("error")
def test_activations_stay_finite_far_from_zero_and_pass_nan_on(kind):
    x = np.array([-1e4, -100.0, 100.0, 1e4, math.nan], np.float32)
    y = R.activation_forward(x, kind)
    assert np.isfinite(y[:4]).all() and np.isnan(y[4])
    assert np.isfinite(R.activation_backward(np.ones_like(x), y, kind)[:4]).all()


def test_sigmoid_and_softplus_keep_their_digits_in_the_tail():
    x = np.array([-50.0])
    for kind in "sigmoid", "softplus":
        np.testing.assert_allclose(R.activation_forward(x, kind), np.exp(x), rtol=1e-14)


def test_softmax_of_1_2_3_has_its_known_values():
    p = [0.09003057317038046, 0.24472847105479764, 0.6652409557748219]
    x = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(R.softmax(x), [p], rtol=1e-15)
    np.testing.assert_allclose(R.softmax(x + 1e4), [p], rtol=1e-15)
    np.testing.assert_allclose(R.log_softmax(x), [np.log(p)], rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("forward, backward", [
    (R.softmax, R.softmax_backward), (R.log_softmax, R.log_softmax_backward)])
def test_softmax_gradients_equal_finite_differences_along_any_axis(forward, backward, axis):
    x, dy = normal(2, 4, 3), normal(2, 4, 3, seed=1)
    assert_gradient(lambda x: (forward(x, axis) * dy).sum(), backward(dy, forward(x, axis), axis), x)


# ---- joining tensors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(), (4,), (3, 2), (2, 1, 3)])
def test_batch_norm_gives_every_map_its_mean_and_deviation_and_its_gradients_equal_finite_differences(size):
    x, dy, weight, bias = normal(5, 3, *size), normal(5, 3, *size, seed=1), normal(3, seed=2), normal(3, seed=3)
    axes = (0, *range(2, x.ndim))
    y, mean, variance = R.batch_norm_forward(x, weight, bias, 0.0)
    np.testing.assert_allclose(y.mean(axis=axes), bias, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=axes), abs(weight))
    np.testing.assert_allclose(variance, x.var(axis=axes, ddof=1))
    np.testing.assert_allclose(R.batch_norm_inference(x, weight, bias, mean, x.var(axis=axes), 0.0), y)
    dx, dweight, dbias = R.batch_norm_backward(dy, x, weight, 0.1)
    assert_gradient(lambda v: (R.batch_norm_forward(v, weight, bias, 0.1)[0] * dy).sum(), dx, x)
    assert_gradient(lambda v: (R.batch_norm_forward(x, v, bias, 0.1)[0] * dy).sum(), dweight, weight)
    assert_gradient(lambda v: (R.batch_norm_forward(x, weight, v, 0.1)[0] * dy).sum(), dbias, bias)


def test_sums_and_products_pass_their_gradients_to_every_input():
    a, b, dy = normal(2, 3), normal(2, 3, seed=1), normal(2, 3, seed=2)
    np.testing.assert_array_equal(R.add(a, b, a), a + b + a)
    assert [g.tolist() for g in R.add_backward(dy, 3)] == [dy.tolist()] * 3
    da, db = R.multiply_backward(dy, a, b)
    assert_gradient(lambda a: (R.multiply(a, b) * dy).sum(), da, a)
    assert_gradient(lambda b: (R.multiply(a, b) * dy).sum(), db, b)


def test_concatenation_gives_every_input_its_part_of_the_gradient():
    parts = [normal(2, c, 3, seed=c) for c in (1, 4, 2)]
    whole = R.concat(parts)
    assert whole.shape == (2, 7, 3)
    for part, back in zip(parts, R.concat_backward(whole, (1, 4, 2))):
        np.testing.assert_array_equal(part, back)


# ---- losses --------------------------------------------------------------------------------------------


def test_cross_entropy_of_equal_scores_is_the_logarithm_of_the_number_of_classes():
    loss, dscores = R.softmax_cross_entropy(np.zeros((3, 10)), np.array([0, 4, 9]))
    assert loss == pytest.approx(math.log(10), rel=1e-14)
    np.testing.assert_allclose(dscores, (0.1 - np.eye(10)[[0, 4, 9]]) / 3)


@pytest.mark.parametrize("spatial", [(), (3,), (2, 2)])
@pytest.mark.parametrize("weighting", ["none", "samples", "positions", "classes", "samples and classes"])
def test_cross_entropy_gradient_equals_finite_differences(spatial, weighting):
    rng = np.random.default_rng(1)
    scores, labels = normal(3, 4, *spatial), rng.integers(0, 4, (3, *spatial))
    sample_weights = rng.random(labels.shape if weighting == "positions" else 3)
    weights = (sample_weights if weighting not in ("none", "classes") else None,
               rng.random(4) if "classes" in weighting else None)
    _, dscores = R.softmax_cross_entropy(scores, labels, *weights)
    assert_gradient(lambda s: R.softmax_cross_entropy(s, labels, *weights)[0], dscores, scores)


def test_sample_of_weight_two_counts_as_two_samples():
    scores, labels = normal(2, 3), np.array([0, 2])
    loss, dscores = R.softmax_cross_entropy(scores, labels, np.array([2.0, 1.0]))
    twice, dtwice = R.softmax_cross_entropy(scores[[0, 0, 1]], labels[[0, 0, 1]])
    assert loss == pytest.approx(twice, rel=1e-14)
    np.testing.assert_allclose(dscores, [dtwice[0] + dtwice[1], dtwice[2]], rtol=1e-14)


def test_mean_squared_error_is_a_mean_over_all_elements():
    loss, dy = R.mean_squared_error(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [3.0, 8.0]]))
    assert loss == 5.0
    assert dy.tolist() == [[0.0, 1.0], [0.0, -2.0]]


def test_binary_cross_entropy_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    target, p, scores = rng.random((3, 4)), rng.uniform(0.1, 0.9, (3, 4)), normal(3, 4)
    assert_gradient(lambda p: R.binary_cross_entropy(p, target)[0], R.binary_cross_entropy(p, target)[1], p)
    assert_gradient(lambda s: R.binary_cross_entropy_with_logits(s, target)[0],
                    R.binary_cross_entropy_with_logits(scores, target)[1], scores)


def test_binary_cross_entropy_on_probabilities_and_on_logits_agree():
    scores, target = normal(3, 4), np.random.default_rng(0).random((3, 4))
    p = R.activation_forward(scores, "sigmoid")
    loss, dp = R.binary_cross_entropy(p, target)
    loss_of_logits, dscores = R.binary_cross_entropy_with_logits(scores, target)
    assert loss == pytest.approx(loss_of_logits, rel=1e-14)
    np.testing.assert_allclose(R.activation_backward(dp, p, "sigmoid"), dscores, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_binary_cross_entropy_is_bounded_where_a_certain_answer_is_wrong():
    loss, dp = R.binary_cross_entropy(np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]))
    assert loss == 50.0
    assert np.isfinite(dp).all()
    assert R.binary_cross_entropy_with_logits(np.array([-1e4, 1e4]), np.array([1.0, 0.0]))[0] == 1e4


# ---- optimisers ----------------------------------------------------------------------------------------


def test_momentum_builds_up_velocity():
    w, v = np.array([1.0]), np.zeros(1)
    for expected in 0.9, 0.75, 0.575:
        w, v = R.sgd_update(w, np.array([1.0]), v, lr=0.1, momentum=0.5)
        np.testing.assert_allclose(w, expected, rtol=1e-14)
    w, v = R.sgd_update(np.array([1.0]), np.array([1.0]), np.zeros(1), lr=0.1, momentum=0.5, nesterov=True)
    np.testing.assert_allclose((w, v), [[0.85], [1.0]])


def test_dampening_of_the_momentum_gives_the_moving_average_of_gradients():
    w, v = np.array([0.0]), np.zeros(1)
    for g in 1.0, 3.0:
        w, v = R.sgd_update(w, np.array([g]), v, lr=1.0, momentum=0.75, dampening=0.75)
    np.testing.assert_allclose((w, v), [[-0.25 - 0.9375], [0.9375]])


def test_first_step_of_adam_is_the_learning_rate_against_the_sign_of_the_gradient():
    g = np.array([3.0, -0.01, 40.0])
    w, _, _ = R.adam_update(np.zeros(3), g, np.zeros(3), np.zeros(3), 1, lr=0.001)
    np.testing.assert_allclose(w, -0.001 * np.sign(g), rtol=2e-6)


def test_weight_decay_shrinks_weights_without_a_gradient():
    w, zero = np.array([2.0, -4.0]), np.zeros(2)
    np.testing.assert_allclose(R.sgd_update(w, zero, zero, lr=0.5, weight_decay=0.1)[0], 0.95 * w)
    decayed = R.adam_update(w, zero, zero, zero, 1, lr=0.5, weight_decay=0.1, decoupled=True)[0]
    np.testing.assert_allclose(decayed, 0.95 * w)
    coupled = R.adam_update(w, zero, zero, zero, 1, lr=0.5, weight_decay=0.1)[0]
    np.testing.assert_allclose(coupled, w - 0.5 * np.sign(w), rtol=1e-6)


def test_rmsprop_divides_by_the_root_of_the_mean_square():
    w, s, v = R.rmsprop_update(np.zeros(1), np.array([2.0]), None, lr=0.1, alpha=0.75, eps=0)
    np.testing.assert_allclose((w, s, v), [[-0.2], [1.0], [2.0]])
    w, s, v = R.rmsprop_update(w, np.array([1.0]), s, v, lr=0.1, alpha=0.75, eps=0, momentum=0.5)
    np.testing.assert_allclose((w, s, v), [[-0.4], [1.0], [2.0]])


# ---- every function ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_dtype_of_their_arguments(dtype):
    x, w, b, wt = (normal(*s, dtype=dtype) for s in ((2, 4, 5, 5), (6, 2, 3, 3), (6,), (4, 3, 3, 3)))
    options = {"stride": 2, "padding": 1, "groups": 2}
    y, yt = R.conv_forward(x, w, b, **options), R.conv_transpose_forward(x, wt, b, **options)
    pooled, indices = R.max_pool_forward(x, 2)
    top, top_indices = R.global_max_pool_forward(x)
    p = R.softmax(x)
    flat, k = x.reshape(8, 25), normal(7, 25, dtype=dtype)
    labels = np.zeros((2, 5, 5), np.int64)
    for result in (
        y, R.conv_backward_data(y, w, x.shape, **options), *R.conv_backward_weights(y, x, w.shape, **options),
        yt, R.conv_transpose_backward_data(yt, wt, x.shape, **options),
        *R.conv_transpose_backward_weights(yt, x, wt.shape, **options),
        pooled, R.max_pool_backward(pooled, indices, x.shape),
        R.avg_pool_forward(x, 2), R.avg_pool_backward(pooled, x.shape, 2),
        R.global_avg_pool_forward(x), R.global_avg_pool_backward(top, x.shape),
        top, R.global_max_pool_backward(top, top_indices, x.shape),
        R.dense_forward(flat, k), R.dense_backward_data(normal(8, 7, dtype=dtype), k),
        *R.dense_backward_weights(normal(8, 7, dtype=dtype), flat),
        *(R.activation_forward(x, kind) for kind in ACTIVATIONS),
        *(R.activation_backward(x, x, kind) for kind in ACTIVATIONS),
        *R.batch_norm_forward(x, b[:4], b[:4]), R.batch_norm_inference(x, b[:4], b[:4], b[:4], b[:4] ** 2),
        *R.batch_norm_backward(x, x, b[:4]),
        p, R.softmax_backward(x, p), R.log_softmax(x), R.log_softmax_backward(x, x),
        R.add(x, x), *R.add_backward(x), R.multiply(x, x), *R.multiply_backward(x, x, x),
        R.concat([x, x]), *R.concat_backward(x, (1, 3)),
        R.softmax_cross_entropy(x, labels, np.ones(2))[1], R.mean_squared_error(x, x)[1],
        R.binary_cross_entropy(p, p)[1], R.binary_cross_entropy_with_logits(x, p)[1],
        *R.sgd_update(w, w, w, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        *R.adam_update(w, w, w, w * w, 3, lr=0.1, weight_decay=0.1),
        *R.rmsprop_update(w, w, w * w, lr=0.1, momentum=0.9),
    ):
        assert result.dtype == dtype


def test_arguments_are_left_as_they_were():
    x, w, v = normal(2, 3, 4), normal(2, 3, 2, seed=1), np.zeros((2, 3, 2))
    before = x.copy(), w.copy(), v.copy()
    R.conv_forward(x, w)
    R.max_pool_forward(x, 2)
    for kind in ACTIVATIONS:
        R.activation_forward(x, kind)[...] = 9
        R.activation_backward(x, x, kind)[...] = 9
    R.add(x)[...] = 9
    R.concat_backward(x, (1, 2))[0][...] = 9
    R.sgd_update(w, w, v, lr=0.1, momentum=0.9, weight_decay=0.1)
    R.adam_update(w, w, v, v, 1, lr=0.1, weight_decay=0.1)
    R.rmsprop_update(w, w, v, lr=0.1, weight_decay=0.1)
    for now, then in zip((x, w, v), before):
        np.testing.assert_array_equal(now, then)


def test_an_empty_batch_gives_an_empty_result():
    x, w = np.zeros((0, 4, 5, 5)), normal(6, 2, 3, 3)
    y = R.conv_forward(x, w, groups=2)
    assert y.shape == (0, 6, 3, 3)
    assert R.conv_backward_data(y, w, x.shape, groups=2).shape == x.shape
    assert not R.conv_backward_weights(y, x, w.shape, groups=2)[0].any()
    pooled, indices = R.max_pool_forward(x, 2)
    assert pooled.shape == (0, 4, 2, 2)
    assert R.max_pool_backward(pooled, indices, x.shape).shape == x.shape


@pytest.mark.parametrize("module", ["geometry", "conv", "pooling", "elementwise", "losses", "optimizers", "sampling"])
def test_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(importlib.import_module(f"pycnn.reference.{module}")).failed == 0


# ---- PyTorch -------------------------------------------------------------------------------------------

CONVOLUTIONS = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"dilation": 2},
    {"groups": 2},
    {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
    {"stride": 3, "padding": 1, "groups": 4},
]
SIZES = [(9,), (8, 9), (7, 6, 8)]


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def leaf(torch, array):
    return torch.tensor(array, requires_grad=True)


def assert_equals_torch(pairs, rtol=1e-10):
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [*CONVOLUTIONS, {"padding": "same", "dilation": 3}])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolution_equals_that_of_pytorch(torch, size, options):
    rank = len(size)
    x = normal(2, 4, *size)
    w, b = normal(8, 4 // options.get("groups", 1), *(3, 2, 3)[:rank], seed=1), normal(8, seed=2)
    tx, tw, tb = leaf(torch, x), leaf(torch, w), leaf(torch, b)
    ty = getattr(torch.nn.functional, f"conv{rank}d")(tx, tw, tb, **options)
    dy = normal(*ty.shape, seed=3)
    ty.backward(torch.tensor(dy))
    dw, db = R.conv_backward_weights(dy, x, w.shape, **options)
    assert_equals_torch([(R.conv_forward(x, w, b, **options), ty), (dw, tw.grad), (db, tb.grad),
                         (R.conv_backward_data(dy, w, x.shape, **options), tx.grad)])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [
    *CONVOLUTIONS,
    {"stride": 2, "output_padding": 1},
    {"dilation": 2, "output_padding": 1},
    {"stride": 3, "padding": 1, "output_padding": 2, "dilation": 2, "groups": 2},
])
def test_transposed_convolution_equals_that_of_pytorch(torch, size, options):
    rank = len(size)
    x = normal(2, 4, *size)
    w, b = normal(4, 8 // options.get("groups", 1), *(3, 2, 3)[:rank], seed=1), normal(8, seed=2)
    tx, tw, tb = leaf(torch, x), leaf(torch, w), leaf(torch, b)
    ty = getattr(torch.nn.functional, f"conv_transpose{rank}d")(tx, tw, tb, **options)
    dy = normal(*ty.shape, seed=3)
    ty.backward(torch.tensor(dy))
    dw, db = R.conv_transpose_backward_weights(dy, x, w.shape, **options)
    assert_equals_torch([(R.conv_transpose_forward(x, w, b, **options), ty), (dw, tw.grad), (db, tb.grad),
                         (R.conv_transpose_backward_data(dy, w, x.shape, **options), tx.grad)])


POOLINGS = list(itertools.product((2, 3), (None, 1, 2, 3), (0, 1), (False, True)))


@pytest.mark.parametrize("size", SIZES)
def test_max_pooling_equals_that_of_pytorch(torch, size):
    rank = len(size)
    x = np.random.default_rng(0).integers(-2, 3, (2, 2, *size)).astype(float)
    for (kernel, stride, padding, ceil_mode), dilation in itertools.product(POOLINGS, (1, 2)):
        tx = leaf(torch, x)
        ty, tindices = getattr(torch.nn.functional, f"max_pool{rank}d")(
            tx, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
        dy = normal(*ty.shape)
        ty.backward(torch.tensor(dy))
        y, indices = R.max_pool_forward(x, kernel, stride, padding, dilation, ceil_mode)
        np.testing.assert_array_equal(indices, tindices)
        assert_equals_torch([(y, ty), (R.max_pool_backward(dy, indices, x.shape), tx.grad)])


@pytest.mark.parametrize("size", SIZES)
def test_average_pooling_equals_that_of_pytorch(torch, size):
    rank = len(size)
    x = normal(2, 2, *size)
    for (kernel, stride, padding, ceil_mode), count_include_pad in itertools.product(POOLINGS, (False, True)):
        tx = leaf(torch, x)
        rules = (kernel, stride, padding, ceil_mode, count_include_pad)
        ty = getattr(torch.nn.functional, f"avg_pool{rank}d")(tx, *rules)
        dy = normal(*ty.shape, seed=1)
        ty.backward(torch.tensor(dy))
        assert_equals_torch([(R.avg_pool_forward(x, *rules), ty),
                             (R.avg_pool_backward(dy, x.shape, *rules), tx.grad)])


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus"])
def test_activations_equal_those_of_pytorch_also_at_zero(torch, kind):
    x, dy = np.append(0.0, normal(50) * 3), normal(51, seed=1)
    tx = leaf(torch, x)
    ty = getattr(torch.nn.functional, kind)(tx)
    ty.backward(torch.tensor(dy))
    y = R.activation_forward(x, kind)
    assert_equals_torch([(y, ty), (R.activation_backward(dy, y, kind), tx.grad)])


@pytest.mark.parametrize("size", [(), (9,), (8, 9)])
def test_batch_norm_equals_that_of_pytorch(torch, size):
    x, weight, bias, dy = normal(6, 4, *size), normal(4, seed=1), normal(4, seed=2), normal(6, 4, *size, seed=3)
    tx, tw, tb = leaf(torch, x), leaf(torch, weight), leaf(torch, bias)
    running = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    ty = torch.nn.functional.batch_norm(tx, *running, tw, tb, training=True, momentum=1.0)
    ty.backward(torch.tensor(dy))
    y, mean, variance = R.batch_norm_forward(x, weight, bias)
    known = torch.nn.functional.batch_norm(tx, *running, tw, tb)
    assert_equals_torch([(y, ty), (mean, running[0]), (variance, running[1]),
                         (R.batch_norm_inference(x, weight, bias, mean, variance), known),
                         *zip(R.batch_norm_backward(dy, x, weight), (tx.grad, tw.grad, tb.grad))], rtol=1e-9)


def test_losses_equal_those_of_pytorch(torch):
    F = torch.nn.functional
    rng = np.random.default_rng(0)
    scores, labels, class_weights = normal(4, 5, 3), rng.integers(0, 5, (4, 3)), rng.random(5)
    target, p = rng.random((4, 5, 3)), rng.random((4, 5, 3))
    p[0, 0] = target[0, 0] = [0.0, 1.0, 0.0]
    target[0, 1], p[0, 1] = [0.0, 1.0, 0.5], [1.0, 0.0, 0.0]
    for x, ours, theirs in [
        (scores, lambda x: R.softmax_cross_entropy(x, labels),
         lambda x: F.cross_entropy(x, torch.tensor(labels))),
        (scores, lambda x: R.softmax_cross_entropy(x, labels, None, class_weights),
         lambda x: F.cross_entropy(x, torch.tensor(labels), torch.tensor(class_weights))),
        (scores, lambda x: R.mean_squared_error(x, target), lambda x: F.mse_loss(x, torch.tensor(target))),
        (p, lambda x: R.binary_cross_entropy(x, target),
         lambda x: F.binary_cross_entropy(x, torch.tensor(target))),
        (scores, lambda x: R.binary_cross_entropy_with_logits(x, target),
         lambda x: F.binary_cross_entropy_with_logits(x, torch.tensor(target))),
    ]:
        tx = leaf(torch, x)
        tloss = theirs(tx)
        tloss.backward()
        loss, dx = ours(x)
        assert_equals_torch([(loss, tloss), (dx, tx.grad)], rtol=1e-8)  # PyTorch rounds its 1e-12 to float32


@pytest.mark.parametrize("optimizer, update, states, hyper", [
    ("SGD", "sgd", 1, {"lr": 0.1, "weight_decay": 0.01}),
    ("SGD", "sgd", 1, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", "sgd", 1, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", "adam", 2, {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("AdamW", "adam", 2, {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("RMSprop", "rmsprop", 2, {"lr": 0.01, "weight_decay": 0.01}),
    ("RMSprop", "rmsprop", 2, {"lr": 0.01, "alpha": 0.9, "momentum": 0.9}),
])
def test_optimisers_walk_the_path_of_pytorch(torch, optimizer, update, states, hyper):
    w, state = normal(7), [None] * states
    tw = leaf(torch, w)
    theirs = getattr(torch.optim, optimizer)([tw], **hyper)
    ours = dict(hyper)
    if update == "adam":
        ours["beta1"], ours["beta2"] = ours.pop("betas")
        ours["decoupled"] = optimizer == "AdamW"
    for t in range(1, 6):
        g = normal(7, seed=t)
        tw.grad = torch.tensor(g)
        theirs.step()
        count = (t,) if update == "adam" else ()
        w, *state = getattr(R, f"{update}_update")(w, g, *state, *count, **ours)
        assert_equals_torch([(w, tw)])
