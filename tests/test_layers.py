"""Every layer, alone and in all company that the plan treats specially, in both layouts and for batches that do and do not
fill the lanes: see `gradient_checks`.
"""

import math

import numpy as np
import pytest
from gradient_checks import (
    ACTIVATIONS,
    BATCHES,
    LANES,
    LAYERS,
    LAYOUTS,
    REFERENCE,
    alone_or_inside,
    any_shape,
    batches,
    check,
    drawn,
    each_layout,
    groupings,
    maps_in,
    maps_shape,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import layers as L
from pycnn.layers.activations import Activation


@settings(max_examples=300)
@given(
    windows(), groupings(), st.booleans(), st.sampled_from([None, *ACTIVATIONS]), st.booleans(), batches, each_layout
)
def test_conv_of_any_geometry_and_its_gradients(window, grouping, bias, activation, inside, batch, layout):
    (spatial, arguments), (channels, filters, groups) = window, grouping
    layer = L.Conv(filters, **arguments, groups=groups, bias=bias, activation=activation, name="layer")
    with maps_in(layout):
        check(alone_or_inside(layer, (channels, *spatial), inside), batch)


@settings(max_examples=300)
@given(
    windows(), groupings(), st.integers(0, 2), st.booleans(), st.sampled_from([None, *ACTIVATIONS]), st.booleans(), batches,
    each_layout,
)
def test_transposed_conv_of_any_geometry_and_its_gradients(window, grouping, extra, bias, activation, inside, batch, layout):
    (spatial, options), (channels, filters, groups) = window, grouping
    if options["padding"] != "same":
        options["output_padding"] = min(extra, max(np.min(options["stride"]), np.min(options["dilation"])) - 1)
    layer = L.ConvTranspose(filters, groups=groups, bias=bias, activation=activation, **options)
    try:
        layer(pycnn.Input((channels, *spatial)))
    except ValueError as error:
        assert "leaves nothing of an output" in str(error)
        return
    with maps_in(layout):
        check(alone_or_inside(layer, (channels, *spatial), inside), batch)


@settings(max_examples=300)
@given(windows(padding_below_kernel=True), st.booleans(), st.sampled_from([1, 3, LANES, LANES + 1]), st.booleans(),
       batches, each_layout)
def test_max_pooling_of_any_geometry_and_its_gradients(window, ceil_mode, channels, inside, batch, layout):
    spatial, arguments = window
    with maps_in(layout):
        check(alone_or_inside(L.MaxPool(**arguments, ceil_mode=ceil_mode), (channels, *spatial), inside), batch)


@settings(max_examples=300)
@given(windows(padding_below_kernel=True, dilations=(1,)), st.booleans(), st.booleans(),
       st.sampled_from([1, 3, LANES, LANES + 1]), st.booleans(), batches, each_layout)
def test_average_pooling_of_any_geometry_and_its_gradients(window, ceil_mode, count, channels, inside, batch, layout):
    spatial, arguments = window
    del arguments["dilation"]
    layer = L.AvgPool(**arguments, ceil_mode=ceil_mode, count_include_pad=count)
    with maps_in(layout):
        check(alone_or_inside(layer, (channels, *spatial), inside), batch)


@settings(max_examples=150)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.sampled_from([None, *ACTIVATIONS]), batches)
def test_dense_of_any_size_and_its_gradients(channels, units, bias, activation, batch):
    x = pycnn.Input((channels,))
    h = L.Dense(units, activation=activation, bias=bias)(x)
    check(pycnn.Network(x, L.Dense(2)(h), dtype="float64", seed=1), batch)


@st.composite
def tables(draw, most=LANES + 1):
    """A connection table in which something is connected."""
    maps, sources = draw(st.integers(1, most)), draw(st.integers(1, 5))
    flags = draw(st.lists(st.booleans(), min_size=maps * sources, max_size=maps * sources))
    table = np.array(flags).reshape(maps, sources)
    table[draw(st.integers(0, maps - 1)), draw(st.integers(0, sources - 1))] = True
    return table


@settings(max_examples=200)
@given(windows(), tables(), st.booleans(), st.sampled_from([None, *ACTIVATIONS]), st.booleans(), batches, each_layout)
def test_conv_with_a_table_of_connections_and_its_gradients(window, table, bias, activation, inside, batch, layout):
    spatial, arguments = window
    layer = L.Conv(len(table), **arguments, connections=table, bias=bias, activation=activation, name="layer")
    with maps_in(layout):
        check(alone_or_inside(layer, (table.shape[1], *spatial), inside), batch)


@settings(max_examples=200)
@given(windows(dilations=(1,)), st.sampled_from([1, 3, LANES, LANES + 1]), st.booleans(),
       st.sampled_from([None, *ACTIVATIONS]), st.booleans(), batches, each_layout)
def test_subsampling_of_any_geometry_and_its_gradients(window, channels, bias, activation, inside, batch, layout):
    spatial, arguments = window
    layer = L.Subsample(arguments["kernel_size"], arguments["stride"], bias=bias, activation=activation)
    with maps_in(layout):
        check(alone_or_inside(layer, (channels, *spatial), inside), batch)


@settings(max_examples=100)
@given(windows(dilations=(1,)), st.sampled_from([1, 3, LANES + 1]), st.booleans(), batches, each_layout)
def test_sum_pooling_of_any_geometry_and_its_gradients(window, channels, inside, batch, layout):
    spatial, arguments = window
    with maps_in(layout):
        check(alone_or_inside(L.SumPool(arguments["kernel_size"], arguments["stride"]), (channels, *spatial), inside), batch)


