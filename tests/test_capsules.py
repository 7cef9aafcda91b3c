"""Capsules: squashing, routing by agreement with gradients through all of it, lengths, masks, and the margin loss."""

import numpy as np
import pytest
from gradient_checks import LANES, alone_or_inside, batches, check, each_layout, maps_in, windows
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import functional, reference
from pycnn import layers as L

capsules_shape = st.tuples(st.sampled_from([1, 2, 3, LANES, LANES + 1]), st.integers(1, 9))


# ---- layers ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(windows(), st.integers(1, 3), st.integers(1, 5), st.sampled_from([1, 3, LANES + 1]), st.booleans(), batches,
       each_layout)
def test_primary_capsules_of_any_geometry_and_their_gradients(window, kinds, dimension, channels, bias, batch, layout):
    spatial, arguments = window
    x = pycnn.Input((channels, *spatial), name="x")
    h = L.Conv(channels, 1, activation="tanh", name="before")(x)
    h = L.PrimaryCapsules(kinds, dimension, bias=bias, name="layer", **arguments)(h)
    with maps_in(layout):
        check(pycnn.Network(x, h, dtype="float64", seed=1), batch)


@settings(max_examples=100)
@given(capsules_shape, st.integers(1, 4), st.sampled_from([1, 2, 3, 5, 8, 16, 17]), st.integers(1, 4), st.booleans(),
       batches, each_layout)
def test_capsules_of_any_size_and_their_gradients(shape, count, size, iterations, inside, batch, layout):
    layer = L.Capsules(count, size, iterations, weight_init=normal(1.5), name="layer")
    with maps_in(layout):
        check(alone_or_inside(layer, shape, inside), batch)


@settings(max_examples=60)
@given(st.sampled_from([L.Squash, L.Length]), capsules_shape, st.booleans(), batches, each_layout)
def test_squash_and_length_of_any_size_and_their_gradients(kind, shape, inside, batch, layout):
    with maps_in(layout):
        check(alone_or_inside(kind(name="layer"), shape, inside), batch)


@settings(max_examples=60)
@given(capsules_shape, st.booleans(), st.booleans(), batches, each_layout)
def test_masks_of_any_size_and_their_gradients(shape, named, behind, batch, layout):
    x, target = pycnn.Input(shape, name="x"), pycnn.Input(shape[:1], name="target")
    h = L.Capsules(shape[0], shape[1], weight_init=normal(1.5), name="before")(x) if behind else x
    h = L.Mask(name="layer")(h, target) if named else L.Mask(name="layer")(h)
    net = pycnn.Network([x, target] if named else x, L.Dense(3, name="behind")(h), dtype="float64", seed=1)
    with maps_in(layout):
        check(net, batch)


@settings(max_examples=30)
@given(batches, st.integers(1, 3), each_layout)
def test_a_capsule_network_with_a_decoder_and_its_gradients(batch, iterations, layout):
    with maps_in(layout):
        check(small_network("float64", iterations), batch, {"lengths": "margin", "image": "mse"})


def test_a_capsule_layer_at_two_places_adds_its_gradients():
    x = pycnn.Input((4, 4), name="x")
    shared = L.Capsules(4, 4, weight_init=normal(1.5), name="shared")
    check(pycnn.Network(x, shared(shared(x)), dtype="float64", seed=1), LANES + 1)


def test_primary_capsules_that_cover_the_image_and_their_gradients():
    x = pycnn.Input((3, 5, 4), name="x")
    h = L.PrimaryCapsules(3, 4, (5, 4), stride=1)(L.Conv(3, 1, activation="tanh")(x))
    assert h.shape == (3, 4)
    check(pycnn.Network(x, h, dtype="float64", seed=1), LANES + 1)


def normal(deviation):
    return lambda shape, fan_in, fan_out, rng: rng.normal(0, deviation, shape)


