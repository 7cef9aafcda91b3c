"""Normalisation of groups, maps and samples, and of channels by their neighbours."""

import math

import numpy as np
import pytest
from gradient_checks import (
    ACTIVATIONS,
    LANES,
    LAYOUTS,
    alone_or_inside,
    any_shape,
    batches,
    check,
    each_layout,
    maps_in,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional, reference
from pycnn import layers as L

DTYPES = [np.float32, np.float64]


def some_weights(shape, *_):
    return np.linspace(-1, 2, math.prod(shape)).reshape(shape)


NORMS = {
    "GroupNorm": lambda groups, **o: L.GroupNorm(groups, **o),
    "InstanceNorm": lambda groups, **o: L.InstanceNorm(**o),
    "LayerNorm": lambda groups, **o: L.LayerNorm(**o),
}


@st.composite
def grouped_shapes(draw, kind, inside):
    """(groups, shape of an input that the layer takes)."""
    if kind != "GroupNorm":
        enough = any_shape.filter(lambda shape: math.prod(shape[1:] if kind == "InstanceNorm" else shape) > 1)
        return None, draw(enough.filter(lambda shape: len(shape) > 1 or not inside))
    groups = draw(st.sampled_from([1, 2, 3, LANES, LANES + 1]))
    per_group = draw(st.one_of(st.integers(1, 4), st.sampled_from([LANES - 1, LANES, 2 * LANES])) if groups < 4 else
                     st.integers(1, 2))
    rank = draw(st.integers(1 if inside or per_group == 1 else 0, 3))
    sides = st.integers(2 if per_group == 1 else 1, {0: 1, 1: 6, 2: 4, 3: 2}[rank])
    return groups, (groups * per_group, *draw(st.tuples(*[sides] * rank)))


@pytest.mark.parametrize("kind", NORMS)
@settings(max_examples=60)
@given(data=st.data(), inside=st.booleans(), batch=batches, layout=each_layout)
def test_norms_of_any_shape_and_their_gradients(kind, data, inside, batch, layout):
    groups, shape = data.draw(grouped_shapes(kind, inside))
    with maps_in(layout):
        check(alone_or_inside(NORMS[kind](groups, epsilon=0.1, weight_init=some_weights), shape, inside), batch)


@settings(max_examples=60)
@given(any_shape, st.integers(1, 7), st.sampled_from([0.5, 0.75, 1.3]), st.booleans(), batches, each_layout)
def test_local_responses_of_any_shape_and_their_gradients(shape, size, beta, inside, batch, layout):
    layer = L.LocalResponseNorm(size, alpha=2.0, beta=beta, k=0.7)
    with maps_in(layout):
        check(alone_or_inside(layer, shape, inside and len(shape) > 1), batch)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, None])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_norms_in_a_chain_with_activations_behind_them(activation, layout):
    kinds = {kind.kind: kind for kind in map(vars(L).get, L.__all__) if isinstance(getattr(kind, "kind", None), str)}
    x = pycnn.Input((2, 5, 5), name="image")
    h = x
    for norm in (L.GroupNorm(3), L.InstanceNorm(), L.LayerNorm(), L.LocalResponseNorm(3, 0.5)):
        h = norm(L.Conv(6, 3, padding=1)(h))
        h = kinds[activation]()(h) if activation else h
    h = L.LayerNorm()(L.Dense(7)(L.Flatten()(h)))
    h = L.GroupNorm(2, name="last")(L.Dense(6)(L.Tanh()(h)))
    with maps_in(LAYOUTS[layout]):
        check(pycnn.Network(x, h, dtype="float64", seed=3), LANES + 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_norm_used_twice_adds_up_its_gradients(layout):
    x, norm = pycnn.Input((4, 3, 3), name="image"), L.GroupNorm(2)
    with maps_in(LAYOUTS[layout]):
        check(pycnn.Network(x, norm(L.Conv(4, 3, padding=1)(norm(x))), dtype="float64", seed=3), LANES + 1)


# ---- functions ---------------------------------------------------------------------------------------------------------


def drawn(shape, dtype, seed=0, offset=0.0):
    """Numbers in an array that is not contiguous."""
    x = np.random.default_rng(seed).normal(offset, 1, (*shape[:-1], 2 * shape[-1])).astype(dtype)[..., ::2]
    return np.asfortranarray(x) if seed % 2 else x


def assert_agree(actual, expected, dtype, ulps):
    actual, expected = [a if isinstance(a, tuple) else (a,) for a in (actual, expected)]
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert a.dtype == dtype and a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=0, atol=ulps * np.finfo(dtype).eps * max(1, np.abs(e).max(initial=0)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape, groups", [
    ((5, 6, 4, 3), 3), ((3, 16, 5), 16), ((3, 40, 2, 2), 8), ((4, 7), 1), ((37, 12), 2), ((2, 96, 5), 3), ((3, 35, 4), 5),
    ((2, 4, 3, 3, 3), 2), ((2, 2, 70, 70), 1), ((0, 4, 3), 2),
])
def test_functions_agree_with_the_reference(shape, groups, dtype):
    x, dy = drawn(shape, dtype, 1, offset=0.5), drawn(shape, dtype, 2)
    weight, bias = drawn(shape[1:2], dtype, 3), drawn(shape[1:2], dtype, 4)
    exact = [a.astype(np.float64) for a in (x, dy, weight, bias)]
    for name, more in (("group_norm", (groups, 0.01)), ("instance_norm", (0.01,)), ("layer_norm", (0.01,))):
        if name == "instance_norm" and len(shape) == 2:
            continue
        if name == "layer_norm":
            weight, bias = drawn(shape[1:], dtype, 5), drawn(shape[1:], dtype, 6)
            exact = [a.astype(np.float64) for a in (x, dy, weight, bias)]
        ex, edy, eweight, ebias = exact
        assert_agree(getattr(functional, f"{name}_forward")(x, weight, bias, *more),
                     getattr(reference, f"{name}_forward")(ex, eweight, ebias, *more), dtype, 8)
        assert_agree(getattr(functional, f"{name}_backward")(dy, x, weight, *more),
                     getattr(reference, f"{name}_backward")(edy, ex, eweight, *more), dtype, 64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size, beta", [(5, 0.75), (4, 0.75), (1, 0.6), (9, 1.0)])
@pytest.mark.parametrize("shape", [(5, 6, 4, 3), (3, 20, 5), (4, 7), (2, 3, 3, 3, 3), (0, 4, 3)])
def test_local_responses_agree_with_the_reference(shape, size, beta, dtype):
    x, dy = drawn(shape, dtype, 1), drawn(shape, dtype, 2)
    ex, edy, more = x.astype(np.float64), dy.astype(np.float64), (size, 0.5, beta, 1.5)
    assert_agree(functional.local_response_norm_forward(x, *more), reference.local_response_norm_forward(ex, *more), dtype, 4)
    assert_agree(functional.local_response_norm_backward(dy, x, *more),
                 reference.local_response_norm_backward(edy, ex, *more), dtype, 8)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", NORMS)
def test_a_mean_far_from_zero_costs_no_digits_but_those_of_the_numbers_themselves(kind, layout):
    x = pycnn.Input((4, 40, 40), name="image")
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(x, NORMS[kind](2)(x))
        values = np.random.default_rng(0).normal(1000, 1, (3, 4, 40, 40)).astype(np.float32)
        y = net.predict(values)
    groups = {"GroupNorm": 2, "InstanceNorm": 4, "LayerNorm": 1}[kind]
    expected = reference.group_norm_forward(values.astype(np.float64), np.ones(4), np.zeros(4), groups)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2 * 1000 * np.finfo(np.float32).eps)