@settings(max_examples=200)
@given(windows(dilations=(1,)), tables(), st.booleans(), st.booleans(), st.sampled_from([0.0, 1.0, -20.0]), batches,
       each_layout)
def test_softmax_pooling_of_any_geometry_and_its_gradients(window, table, connected, inside, sharpness, batch, layout):
    spatial, arguments = window
    layer = L.SoftMaxPool(arguments["kernel_size"], arguments["stride"], connections=table if connected else None)
    with maps_in(layout):
        net = alone_or_inside(layer, (table.shape[1], *spatial), inside)
        layer.sharpness = sharpness * np.linspace(0.5, 1, len(layer.sharpness))
        check(net, batch)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from(["mse", "distance"]), batches)
def test_radial_basis_functions_of_any_size_and_their_gradients(channels, units, loss, batch):
    x = pycnn.Input((3,))
    h = L.RBF(units, fixed=False)(L.Dense(channels, activation="tanh")(x))
    check(pycnn.Network(x, h, dtype="float64", seed=1), batch, loss)



ONE_INPUT = {
    "BatchNorm": lambda: L.BatchNorm(epsilon=0.1, weight_init=lambda shape, *_: np.linspace(-1, 2, *shape)),
    "ELU": lambda: L.ELU(0.7), "Flatten": L.Flatten, "GlobalAvgPool": L.GlobalAvgPool, "GlobalMaxPool": L.GlobalMaxPool,
    "LeakyReLU": lambda: L.LeakyReLU(0.2), "LogSoftmax": L.LogSoftmax, "ReLU": L.ReLU, "SELU": L.SELU,
    "ScaledTanh": L.ScaledTanh, "Sigmoid": L.Sigmoid, "Softmax": L.Softmax, "Softplus": L.Softplus, "Tanh": L.Tanh,
}
SEVERAL_INPUTS = {"Add": L.Add, "Concat": L.Concat, "Multiply": L.Multiply}


@pytest.mark.parametrize("name", ONE_INPUT)
@settings(max_examples=60)
@given(data=st.data(), inside=st.booleans(), batch=batches, layout=each_layout)
def test_layers_of_one_input_and_their_gradients(name, data, inside, batch, layout):
    shape = data.draw(maps_shape if inside or name.startswith("Global") else any_shape)
    with maps_in(layout):
        check(alone_or_inside(ONE_INPUT[name](), shape, inside), batch)


@pytest.mark.parametrize("name", SEVERAL_INPUTS)
@settings(max_examples=80)
@given(data=st.data(), inside=st.booleans(), batch=batches, layout=each_layout)
def test_layers_of_several_inputs_and_their_gradients(name, data, inside, batch, layout):
    shape = data.draw(maps_shape if inside else any_shape)
    count = 2 if name == "Multiply" else data.draw(st.integers(2, 4))
    shapes = [shape] * count
    if name == "Concat":
        shapes = [(data.draw(st.sampled_from([1, 3, LANES, 2 * LANES])), *shape[1:]) for _ in range(count)]
    inputs = [pycnn.Input(s, name=f"x{i}") for i, s in enumerate(shapes)]
    joined = [L.Conv(s[0], 1, activation="tanh")(x) if inside else x for x, s in zip(inputs, shapes)]
    h = SEVERAL_INPUTS[name]()(*joined)
    net = pycnn.Network(inputs, L.Conv(2, 1)(h) if inside else h, dtype="float64", seed=1)
    with maps_in(layout):
        check(net, batch)


ELSEWHERE = {       # what has tests of its own
    "AdaptiveAvgPool", "Crop", "LPPool", "MaxUnpool", "Pad", "Permute", "Reshape", "Upsample",
    "AffineGrid", "GridSample",
    "Bias",
    "Capsules", "Length", "Mask", "PrimaryCapsules", "Squash",
    "Dropout", "GaussianNoise",
    "Embedding",
    "Lambda",
    "LocallyConnected",
    "GroupNorm", "InstanceNorm", "LayerNorm", "LocalResponseNorm",
    "Binary", "CELU", "Constant", "Expand", "MatMul", "MaxPoolPlaces", "Reduce", "Resize", "Slice", "Take",
    "ThresholdedReLU", "Unary", "Where",
    "Clip", "GELU", "HardSigmoid", "HardSwish", "Mish", "PReLU", "SiLU", "Softsign",
}


def test_every_layer_is_checked_here():
    others = {"Conv", "ConvTranspose", "Dense", "MaxPool", "AvgPool", "SumPool", "Subsample", "SoftMaxPool", "RBF"}
    assert set(LAYERS) == others | ONE_INPUT.keys() | SEVERAL_INPUTS.keys() | ELSEWHERE
    assert set(REFERENCE) == set(LAYERS)


# ---- layers in company -----------------------------------------------------------------------------------------------


def image(channels=3, size=6, name="image"):
    return pycnn.Input((channels, size, size), name=name)


def head(h, units=3, name=None):
    return L.Dense(units, name=name)(L.Flatten()(h))


def conv_activation_layer_pool():
    x = image()
    h = L.MaxPool(2)(L.Tanh()(L.Conv(5, 3, padding=1)(x)))
    return x, head(h)


def conv_with_activation_then_overlapping_pool():
    x = image(2, 7)
    return x, L.MaxPool(3, stride=2, padding=1)(L.Conv(LANES, 3, activation="scaled_tanh")(x))