def small_network(dtype="float32", iterations=3):
    image, label = pycnn.Input((1, 8, 8), name="image"), pycnn.Input((3,), name="label")
    h = L.PrimaryCapsules(2, 4, 3, name="primary")(L.Conv(4, 3, activation="tanh", name="conv")(image))
    h = L.Capsules(3, 5, iterations, weight_init=normal(0.5), name="capsules")(h)
    decoded = L.Dense(64, activation="sigmoid", name="decoder")(L.Mask(name="mask")(h, label))
    return pycnn.Network([image, label], {"lengths": L.Length(name="length")(h), "image": decoded}, dtype=dtype, seed=1)


# ---- functions -------------------------------------------------------------------------------------------------------


def agree(actual, expected, tolerance):
    actual, expected = (v if isinstance(v, tuple) else (v,) for v in (actual, expected))
    for left, right in zip(actual, expected, strict=True):
        assert left.shape == right.shape
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * max(1e-3, np.abs(right).max(initial=0)))


@settings(max_examples=60)
@given(st.integers(1, 40), capsules_shape, st.integers(1, 12), st.integers(1, 20), st.integers(1, 5),
       st.sampled_from([np.float32, np.float64]), st.booleans())
def test_functions_agree_with_the_reference(n, shape, outputs, size, iterations, dtype, contiguous):
    rng, tolerance = np.random.default_rng(0), 2e-4 if dtype == np.float32 else 1e-12

    def drawn(*shape):
        a = rng.normal(size=(*shape, 2)).astype(dtype)
        return np.ascontiguousarray(a[..., 0]) if contiguous else a[..., 0]

    u, w = drawn(n, *shape), drawn(shape[0], outputs, size, shape[1])
    dv, dl, du = drawn(n, outputs, size), drawn(n, shape[0]), drawn(n, *shape)
    target = (np.arange(shape[0]) == rng.integers(0, shape[0] + 1, (n, 1))).astype(dtype)
    for f in (functional, reference):
        y, kept = f.mask_forward(u, target)
        assert kept.dtype == np.int64
        results = {
            "squash": f.squash_forward(u), "squash'": f.squash_backward(du, u), "length": f.length_forward(u),
            "length'": f.length_backward(dl, u), "capsules": f.capsules_forward(u, w, iterations),
            "capsules'": f.capsules_backward(dv, u, w, iterations), "mask": (y, kept), "longest": f.mask_forward(u),
            "mask'": f.mask_backward(du.reshape(n, -1), kept, u.shape),
        }
        if f is functional:
            actual = results
    for name, expected in results.items():
        agree(actual[name], expected, tolerance)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 3), st.integers(1, 5), st.sampled_from([(7,), (3, 4), (2, 3, 2)]),
       st.sampled_from([np.float32, np.float64]))
def test_primary_capsules_agree_with_the_reference(n, kinds, dimension, positions, dtype):
    rng, tolerance = np.random.default_rng(0), 1e-5 if dtype == np.float32 else 1e-13
    maps = rng.normal(size=(kinds * dimension, n, *positions)).astype(dtype).swapaxes(0, 1)
    y = functional.primary_capsules_forward(maps, dimension)
    agree(y, reference.primary_capsules_forward(maps, dimension), tolerance)
    dy = rng.normal(size=y.shape).astype(dtype)
    agree(functional.primary_capsules_backward(dy, maps, dimension),
          reference.primary_capsules_backward(dy, maps, dimension), tolerance)


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 12), st.sampled_from([(), (0.8, 0.2, 0.25)]))
def test_the_margin_loss_agrees_with_the_reference(n, classes, margins):
    rng = np.random.default_rng(0)
    y, labels = rng.uniform(size=(n, classes)), rng.integers(0, classes, n)
    actual, expected = functional.margin_loss(y, labels, *margins), reference.margin_loss(y, labels, *margins)
    assert actual[0] == pytest.approx(expected[0], rel=1e-12)
    agree(actual[1], expected[1], 1e-14)