# ---- other programs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [*NORMS, "LocalResponseNorm"])
def test_layers_and_their_gradients_are_those_of_pytorch(kind, layout):
    torch = pytest.importorskip("torch")
    shape = (6, 5, 4)
    layer, theirs = {
        "GroupNorm": lambda: (L.GroupNorm(3, epsilon=1e-3, name="norm"), torch.nn.GroupNorm(3, 6, eps=1e-3)),
        "InstanceNorm": lambda: (L.InstanceNorm(name="norm"), torch.nn.InstanceNorm2d(6, affine=True)),
        "LayerNorm": lambda: (L.LayerNorm(name="norm"), torch.nn.LayerNorm(shape)),
        "LocalResponseNorm": lambda: (L.LocalResponseNorm(3, 0.1, 0.6, 2.0), torch.nn.LocalResponseNorm(3, 0.1, 0.6, 2.0)),
    }[kind]()
    theirs = theirs.double()
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(LANES + 1, *shape)), rng.normal(size=(LANES + 1, *shape))
    image = pycnn.Input(shape, name="x")
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(image, layer(image), dtype="float64")
        for name, p in net.parameters.items():
            p[...] = rng.normal(size=p.shape)
            getattr(theirs, name.removeprefix("norm/")).data = torch.from_numpy(p.copy())
        value, gradients = net.gradients(x, target, loss="mse")
    tensor = torch.from_numpy(x).requires_grad_()
    loss = torch.nn.functional.mse_loss(theirs(tensor), torch.from_numpy(target))
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(gradients["inputs/x"], tensor.grad.numpy(), rtol=0, atol=1e-14)
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(gradients[f"norm/{name}"], p.grad.numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_the_window_of_a_local_response_is_that_of_onnx(size):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator
    x = np.random.default_rng(0).normal(size=(7, 7, 3, 3)).astype(np.float32)
    values = {"alpha": 0.5, "beta": 0.75, "bias": 1.5}
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name in "xy"]
    node = onnx.helper.make_node("LRN", ["x"], ["y"], size=size, **values)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "lrn", tensors[:1], tensors[1:]))
    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    y = functional.local_response_norm_forward(x, size, values["alpha"], values["beta"], values["bias"])
    np.testing.assert_allclose(y, expected, rtol=1e-5)


