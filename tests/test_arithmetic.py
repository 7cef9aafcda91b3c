"""Arithmetic with broadcasting, products of matrices, reductions, places that are taken, constants: as NumPy has them,
in networks and with their gradients.
"""

import numpy as np
import pytest
from gradient_checks import REFERENCE, batches, check, each_layout, maps_in
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import layers as L
from pycnn.layers import binary, reduce, unary

sizes = st.integers(1, 5)


def network(layer, *shapes, positive=False):
    """The layer between layers that learn, on values that are all positive where asked for."""
    inputs = [pycnn.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    before = [L.Bias(lambda shape, *_: np.linspace(-0.2, 0.3, int(np.prod(shape))).reshape(shape))(x) for x in inputs]
    if positive:
        before = [L.Softplus()(x) for x in before]
    return pycnn.Network(inputs, L.Bias()(layer(*before)), dtype="float64", seed=1)


@st.composite
def stretching(draw):
    """Two shapes that stretch to each other."""
    shape = draw(st.lists(sizes, min_size=1, max_size=4))
    return tuple(tuple(draw(st.sampled_from([1, n])) for n in shape) for _ in range(2))


@pytest.mark.parametrize("kind", binary.KINDS)
@settings(max_examples=20)
@given(shapes=stretching(), batch=batches)
def test_arithmetic_stretches_axes_of_size_1(kind, shapes, batch):
    check(network(L.Binary(kind), *shapes, positive=kind in ("pow", "div")), batch)


@settings(max_examples=20)
@given(shapes=stretching(), batch=batches)
def test_a_choice_between_two_stretches_axes_of_size_1(shapes, batch):
    a, b = (pycnn.Input(shape, name=name) for shape, name in zip(shapes, "ab"))
    a, b = L.Bias()(a), L.Bias()(b)
    greater = L.Binary("greater")(a, b)
    check(pycnn.Network([a.inputs[0], b.inputs[0]], L.Bias()(L.Where()(greater, a, b)), dtype="float64", seed=1), batch)


@pytest.mark.parametrize("kind", unary.KINDS)
def test_functions_of_each_value(kind):
    smooth = L.Unary(kind)
    x = pycnn.Input((3, 4), name="x")
    net = network(smooth, (3, 4), positive=kind in ("log", "sqrt", "reciprocal"))
    check(net, 3)
    assert pycnn.Network(x, L.Unary(kind)(x)).graph.to_dict()["layers"]["Unary1"]["config"] == {"kind": kind}


@pytest.mark.parametrize("layer", [L.CELU, L.ThresholdedReLU])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.5])
def test_activations_in_numpy(layer, alpha):
    check(network(layer(alpha), (3, 2, 5)), 4)


@settings(max_examples=30)
@given(st.lists(st.tuples(sizes, st.booleans()), max_size=2), sizes, sizes, sizes, batches)
def test_products_of_matrices(lead, m, k, n, batch):
    a, b = (*(s for s, _ in lead), m, k), (*(1 if one else s for s, one in lead), k, n)
    check(network(L.MatMul(), a, b), batch)


@pytest.mark.parametrize("kind", reduce.KINDS)
@settings(max_examples=20)
@given(data=st.data(), keepdims=st.booleans(), batch=batches)
def test_reductions_along_any_axes(kind, data, keepdims, batch):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    check(network(L.Reduce(kind, tuple(axes), keepdims), tuple(shape)), batch)


@settings(max_examples=40)
@given(st.data(), batches)
def test_slices_of_any_axis(data, batch):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    bound = st.none() | st.integers(-6, 6)
    start, stop, step = data.draw(bound), data.draw(bound), data.draw(st.sampled_from([-2, -1, 1, 2, 3]))
    layer = L.Slice(start, stop, step, axis)
    if not range(shape[axis])[start:stop:step]:
        with pytest.raises(ValueError, match="leaves nothing of"):
            layer(pycnn.Input(tuple(shape)))
    else:
        check(network(layer, tuple(shape)), batch)