def test_the_margin_loss_has_the_values_of_its_definition_and_counts_the_longest():
    y = np.array([[0.95, 0.05, 0.3], [0.4, 0.1, 0.0]])
    loss, dy = functional.margin_loss(y, [0, 2])
    assert loss == pytest.approx((0.5 * 0.2**2 + 0.9**2 + 0.5 * 0.3**2) / 2)
    np.testing.assert_allclose(dy, [[0, 0, 0.1], [0.15, 0, -0.9]], atol=1e-15)
    x = pycnn.Input((3, 1), name="x")
    net = pycnn.Network(x, L.Length()(x))
    assert net.evaluate(y[..., None], np.array([0, 2]), loss="margin")["accuracy"] == 0.5


def test_equal_capsules_share_the_votes_and_the_one_that_agrees_wins_them():
    u = np.array([[[1.0], [1.0], [1.0]]])
    weight = np.zeros((3, 2, 2, 1))
    weight[:, 0, :, 0] = [3, 0]                             # all votes for capsule 0 agree,
    weight[:, 1, :, 0] = [[3, 0], [-3, 0], [0, 3]]          # those for capsule 1 do not
    once, thrice = (np.linalg.norm(functional.capsules_forward(u, weight, r), axis=-1)[0] for r in (1, 3))
    assert once == pytest.approx([4.5**2 / (1 + 4.5**2), 1.5**2 / (1 + 1.5**2)])
    assert thrice[0] > 0.98 > once[0] and thrice[1] < once[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_is_finite_at_zero_and_for_long_capsules(dtype):
    for size in (0, 1e-30, 1e-18, 1e-3, 1e3, 1e8):
        x = np.full((3, 2, 4), size, dtype)
        agree(functional.squash_forward(x), reference.squash_forward(x.astype(np.float64)), 1e-6)
        dx = reference.squash_backward(np.ones((3, 2, 4)), x.astype(np.float64))
        agree(functional.squash_backward(np.ones_like(x), x), dx, 1e-5)
        assert np.isfinite(functional.length_backward(np.ones((3, 2), dtype), x)).all()
        weight = np.ones((2, 3, 2, 4), dtype)
        assert all(np.isfinite(g).all() for g in functional.capsules_backward(np.ones((3, 3, 2), dtype), x, weight))


def test_an_empty_batch_gives_empty_results():
    u, weight = np.zeros((0, 3, 2)), np.ones((3, 2, 4, 2))
    assert functional.capsules_forward(u, weight).shape == (0, 2, 4)
    du, dw = functional.capsules_backward(np.zeros((0, 2, 4)), u, weight)
    assert du.shape == u.shape and not dw.any()
    assert functional.length_forward(u).shape == (0, 3) and functional.mask_forward(u)[1].shape == (0,)


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    u, weight = rng.normal(size=(70, 40, 8)), rng.normal(size=(40, 5, 16, 8))
    dv, before, runs = rng.normal(size=(70, 5, 16)), pycnn.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            pycnn.set_num_threads(threads)
            arrays = [a.astype(np.float32) for a in (dv, u, weight)]
            runs.append([functional.capsules_forward(*arrays[1:]), *functional.capsules_backward(*arrays)])
    finally:
        pycnn.set_num_threads(before)
    for run in runs[1:]:
        assert all((a == b).all() for a, b in zip(run, runs[0]))


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_routing_agrees_with_pytorch(iterations):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(19, 30, 8)), 0.4 * rng.normal(size=(30, 10, 16, 8)), rng.normal(size=(19, 10, 16))]
    u, weight, dv = (torch.tensor(a, requires_grad=True) for a in arrays)
    votes = torch.einsum("ijde,nie->nijd", weight, u)
    b = torch.zeros(votes.shape[:3], dtype=torch.float64)
    for _ in range(iterations):
        s = (torch.softmax(b, dim=2)[..., None] * votes).sum(dim=1)
        square = (s**2).sum(dim=-1, keepdim=True)
        v = square / (1 + square) * s / square.sqrt()
        b = b + (votes * v[:, None]).sum(dim=-1)
    v.backward(dv.detach())
    agree(functional.capsules_forward(*arrays[:2], iterations), v.detach().numpy(), 1e-13)
    gradients = u.grad.numpy(), weight.grad.numpy()
    agree(functional.capsules_backward(arrays[2], *arrays[:2], iterations), gradients, 1e-12)
    single = [a.astype(np.float32) for a in arrays]
    agree(functional.capsules_backward(single[2], *single[:2], iterations), gradients, 1e-4)


