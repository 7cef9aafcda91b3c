"""What N. Chumerin's myCNN and the published LeNet-5 could do: connections, M-layers, freezing at three depths, second
derivatives, graphs of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_layers import tables

import pycnn
from pycnn import functional, models, reference
from pycnn import layers as L
from pycnn.callbacks import LambdaCallback, LearningRateSchedule
from pycnn.reference.subsampling import connected_weights, soft_maximum

# ---- LeNet-5 as published --------------------------------------------------------------------------------------------

COUNTS = {      # LeCun et al. 1998, section II.B: trainable parameters, connections
    "C1": (156, 122_304), "S2": (12, 5_880), "C3": (1_516, 151_600), "S4": (32, 2_000), "C5": (48_120, 48_120),
    "F6": (10_164, 10_164), "output": (0, 840), "total": (60_000, 340_908),
}


def test_the_published_lenet_has_the_published_counts():
    rows = {line.split()[0]: line.split() for line in str(models.lenet5("1998")).splitlines()}
    for name, counts in COUNTS.items():
        cells = [int(cell.replace(",", "")) for cell in rows[name] if cell.replace(",", "").isdigit()]
        assert tuple(cells[-2:]) == counts


def test_the_table_of_c3_reads_three_four_and_six_maps():
    table = models.c3_connections()
    assert table.shape == (16, 6) and table.sum() == 60
    assert table.sum(axis=1).tolist() == [3] * 6 + [4] * 9 + [6]
    assert np.flatnonzero(table[0]).tolist() == [0, 1, 2]


def test_the_digits_are_pictures_of_7_by_12_that_differ():
    bitmaps = models.digit_bitmaps()
    assert bitmaps.shape == (10, 12, 7) and set(np.unique(bitmaps)) == {-1, 1}
    flat = bitmaps.reshape(10, 84)
    assert ((flat[:, None] != flat).sum(axis=-1) + 84 * np.eye(10) >= 8).all()


def test_images_for_the_published_net_have_its_margin_and_range():
    images = models.lenet5_images(np.ones((2, 1, 28, 28)))
    assert images.shape == (2, 1, 32, 32) and images.min() == np.float32(-0.1)
    assert images[0, 0, 2, 2] == pytest.approx(1.175) and images[0, 0, 1, 2] == np.float32(-0.1)
    with pytest.raises(ValueError, match="expects"):
        models.lenet5_images(np.ones((2, 1, 32, 32)))


@pytest.mark.parametrize("variant", ["1998", "m"])
def test_the_published_nets_learn_digits_with_sdlm(variant):
    (x, y), (xv, yv) = pycnn.datasets.digits()
    net = models.lenet5(variant)
    net.fit(models.lenet5_images(x[:1500]), y[:1500], loss="distance", loss_weights=[0.03], optimizer=pycnn.SDLM(),
            batch_size=1, epochs=2, verbose=0)
    assert net.evaluate(models.lenet5_images(xv), yv, loss="distance")["accuracy"] > 0.85
    if variant == "m":
        assert np.abs(net["M2"].sharpness).max() > 1e-3 and np.abs(net["M4"].sharpness).max() > 1e-3


# ---- soft-max pooling ------------------------------------------------------------------------------------------------

X4 = np.array([0.3, -0.7, 1.1, 0.4]).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(("a", "value", "slope"), [
    (1.0, 0.6241546881, 0.2787148011), (10.0, 1.0990944147, None), (-10.0, -0.6999362047, None),
])
def test_the_soft_maximum_has_the_known_values(a, value, slope):
    assert functional.softmax_pool_forward(X4, [a], 2).item() == pytest.approx(value, abs=1e-10)
    if slope is not None:
        dx, da = functional.softmax_pool_backward(np.ones((1, 1, 1, 1)), X4, [a], 2)
        assert da.item() == pytest.approx(slope, abs=1e-10) and dx.sum() == pytest.approx(1)


def test_soft_maxima_are_averages_at_zero_and_maxima_far_out_and_stay_finite(rng=np.random.default_rng(0)):
    x = rng.normal(size=(3, 2, 6, 6))
    np.testing.assert_allclose(functional.softmax_pool_forward(x, np.zeros(2), 2), functional.avg_pool_forward(x, 2),
                               rtol=0, atol=1e-15)
    np.testing.assert_allclose(functional.softmax_pool_forward(x, np.full(2, 1e4), 2), functional.max_pool_forward(x, 2)[0],
                               rtol=1e-12)
    np.testing.assert_allclose(functional.softmax_pool_forward(x, np.full(2, -1e4), 2),
                               -functional.max_pool_forward(-x, 2)[0], rtol=1e-12)
    for dtype in (np.float32, np.float64):
        gradients = functional.softmax_pool_backward(np.ones((3, 2, 3, 3), dtype), x.astype(dtype),
                                                     np.array([1e4, -1e4], dtype), 2)
        assert all(np.isfinite(g).all() for g in gradients)


windows = st.tuples(st.integers(1, 3), st.integers(1, 4))


@settings(max_examples=60)
@given(st.integers(1, 19), tables(), windows, windows, st.integers(3, 9), st.integers(3, 9), st.booleans())
def test_functions_agree_with_the_reference(n, table, kernel, stride, height, width, contiguous):
    rng = np.random.default_rng(0)
    kernel = (kernel[0], min(kernel[1], width))
    x = rng.normal(size=(n, table.shape[1], height, 2 * width))[..., :: 2]
    x = np.ascontiguousarray(x) if contiguous else x
    a, c = rng.normal(size=int(table.sum())), rng.normal(size=(2, table.shape[1]))

    def agree(actual, expected):
        actual, expected = (v if isinstance(v, tuple) else (v,) for v in (actual, expected))
        for left, right in zip(actual, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=0, atol=1e-11 * max(1, np.abs(right).max()))

    y = reference.softmax_pool_forward(x, a, kernel, stride, table)
    dy = rng.normal(size=y.shape)
    agree(functional.softmax_pool_forward(x, a, kernel, stride, table), y)
    agree(functional.softmax_pool_backward(dy, x, a, kernel, stride, table),
          reference.softmax_pool_backward(dy, x, a, kernel, stride, table))
    y = reference.subsample_forward(x, *c, kernel, stride)
    dy = rng.normal(size=y.shape)
    agree(functional.subsample_forward(x, *c, kernel, stride), y)
    agree(functional.subsample_backward(dy, x, c[0], kernel, stride),
          reference.subsample_backward(dy, x, c[0], kernel, stride))
    flat, centers = x.reshape(n, -1), rng.normal(size=(4, x[0].size))
    dy = rng.normal(size=(n, 4))
    agree(functional.rbf_forward(flat, centers), reference.rbf_forward(flat, centers))
    agree(functional.rbf_backward(dy, flat, centers), reference.rbf_backward(dy, flat, centers))
    labels = rng.integers(0, 4, n)
    for margin in (0.0, 3.0, 50.0):
        actual = functional.distance_loss(10 * np.abs(dy), labels, margin)
        expected = reference.distance_loss(10 * np.abs(dy), labels, margin)
        assert actual[0] == pytest.approx(expected[0], rel=1e-12)
        agree(actual[1], expected[1])


# ---- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("connections", "message"), [
    ([[True, False]], "has 1 rows for 2 maps"), ([[0, 0], [0, 0]], "connects nothing"), ([[1, 2], [0, 1]], "booleans"),
    ([1, 0], "booleans"), ([[1], [1, 0]], "rows differ"), ("both", "booleans"),
])
def test_a_wrong_table_is_refused(connections, message):
    with pytest.raises(ValueError, match=message):
        L.Conv(2, 3, connections=connections)


def test_a_table_for_another_input_is_refused():
    with pytest.raises(ValueError, match="C3: the connection table has 2 columns, its input 3 maps"):
        L.Conv(2, 3, connections=np.ones((2, 2)), name="C3")(pycnn.Input((3, 8, 8)))
    with pytest.raises(ValueError, match="exclude each other"):
        L.Conv(2, 3, groups=2, connections=np.ones((2, 2)))


def test_what_is_not_connected_does_not_reach_a_map_and_is_neither_counted_nor_saved(tmp_path):
    table = np.array([[1, 0], [0, 1], [1, 1]], bool)
    image = pycnn.Input((2, 6, 6), name="image")
    net = pycnn.Network(image, L.Conv(3, 3, connections=table, name="C")(image))
    assert net.count_parameters() == 4 * 9 + 3 and net["C"].weight.shape == (4, 3, 3)
    for batch in (1, 20):
        x = np.zeros((batch, 2, 6, 6), np.float32)
        x[:, 0] = np.nan
        y = net.predict(x)
        assert np.isnan(y[:, [0, 2]]).all() and np.isfinite(y[:, 1]).all()
    net.save(tmp_path / "net")
    again = pycnn.load(tmp_path / "net")
    x = np.random.default_rng(0).normal(size=(5, 2, 6, 6))
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    np.testing.assert_array_equal(again["C"].connections, table)


def two_sources(**options):
    rng = np.random.default_rng(1)
    image = pycnn.Input((2, 12, 10), name="image")
    a = L.Conv(3, 3, activation="tanh", name="A")(image)
    b = L.AvgPool(2, name="B")(image)
    sources = {a: dict(kernel_size=4, stride=2, connections=rng.random((4, 3)) < 0.6),
               b: dict(kernel_size=(3, 3), stride=(1, 1))}
    h = L.Connect(4, sources, name="M", **options)
    return pycnn.Network(image, h, dtype="float64", seed=2), sources


@pytest.mark.parametrize("rule", ["conv", "sum", "softmax"])
def test_maps_that_read_two_layers_sum_what_each_connection_makes(rule):
    net, sources = two_sources(rule=rule, activation=None if rule == "softmax" else "tanh")
    for name in ("M.A", "M.B"):
        for value in net[name]._parameters.values():
            value.value[...] = np.random.default_rng(3).normal(size=value.shape)
    x = np.random.default_rng(0).normal(size=(5, 2, 12, 10))
    a = pycnn.functional.activation_forward(reference.conv_forward(x, net["A"].weight, net["A"].bias), "tanh")
    b = reference.avg_pool_forward(x, 2)
    total = 0
    for name, value, options in zip(("M.A", "M.B"), (a, b), sources.values()):
        table = options.get("connections", np.ones((4, value.shape[1]), bool))
        kernel, stride = options["kernel_size"], options["stride"]
        if rule == "softmax":
            total = total + reference.softmax_pool_forward(value, net[name].sharpness, kernel, stride, table)
            continue
        bias = net["M.A"].bias if name == "M.A" else None
        if rule == "sum":
            channels = value.shape[1]
            value, stride = reference.subsample_forward(value, np.ones(channels), np.zeros(channels), kernel, stride), 1
        total = total + reference.conv_forward(value, connected_weights(net[name].weight, table), bias, stride=stride)
    expected = total if rule == "softmax" else np.tanh(total)
    np.testing.assert_allclose(net.predict(x), expected, atol=1e-12)


@pytest.mark.parametrize(("options", "message"), [
    (dict(second=dict(kernel_size=2)), "M: connection M.A gives maps of 4x4, M.image of 7x7; they must agree"),
    (dict(second=dict(kernel_size=5, connections=[[1], [0]]), first=dict(kernel_size=3, connections=[[1] * 3, [0] * 3])),
     "M: map 1 reads nothing"),
    (dict(second=dict(size=5)), "kernel_size needed"),
    (dict(rule="max"), "rule must be one of"),
    (dict(rule="softmax", activation="tanh"), "none for softmax"),
])
def test_connections_that_do_not_fit_are_refused_by_name(options, message):
    image = pycnn.Input((1, 8, 8), name="image")
    a = L.Conv(3, 3, name="A")(image)
    sources = {a: options.pop("first", dict(kernel_size=3)), image: options.pop("second", dict(kernel_size=5))}
    with pytest.raises(ValueError, match=message):
        L.Connect(2, sources, name="M", **options)


# ---- freezing at three depths ----------------------------------------------------------------------------------------


def freezable():
    image = pycnn.Input((2, 8, 8), name="image")
    h = L.Conv(6, 3, activation="tanh", name="C1")(image)
    h = L.Subsample(2, activation="tanh", name="S2")(h)
    h = L.Conv(5, 2, connections=np.tri(5, 6, 1), activation="tanh", name="C3")(h)
    h = L.SoftMaxPool(2, name="M4")(h)
    return pycnn.Network(image, L.Dense(4, name="F5")(L.Flatten()(h)), seed=1)


FREEZINGS = {
    "layer": (lambda net: setattr(net["C1"], "trainable", False), {"C1/weight": np.s_[:], "C1/bias": np.s_[:]}),
    "map of a convolution": (lambda net: net["C1"].freeze(maps=[0, 4]),
                             {"C1/weight": np.s_[[0, 4]], "C1/bias": np.s_[[0, 4]]}),
    "map of a table": (lambda net: net["C3"].freeze(maps=[1]), {"C3/weight": np.s_[2:5], "C3/bias": np.s_[[1]]}),
    "connection": (lambda net: net["C1"].freeze(connections=[(2, 1), (5, 0)]), {"C1/weight": np.s_[[2, 5], [1, 0]]}),
    "connection of a table": (lambda net: net["C3"].freeze(connections=[(1, 2)]), {"C3/weight": np.s_[4]}),
    "map of an S-layer": (lambda net: net["S2"].freeze(maps=[3]), {"S2/coefficient": np.s_[[3]], "S2/bias": np.s_[[3]]}),
    "connection of an M-layer": (lambda net: net["M4"].freeze(connections=[(2, 2)]), {"M4/sharpness": np.s_[[2]]}),
    "weight of a dense layer": (lambda net: net["F5"].freeze(connections=[(3, 1)]), {"F5/weight": np.s_[3, 1]}),
}


@pytest.mark.parametrize("kind", FREEZINGS)
@pytest.mark.parametrize("batch", [1, 3, 16, 33])
def test_what_is_frozen_in_mid_training_does_not_change_by_a_bit_and_the_rest_goes_on(kind, batch):
    net = freezable()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4 * batch, 2, 8, 8)), rng.integers(0, 4, 4 * batch)
    freeze, frozen = FREEZINGS[kind]
    optimizer = pycnn.SGD(0.1, momentum=0.9, weight_decay=0.01)

    def everything():
        state = net.storage.state("velocity")
        return {**{n: v.copy() for n, v in net.parameters.items()},
                **{f"v/{n}": net.storage.piece(state, p).copy() for n, p in net.storage.parameters.items()}}

    def train():
        net.fit(x, y, optimizer=optimizer, batch_size=batch, epochs=1, verbose=0)

    train()
    before = everything()
    freeze(net)
    train()
    after = everything()
    for name, value in before.items():
        stays = np.zeros(value.shape, bool)
        if name.removeprefix("v/") in frozen:
            stays[frozen[name.removeprefix("v/")]] = True
        assert (after[name] == value)[stays].all(), name
        assert (after[name] != value)[~stays].mean() > 0.9 if (~stays).any() else True, name
    gradients = net.gradients(x[:batch], y[:batch])[1]
    for name, where in frozen.items():
        assert name not in gradients or not gradients[name][where].any()
    for name in frozen:
        net[name.split("/")[0]].unfreeze()
    train()
    for name, where in frozen.items():
        assert (net.parameters[name][where] != after[name][where]).all()


def test_gradients_of_what_learns_are_the_same_whatever_else_is_frozen():
    rng = np.random.default_rng(0)
    for batch in (1, 3, 16, 40):
        x, y = rng.normal(size=(batch, 2, 8, 8)), rng.integers(0, 4, batch)
        whole = freezable().gradients(x, y)[1]
        net = freezable()
        net["C1"].freeze(maps=[1, 2], connections=[(4, 0)])
        net["C3"].freeze(maps=[0], connections=[(3, 3)])
        net["F5"].freeze(maps=[2])
        for name, gradient in net.gradients(x, y)[1].items():
            p = net.storage.parameters.get(name)
            learns = np.ones(gradient.shape, bool) if p is None else np.zeros(gradient.shape, bool)
            if p is not None:
                learns[p.learns] = True
            np.testing.assert_array_equal(gradient[learns], whole[name][learns])
            assert not gradient[~learns].any()


def test_freezing_saves_steps_and_the_plan_shows_it():
    net = models.lenet5()
    whole = str(net.plan(64, training=True))
    for name in ("C1", "C3", "C5", "F6"):
        net[name].trainable = False
    frozen = str(net.plan(64, training=True))
    assert whole.count("backward") >= 9 and frozen.count("backward") == 1


def test_frozen_connections_are_saved_and_a_callback_can_freeze(tmp_path):
    net = freezable()
    x, y = np.random.default_rng(0).normal(size=(12, 2, 8, 8)), np.arange(12) % 4
    values = []

    def freeze(run):
        if run.batch == 1:
            net["C3"].freeze(connections=[(1, 2)])
        values.append(net["C3"].weight[4].copy())

    net.fit(x, y, batch_size=4, verbose=0, callbacks=[LambdaCallback(on_batch_end=freeze)])
    assert (values[0] == values[2]).all()
    net.save(tmp_path / "net")
    again = pycnn.load(tmp_path / "net")
    assert not again.storage.parameters["C3/weight"].learns[4] and again["C3"].trainable_maps.all()
    assert again.count_parameters(trainable=True) == net.count_parameters() - 4


@pytest.mark.parametrize(("layer", "pairs"), [
    ("C3", [(0, 5)]), ("C1", [(6, 0)]), ("C1", [(0, 2)]), ("F5", [(0, 99)]), ("S2", [(0, 0)]), ("C1", [3]), ("C1", ["ab"]),
])
def test_connections_that_are_not_there_cannot_be_frozen(layer, pairs):
    net = freezable()
    with pytest.raises(ValueError, match=f"{layer}: connections are pairs"):
        net[layer].freeze(connections=pairs)
    assert net.count_parameters(trainable=True) == net.count_parameters()


# ---- parameters as one vector ----------------------------------------------------------------------------------------


def test_the_trainable_parameters_are_one_vector():
    net = freezable()
    net["C1"].freeze(connections=[(2, 1)])
    net["S2"].trainable = False
    vector = net.get_parameters()
    assert len(vector) == net.count_parameters(trainable=True) == net.count_parameters() - 9 - 12
    before = {name: value.copy() for name, value in net.parameters.items()}
    net.set_parameters(vector + 1)
    np.testing.assert_array_equal(net.get_parameters(), vector + 1)
    assert (net["C1"].weight[2, 1] == before["C1/weight"][2, 1]).all() and (net["S2"].bias == before["S2/bias"]).all()
    with pytest.raises(ValueError, match="expects one for each"):
        net.set_parameters(vector[1:])


def test_the_flat_gradient_is_the_slope_along_the_vector():
    x = pycnn.Input((3,))
    net = pycnn.Network(x, L.Dense(2)(L.Dense(4, activation="tanh", name="D")(x)), dtype="float64")
    net["D"].freeze(maps=[1])
    rng = np.random.default_rng(0)
    xs, ys, start = rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), net.get_parameters()
    gradient, direction = net.flat_gradient(xs, ys, loss="mse")[1], rng.normal(size=len(start))
    values = []
    for step in (1e-6, -1e-6):
        net.set_parameters(start + step * direction)
        values.append(net.flat_gradient(xs, ys, loss="mse")[0])
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient @ direction, rel=1e-7)


# ---- second derivatives ----------------------------------------------------------------------------------------------

# What the pass below a layer is, by finite differences: J_ij = d y_i / d v_j, and h_v = sum_i J_ij^2 h_y.


def jacobian(value, array, step=1e-5):
    columns = []
    for i in np.ndindex(array.shape):
        old = array[i]
        array[i] = old + step
        ahead = value().ravel().copy()
        array[i] = old - step
        columns.append((ahead - value().ravel()) / (2 * step))
        array[i] = old
    return np.array(columns).T


SECOND = {
    "Dense": ((5,), lambda x: L.Dense(3, activation="tanh", name="layer")(x)),
    "Bias": ((2, 3, 4), lambda x: L.Bias(name="layer")(x)),
    "Conv": ((2, 5, 4), lambda x: L.Conv(3, 3, stride=(1, 2), padding=1, activation="scaled_tanh", name="layer")(x)),
    "table": ((2, 5, 4), lambda x: L.Conv(3, 3, connections=[[1, 0], [0, 1], [1, 1]], activation="sigmoid", name="layer")(x)),
    "Subsample": ((2, 4, 4), lambda x: L.Subsample(3, 1, activation="tanh", name="layer")(x)),
    "SoftMaxPool": ((2, 4, 4), lambda x: L.SoftMaxPool(3, 1, name="layer")(x)),
    "AvgPool": ((2, 5, 4), lambda x: L.AvgPool(3, 2, padding=1, count_include_pad=False, name="layer")(x)),
    "GELU": ((2, 4, 3), lambda x: L.GELU(name="layer")(x)),
    "MaxPool": ((2, 4, 4), lambda x: L.MaxPool(2, name="layer")(x)),
    "SELU": ((2, 4, 3), lambda x: L.SELU(name="layer")(x)),
    "RBF": ((5,), lambda x: L.RBF(3, fixed=False, name="layer")(x)),
    "Upsample": ((2, 4, 3), lambda x: L.Upsample(1.5, mode="linear")(x)),
    "Pad": ((2, 4, 3), lambda x: L.Pad(2, mode="reflect")(x)),
    "AdaptiveAvgPool": ((2, 5, 4), lambda x: L.AdaptiveAvgPool(3)(x)),
    "LPPool": ((2, 5, 4), lambda x: L.LPPool(3, 3, 1)(x)),
    "MaxUnpool": ((2, 4, 4), lambda x: L.MaxUnpool(2)(L.AvgPool(2)(x), x)),
    "Permute": ((2, 4, 3), lambda x: L.Reshape((3, -1))(L.Permute((2, 0, 1))(x))),
}


@pytest.mark.parametrize("kind", SECOND)
@pytest.mark.parametrize("batch", [1, 19])
def test_second_derivatives_of_a_layer_are_those_of_finite_differences(kind, batch):
    shape, build = SECOND[kind]
    x = pycnn.Input(shape, name="x")
    below = (L.Dense(shape[0], name="below") if len(shape) == 1 else L.Conv(shape[0], 1, name="below"))(x)
    net = pycnn.Network(x, build(below), dtype="float64", seed=3)
    rng = np.random.default_rng(0)
    for p in net.parameters.values():
        p[...] = rng.normal(size=p.shape)
    xs, size = rng.normal(size=(batch, *shape)), int(np.prod(next(iter(net.output_shapes.values()))))
    h_y = np.full((batch, size), 2 / (batch * size))            # of the mean squared error
    net.trainer("mse", pycnn.SDLM()).estimate_curvature([xs], [np.zeros((batch, *next(iter(net.output_shapes.values()))))])
    curvature = net.storage.state("curvature")

    def close(name, expected):
        actual = net.storage.piece(curvature, net.storage.parameters[name])
        np.testing.assert_allclose(actual, expected.reshape(actual.shape), rtol=1e-5, atol=1e-9)

    for name, p in net.parameters.items():
        if name.startswith("layer/"):
            slopes = jacobian(lambda: net.predict(xs, batch_size=None), p).reshape(batch, size, -1)
            if kind in ("Conv", "table", "Subsample", "SoftMaxPool"):
                continue        # shared by positions: compared below, position by position
            close(name, np.einsum("nij,ni->j", slopes**2, h_y))
    # The bias of the layer below moves all positions of a map alike, and its second derivative sums theirs.
    inner = np.zeros((batch, int(np.prod(shape))))
    z = reference_below(net, xs)
    top_in = pycnn.Input(shape, name="z")
    top = pycnn.Network(top_in, SECOND[kind][1](top_in), dtype="float64")
    for name, p in top.parameters.items():
        p[...] = net.parameters[name]
    for n in range(batch):
        zn = z[n : n + 1].copy()
        inner[n] = (jacobian(lambda zn=zn: top.predict(zn), zn) ** 2).T @ h_y[n]
    close("below/bias", inner.reshape(batch, shape[0], -1).sum(axis=(0, 2)))


def reference_below(net, xs):
    weight, bias = net["below"].weight, net["below"].bias
    return reference.dense_forward(xs, weight, bias) if xs.ndim == 2 else reference.conv_forward(xs, weight, bias)


@pytest.mark.parametrize("kind", ["Conv", "Subsample", "SoftMaxPool"])
def test_second_derivatives_of_shared_weights_sum_over_their_positions(kind):
    shape, build = SECOND[kind]
    x = pycnn.Input(shape, name="x")
    net = pycnn.Network(x, build(x), dtype="float64", seed=3)
    rng = np.random.default_rng(0)
    xs, out = rng.normal(size=(3, *shape)), next(iter(net.output_shapes.values()))
    net.trainer("mse", pycnn.SDLM()).estimate_curvature([xs], [np.zeros((3, *out))])
    for name, p in net.storage.parameters.items():
        slopes = jacobian(lambda: net.predict(xs), p.value)
        expected = (slopes**2).sum(axis=0) * 2 / (3 * np.prod(out))
        actual = net.storage.piece(net.storage.state("curvature"), p)
        np.testing.assert_allclose(actual, expected.reshape(p.shape), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("loss", "output"), [
    ("cross_entropy", lambda h: h), ("binary_cross_entropy_with_logits", lambda h: h), ("distance", lambda h: h),
])
def test_second_derivatives_of_losses_are_those_of_finite_differences(loss, output):
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.Dense(4, name="D")(x), dtype="float64")
    xs, rng = np.zeros((2, 3)), np.random.default_rng(0)
    ys = rng.integers(0, 4, 2) if loss != "binary_cross_entropy_with_logits" else rng.uniform(size=(2, 4))
    net["D"].bias = 4 + rng.normal(size=4)
    net.trainer(loss, pycnn.SDLM()).estimate_curvature(net.check_inputs(xs), net.check_targets(ys, loss))
    actual = net.storage.piece(net.storage.state("curvature"), net.storage.parameters["D/bias"]).copy()
    slopes = jacobian(lambda: net.gradients(xs, ys, loss=loss)[1]["D/bias"], net["D"].bias)
    np.testing.assert_allclose(actual, np.diag(slopes), rtol=1e-6, atol=1e-9)


def test_sdlm_steps_by_eta_over_mu_plus_h():
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.Dense(2, name="D")(x), dtype="float64")
    xs, ys = np.random.default_rng(0).normal(size=(2, 1, 3))[0], np.ones((1, 2))
    trainer = net.trainer("mse", pycnn.SDLM(0.1, mu=0.5))
    trainer.estimate_curvature([xs], [ys])
    before, gradient = net.get_parameters(), net.flat_gradient(xs, ys, loss="mse")[1]
    h = np.concatenate([np.tile(xs**2, (2, 1)).ravel(), np.ones(2)])    # of the mean over two outputs
    trainer.step([xs], [ys])
    np.testing.assert_allclose(net.get_parameters(), before - 0.1 / (0.5 + h) * gradient, rtol=1e-12)


def test_the_published_schedule_falls_as_published():
    eta = [pycnn.SDLM.schedule(epoch) for epoch in range(1, 21)]
    published = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    np.testing.assert_allclose(eta, published)
    LearningRateSchedule(pycnn.SDLM.schedule)


def test_sdlm_says_what_has_no_second_derivatives():
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.Softmax(name="top")(L.Dense(2)(x)))
    with pytest.raises(ValueError, match="top: Softmax has no second derivatives"):
        net.fit(np.zeros((2, 3)), np.zeros((2, 2)), loss="mse", optimizer=pycnn.SDLM(), verbose=0)
    net = models.lenet5()
    with pytest.raises(ValueError, match="pass arrays"):
        net.fit([(np.zeros((2, 1, 28, 28)), np.zeros(2, int))], optimizer=pycnn.SDLM(), verbose=0)
    with pytest.raises(ValueError, match="mu must be greater than 0"):
        pycnn.SDLM(mu=0)


# ---- odd graphs ------------------------------------------------------------------------------------------------------


def meeting_late():
    a, b = pycnn.Input((1, 12, 12), name="a"), pycnn.Input((2, 9), name="b")
    h = L.Flatten()(L.MaxPool(2)(L.Conv(4, 3, activation="tanh")(a)))
    g = L.Flatten()(L.Conv(3, 4, stride=2, activation="tanh")(b))
    return [a, b], L.Dense(3)(L.Dense(8, activation="tanh")(L.Concat()(h, g)))


def skipping_three():
    x = pycnn.Input((3, 6, 6), name="x")
    h = first = L.Conv(3, 3, padding=1, activation="tanh")(x)
    for _ in range(3):
        h = L.Conv(3, 3, padding=1, activation="tanh")(h)
    return x, L.Conv(2, 3)(L.Add()(first, h))


def one_feeding_three():
    x = pycnn.Input((2, 8, 8), name="x")
    h = L.Conv(4, 3, activation="tanh")(x)
    parts = [L.Conv(2, 3, activation="relu")(h), L.Conv(2, (3, 3))(h), L.MaxPool(3, 1)(h)]
    return x, L.Dense(2)(L.Flatten()(L.Concat()(parts)))


def outputs_in_the_middle_and_at_the_end():
    x = pycnn.Input((1, 32, 32), name="x")
    h = L.Conv(6, 5, activation="scaled_tanh", name="C1")(x)
    maps = L.Conv(6, 5, activation="scaled_tanh", name="maps")(L.Subsample(2, activation="scaled_tanh")(h))
    return x, {"maps": maps, "end": L.Dense(3)(L.Flatten()(L.SoftMaxPool(5)(maps)))}


def inputs_of_every_rank():
    row, picture, number = (pycnn.Input(s, name=n) for s, n in (((7,), "row"), ((1, 6, 6), "picture"), ((1,), "number")))
    h = [L.Dense(5, activation="tanh")(row), L.Flatten()(L.Conv(2, 4, activation="tanh")(picture)), L.Dense(3)(number)]
    return [row, picture, number], L.Dense(2)(L.Dense(10, activation="tanh")(L.Concat()(h)))


@pytest.mark.parametrize("graph", [meeting_late, skipping_three, one_feeding_three, outputs_in_the_middle_and_at_the_end,
                                   inputs_of_every_rank])
def test_odd_graphs_learn_until_their_loss_falls_tenfold(graph):
    net = pycnn.Network(*graph(), seed=2)
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(8, *shape)) for name, shape in net.input_shapes.items()}
    several = len(net.output_names) > 1
    y = {name: 0.3 * rng.normal(size=(8, *shape)) for name, shape in net.output_shapes.items()}
    loss = "mse"
    if several:
        y["end"], loss = np.arange(8) % 3, {"maps": "mse", "end": "cross_entropy"}
        assert net.output_shapes["maps"] == (6, 10, 10)
    history = net.fit(x, y, loss=loss, optimizer=pycnn.Adam(0.02), epochs=500, batch_size=8, verbose=0,
                      loss_weights={"maps": 0.1, "end": 1.0} if several else None)
    assert min(history["loss"]) < history["loss"][0] / 10


def test_every_kind_of_stride():
    image = pycnn.Input((2, 15, 13), name="image")
    h = L.Conv(3, 3, stride=(2, 1), name="C")(image)
    assert h.shape == (3, 7, 11)
    for layer, shape in [(L.Subsample(3, 1), (3, 5, 9)), (L.Subsample(2, (3, 4)), (3, 2, 3)),
                         (L.SoftMaxPool((3, 2), (1, 3)), (3, 5, 4)), (L.SoftMaxPool(2, 3), (3, 2, 4))]:
        assert layer(h).shape == shape


def test_the_soft_maximum_of_the_reference_has_the_slopes_it_says():
    x, step = X4.ravel(), 1e-6
    value, dx, da = soft_maximum(x, 0.7)
    assert da == pytest.approx((soft_maximum(x, 0.7 + step)[0] - soft_maximum(x, 0.7 - step)[0]) / (2 * step), rel=1e-8)
    for i, e in enumerate(step * np.eye(4)):
        assert dx[i] == pytest.approx((soft_maximum(x + e, 0.7)[0] - soft_maximum(x - e, 0.7)[0]) / (2 * step), rel=1e-7)