def conv_pool_in_one_dimension():
    x = pycnn.Input((2, 11), name="signal")
    return x, L.MaxPool(3, stride=1)(L.Softplus()(L.Conv(3, 4)(x)))


def conv_pool_in_three_dimensions():
    x = pycnn.Input((2, 4, 4, 4), name="volume")
    return x, L.MaxPool(2)(L.Conv(3, 2, padding="same", activation="sigmoid")(x))


def conv_output_that_is_also_pooled():
    x = image()
    middle = L.Conv(4, 3, activation="tanh", name="middle")(x)
    return x, {"middle": middle, "end": L.MaxPool(2)(middle)}


def scores_before_the_activation_are_an_output():
    x = image()
    scores = L.Conv(4, 3)(x)
    return x, {"scores": scores, "end": L.MaxPool(2)(L.Sigmoid()(scores))}


def activation_of_a_conv_with_two_readers():
    x = image()
    middle = L.ELU(0.5)(L.Conv(4, 3, padding=1)(x))
    return x, L.Concat()(L.MaxPool(2)(middle), L.AvgPool(2)(middle))


def conv_with_two_activation_layers_reading_it():
    x = image()
    h = L.Conv(4, 3)(x)
    return x, L.Add()(L.Tanh()(h), L.Sigmoid()(h))


def activation_layer_behind_a_conv_with_its_own():
    x = image()
    return x, head(L.MaxPool(2)(L.Sigmoid()(L.Conv(4, 3, activation="tanh")(x))))


def activations_behind_each_other():
    x = image()
    return x, L.Softplus()(L.Tanh()(L.ELU(0.3)(L.Conv(4, 3)(x))))


def activations_on_the_input():
    x = image()
    return x, L.Conv(2, 3)(L.Tanh()(L.ScaledTanh()(x)))


def dense_with_activation_layers():
    x = pycnn.Input((7,), name="x")
    h = L.Tanh()(L.Dense(9)(x))
    return x, L.Dense(2)(L.Softplus()(L.Dense(5, activation="sigmoid")(h)))


def flatten_of_an_activated_conv():
    x = image()
    return x, head(L.Conv(4, 3, activation="tanh")(x))


def flatten_read_by_two_dense_layers():
    x = image()
    flat = L.Flatten()(L.Conv(4, 3, activation="tanh")(x))
    return x, [L.Dense(3, name="one")(flat), L.Dense(2, name="two")(flat)]


def flatten_beside_another_reader():
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    return x, [head(h), L.MaxPool(2)(h)]


def two_flattens_of_one_edge():
    x = image()
    h = L.Conv(4, 3, activation="sigmoid")(x)
    return x, L.Add()(head(h), head(h))


def flatten_of_a_scored_output():
    x = image()
    h = L.Conv(4, 3, activation="tanh", name="maps")(x)
    return x, {"maps": h, "end": head(h)}


def flatten_that_is_the_output():
    x = image()
    return x, L.Flatten()(L.Conv(4, 3, activation="tanh")(x))


def flatten_of_a_flatten():
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    return x, L.Dense(2)(L.Flatten()(L.Flatten()(h)))


def activation_behind_a_flatten():
    x = image()
    return x, L.Dense(2)(L.Sigmoid()(L.Flatten()(L.Conv(4, 3, activation="tanh")(x))))


def flatten_of_the_input():
    x = image()
    return x, [head(x), L.Conv(2, 3)(x)]


def lenet():
    x = image(1, 14)
    h = L.MaxPool(2)(L.Conv(3, 3, padding=1, activation="tanh")(x))
    h = L.MaxPool(2)(L.Conv(5, 4, activation="tanh")(h))
    h = L.Dense(12, activation="tanh")(L.Flatten()(h))
    return x, L.Dense(7, activation="tanh")(h)


def sum_of_one_node_with_itself():
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    return x, L.Conv(2, 2)(L.Add()(h, h, h))


def sum_of_the_input_with_itself():
    x = image()
    return x, L.Add()(x, x)


def square():
    x = image()
    h = L.Conv(4, 3, activation="sigmoid")(x)
    return x, L.Conv(2, 2)(L.Multiply()(h, h))


def square_of_the_input():
    x = image()
    return x, L.Multiply()(x, x)


def gate():
    x = image()
    return x, L.Multiply()(L.Conv(4, 3, activation="tanh")(x), L.Conv(4, 3, activation="sigmoid")(x))


def concat_of_whole_lanes():
    x = image()
    h = L.Concat()(L.Conv(LANES, 3, activation="tanh")(x), L.Conv(2 * LANES, 3)(x))
    return x, L.Conv(3, 2)(h)


def concat_of_broken_lanes():
    x = image()
    h = L.Concat()(L.Conv(LANES, 3, activation="tanh")(x), L.Conv(3, 3)(x), L.Conv(LANES + 1, 3)(x))
    return x, L.Conv(3, 2)(h)


def concat_of_one_node_with_itself():
    x = image()
    h = L.Conv(LANES, 3, activation="tanh")(x)
    return x, L.Conv(3, 2)(L.Concat()(h, h))


def concat_with_the_input():
    x = image()
    return x, L.Conv(3, 2)(L.Concat()(x, L.Conv(4, 3, padding=1, activation="tanh")(x)))


def concat_of_vectors():
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    return x, L.Dense(2)(L.Concat()(L.GlobalAvgPool()(h), L.GlobalMaxPool()(h), head(h)))


