"""Functions of each value whose slope needs the value itself, and rectifiers that learn their slope."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from gradient_checks import LANES, LAYOUTS, alone_or_inside, any_shape, batches, check, each_layout, maps_in
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import _kernels, functional, reference
from pycnn import layers as L

DTYPES = [np.float32, np.float64]
POINTWISE = {
    "GELU": L.GELU, "GELU by tanh": lambda: L.GELU("tanh"), "SiLU": L.SiLU, "HardSigmoid": L.HardSigmoid,
    "steep HardSigmoid": lambda: L.HardSigmoid(1.25, 0.25), "HardSwish": L.HardSwish, "Mish": L.Mish, "Softsign": L.Softsign,
    "Clip": lambda: L.Clip(-0.5, 0.25), "Clip below": lambda: L.Clip(min=-0.25), "Clip above": lambda: L.Clip(max=0.5),
}
PARAMETERS = {"hard_sigmoid": {"alpha": 0.2, "beta": 0.4}, "clip": {"min": -1.5, "max": 2}}


@pytest.mark.parametrize("name", POINTWISE)
@settings(max_examples=25)
@given(shape=any_shape, inside=st.booleans(), batch=batches, layout=each_layout)
def test_functions_of_any_shape_and_their_gradients(name, shape, inside, batch, layout):
    with maps_in(layout):
        check(alone_or_inside(POINTWISE[name](), shape, inside and len(shape) > 1), batch)


@settings(max_examples=60)
@given(any_shape, st.sampled_from([0.25, -0.5, 0.0]), st.booleans(), batches, each_layout)
def test_rectifiers_with_a_slope_and_their_gradients(shape, init, inside, batch, layout):
    with maps_in(layout):
        net = alone_or_inside(L.PReLU(init, name="prelu"), shape, inside and len(shape) > 1)
        net["prelu"].weight += np.linspace(-0.3, 0.4, shape[0])
        check(net, batch)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_functions_in_company(layout):
    x, shared = pycnn.Input((3, 6, 6), name="image"), L.PReLU(0.3)
    a = L.GELU()(L.Conv(5, 3, activation="tanh")(x))
    b = L.MaxPool(2)(L.SiLU()(shared(L.Conv(5, 3)(x))))
    h = L.Add()(L.MaxPool(2)(shared(a)), b)
    h = L.Mish()(L.Dense(4)(L.Softsign()(L.Flatten()(h))))
    with maps_in(LAYOUTS[layout]):
        check(pycnn.Network(x, {"end": L.PReLU()(h), "middle": a}, dtype="float64", seed=1), LANES + 1)


# ---- functions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", _kernels.POINTWISE)
def test_a_function_and_its_gradient_agree_with_the_reference(kind, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=3000), 12 * rng.normal(size=3001), [0, 1e-6, -1e-6, 40, -40, 500, -500]]).astype(dtype)
    x = np.repeat(x, 2)[::2].reshape(2, -1)
    dy, exact, more = rng.normal(size=x.shape).astype(dtype), x.astype(np.float64), PARAMETERS.get(kind, {})
    y, expected = functional.pointwise_forward(x, kind, **more), reference.pointwise_forward(exact, kind, **more)
    eps = np.finfo(dtype).eps
    assert y.dtype == dtype and y.shape == x.shape
    assert np.all(np.abs(y - expected) <= 4 * eps * np.maximum(1, np.abs(expected)))
    dx = functional.pointwise_backward(dy, x, kind, **more)
    expected = reference.pointwise_backward(dy.astype(np.float64), exact, kind, **more)
    assert dx.dtype == dtype and np.all(np.abs(dx - expected) <= 8 * eps * np.abs(dy))
    assert functional.pointwise_forward(np.zeros((0, 3), dtype), kind, **more).shape == (0, 3)


def normal_distribution(x):
    """Phi(x) to the last digits: what rounding -x / sqrt(2) does to erfc is taken off to first order."""
    with localcontext() as context:
        context.prec = 60
        argument = -Decimal(x) / Decimal(2).sqrt()
        rest = float(argument - Decimal(float(argument)))
    t = float(argument)
    return (math.erfc(t) - 2 / math.sqrt(math.pi) * math.exp(-t * t) * rest) / 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_normal_distribution_keeps_its_digits_in_the_tail(dtype):
    x = -np.linspace(0.01, 12 if dtype == np.float32 else 37, 4001).astype(dtype)
    expected = np.array([float(a) * normal_distribution(float(a)) for a in x])
    np.testing.assert_allclose(functional.pointwise_forward(x, "gelu"), expected, rtol=6 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_stay_finite_far_out_and_nan_stays(dtype):
    x = np.array([1e30, -1e30, np.nan], dtype)
    for kind in _kernels.POINTWISE:
        y, dx = functional.pointwise_forward(x, kind), functional.pointwise_backward(np.ones(3), x, kind)
        assert np.isfinite(y[:2]).all() and np.isfinite(dx[:2]).all() and np.isnan(y[2])
        if kind not in ("softsign", "hard_sigmoid"):
            assert dx[0] == 1


def test_where_a_clipped_function_bends_its_slope_is_zero():
    for kind, bends in (("hard_sigmoid", [-3, 3]), ("hard_swish", [-3]), ("clip", [-1.5, 2])):
        more = PARAMETERS["clip"] if kind == "clip" else {}
        for dtype in DTYPES:
            assert not functional.pointwise_backward(np.ones(len(bends)), np.array(bends, dtype), kind, **more).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 6, 4, 3), (3, 40, 50), (40, 7), (2, 3, 3, 3, 3), (0, 4, 3)])
def test_rectifiers_with_a_slope_agree_with_the_reference(shape, dtype):
    rng = np.random.default_rng(0)
    x, dy = (np.asfortranarray(rng.normal(size=shape).astype(dtype)) for _ in range(2))
    weight = rng.normal(size=2 * shape[1]).astype(dtype)[::2]
    ex, edy, eweight = (a.astype(np.float64) for a in (x, dy, weight))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(functional.prelu_forward(x, weight), reference.prelu_forward(ex, eweight), rtol=eps)
    (dx, dweight), expected = functional.prelu_backward(dy, x, weight), reference.prelu_backward(edy, ex, eweight)
    np.testing.assert_allclose(dx, expected[0], rtol=eps)
    size = np.abs(edy * ex).sum(axis=(0, *range(2, x.ndim)))
    assert dx.dtype == dweight.dtype == dtype and np.all(np.abs(dweight - expected[1]) <= 8 * eps * size + eps)


# ---- PyTorch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*POINTWISE, "PReLU", "SELU"])
def test_layers_and_their_gradients_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = {
        "GELU": nn.GELU, "GELU by tanh": lambda: nn.GELU("tanh"), "SiLU": nn.SiLU, "HardSigmoid": nn.Hardsigmoid,
        "HardSwish": nn.Hardswish, "Mish": nn.Mish, "Softsign": nn.Softsign, "Clip": lambda: nn.Hardtanh(-0.5, 0.25),
        "PReLU": lambda: nn.PReLU(5), "SELU": nn.SELU,
    }
    if name not in theirs:
        pytest.skip("no such layer there")
    module, rng = theirs[name]().double(), np.random.default_rng(0)
    x, target = 3 * rng.normal(size=(9, 5, 4)), rng.normal(size=(9, 5, 4))
    source = pycnn.Input((5, 4), name="x")
    layer = {**POINTWISE, "PReLU": lambda: L.PReLU(name="prelu"), "SELU": L.SELU}[name]()
    value, gradients = pycnn.Network(source, layer(source), dtype="float64").gradients(x, target, loss="mse")
    tensor = torch.from_numpy(x).requires_grad_()
    loss = nn.functional.mse_loss(module(tensor), torch.from_numpy(target))
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-13)
    rtol = 1e-7 if name == "HardSigmoid" else 0         # where its 1/6 is that of float32
    np.testing.assert_allclose(gradients["inputs/x"], tensor.grad.numpy(), rtol=rtol, atol=1e-15)
    for key, p in module.named_parameters():
        np.testing.assert_allclose(gradients[f"prelu/{key}"], p.grad.numpy(), rtol=1e-12)


# ---- what the layers promise -------------------------------------------------------------------------------------------


def test_slopes_start_at_a_quarter_and_freeze_map_by_map():
    x = pycnn.Input((4, 6), name="x")
    net = pycnn.Network(x, L.PReLU(name="prelu")(L.Conv(4, 3, name="below")(x)), seed=0)
    assert net["prelu"].weight.tolist() == [0.25] * 4
    rng = np.random.default_rng(0)
    xs, ys = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 4, 6), (8, 4, 4)))
    trainer = net.trainer("mse", pycnn.SGD(0.1))
    net["prelu"].freeze(maps=[0, 2])
    trainer.step([xs], [ys])
    assert (net["prelu"].weight == 0.25).tolist() == [True, False, True, False]
    net["prelu"].trainable = False
    learned, below = net["prelu"].weight.copy(), net["below"].weight.copy()
    assert "prelu/weight" not in net.gradients(xs, ys, loss="mse")[1]
    trainer.step([xs], [ys])
    assert (net["prelu"].weight == learned).all() and (net["below"].weight != below).any()


@pytest.mark.parametrize("layer", [
    L.GELU("tanh"), L.SiLU(), L.HardSigmoid(0.2, 0.4), L.HardSwish(), L.Mish(), L.Softsign(), L.Clip(-1, 6), L.Clip(max=2.5),
    L.PReLU(0.1), L.SELU(),
])
def test_a_network_with_a_function_is_saved_and_loaded(layer, tmp_path):
    again = type(layer)(**layer.config())
    assert repr(again) == repr(layer) and again.config() == layer.config()
    x = pycnn.Input((4, 3, 3))
    net = pycnn.Network(x, layer(x))
    net.save(tmp_path / "net")
    values = 3 * np.random.default_rng(1).normal(size=(2, 4, 3, 3))
    np.testing.assert_array_equal(pycnn.load(tmp_path / "net").predict(values), net.predict(values))


@pytest.mark.parametrize("make, error", [
    (lambda: L.GELU("erf"), """approximate must be "none" or "tanh", got 'erf'"""),
    (lambda: L.HardSigmoid(0), "alpha must be a finite number greater than 0, got 0"),
    (lambda: L.HardSigmoid(beta=math.nan), "beta must be a finite number, got nan"),
    (lambda: L.HardSigmoid(True), "alpha must be a number, got True"),
    (lambda: L.Clip(), "needs min, max or both"),
    (lambda: L.Clip(2, 1), "min must be less than max, got 2 and 1"),
    (lambda: L.Clip(1, 1), "min must be less than max, got 1 and 1"),
    (lambda: L.Clip(max=10**400), "max must be a finite number"),
    (lambda: L.Clip("0"), "min must be a number, got '0'"),
    (lambda: L.PReLU(math.inf), "init must be a finite number, got inf"),
    (lambda: L.PReLU(None), "init must be a number, got None"),
    (lambda: L.Conv(4, 3, activation="gelu"), "unknown activation 'gelu'; .*GELU, SiLU, .* are layers of their own"),
    (lambda: L.SiLU(name="f")(pycnn.Input((2,)), pycnn.Input((2,))), "f: takes one input, got 2"),
    (lambda: functional.pointwise_forward([1.0], "relu"), "kind must be one of gelu, gelu_tanh, .*, got 'relu'"),
    (lambda: functional.pointwise_forward([1.0], "silu", alpha=1), "silu has no parameters, got 'alpha'"),
    (lambda: functional.pointwise_forward([1.0], "clip", low=1), "clip has the parameters min max, got 'low'"),
    (lambda: functional.pointwise_forward([1.0], "clip", min=1, max=0), "clip: min must be less than max, got 1.0 and 0.0"),
    (lambda: functional.pointwise_forward([1.0], "hard_sigmoid", alpha="a"), "hard_sigmoid: alpha must be a number"),
    (lambda: functional.pointwise_forward([1.0], "hard_sigmoid", alpha=0), "hard_sigmoid: alpha must be greater than 0, got 0"),
    (lambda: functional.pointwise_backward([1.0, 2.0], [1.0], "mish"), r"dy must have shape \(1,\), got \(2,\)"),
    (lambda: functional.prelu_forward(np.ones((2, 3)), np.ones(2)), r"weight must have shape \(3,\), got \(2,\)"),
    (lambda: functional.prelu_backward(np.ones((2, 2)), np.ones((2, 3)), np.ones(3)), r"dy must have shape \(2, 3\)"),
])
def test_wrong_arguments_are_refused(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


def test_a_clip_takes_its_limits_as_they_are_in_an_array():
    assert L.Clip(np.float64(0), np.float64(6)).config() == {"min": 0.0, "max": 6.0}