# ---- what the layers promise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NORMS)
def test_a_sample_is_normalised_alike_in_any_company_in_training_and_in_predictions(kind):
    x = pycnn.Input((4, 6, 6), name="image")
    net = pycnn.Network(x, NORMS[kind](2, epsilon=0.1)(x), dtype="float64")
    values = np.random.default_rng(0).normal(size=(LANES + 3, 4, 6, 6))
    y = net.predict(values, batch_size=None)
    np.testing.assert_allclose(net.predict(values[5:6]), y[5:6], rtol=0, atol=1e-14)
    assert net.gradients(values, y, loss="mse")[0] < 1e-28


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_do_not_depend_on_the_number_of_threads(layout, dtype):
    x = pycnn.Input((3, 20, 20), name="image")
    h = L.GroupNorm(4)(L.Conv(2 * LANES, 3)(x))
    h = L.LocalResponseNorm()(L.InstanceNorm()(L.PReLU()(h)))
    h = L.Dense(3)(L.Flatten()(L.LayerNorm()(h)))
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(2 * LANES + 3, 3, 20, 20)), rng.normal(size=(2 * LANES + 3, 3))
    results, before = [], pycnn.get_num_threads()
    with maps_in(LAYOUTS[layout]):
        net = pycnn.Network(x, h, dtype=dtype, seed=0)
        for threads in (1, 2, 3):
            pycnn.set_num_threads(threads)
            try:
                results.append(net.gradients(xs, ys, loss="mse")[1])
            finally:
                pycnn.set_num_threads(before)
    for name, gradient in results[0].items():
        for other in results[1:]:
            np.testing.assert_array_equal(other[name], gradient)


@pytest.mark.parametrize("kind", NORMS)
def test_norms_freeze_whole_and_map_by_map(kind):
    x = pycnn.Input((4, 6, 6), name="image")
    net = pycnn.Network(x, L.Conv(2, 3)(NORMS[kind](2, name="norm")(L.Conv(4, 3, name="below")(x))), seed=0)
    rng = np.random.default_rng(0)
    xs, ys = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 4, 6, 6), (8, 2, 2, 2)))
    trainer = net.trainer("mse", pycnn.SGD(0.1))
    net["norm"].freeze(maps=[1, 3])
    before = {name: p.copy() for name, p in net.parameters.items()}
    trainer.step([xs], [ys])
    for name in ("norm/weight", "norm/bias"):
        changed = (net.parameters[name] != before[name]).reshape(4, -1)
        assert changed[[0, 2]].all() and not changed[[1, 3]].any()
    assert net["norm"].trainable_maps.tolist() == [True, False, True, False]
    net["norm"].trainable = False
    assert not any(name.startswith("norm/") for name in net.gradients(xs, ys, loss="mse")[1])
    before = {name: p.copy() for name, p in net.parameters.items()}
    trainer.step([xs], [ys])
    assert {name for name, p in net.parameters.items() if (p == before[name]).all()} == {"norm/weight", "norm/bias"}
    assert (net.parameters["below/weight"] != before["below/weight"]).all()