def sum_of_pooled_maps_and_a_dense_layer():
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    return x, L.Add()(head(h, 4), L.GlobalAvgPool()(h), L.GlobalMaxPool()(h))


def residual_blocks():
    x = image()
    h = L.Conv(5, 3, padding=1, activation="tanh")(x)
    for _ in range(2):
        inner = L.Conv(5, 3, padding=1)(L.Conv(5, 3, padding=1, activation="tanh")(h))
        h = L.Tanh()(L.Add()(h, inner))
    return x, L.Dense(2)(L.GlobalAvgPool()(h))


def residual_block_on_a_pooled_conv():
    x = image()
    h = L.MaxPool(2)(L.Conv(5, 3, padding=1, activation="sigmoid")(x))
    return x, L.Add()(h, L.Conv(5, 3, padding=1)(h))


def output_that_further_layers_read():
    x = image()
    first = L.Conv(4, 3, activation="tanh", name="first")(x)
    second = L.Conv(3, 3, activation="sigmoid", name="second")(first)
    return x, {"first": first, "second": second, "third": L.Dense(2)(L.GlobalAvgPool()(second))}


def one_output_under_two_names():
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    return x, {"a": h, "b": h}


def an_output_on_the_way_to_another():
    x = pycnn.Input((5,), name="x")
    h = L.Dense(4, activation="tanh", name="hidden")(x)
    return x, [h, L.Dense(3, name="last")(h)]


def input_that_is_an_output():
    x = image()
    return x, {"same": x, "end": head(x)}


def softmax_in_the_middle():
    x = image()
    attention = L.Softmax()(L.Conv(4, 3)(x))
    return x, L.Multiply()(attention, L.Conv(4, 3, activation="tanh")(x))


def softmax_read_by_further_layers():
    x = image()
    p = L.Softmax(name="p")(head(x, 4))
    return x, {"p": p, "end": L.Dense(2)(p)}


def one_conv_at_two_depths():
    x = image()
    shared = L.Conv(3, 3, padding=1, activation="tanh", name="shared")
    return x, head(shared(shared(shared(x))))


def one_conv_at_two_sizes():
    x = image(3, 8)
    shared = L.Conv(3, 3, padding=1, name="shared")
    h = L.MaxPool(2)(L.Tanh()(shared(x)))
    return x, L.GlobalAvgPool()(shared(h))


def one_dense_on_two_branches():
    x, z = pycnn.Input((6,), name="x"), pycnn.Input((6,), name="z")
    shared = L.Dense(4, activation="tanh", name="shared")
    return [x, z], L.Dense(2)(L.Multiply()(shared(x), shared(z)))


def one_activation_at_two_depths():
    x = image()
    squash = L.Tanh(name="squash")
    return x, squash(L.Conv(2, 3)(squash(L.Conv(4, 3)(x))))


def depthwise_then_pointwise():
    x = image(LANES + 2)
    h = L.Conv(LANES + 2, 3, groups=LANES + 2, activation="tanh")(x)
    return x, L.MaxPool(2)(L.Conv(5, 1, activation="sigmoid")(h))


def normalised(h, activation=None, **options):
    h = L.BatchNorm(epsilon=0.1, **options)(h)
    return h if activation is None else activation()(h)


def conv_norm_activation_pool():
    x = image()
    h = L.MaxPool(2)(normalised(L.Conv(LANES + 1, 3, padding=1, bias=False)(x), L.ReLU))
    return x, head(normalised(L.Conv(5, 3)(h), L.Tanh))


def norm_with_two_readers():
    x = image()
    h = normalised(L.Conv(4, 3)(x), L.ReLU)
    return x, head(L.Concat()(L.Conv(3, 1)(h), h))


def norm_of_a_conv_with_two_readers():
    x = image()
    h = L.Conv(4, 3)(x)
    return x, head(L.Concat()(normalised(h), h))


def norm_of_an_activated_conv():
    x = image()
    return x, head(normalised(L.Conv(4, 3, activation="tanh")(x), L.ReLU))


def norm_of_the_input_and_of_concatenated_maps():
    x = image()
    h = normalised(x)
    return x, head(normalised(L.Concat()(h, L.Conv(4, 3, padding=1)(h)), L.ReLU))


def norm_of_dense_layers_and_pooled_maps():
    x = image()
    h = normalised(L.GlobalAvgPool()(L.Conv(LANES + 1, 3)(x)), L.ReLU)
    return x, L.Dense(3)(normalised(L.Dense(2 * LANES + 1)(h), L.ReLU))


def norm_behind_a_norm():
    x = image()
    return x, head(normalised(normalised(L.Conv(4, 3)(x))))


def norm_shared_at_two_depths():
    x = image()
    norm = L.BatchNorm(epsilon=0.1)
    h = L.ReLU()(norm(L.Conv(4, 3, padding=1)(x)))
    return x, head(L.ReLU()(norm(L.Conv(4, 3, padding=1)(h))))


def residual_norms(shortcut):
    x = image()
    h = normalised(L.Conv(LANES + 1, 3, padding=1, bias=False)(x), L.ReLU)
    inner = normalised(L.Conv(LANES + 1, 3, padding=1, bias=False)(h), L.ReLU)
    inner = normalised(L.Conv(LANES + 1, 3, padding=1, bias=False)(inner))
    return x, head(L.Conv(3, 3)(L.ReLU()(L.Add()(inner, shortcut(h)))))


def norm_and_shortcut():
    return residual_norms(lambda h: h)


def norm_and_projected_shortcut():
    return residual_norms(lambda h: normalised(L.Conv(LANES + 1, 1, bias=False)(h)))


