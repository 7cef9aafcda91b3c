"""Views: values and gradients at layers within a network."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import layers as L
from pycnn.view import View


def small_network(dtype="float64", seed=0):
    """Two inputs, a shortcut, a normalisation with statistics of its own, dropout, and overlapping pooling behind a rectifier."""
    image, extra = pycnn.Input((2, 9, 8), name="image"), pycnn.Input((3,), name="extra")
    first = L.Conv(4, 3, padding=1, activation="tanh", name="first")(image)
    h = L.ReLU(name="relu")(L.BatchNorm(name="norm")(L.Conv(4, 3, padding=1, name="second")(first)))
    h = L.Add(name="sum")(h, first)
    h = L.MaxPool(3, stride=2, name="pool")(L.Conv(5, 3, activation="relu", name="third")(h))
    h = L.Dropout(0.5, name="dropout")(L.Flatten(name="flatten")(h))
    h = L.Concat(name="both")(h, extra)
    net = pycnn.Network([image, extra], L.Dense(3, name="scores")(h), dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    net["norm"].running_mean[...] = rng.normal(size=4)
    net["norm"].running_var[...] = rng.uniform(0.5, 2, 4)
    net["norm"].weight[...] = rng.normal(size=4)
    return net


def inputs_of(batch, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(batch, 2, 9, 8)), rng.normal(size=(batch, 3))]


def squares(values):
    return sum(np.sum(v**2) for v in values.values()), {name: 2 * v for name, v in values.items()}


@pytest.mark.parametrize("layers", [["second"], ["norm", "third"], ["relu", "pool", "scores"], None])
def test_values_are_those_of_a_network_that_ends_there(layers):
    net, x = small_network(), inputs_of(7)
    values = View(net, layers)(x, batch_size=3)
    assert list(values) == (layers or ["scores"])
    if layers is None:
        np.testing.assert_allclose(values["scores"], net.predict(x), rtol=1e-12)
    if layers == ["norm", "third"]:
        second = View(net, "second")(x)["second"]
        norm = net["norm"]
        each = (second - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var + norm.epsilon)[:, None, None]
        np.testing.assert_allclose(values["norm"], each * norm.weight[:, None, None] + norm.bias[:, None, None], rtol=1e-10)


@settings(max_examples=12, deadline=None)
@given(batch=st.sampled_from([1, 3, 8, 17]), seed=st.integers(0, 100),
       layers=st.sampled_from([["first"], ["norm"], ["relu"], ["sum", "second"], ["third", "scores"], ["pool"], ["both"]]))
def test_gradients_are_those_of_finite_differences(batch, seed, layers):
    net, x = small_network(seed=seed), inputs_of(batch, seed)
    view = View(net, layers)
    value, gradients = view.gradients(x, squares)
    assert value == pytest.approx(squares(view(x))[0])
    rng = np.random.default_rng(seed)
    for which, (name, gradient) in enumerate(gradients.items()):
        direction, step = rng.normal(size=gradient.shape), 1e-6
        moved = [[a + sign * step * direction if i == which else a for i, a in enumerate(x)] for sign in (1, -1)]
        slope = (squares(view(moved[0]))[0] - squares(view(moved[1]))[0]) / (2 * step)
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_gradients_start_where_one_likes():
    net, x = small_network(), inputs_of(4)
    inner = View(net, "sum")(x)
    view = View(net, start="sum")
    assert view.input_shapes == {"extra": (3,), "sum": (4, 9, 8)}
    np.testing.assert_allclose(view([x[1], inner["sum"]])["scores"], net.predict(x), rtol=1e-12)
    _, gradients = view.gradients({**inner, "extra": x[1]}, squares)
    step = np.zeros_like(inner["sum"])
    step[2, 1, 4, 4] = 1e-6
    slope = (squares(view([x[1], inner["sum"] + step]))[0] - squares(view([x[1], inner["sum"] - step]))[0]) / 2e-6
    assert gradients["sum"][2, 1, 4, 4] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def rectified_gradients(rule, x, first, second, dy):
    """The rules of Springenberg et al. 2015, figure 1, for y = second max(0, first x)."""
    values = first @ x
    dy = second.T @ dy
    keep = {"gradient": values > 0, "guided": (values > 0) & (dy > 0), "deconvnet": dy > 0}[rule]
    return first.T @ (dy * keep)


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
@pytest.mark.parametrize("apart", [False, True])
def test_rectifiers_pass_gradients_by_the_rule_asked_for(rule, apart):
    x = pycnn.Input((6,), name="x")
    h = L.ReLU(name="relu")(L.Dense(9, bias=False, name="first")(x)) if apart else L.Dense(9, bias=False, activation="relu",
                                                                                         name="first")(x)
    net = pycnn.Network(x, L.Dense(4, bias=False, name="second")(h), dtype="float64")
    rng = np.random.default_rng(3)
    samples, dy = rng.normal(size=(5, 6)), rng.normal(size=(5, 4))
    _, gradients = View(net, rectified=rule).gradients(samples, lambda values: (0.0, {"second": dy}))
    wanted = [rectified_gradients(rule, a, net["first"].weight, net["second"].weight, d) for a, d in zip(samples, dy)]
    np.testing.assert_allclose(gradients["x"], wanted, rtol=1e-10)


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_the_rules_hold_behind_a_normalisation_a_sum_and_overlapping_pools(rule):
    torch = pytest.importorskip("torch")
    net, x = small_network(), inputs_of(3)
    dy = np.random.default_rng(5).normal(size=(3, 5, 3, 2))
    _, gradients = View(net, "pool", rectified=rule).gradients(x, lambda values: (0.0, {"pool": dy}))

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(context, z):
            context.save_for_backward(z)
            return z.clamp(min=0)

        @staticmethod
        def backward(context, g):
            return g.clamp(min=0) * (1 if rule == "deconvnet" else context.saved_tensors[0] > 0)

    def of(layer, kind):
        return torch.from_numpy(np.array(getattr(net[layer], kind)))

    image = torch.from_numpy(x[0]).requires_grad_()
    conv = torch.nn.functional.conv2d
    first = torch.tanh(conv(image, of("first", "weight"), of("first", "bias"), padding=1))
    h = conv(first, of("second", "weight"), of("second", "bias"), padding=1)
    h = torch.nn.functional.batch_norm(h, of("norm", "running_mean"), of("norm", "running_var"), of("norm", "weight"),
                                       of("norm", "bias"), eps=net["norm"].epsilon)
    h = Rule.apply(conv(Rule.apply(h) + first, of("third", "weight"), of("third", "bias")))
    torch.nn.functional.max_pool2d(h, 3, 2).backward(torch.from_numpy(dy))
    np.testing.assert_allclose(gradients["image"], image.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_it_looks_at_images_of_another_size():
    net = pycnn.models.lenet5()
    view = View(net, "C3", input_shapes=(1, 40, 37))
    assert view.output_shapes == {"C3": (16, 16, 14)}
    rng = np.random.default_rng(0)
    x = rng.random((2, 1, 40, 37), np.float32)
    whole = view(x)["C3"]
    part = View(net, "C3")(x[:, :, 4:32, 4:32])["C3"]       # one padded row and column fewer on each side
    np.testing.assert_allclose(whole[:, :, 3:11, 3:11], part[:, :, 1:9, 1:9], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="its weight would be of shape"):
        View(net, input_shapes=(1, 40, 37))


def test_uses_of_a_shared_layer_are_told_apart():
    x = pycnn.Input((3,), name="x")
    shared = L.Dense(3, bias=False, name="shared")
    net = pycnn.Network(x, shared(shared(x)), dtype="float64")
    samples = np.random.default_rng(0).normal(size=(4, 3))
    values = View(net, ["shared[0]", "shared[1]"])(samples)
    np.testing.assert_allclose(values["shared[0]"], samples @ net["shared"].weight.T)
    np.testing.assert_allclose(values["shared[1]"], values["shared[0]"] @ net["shared"].weight.T)
    with pytest.raises(ValueError, match=r"used 2 times: name a use, from 'shared\[0\]'"):
        View(net, "shared")
    with pytest.raises(ValueError, match="used 2 times"):
        View(net, "shared[2]")


def test_inputs_that_it_does_not_depend_on_have_gradients_of_zero():
    _, gradients = View(small_network(), "first").gradients(inputs_of(2), squares)
    assert np.any(gradients["image"]) and not np.any(gradients["extra"])


def test_it_changes_nothing_and_learns_nothing():
    net, x = small_network("float32"), inputs_of(5)
    before = {name: value.copy() for name, value in {**net.parameters, **net.statistics}.items()}
    view = View(net)
    view.gradients(x, squares)
    assert {kernel for _, kernel, _ in next(iter(view._plans.kept.values()))._steps}.isdisjoint(
        {"conv_backward_weights", "dense_backward_weights", "batch_norm_sums", "dropout"})
    for name, value in {**net.parameters, **net.statistics}.items():
        np.testing.assert_array_equal(value, before[name])


def test_it_sees_what_the_network_learns_meanwhile():
    net, x = small_network(), inputs_of(2)
    view = View(net, "second")
    first = view(x)["second"]
    value, _ = view.gradients(x, squares)
    net["second"].weight[...] *= 2
    net["second"].bias[...] *= 2
    np.testing.assert_allclose(view(x)["second"], 2 * first, rtol=1e-12)
    assert view.gradients(x, squares)[0] == pytest.approx(4 * value)


def test_a_gradient_may_be_left_out_or_one_number():
    net, x = small_network(), inputs_of(2)
    view = View(net, ["sum", "scores"])
    _, one = view.gradients(x, lambda values: (0, {"scores": 1.0}))
    _, full = view.gradients(x, lambda values: (0, {"scores": np.ones((2, 3)), "sum": np.zeros((2, 4, 9, 8))}))
    np.testing.assert_array_equal(one["image"], full["image"])
    assert not np.any(view.gradients(x, lambda values: (0, {}))[1]["image"])


def test_an_error_of_an_objective_comes_through_and_the_view_goes_on():
    net, x = small_network(), inputs_of(2)
    view = View(net)
    with pytest.raises(ZeroDivisionError):
        view.gradients(x, lambda values: 1 / 0)
    assert view.gradients(x, squares)[0] > 0
    with pytest.raises(ValueError, match="gradients are"):
        view.gradients(x, lambda values: (0, {"elsewhere": 1.0}))


@pytest.mark.parametrize("arguments, error, message", [
    ({"layers": "nowhere"}, ValueError, "no layer is named 'nowhere'; there are image, first"),
    ({"layers": []}, ValueError, "looks at one layer at least"),
    ({"layers": [3]}, TypeError, "looked up by its name, got 3"),
    ({"layers": "first", "start": "third"}, ValueError, "third: nothing that is looked at depends on it"),
    ({"rectified": "both"}, ValueError, "rectified is one of"),
    ({"input_shapes": (2, 9, 8)}, ValueError, "the network has 2 inputs"),
    ({"input_shapes": {"picture": (2, 9, 8)}}, ValueError, "shapes are given of .'picture'.; the inputs are"),
    ({"input_shapes": {"image": (3, 9, 8)}}, ValueError, "first: cannot take an input of shape"),
    ({"input_shapes": {"image": (2, 0, 8)}}, ValueError, "each size of a shape"),
])
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        View(small_network(), **arguments)


def test_wrong_inputs_are_refused():
    view = View(small_network(), "first")
    with pytest.raises(ValueError, match="input 'image' has shape"):
        view([np.zeros((1, 2, 9, 9)), np.zeros((1, 3))])
    with pytest.raises(ValueError, match="one sample at least"):
        view.gradients([np.zeros((0, 2, 9, 8)), np.zeros((0, 3))], squares)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "mobilenet"])
def test_input_gradients_agree_with_torch_on_the_same_weights(name):
    torch = pytest.importorskip("torch")
    from bench.peer_torch import module_of

    net = getattr(pycnn.models, name)(**({} if name == "lenet5" else {"shape": (3, 64, 64)}))
    shape = net.input_shapes[net.input_names[0]]
    x = np.random.default_rng(0).random((4, *shape), np.float32)
    output = net.output_names[0]
    _, gradients = View(net).gradients(x, lambda values: (0.0, {output: np.eye(4, values[output].shape[1])}))
    module = module_of(net).eval()
    image = torch.from_numpy(x).requires_grad_()
    scores = module(image)
    scores.backward(torch.eye(4, scores.shape[1]))
    wanted = image.grad.numpy()
    assert np.linalg.norm(gradients["image"] - wanted) < 1e-5 * np.linalg.norm(wanted)


def test_an_objective_that_runs_the_view_itself_is_stopped():
    net, x = small_network(), inputs_of(3)
    view = View(net)
    with pytest.raises(RuntimeError, match="may not run the same network on as many samples"):
        view.gradients(x, lambda values: view.gradients(x, squares))
    inside = []
    view.gradients(x, lambda values: (inside.append(view(x)["scores"]), {}))        # values are another plan's
    np.testing.assert_allclose(inside[0], net.predict(x))
    assert view.gradients(x, squares)[0] > 0


@pytest.mark.parametrize("objective, error, message", [
    (3, TypeError, "the objective is a function"),
    (lambda values: None, TypeError, "an objective returns"),
    (lambda values: (1, values["scores"]), TypeError, "an objective returns"),
    (lambda values: (1, {"scores": None}), TypeError, "the gradient by scores is numbers"),
    (lambda values: (1, {"scores": np.ones((2, 4))}), ValueError, "scores|broadcast"),
])
def test_objectives_of_another_form_are_refused(objective, error, message):
    with pytest.raises(error, match=message):
        View(small_network()).gradients(inputs_of(2), objective)


def test_a_view_that_a_function_of_the_network_uses_keeps_its_objective():
    x = pycnn.Input((4,), name="x")
    done = []

    def double(a):
        if not done:
            done.append(None)
            done[0] = view.gradients(a[:1], lambda values: (7, {}))[0]
        return 2 * a

    net = pycnn.Network(x, L.Dense(3, name="scores")(L.Lambda(double, lambda dy, a: 2 * dy)(x)), dtype="float64")
    view = View(net)
    value, gradients = view.gradients(np.ones((2, 4)), lambda values: (5, {"scores": 1.0}))
    assert (value, done) == (5, [7])
    np.testing.assert_allclose(gradients["x"], 2 * np.broadcast_to(net["scores"].weight.sum(0), (2, 4)))