@settings(max_examples=30)
@given(st.data(), batches)
def test_places_are_taken_in_any_order_and_number(data, batch):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    indices = data.draw(st.lists(st.integers(-shape[axis], shape[axis] - 1), min_size=1, max_size=7))
    check(network(L.Take(indices, axis), tuple(shape)), batch)


@settings(max_examples=20)
@given(stretching(), batches)
def test_axes_of_size_1_expand(shapes, batch):
    whole = tuple(map(max, *shapes))
    check(network(L.Expand(whole), shapes[0]), batch)


@settings(max_examples=20)
@given(st.lists(sizes, min_size=1, max_size=4), batches)
def test_a_constant_is_the_same_for_every_sample_and_learns(shape, batch):
    x = pycnn.Input((3,), name="x")
    layer = L.Constant(tuple(shape), value_init="normal")
    pieces = L.Add()(L.Dense(int(np.prod(shape)))(x), L.Flatten()(layer(x)))
    check(pycnn.Network(x, pieces, dtype="float64", seed=1), batch)


@settings(max_examples=30)
@given(st.data(), st.integers(0, 3), batches, each_layout)
def test_tensors_are_joined_along_any_axis(data, axis, batch, layout):
    shape = data.draw(st.lists(sizes, min_size=max(2, axis + 1), max_size=4))
    shapes = [(*shape[:axis], data.draw(sizes), *shape[axis + 1 :]) for _ in range(data.draw(st.integers(2, 3)))]
    with maps_in(layout):
        check(network(L.Concat(axis), *shapes), batch)


@pytest.mark.parametrize("layer", [L.Softmax, L.LogSoftmax])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_along_any_axis(layer, axis):
    check(network(layer(axis), (3, 4, 2)), 5)


def test_the_layers_of_this_file_have_their_formulas_in_the_checks():
    kinds = {L.Binary, L.Unary, L.CELU, L.ThresholdedReLU, L.MatMul, L.Reduce, L.Slice, L.Take, L.Expand, L.Constant,
             L.Where}
    assert {kind.__name__ for kind in kinds} <= REFERENCE.keys()


@pytest.mark.parametrize(("make", "shapes", "message"), [
    (lambda: L.Binary("modulo"), [], "kind must be one of add, sub"),
    (lambda: L.Binary("add"), [(2, 3), (3,)], "equally many axes"),
    (lambda: L.Binary("add"), [(2, 3), (2, 2)], "each of equal sizes or of 1"),
    (lambda: L.Where(), [(2, 3), (2, 3)], "takes three inputs"),
    (lambda: L.Where(), [(2, 3), (2, 1), (2, 4)], "each of equal sizes or of 1"),
    (lambda: L.Unary("sin"), [], "kind must be one of abs, ceil"),
    (lambda: L.MatMul(), [(2, 3), (2, 3)], r"expects \(..., M, K\)"),
    (lambda: L.Reduce("median", 0), [], "kind must be one of mean"),
    (lambda: L.Reduce("mean", ()), [], "at least one"),
    (lambda: L.Reduce("mean", 2), [(3, 4)], "3 to 4 axes"),
    (lambda: L.Slice(step=0), [], "step must not be 0"),
    (lambda: L.Take([3]), [(3, 4)], "numbers from -3 to 2"),
    (lambda: L.Take([]), [], "at least one number"),
    (lambda: L.Expand((3, 4)), [(2, 4)], "does not stretch"),
    (lambda: L.Constant((0,)), [], "at least 1"),
    (lambda: L.Concat(-1), [], "axis must be at least 0"),
    (lambda: L.Concat(2), [(3, 4), (3, 4)], "has no axis 2"),
    (lambda: L.Softmax(1), [(3,)], "2 to 4 axes"),
])
def test_wrong_settings_and_shapes_are_refused(make, shapes, message):
    with pytest.raises(ValueError, match=message):
        make()(*map(pycnn.Input, shapes))