def conv_from_few_maps_to_many_and_back():
    x = image(2)
    h = L.Conv(1, 3, padding=1, activation="tanh", name="few")(x)
    h = L.Conv(LANES, 3, stride=2, padding=1, activation="elu", name="many")(h)
    return x, L.Conv(2, 3, padding=1, activation="sigmoid", name="back")(h)


def several_inputs_of_several_ranks():
    a, b, c = image(2, 5, "a"), pycnn.Input((3, 7), name="b"), pycnn.Input((4,), name="c")
    flat = [head(L.Conv(3, 3, activation="tanh")(a)), head(L.Conv(3, 3, activation="sigmoid")(b)), L.Dense(3)(c)]
    return [a, b, c], L.Add()(*flat)


COMPANIES = [
    conv_activation_layer_pool, conv_with_activation_then_overlapping_pool, conv_pool_in_one_dimension,
    conv_pool_in_three_dimensions, conv_output_that_is_also_pooled, scores_before_the_activation_are_an_output,
    activation_of_a_conv_with_two_readers, conv_with_two_activation_layers_reading_it,
    activation_layer_behind_a_conv_with_its_own, activations_behind_each_other, activations_on_the_input,
    dense_with_activation_layers, flatten_of_an_activated_conv, flatten_read_by_two_dense_layers,
    flatten_beside_another_reader, two_flattens_of_one_edge, flatten_of_a_scored_output, flatten_that_is_the_output,
    flatten_of_a_flatten, activation_behind_a_flatten, flatten_of_the_input, lenet, sum_of_one_node_with_itself,
    sum_of_the_input_with_itself, square, square_of_the_input, gate, concat_of_whole_lanes, concat_of_broken_lanes,
    concat_of_one_node_with_itself, concat_with_the_input, concat_of_vectors, sum_of_pooled_maps_and_a_dense_layer,
    residual_blocks, residual_block_on_a_pooled_conv, output_that_further_layers_read, one_output_under_two_names,
    an_output_on_the_way_to_another, input_that_is_an_output, softmax_in_the_middle, softmax_read_by_further_layers,
    one_conv_at_two_depths, one_conv_at_two_sizes, one_dense_on_two_branches, one_activation_at_two_depths,
    depthwise_then_pointwise, several_inputs_of_several_ranks, conv_norm_activation_pool, norm_with_two_readers,
    norm_of_a_conv_with_two_readers, norm_of_an_activated_conv, norm_of_the_input_and_of_concatenated_maps,
    norm_of_dense_layers_and_pooled_maps, norm_behind_a_norm, norm_shared_at_two_depths, norm_and_shortcut,
    norm_and_projected_shortcut, conv_from_few_maps_to_many_and_back,
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("company", COMPANIES, ids=lambda company: company.__name__)
def test_layers_in_company_and_their_gradients(company, layout):
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(*company(), dtype="float64", seed=2)
        for batch in BATCHES:
            check(net, batch, seed=batch)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_activation_in_a_conv_and_a_dense_layer_below_others(activation, layout):
    x = image(2)
    h = L.MaxPool(2, stride=1)(L.Conv(4, 3, activation=activation)(x))
    h = L.Conv(3, 2, activation=activation)(h)
    h = L.Dense(5, activation=activation)(L.Flatten()(h))
    with maps_in(LAYOUTS[layout]):
        check(pycnn.Network(x, L.Dense(2)(h), dtype="float64", seed=3), LANES + 1)


# ---- layers in any company -------------------------------------------------------------------------------------------


def extensions(draw, nodes, shared):
    """A layer on one or several of the nodes, whatever fits them."""
    node = draw(st.sampled_from(nodes))
    shape = node.shape
    kind = draw(
        st.sampled_from(["conv", "conv", "pool", "activation", "dense", "flatten", "join", "global", "softmax"])
    )
    smooth = st.sampled_from([None, "tanh", "sigmoid", "softplus", "scaled_tanh"])
    if kind == "join":
        alike = [n for n in nodes if n.shape == shape]
        join = draw(st.sampled_from([L.Add, L.Multiply, L.Concat]))
        count = 2 if join is L.Multiply else draw(st.integers(2, 3))
        return join()([node, *(draw(st.sampled_from(alike)) for _ in range(count - 1))])
    if kind == "activation":
        return draw(st.sampled_from([L.Tanh, L.Sigmoid, L.Softplus, L.ReLU]))()(node)
    if kind == "softmax":
        return draw(st.sampled_from([L.Softmax, L.LogSoftmax]))()(node)
    if kind == "flatten" or len(shape) == 1 and kind != "dense":
        return L.Flatten()(node)
    if kind == "dense":
        if len(shape) > 1:
            node = L.Flatten()(node)
        layer = shared.setdefault(("dense", node.shape), L.Dense(4, activation=draw(smooth)))
        return layer(node) if draw(st.booleans()) else L.Dense(draw(st.integers(1, 9)), activation=draw(smooth))(node)
    if kind == "global":
        return draw(st.sampled_from([L.GlobalAvgPool, L.GlobalMaxPool]))()(node)
    if kind == "pool":
        size = draw(st.integers(1, min(3, *shape[1:])))
        return draw(st.sampled_from([L.MaxPool, L.AvgPool]))(size, stride=draw(st.integers(1, 2)))(node)
    same = shared.setdefault(
        ("conv", shape[0], len(shape)), L.Conv(shape[0], 3, padding="same", activation=draw(smooth))
    )
    if draw(st.booleans()):
        return same(node)
    filters = draw(st.sampled_from([1, 3, LANES, LANES + 2]))
    return L.Conv(filters, draw(st.integers(1, min(3, *shape[1:]))), activation=draw(smooth))(node)


@settings(max_examples=400)
@given(st.data(), st.booleans(), st.sampled_from(BATCHES), each_layout)
def test_any_network_and_its_gradients(data, two_inputs, batch, layout):
    nodes = [image(2, 5)] + ([image(3, 5, "other")] if two_inputs else [])
    inputs, shared = list(nodes), {}
    for _ in range(data.draw(st.integers(1, 9))):
        nodes.append(extensions(data.draw, nodes, shared))
    outputs = data.draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3)) + [nodes[-1]]
    read, unseen = set(), list(outputs)
    while unseen:
        node = unseen.pop()
        unseen.extend(source for source in node.inputs if source not in read)
        read.add(node)
    used = [x for x in inputs if x in read]
    outputs = {f"y{i}": y for i, y in enumerate(outputs)}
    with maps_in(layout):
        check(pycnn.Network(used, outputs, dtype="float64", seed=1), batch)