@pytest.mark.parametrize("layer", [
    L.GroupNorm(2, epsilon=1e-3, weight_init="zeros"), L.InstanceNorm(1e-4, bias_init="ones"), L.LayerNorm(epsilon=0.5),
    L.LocalResponseNorm(4, 0.5, 0.6, 2),
])
def test_a_network_with_a_norm_is_saved_and_loaded(layer, tmp_path):
    again = type(layer)(**layer.config())
    assert repr(again) == repr(layer) and again.config() == layer.config()
    x = pycnn.Input((4, 3, 3))
    net = pycnn.Network(x, layer(x))
    for p in net.parameters.values():
        p[...] = np.random.default_rng(0).normal(size=p.shape)
    net.save(tmp_path / "net")
    values = np.random.default_rng(1).normal(size=(2, 4, 3, 3))
    np.testing.assert_array_equal(pycnn.load(tmp_path / "net").predict(values), net.predict(values))


def test_parameters_are_those_of_maps_or_of_every_value():
    for layer, shape in ((L.GroupNorm(3), (6,)), (L.InstanceNorm(), (6,)), (L.LayerNorm(), (6, 5, 4))):
        x = pycnn.Input((6, 5, 4))
        net = pycnn.Network(x, layer(x))
        assert [p.shape for p in net.parameters.values()] == [shape, shape] and not net.statistics
        assert (layer.weight == 1).all() and (layer.bias == 0).all()
        assert layer.count_connections((6, 5, 4)) == 240


@pytest.mark.parametrize("make, error", [
    (lambda: L.GroupNorm(0), "groups must be at least 1, got 0"),
    (lambda: L.GroupNorm(2.0), "groups must be an integer"),
    (lambda: L.GroupNorm(2, epsilon=0), "epsilon must be a finite number greater than 0, got 0"),
    (lambda: L.LayerNorm(epsilon=math.nan), "epsilon must be a finite number greater than 0, got nan"),
    (lambda: L.InstanceNorm(epsilon="small"), "epsilon must be a number, got 'small'"),
    (lambda: L.LocalResponseNorm(0), "size must be at least 1, got 0"),
    (lambda: L.LocalResponseNorm(True), "size must be an integer"),
    (lambda: L.LocalResponseNorm(2**31), "size must be at most"),
    (lambda: L.LocalResponseNorm(alpha=-1), "alpha must be a finite number greater than 0, got -1"),
    (lambda: L.LocalResponseNorm(beta=math.inf), "beta must be a finite number greater than 0, got inf"),
    (lambda: L.LocalResponseNorm(k=0), "k must be a finite number greater than 0, got 0"),
    (lambda: L.GroupNorm(4, name="N")(pycnn.Input((6, 3, 3))), "N: the 6 channels of its input do not divide into 4 groups"),
    (lambda: L.GroupNorm(6, name="N")(pycnn.Input((6,))), r"N: its input \(6,\) has one value in each group"),
    (lambda: L.InstanceNorm(name="N")(pycnn.Input((6,))), r"N: its input \(6,\) has one value in each group"),
    (lambda: L.LayerNorm(name="N")(pycnn.Input((1, 1))), r"N: its input \(1, 1\) has one value in each group"),
    (lambda: L.LayerNorm(name="N")(pycnn.Input((1,)), pycnn.Input((1,))), "N: takes one input, got 2"),
    (lambda: functional.group_norm_forward(np.ones((2, 4)), np.ones(4), np.ones(4), 3), "the 4 channels of x do not divide"),
    (lambda: functional.group_norm_forward(np.ones((2, 4)), np.ones(3), np.ones(4), 2), r"weight must have shape \(4,\)"),
    (lambda: functional.layer_norm_backward(np.ones((2, 3)), np.ones((2, 4)), np.ones(4)), r"dy must have shape \(2, 4\)"),
    (lambda: functional.instance_norm_forward(np.ones((2, 4)), np.ones(4), np.ones(4)), "x must have 3 or 4 or 5 axes"),
    (lambda: functional.layer_norm_forward(np.ones((2, 4)), np.ones(4), np.ones(4), -1), "epsilon must be a finite number of"),
    (lambda: functional.local_response_norm_forward(np.ones((2, 4)), 3, k=0), "k must be greater than 0"),
    (lambda: functional.local_response_norm_forward(np.ones((2, 4)), 2.5), "size must be an integer"),
])
def test_wrong_arguments_are_refused(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


@pytest.mark.parametrize("layer", [L.GroupNorm(2), L.LocalResponseNorm()])
def test_there_are_no_second_derivatives(layer):
    x = pycnn.Input((4, 3), name="x")
    net = pycnn.Network(x, layer(L.Conv(4, 1)(x)))
    with pytest.raises(ValueError, match="has no second derivatives for SDLM"):
        net.trainer("mse", pycnn.SDLM()).estimate_curvature([np.ones((2, 4, 3))], [np.ones((2, 4, 3))])