# ---- what they are told ----------------------------------------------------------------------------------------------


def test_the_published_layers_have_the_published_sizes():
    h = L.Conv(256, 9, activation="relu", name="conv")(pycnn.Input((1, 28, 28), name="image"))
    primary = L.PrimaryCapsules(32, 8, 9, stride=2, name="primary")(h)
    digits = L.Capsules(10, 16, name="digits")(primary)
    assert (primary.shape, digits.shape, L.Length()(digits).shape) == ((1152, 8), (10, 16), (10,))
    assert L.Mask()(digits, pycnn.Input((10,))).shape == (160,)
    weight = digits.layer.parameters(primary.shape)["weight"]
    assert weight.shape == (1152, 10, 16, 8) and digits.layer.count_connections(primary.shape) == 1152 * 160 * 8
    assert primary.layer.count_connections(h.shape) == 36 * 256 * (256 * 81 + 1)
    start = weight.initializer(weight.shape, weight.fan_in, weight.fan_out, np.random.default_rng(0))
    assert start.std() == pytest.approx(0.01, rel=0.01) and abs(start.mean()) < 1e-4


@pytest.mark.parametrize(("make", "message"), [
    (lambda: L.Capsules(0), "capsules must be at least 1, got 0"),
    (lambda: L.Capsules(10, -1), "dimension must be at least 1"),
    (lambda: L.Capsules(10, 16, 0), "iterations must be at least 1"),
    (lambda: L.PrimaryCapsules(0, 8), "capsules must be at least 1"),
    (lambda: L.PrimaryCapsules(4, 0), "dimension must be at least 1"),
    (lambda: L.PrimaryCapsules(4, 8, 9)(pycnn.Input((1, 8, 8))), "kernel 9x9 does not fit"),
    (lambda: L.Capsules()(pycnn.Input((12,))), r"got an input of shape \(12,\)"),
    (lambda: L.Squash()(pycnn.Input((2, 3, 4))), r"expects \(capsules, dimension\)"),
    (lambda: L.Length()(pycnn.Input((2,))), r"expects \(capsules, dimension\)"),
    (lambda: L.Mask()(pycnn.Input((2, 3)), pycnn.Input((3,))), r"its target must be \(2,\)"),
    (lambda: L.Mask()(*[pycnn.Input((2, 3))] * 3), "got 3 inputs"),
    (lambda: functional.capsules_forward(np.ones((2, 3, 4)), np.ones((3, 5, 6, 5))), r"weight must have shape \(3, "),
    (lambda: functional.capsules_forward(np.ones((2, 3, 4)), np.ones((3, 5, 6, 4)), 0), "iterations must be at least 1"),
    (lambda: functional.primary_capsules_forward(np.ones((2, 9, 4)), 2), "do not divide into capsules of dimension 2"),
    (lambda: functional.mask_forward(np.ones((2, 3, 4)), np.ones((2, 4))), r"target must have shape \(2, 3\)"),
    (lambda: functional.margin_loss(np.ones((2, 3)), [0, 3]), "labels must lie in 0 ... 2"),
    (lambda: pycnn.losses.MarginLoss(share=-1), "share must be"),
])
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: L.Capsules(2.0), lambda: L.Capsules(iterations=True),
                                  lambda: L.PrimaryCapsules("4"), lambda: functional.length_forward(np.ones((2, 3, 4), complex)),
                                  lambda: pycnn.losses.MarginLoss(present="0.9")])