# ---- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [None, L.Softmax, L.LogSoftmax])
@pytest.mark.parametrize("positions", ["vector", "maps"])
@pytest.mark.parametrize("batch", [1, LANES + 1])
def test_cross_entropy_is_that_of_the_scores_with_or_without_a_last_softmax(last, positions, batch):
    x = image()
    h = L.Conv(4, 3, activation="tanh")(x)
    h = L.Conv(5, 2)(h) if positions == "maps" else head(h, 5)
    check(pycnn.Network(x, last()(h) if last else h, dtype="float64", seed=4), batch, "cross_entropy")


def test_softmax_below_cross_entropy_does_not_saturate():
    x = pycnn.Input((2,))
    net = pycnn.Network(x, L.Softmax()(x), dtype="float64")
    loss, gradients = net.gradients(np.array([[800.0, -800.0]]), [1])
    assert loss == 1600
    np.testing.assert_array_equal(gradients["inputs/input"], [[1.0, -1.0]])


@pytest.mark.parametrize("activation", [None, L.Tanh])
def test_softmax_on_an_activation_under_cross_entropy(activation):
    x = image()
    h = L.Conv(4, 3)(x)
    h = L.Softmax()(activation()(h) if activation else h)
    check(pycnn.Network(x, h, dtype="float64", seed=5), 3, "cross_entropy")


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mse"])
def test_losses_shaped_like_the_output(loss):
    x = image()
    h = L.Conv(3, 3, activation="sigmoid" if loss == "binary_cross_entropy" else None)(x)
    check(pycnn.Network(x, h, dtype="float64", seed=6), LANES + 1, loss)


def test_an_output_without_a_loss_contributes_nothing():
    x = image()
    h = L.Conv(4, 3, activation="tanh", name="both")(x)
    net = pycnn.Network(
        x, {"scored": head(h, name="of scored"), "other": L.Conv(2, 2, name="of other")(h)}, dtype="float64"
    )
    xs, ys = drawn(net, 3, {"scored": "mse"}, np.random.default_rng(0))
    gradients = net.gradients(xs, ys, loss={"scored": "mse"})[1]
    assert not gradients["of other/weight"].any() and gradients["both/weight"].any()
    alone = pycnn.Network(*conv_and_head(), dtype="float64")
    for name in alone.parameters:
        alone.parameters[name][...] = net.parameters[name]
    expected = alone.gradients(xs, ys, loss="mse")[1]
    for name, gradient in expected.items():
        np.testing.assert_array_equal(gradients[name], gradient)


def conv_and_head():
    x = image()
    return x, {"scored": head(L.Conv(4, 3, activation="tanh", name="both")(x), name="of scored")}


