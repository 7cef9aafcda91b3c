"""pycnn.shapes: sizes are as counted one window at a time, and bad ones are refused with a helpful message."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycnn import shapes

stable = settings(max_examples=200, deadline=None, derandomize=True)
sizes = {
    "n": st.integers(1, 12),
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 4),
    "dilation": st.integers(1, 3),
    "before": st.integers(0, 4),
    "after": st.integers(0, 4),
}


def windows_that_fit(n, kernel, stride, dilation, before, after):
    """The starts of all windows that end within the padded input."""
    span = dilation * (kernel - 1) + 1
    return [start for start in range(-before, n + after, stride) if start + span <= n + after]


@given(**sizes)
@stable
def test_a_convolution_has_one_output_for_each_window_that_fits(n, kernel, stride, dilation, before, after):
    starts = windows_that_fit(n, kernel, stride, dilation, before, after)
    parameters = ((n,), kernel, stride, ((before, after),), dilation)
    if starts:
        assert shapes.conv_output_shape(*parameters) == (len(starts),)
    else:
        with pytest.raises(ValueError, match="does not fit its input"):
            shapes.conv_output_shape(*parameters)


@given(n=sizes["n"], kernel=sizes["kernel"], stride=sizes["stride"], dilation=sizes["dilation"])
@stable
def test_same_padding_gives_one_output_a_stride_and_is_larger_after(n, kernel, stride, dilation):
    assert shapes.conv_output_shape((n,), kernel, stride, "same", dilation) == (-(-n // stride),)
    ((before, after),) = shapes.resolve_padding("same", (n,), (kernel,), (stride,), (dilation,))
    assert after - before in (0, 1)
    if before + after:
        smaller = shapes.resolve_padding(((before, after - 1),), (n,), kernel, stride, dilation)
        assert len(windows_that_fit(n, kernel, stride, dilation, *smaller[0])) < -(-n // stride)


@given(**sizes, extra=st.integers(0, 3))
@stable
def test_a_transposed_convolution_undoes_the_shape_of_a_convolution(n, kernel, stride, dilation, before, after, extra):
    parameters = ((n,), kernel, stride, ((before, after),), dilation, extra)
    span = dilation * (kernel - 1) + 1
    expected = (n - 1) * stride + span + extra - before - after
    if extra >= max(stride, dilation):
        with pytest.raises(ValueError, match="output_padding must be less than"):
            shapes.conv_transpose_output_shape(*parameters)
    elif expected < 1:
        with pytest.raises(ValueError, match="leaves nothing"):
            shapes.conv_transpose_output_shape(*parameters)
    else:
        out = shapes.conv_transpose_output_shape(*parameters)
        assert out == (expected,)
        if extra < stride:
            assert len(windows_that_fit(*out, kernel, stride, dilation, before, after)) == n


@given(n=sizes["n"], kernel=sizes["kernel"], stride=sizes["stride"], dilation=sizes["dilation"])
@stable
def test_same_padding_of_a_transposed_convolution_multiplies_the_size_by_the_stride(n, kernel, stride, dilation):
    assert shapes.conv_transpose_output_shape((n,), kernel, stride, "same", dilation) == (n * stride,)
    with pytest.raises(ValueError, match="takes no output_padding|must be less than"):
        shapes.conv_transpose_output_shape((n,), kernel, stride, "same", dilation, 1)


@given(**sizes, ceil_mode=st.booleans())
@stable
def test_pooling_counts_windows_as_pytorch_does(n, kernel, stride, dilation, before, after, ceil_mode):
    span = dilation * (kernel - 1) + 1
    starts = windows_that_fit(n, kernel, stride, dilation, before, after)
    if ceil_mode:
        following = len(starts) * stride - before
        if following + span < n + after + stride and following + span > n + after:
            starts.append(following)
        if starts and starts[-1] >= n:
            starts.pop()
    reads = [any(0 <= start + k * dilation < n for k in range(kernel)) for start in starts]
    parameters = ((n,), kernel, stride, ((before, after),), dilation, ceil_mode)
    if not starts:
        with pytest.raises(ValueError, match="does not fit its input"):
            shapes.pool_output_shape(*parameters)
    elif not all(reads):
        with pytest.raises(ValueError, match="nothing but padding"):
            shapes.pool_output_shape(*parameters)
    else:
        assert shapes.pool_output_shape(*parameters) == (len(starts),)


@pytest.mark.parametrize("ceil_mode, expected", [(False, (2, 2)), (True, (3, 3))])
def test_ceil_mode_lets_the_last_window_hang_over(ceil_mode, expected):
    assert shapes.pool_output_shape((6, 6), 3, 2, ceil_mode=ceil_mode) == expected


def test_ceil_mode_drops_a_window_that_would_start_in_the_padding_after():
    assert shapes.pool_output_shape((3,), 2, 2, 1, ceil_mode=True) == (2,)
    assert shapes.pool_output_shape((4,), 1, 2, ((0, 1),), ceil_mode=True) == (2,)


@pytest.mark.parametrize(
    "padding, expected",
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
        ((1, (0, 2)), ((1, 1), (0, 2))),
        (np.array([1, 2]), ((1, 1), (2, 2))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (0, 1))),
    ],
)
def test_padding_is_an_integer_integers_pairs_same_or_valid(padding, expected):
    assert shapes.resolve_padding(padding, (5, 4), (3, 2), (1, 1), (1, 1)) == expected


@pytest.mark.parametrize(
    "padding, error, message",
    [
        ("full", ValueError, '"same" or "valid"'),
        ((1, 2, 3), ValueError, "padding has 3 values"),
        (((1, 2, 3), 1), ValueError, "a padding pair is"),
        (-1, ValueError, "padding must be at least 0, got -1"),
        (((0, -1), (0, 0)), ValueError, "padding must be at least 0"),
        (1.0, TypeError, "padding must be an integer, got 1.0"),
        (None, TypeError, "padding must be an integer, got None"),
        ((True, False), TypeError, "padding must be an integer, got True"),
    ],
)
def test_bad_padding_is_refused(padding, error, message):
    with pytest.raises(error, match=message):
        shapes.resolve_padding(padding, (5, 4), (3, 3), (1, 1), (1, 1))


def test_a_size_is_one_integer_for_all_axes_or_one_for_each():
    assert shapes.per_axis(3, 2, "stride") == (3, 3)
    assert shapes.per_axis([1, np.int64(2)], 2, "stride") == (1, 2)
    assert all(type(v) is int for v in shapes.per_axis(np.array([1, 2]), 2, "stride"))


@pytest.mark.parametrize(
    "value, error, message",
    [
        (2.0, TypeError, "stride must be an integer, got 2.0"),
        (float("nan"), TypeError, "stride must be an integer, got nan"),
        ("2", TypeError, "stride must be an integer, got '2'"),
        (True, TypeError, "stride must be an integer, got True"),
        (np.True_, TypeError, "stride must be an integer"),
        ((1, 2.5), TypeError, "stride must be an integer, got 2.5"),
        (0, ValueError, "stride must be at least 1, got 0"),
        ((1, -1), ValueError, "stride must be at least 1, got -1"),
        ((1, 2, 3), ValueError, "stride has 3 values; expected one integer or 2"),
        ((), ValueError, "stride has 0 values"),
    ],
)
def test_a_bad_size_is_refused_by_name(value, error, message):
    with pytest.raises(error, match=message):
        shapes.per_axis(value, 2, "stride")


@pytest.mark.parametrize(
    "parameters, message",
    [
        (((4, 4), 5), "kernel 5x5 does not fit its input 4x4; pad it or use a kernel of at most 4x4"),
        (
            ((4, 4), 7, 1, 1),
            "kernel 7x7 does not fit its input 4x4 padded to 6x6; pad it or use a kernel of at most 6x6",
        ),
        (
            ((4,), 3, 1, 0, 2),
            "kernel 3 dilated to 5 does not fit its input 4; pad it or use a kernel of at most 2",
        ),
    ],
)
def test_a_kernel_that_does_not_fit_is_told_what_would(parameters, message):
    with pytest.raises(ValueError) as error:
        shapes.conv_output_shape(*parameters)
    assert str(error.value) == message


def test_an_input_without_positions_is_refused():
    with pytest.raises(ValueError, match="a spatial size must be at least 1, got 0"):
        shapes.conv_output_shape((4, 0), 1)


def test_a_window_of_lower_rank_has_leading_ones():
    sizes = ((7, 9), (3, 4), (3, 2), (2, 2), (1, 3), (1, 0))
    assert shapes.window(*sizes) == ((1, 7, 9), (1, 3, 4), (1, 3, 2), (1, 2, 2), (1, 1, 3), (0, 1, 0))


def test_a_tensor_whose_bytes_overflow_is_refused():
    assert shapes.check_size((2**20, 2**20), "x") == 2**40
    with pytest.raises(ValueError, match="x of shape 1099511627776x1099511627776 is too large"):
        shapes.check_size((2**40, 2**40), "x")


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        np.arange(12, dtype=np.float32).repeat(2).reshape(3, 8)[:, ::2],
        np.arange(12, dtype=">f4").reshape(3, 4),
        np.arange(12, dtype=">i8").reshape(3, 4),
        np.arange(12, dtype=np.float16).reshape(3, 4),
        np.arange(12, dtype=np.longdouble).reshape(3, 4),
        np.frombuffer(b"\0" + np.arange(12, dtype=np.float32).tobytes(), np.float32, offset=1).reshape(3, 4),
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
    ],
    ids=["plain", "fortran", "strided", "big-endian", "big-endian-int", "half", "long", "unaligned-read-only", "list"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_real_array_becomes_a_native_contiguous_one(x, dtype):
    y = shapes.as_tensor(x, dtype, "x", 2)
    assert y.dtype == dtype and y.dtype.isnative and y.flags.c_contiguous and y.flags.aligned
    np.testing.assert_array_equal(y, np.arange(12).reshape(3, 4))


def test_a_suitable_array_is_not_copied():
    x = np.ones((3, 4), np.float32)
    assert shapes.as_tensor(x, np.float32, "x", (2, 3)) is x


def test_bools_are_zeros_and_ones():
    np.testing.assert_array_equal(shapes.as_tensor([True, False], np.float32, "x"), [1, 0])


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.ones(3, complex), TypeError, "x must hold real numbers, got dtype complex128"),
        (np.array([1, None]), TypeError, "x must hold real numbers, got dtype object"),
        (["a", "b"], TypeError, "x must hold real numbers, got dtype <U1"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "x must hold real numbers"),
        ([[1], [1, 2]], ValueError, "x is not an array"),
        (np.ones((2, 2, 2)), ValueError, r"x must have 1 or 2 axes, got shape \(2, 2, 2\)"),
    ],
)
def test_what_is_no_real_array_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        shapes.as_tensor(x, np.float32, "x", (1, 2))