def test_arguments_of_the_wrong_kind_are_refused(make):
    with pytest.raises(TypeError):
        make()


def test_the_margin_loss_is_one_of_lengths():
    x = pycnn.Input((3, 4), name="x")
    with pytest.raises(ValueError, match=r"takes an output \(classes,\), got \(3, 4\)"):
        pycnn.Network(x, L.Squash()(x)).gradients(np.ones((2, 3, 4)), np.zeros((2, 4), int), loss="margin")


def test_second_derivatives_are_refused():
    x = pycnn.Input((3, 4), name="x")
    with pytest.raises(ValueError, match="c: Capsules has no second derivatives"):
        pycnn.Network(x, L.Flatten()(L.Capsules(2, 3, name="c")(x))).fit(
            np.ones((2, 3, 4)), np.ones((2, 6)), loss="mse", optimizer=pycnn.SDLM(), verbose=0)


# ---- in networks -----------------------------------------------------------------------------------------------------


def test_a_network_of_capsules_comes_back_from_its_file(tmp_path):
    net = small_network()
    xs = {"image": np.random.default_rng(0).uniform(size=(5, 1, 8, 8)), "label": np.eye(3)[[0, 1, 2, 0, 1]]}
    net.save(tmp_path / "net.safetensors")
    again = pycnn.load(tmp_path / "net.safetensors")
    assert str(again) == str(net)
    for name, y in net.predict(xs).items():
        assert (again.predict(xs)[name] == y).all()


def test_a_mask_keeps_the_named_capsule_or_the_longest_of_samples_without_label():
    x, target = pycnn.Input((3, 2), name="x"), pycnn.Input((3,), name="target")
    net = pycnn.Network([x, target], L.Mask()(x, target))
    capsules = np.array([[[1, 1], [3, 0], [2, 2]]] * 3, np.float32)
    kept = net.predict([capsules, np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]])])
    np.testing.assert_array_equal(kept, [[1, 1, 0, 0, 0, 0], [0, 0, 3, 0, 0, 0], [0, 0, 0, 0, 2, 2]])


def test_single_capsules_and_votes_can_be_frozen():
    net = small_network()
    layer, rng = net["capsules"], np.random.default_rng(0)
    layer.freeze(maps=[1], connections=[(2, 0)])
    assert layer.trainable_maps.tolist() == [True, False, True]
    xs = {"image": rng.uniform(size=(4, 1, 8, 8)), "label": np.eye(3)[[0, 1, 2, 0]]}
    before = layer.weight.copy()
    ys = {"lengths": np.array([0, 1, 2, 0]), "image": rng.uniform(size=(4, 64))}
    net.fit(xs, ys, loss={"lengths": "margin", "image": "mse"}, batch_size=4, epochs=2, verbose=0)
    still = (layer.weight == before).all(axis=(2, 3))
    assert still[:, 1].all() and still[0, 2] and not still[1:, 2].any() and not still[:, 0].any()
    with pytest.raises(ValueError, match="3 capsules that read 8"):
        layer.freeze(connections=[(3, 0)])


def test_a_capsule_network_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 96)
    x = rng.uniform(0, 0.2, (96, 1, 8, 8)).astype(np.float32)
    for sample, label in zip(x, labels):
        sample[0, :, 2 * label + 1] += 0.8
    net = small_network()
    inputs = {"image": x, "label": np.eye(3, dtype=np.float32)[labels]}
    history = net.fit(inputs, {"lengths": labels, "image": x.reshape(96, 64)}, optimizer=pycnn.Adam(0.01), seed=0,
                      loss={"lengths": "margin", "image": "mse"}, loss_weights={"lengths": 1, "image": 0.05},
                      batch_size=16, epochs=15, verbose=0)
    assert history["loss"][-1] < history["loss"][0] / 5
    unlabelled = net.predict({"image": x, "label": np.zeros((96, 3))})
    assert (unlabelled["lengths"].argmax(1) == labels).mean() > 0.95