def test_an_input_that_no_scored_output_reads_has_the_gradient_zero():
    a, b = pycnn.Input((3,), name="a"), pycnn.Input((2,), name="b")
    net = pycnn.Network([a, b], {"of a": L.Dense(2)(a), "of b": L.Dense(2)(b)})
    gradients = net.gradients(
        {"a": np.ones((4, 3)), "b": np.ones((4, 2))}, {"of a": np.ones((4, 2))}, loss={"of a": "mse"}
    )[1]
    assert gradients["inputs/a"].any()
    np.testing.assert_array_equal(gradients["inputs/b"], np.zeros((4, 2)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_inputs_pass_through_layers_that_do_not_learn(layout):
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(*lenet(), dtype="float64", seed=7)
        xs, ys = drawn(net, LANES + 1, {"output": "mse"}, np.random.default_rng(0))
        learning = net.gradients(xs, ys, loss="mse")[1]
        for layer in net.layers.values():
            layer.trainable = False
        frozen = net.gradients(xs, ys, loss="mse")[1]
    assert list(frozen) == ["inputs/image"]
    np.testing.assert_array_equal(frozen["inputs/image"], learning["inputs/image"])


def test_a_frozen_layer_passes_gradients_to_what_lies_below():
    net = pycnn.Network(*lenet(), dtype="float64", seed=8)
    xs, ys = drawn(net, 3, {"output": "mse"}, np.random.default_rng(0))
    learning = net.gradients(xs, ys, loss="mse")[1]
    net["Conv2"].trainable = net["Dense1"].trainable = False
    frozen = net.gradients(xs, ys, loss="mse")[1]
    assert frozen.keys() == {n for n in learning if not n.startswith(("Conv2", "Dense1"))}
    for name, gradient in frozen.items():
        np.testing.assert_array_equal(gradient, learning[name])


# ---- kinks, ties, and what is not finite -----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", [L.MaxPool(2), L.GlobalMaxPool()])
def test_the_first_of_equal_maxima_gets_the_gradient(layer, layout):
    x = image(3, 2)
    layer = type(layer)(**layer.config())
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(x, layer(x), dtype="float64")
        values = np.tile(np.array([[0.0, 5.0], [5.0, 5.0]]), (2, 3, 1, 1))
        target = net.predict(values) - 3.0
        gradient = net.gradients(values, target, loss="mse")[1]["inputs/image"]
    np.testing.assert_array_equal(gradient, np.tile([[0.0, 1.0], [0.0, 0.0]], (2, 3, 1, 1)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_relu_has_no_slope_at_zero_and_below(layout):
    x = image(1, 2)
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(x, L.ReLU()(x), dtype="float64")
        gradient = net.gradients(np.array([[[[0.0, -0.0], [-1.0, 1.0]]]]), np.full((1, 1, 2, 2), -4.0), loss="mse")[1]
    np.testing.assert_array_equal(gradient["inputs/image"], [[[[0, 0], [0, 2.5]]]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_sample_that_is_not_finite_leaves_the_others_of_its_batch_alone(dtype, layout):
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(*lenet(), dtype=dtype, seed=9)
        x = np.random.default_rng(0).normal(size=(LANES + 3, 1, 14, 14))
        expected = net.predict(x)
        for bad in (np.nan, np.inf):
            x[2] = bad
            actual = net.predict(x)
            others = np.arange(len(x)) != 2
            np.testing.assert_array_equal(actual[others], expected[others])
            if np.isnan(bad):
                assert np.isnan(actual[2]).all()


# ---- what a layer says of itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, shape, expected", [
    (lambda: L.Conv(6, 5), (1, 32, 32), (6, 28, 28)),
    (lambda: L.Conv(6, 5, padding=2), (1, 28, 28), (6, 28, 28)),
    (lambda: L.Conv(4, (3, 1), stride=(2, 1), padding=((0, 1), (0, 0)), dilation=(2, 1)), (3, 9, 4), (4, 3, 4)),
    (lambda: L.Conv(4, 3, stride=2, padding="same"), (3, 7), (4, 4)),
    (lambda: L.MaxPool(2), (3, 7, 7), (3, 3, 3)),
    (lambda: L.MaxPool(2, ceil_mode=True), (3, 7, 7), (3, 4, 4)),
    (lambda: L.AvgPool(3, stride=1, padding=1), (3, 4, 5, 6), (3, 4, 5, 6)),
    (L.GlobalMaxPool, (3, 4, 5), (3,)),
    (L.Flatten, (3, 4, 5), (60,)),
    (lambda: L.Dense(7), (3,), (7,)),
    (L.Softmax, (3, 4), (3, 4)),
])
def test_output_shape(make, shape, expected):
    assert make()(pycnn.Input(shape)).shape == expected


@pytest.mark.parametrize("make, shape, parameters, connections", [
    (lambda: L.Conv(6, 5), (1, 32, 32), 156, 122_304),          # C1 of LeNet-5 (LeCun et al. 1998)
    (lambda: L.Conv(120, 5), (16, 5, 5), 48_120, 48_120),       # C5
    (lambda: L.Dense(84), (120,), 10_164, 10_164),              # F6
    (lambda: L.Conv(8, 3, groups=4, bias=False), (4, 5, 5), 72, 9 * 8 * 9),
    (lambda: L.MaxPool(2), (3, 6, 6), 0, 4 * 27),
    (L.GlobalAvgPool, (3, 6, 6), 0, 108),
    (L.Tanh, (3,), 0, 0),
])
def test_parameters_and_connections_are_counted(make, shape, parameters, connections):
    x = pycnn.Input(shape)
    layer = make()
    net = pycnn.Network(x, layer(x))
    assert net.count_parameters() == parameters
    assert layer.count_connections(shape) == connections


@pytest.mark.parametrize("make, error", [
    (lambda: L.Conv(0, 3), "filters must be at least 1, got 0"),
    (lambda: L.Conv(4.0, 3), "filters must be an integer"),
    (lambda: L.Conv(4, 3, groups=3), "4 filters do not divide into 3 groups"),
    (lambda: L.Conv(4, 3, activation="rely"), "unknown activation 'rely'; known are identity, relu"),
    (lambda: L.Dense(True), "units must be an integer"),
    (lambda: L.Dense(3, activation=["relu"]), "unknown activation"),
    (lambda: L.ELU(0), "alpha must be a finite number greater than 0"),
    (lambda: L.LeakyReLU(math.inf), "alpha must be a finite number greater than 0"),
    (lambda: L.LeakyReLU(10**400), "alpha must be a finite number greater than 0"),
    (lambda: L.ELU("1"), "alpha must be a number, got '1'"),
    (lambda: L.Dense(3, name=""), "a layer's name is a non-empty string without '/'"),
    (lambda: L.Dense(3, name="a/b"), "a layer's name is a non-empty string without '/'"),
    (lambda: pycnn.Input(()), "an input has 1 to 4 axes besides the batch"),
    (lambda: pycnn.Input((1, 2, 3, 4, 5)), "an input has 1 to 4 axes besides the batch"),
    (lambda: pycnn.Input((3, 0)), "each size of an input must be at least 1"),
    (lambda: pycnn.Input((3, 2.0)), "each size of an input must be an integer"),
    (lambda: L.BatchNorm(epsilon=0), "epsilon must be a finite number greater than 0, got 0"),
    (lambda: L.BatchNorm(momentum=1.5), "momentum must be a finite number greater than 0 and at most 1, got 1.5"),
])
def test_a_layer_refuses_wrong_arguments_when_it_is_made(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


@pytest.mark.parametrize("layer, shape, error", [
    (L.Conv(4, 5, name="C3"), (6, 4, 4), r"C3: kernel 5x5 does not fit its input 4x4.*at most 4x4 \(6 maps\)"),
    (L.Conv(4, 3, groups=2, name="C3"), (5, 4, 4), "C3: the 5 channels of its input do not divide into 2 groups"),
    (L.Conv(4, (3, 3), name="C3"), (5, 4), "C3: kernel_size has 2 values; expected one integer or 1"),
    (L.Conv(4, 3, stride=0, name="C3"), (5, 4), "C3: stride must be at least 1, got 0"),
    (L.Conv(4, 3, padding=-1, name="C3"), (5, 4), "C3: padding must be at least 0, got -1"),
    (L.Conv(4, 3, padding="full", name="C3"), (5, 4), 'C3: padding must be integers, "same" or "valid"'),
    (L.Conv(4, 3, name="C3"), (5,), r"C3: got an input of shape \(5,\)"),
    (L.MaxPool(5, name="S2"), (6, 4, 4), "S2: kernel 5x5 does not fit its input 4x4"),
    (L.MaxPool(2, padding=2, name="S2"), (6, 4, 4), "S2: padding .* must be smaller than the kernel"),
    (L.AvgPool(2.0, name="S2"), (6, 4, 4), "S2: kernel_size must be an integer"),
    (L.GlobalAvgPool(name="S2"), (6,), r"S2: got an input of shape \(6,\)"),
    (L.Dense(3, name="F6"), (6, 4), "F6: got an input of shape .* put a Flatten before it"),
])
def test_a_layer_that_does_not_fit_its_input_says_so_by_name(layer, shape, error):
    with pytest.raises((ValueError, TypeError), match=error):
        layer(pycnn.Input(shape))


def test_layers_of_no_name_yet_are_named_by_their_class_in_errors():
    with pytest.raises(ValueError, match="^Conv: kernel 5x5 does not fit"):
        L.Conv(4, 5)(pycnn.Input((6, 4, 4)))


@pytest.mark.parametrize(
    "layer, count",
    [
        (L.Conv(2, 1), 2),
        (L.Dense(2), 0),
        (L.ReLU(), 2),
        (L.Add(), 1),
        (L.Concat(), 1),
        (L.Multiply(), 3),
        (L.Softmax(), 2),
        (L.Flatten(), 0),
        (L.MaxPool(1), 2),
    ],
)
def test_a_wrong_number_of_inputs_is_refused(layer, count):
    with pytest.raises(ValueError, match=f"^{type(layer).__name__}: takes .* input.*, got {count}"):
        layer(*[pycnn.Input((2, 3)) for _ in range(count)])


@pytest.mark.parametrize("value", [np.zeros((1, 3)), None, "x"])
def test_only_symbolic_tensors_are_taken(value):
    with pytest.raises(TypeError, match="Dense: call it with tensors made by Input or a layer"):
        L.Dense(2)(value)


def test_a_layer_is_called_with_tensors_or_one_list_of_them():
    a, b = pycnn.Input((3,)), pycnn.Input((3,))
    assert L.Add()(a, b).inputs == L.Add()([a, b]).inputs == L.Add()((a, b)).inputs == (a, b)


@pytest.mark.parametrize(
    "layer",
    [
        L.Conv(4, (3, 1), stride=(2, 1), padding=((0, 1), (2, 0)), dilation=2, groups=2, bias=False, activation="elu"),
        L.Conv(4, np.int64(3), padding="same", weight_init="he_normal"),
        L.Dense(3, activation="tanh", bias_init="ones"),
        L.MaxPool((2, 3), stride=1, padding=1, dilation=2, ceil_mode=True),
        L.AvgPool(3, count_include_pad=False),
        L.BatchNorm(epsilon=1e-3, momentum=0.01),
        L.ELU(0.3),
        L.LeakyReLU(0.3),
        L.ReLU(),
        L.Flatten(),
        L.Add(),
        L.Concat(),
        L.Multiply(),
        L.Softmax(),
        L.GlobalMaxPool(),
    ],
)
def test_a_layer_is_made_again_from_its_config(layer):
    again = type(layer)(**layer.config())
    assert repr(again) == repr(layer) and again.config() == layer.config()


def test_every_activation_is_a_layer_too():
    made = {kind.kind for kind in map(vars(L).get, LAYERS) if issubclass(kind, Activation)}
    assert made == set(ACTIVATIONS)


@pytest.mark.parametrize("make", [lambda: L.Conv(4, 3, name="layer"), lambda: L.Dense(4, name="layer")])
def test_weight_and_bias_are_views_of_the_parameters(make):
    x = pycnn.Input((2, 3) if isinstance(make(), L.Conv) else (2,))
    layer = make()
    net = pycnn.Network(x, layer(x))
    for kind in ("weight", "bias"):
        assert np.shares_memory(getattr(layer, kind), net.parameters[f"layer/{kind}"])
        setattr(layer, kind, 0.5)
        assert (net.parameters[f"layer/{kind}"] == 0.5).all()
