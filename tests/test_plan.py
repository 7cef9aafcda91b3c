"""The plan: calls the kernels that are needed and no others, shares memory only between what never lives together, and
computes the same whatever the threads, the batch and the fusing."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycnn
from pycnn import _kernels as K
from pycnn import config, network, plan, stages
from pycnn import layers as L
from pycnn.arena import Buffer, place_buffers
from pycnn.losses import MeanSquaredError, get_loss
from pycnn.plan import Plan
from pycnn.storage import ALIGNMENT
from pycnn.threads import ThreadChoice

LANES = {dtype: config.kernels(dtype).lanes for dtype in ("float32", "float64")}
LAYOUTS = {"samples": K.SAMPLES, "channels": K.CHANNELS}
STEP = re.compile(r"^ *(\d+)  (.*?) +(\w+) +(\d+) tasks(?:  (.+))?$")


@pytest.fixture(params=LAYOUTS)
def each_layout(request, monkeypatch):
    """The test runs with maps in either layout."""
    monkeypatch.setattr(plan, "choose_spatial_layout", lambda *_: LAYOUTS[request.param])


@pytest.fixture
def threads(monkeypatch):
    """Sets the number of threads, all of which every plan uses; the old number is back after the test."""
    monkeypatch.setattr(ThreadChoice, "threads", lambda _, limit: limit)
    before = pycnn.get_num_threads()
    yield pycnn.set_num_threads
    pycnn.set_num_threads(before)


def steps(of):
    """(label, kernel, layouts) of each step that a plan prints."""
    return [(m[2], m[3], m[5] or "") for m in map(STEP.match, str(of).splitlines()[1:])]


def kernels(of, label=None):
    """How often each kernel is called: at all, or for one layer."""
    return Counter(kernel for name, kernel, _ in steps(of) if label in (None, name))


def lenet(dtype="float32", activation="tanh", seed=0):
    image = pycnn.Input((1, 28, 28), name="image")
    h = L.Conv(6, 5, padding=2, activation=activation, name="C1")(image)
    h = L.MaxPool(2, name="S2")(h)
    h = L.Conv(16, 5, activation=activation, name="C3")(h)
    h = L.MaxPool(2, name="S4")(h)
    h = L.Dense(120, activation=activation, name="C5")(L.Flatten(name="flat")(h))
    h = L.Dense(84, activation=activation, name="F6")(h)
    return pycnn.Network(image, L.Dense(10, name="scores")(h), dtype=dtype, seed=seed)


def mixed(dtype="float32", seed=0):
    """A network with all that a plan handles: branches, joins, shared layers, every kind of layer."""
    x = pycnn.Input((3, 10, 10), name="x")
    trunk = L.Conv(12, 3, padding=1, activation="relu", name="trunk")(x)
    shared = L.Conv(12, 3, padding=1, name="shared")
    h = L.ReLU(name="relu")(L.Add(name="add")(trunk, shared(L.Tanh(name="tanh")(shared(trunk)))))
    h = L.Concat(name="concat")(L.MaxPool(2, name="max")(h), L.AvgPool(2, name="avg")(h))
    gate = L.Conv(24, 1, groups=3, activation="sigmoid", name="gate")(h)
    h = L.Multiply(name="times")(h, gate)
    flat = L.Flatten(name="flat")(L.Conv(5, 3, activation="elu", name="small")(h))
    joined = L.Concat(name="joined")(L.Dense(9, name="dense")(flat), L.GlobalAvgPool(name="average")(h))
    return pycnn.Network(
        x, {"class": L.Softmax(name="p")(L.Dense(4, name="scores")(joined)), "maps": gate}, dtype=dtype, seed=seed
    )


def data(net, count, seed=0):
    rng = np.random.default_rng(seed)
    xs = {name: rng.standard_normal((count, *shape)) for name, shape in net.input_shapes.items()}
    ys = {}
    for name, shape in net.output_shapes.items():
        ys[name] = rng.integers(0, shape[0], count) if len(shape) == 1 else rng.uniform(size=(count, *shape))
    return xs, ys


def losses_of(net):
    return {name: "cross_entropy" if len(shape) == 1 else "mse" for name, shape in net.output_shapes.items()}


def train(net, count, optimizer=None, **options):
    """A few steps of training; every bit of what changed."""
    xs, ys = data(net, count)
    trainer = net.trainer(losses_of(net), optimizer or pycnn.SGD(0.05, momentum=0.9), **options)
    xs, ys = net.check_inputs(xs), net.check_targets(ys, losses_of(net))
    return [np.array([trainer.step(xs, ys) for _ in range(3)]), *(p.copy() for p in net.parameters.values())]


def assert_identical(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_a_plan_prints_its_size_and_every_step():
    printed = str(lenet().plan(64, training=True))
    header, *lines = printed.splitlines()
    found = re.fullmatch(
        r"batch 64, (\w+), (\d+) lanes: (\d+) steps \((\d+) of them reorders\), arena ([\d,]+) bytes", header
    )
    shown = config.kernels("float32")
    assert found and (found[1], int(found[2])) == (shown.isa, shown.lanes)
    assert int(found[3]) == len(lines) and all(STEP.match(line) for line in lines)
    assert [int(STEP.match(line)[1]) for line in lines] == list(range(len(lines)))
    reorders = [line for line in lines if STEP.match(line)[3] in ("reorder", "import_tensor", "export_tensor")]
    assert int(found[4]) == len(reorders)
    assert int(found[5].replace(",", "")) == lenet().plan(64, training=True).arena_bytes


@pytest.mark.parametrize("layout, words", [("samples", "lanes are samples"), ("channels", "lanes are channels")])
def test_a_plan_prints_layouts_in_words(layout, words, monkeypatch):
    monkeypatch.setattr(plan, "choose_spatial_layout", lambda *_: LAYOUTS[layout])
    printed = steps(lenet().plan(20, training=True))
    assert ("flat", "reorder", f"{words} -> plain") in printed or ("C5", "reorder", f"{words} -> plain") in printed
    assert ("C3", "conv_forward", words) in printed
    assert all(shown in ("", "plain", words, f"plain -> {words}", f"{words} -> plain") for _, _, shown in printed)


# ---- which kernels are called ----------------------------------------------------------------------------------------


def test_a_prediction_calls_forward_kernels_alone():
    called = kernels(mixed().plan(20))
    assert not [kernel for kernel in called if "backward" in kernel or "loss" in kernel or "reduce" in kernel]
    assert called["export_tensor"] == 2


def test_bias_activation_and_pooling_are_part_of_the_convolution(each_layout):
    called = kernels(lenet().plan(20, training=True))
    assert called["conv_forward"] == 2 and called["dense_forward"] == 3
    assert not called["activation_forward"] + called["max_pool_forward"]
    assert called["max_pool_backward"] == 2 and called["conv_backward_weights"] == 2
    assert called["conv_backward_data"] == 1 and called["dense_backward_data"] == 3     # none to the image
    assert called["sgd"] == 1


def test_an_activation_layer_and_pooling_behind_it_are_part_of_the_convolution_too():
    x = pycnn.Input((3, 8, 8))
    net = pycnn.Network(x, L.MaxPool(2)(L.ReLU()(L.Conv(4, 3)(x))))
    assert list(kernels(net.plan(5))) == ["conv_pack", "import_tensor", "conv_forward", "export_tensor"]


def test_activation_masks_are_part_of_the_kernels_that_make_the_gradient():
    x = pycnn.Input((3, 8, 8))
    h = x
    for _ in range(3):
        h = L.Conv(4, 3, activation="relu")(h)
    net = pycnn.Network(x, L.Conv(4, 1)(h))
    assert not kernels(net.plan(20, training=True))["activation_backward"]


@pytest.mark.parametrize(
    "why", ["it is an output", "it has two readers", "the convolution has an activation of its own"]
)
def test_an_activation_layer_runs_by_itself_where(why):
    x = pycnn.Input((3, 8, 8))
    conv = L.Conv(4, 3, activation="tanh" if "own" in why else None, name="conv")(x)
    end = L.ReLU(name="relu")(conv)
    outputs = {"end": end}
    if why == "it is an output":
        outputs["conv"] = conv
    elif why == "it has two readers":
        outputs["end"] = L.Add()(end, conv)
    assert kernels(pycnn.Network(x, outputs).plan(5), "relu")["activation_forward"] == 1


@pytest.mark.parametrize("why", ["the convolution is an output", "the activation is an output", "it has two readers",
                                 "its maps have three axes"])
def test_a_pooling_layer_runs_by_itself_where(why):
    x = pycnn.Input((3, 8, 8, 8) if "axes" in why else (3, 8, 8))
    conv = L.Conv(4, 3, name="conv")(x)
    relu = L.ReLU(name="relu")(conv)
    outputs = {"pool": L.MaxPool(2, name="pool")(relu)}
    if why == "the convolution is an output":
        outputs["conv"] = conv
    elif why == "the activation is an output":
        outputs["relu"] = relu
    elif why == "it has two readers":
        outputs["other"] = L.AvgPool(2)(relu)
    assert kernels(pycnn.Network(x, outputs).plan(5), "pool")["max_pool_forward"] == 1


def test_frozen_layers_have_no_weight_gradient_but_pass_gradients_down():
    net = lenet()
    net["C3"].trainable = False
    net["F6"].freeze()
    planned = net.plan(20, training=True)
    assert not kernels(planned, "C3")["conv_backward_weights"] + kernels(planned, "F6")["dense_backward_weights"]
    assert kernels(planned, "C3")["conv_backward_data"] == kernels(planned, "C1")["conv_backward_weights"] == 1


def test_a_layer_with_all_maps_frozen_has_no_weight_gradient():
    net = lenet()
    net["C3"].freeze(maps=range(15))
    assert kernels(net.plan(20, training=True), "C3")["conv_backward_weights"] == 1
    net["C3"].freeze(maps=[15])
    assert kernels(net.plan(20, training=True), "C3")["conv_backward_weights"] == 0


@pytest.mark.parametrize("lowest", ["C3", "C5", "F6", "scores"])
def test_nothing_is_propagated_below_the_lowest_layer_that_learns(lowest):
    net = lenet()
    order = ["C1", "C3", "C5", "F6", "scores"]
    for name in order[: order.index(lowest)]:
        net[name].trainable = False
    backward = [(label, kernel) for label, kernel, _ in steps(net.plan(20, training=True)) if "backward" in kernel]
    assert {label for label, _ in backward} == set(order[order.index(lowest):])
    assert [kernel for label, kernel in backward if label == lowest and kernel.endswith("data")] == []


def test_a_network_that_learns_nothing_has_no_backward_pass():
    net = lenet()
    for layer in net.layers.values():
        layer.trainable = False
    called = kernels(net.plan(20, training=True))
    assert not [kernel for kernel in called if "backward" in kernel or kernel == "sgd"]


def test_the_gradient_of_an_input_is_propagated_only_where_it_is_wanted():
    net = lenet()
    losses = {"scores": (get_loss("cross_entropy"), 1.0)}
    wanted = Plan(
        net.graph, net.storage, config.kernels("float32"), 20, losses=losses, gradients=True, input_gradients=("image",)
    )
    assert kernels(wanted, "C1")["conv_backward_data"] == 1 and kernels(wanted, "image")["export_tensor"] == 1
    assert kernels(net.plan(20, training=True), "C1")["conv_backward_data"] == 0


def test_layers_that_no_wanted_output_reads_are_left_out():
    net = mixed()
    losses = {"maps": (get_loss("mse"), 1.0)}
    labels = {
        label for label, _, _ in steps(Plan(net.graph, net.storage, config.kernels("float32"), 20, losses=losses))
    }
    assert "gate" in labels and not labels & {"small", "dense", "scores", "p", "flat"}


def test_softmax_under_cross_entropy_runs_only_where_its_value_is_wanted():
    x = pycnn.Input((5,))
    net = pycnn.Network(x, L.Softmax()(L.Dense(3)(x)))
    called = kernels(net.plan(4, training=True))
    assert called["softmax_cross_entropy"] == 1 and not called["softmax_forward"] + called["softmax_backward"]
    assert kernels(net.plan(4))["softmax_forward"] == 1


def test_a_value_is_reordered_once_for_all_its_readers(each_layout):
    x = pycnn.Input((3, 8, 8))
    flat = L.Flatten()(L.Conv(5, 3)(x))
    net = pycnn.Network(x, [L.Dense(n)(flat) for n in (2, 3, 4)])
    assert kernels(net.plan(20))["reorder"] == 1


def test_convolutions_behind_each_other_need_no_reorder_between_them(each_layout):
    x = h = pycnn.Input((3, 12, 12))
    for filters in (5, 16, 3, 24):
        h = L.MaxPool(2, stride=1)(L.Conv(filters, 3, padding=1, activation="relu")(h))
    called = kernels(pycnn.Network(x, h).plan(20))
    assert (called["import_tensor"], called["reorder"], called["export_tensor"]) == (1, 0, 1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("clip", [False, True])
def test_the_optimizer_is_the_last_step_and_clipping_the_one_before(optimizer, clip):
    net = lenet()
    optimizer = pycnn.optimizers.get_optimizer(optimizer)
    losses = {"scores": (get_loss("cross_entropy"), 1.0)}
    planned = Plan(
        net.graph,
        net.storage,
        config.kernels("float32"),
        4,
        losses=losses,
        gradients=True,
        optimizer=optimizer,
        clip=clip,
    )
    called = [kernel for _, kernel, _ in steps(planned)]
    assert called[-1] == optimizer.kernel and called.count("clip_norm") == clip == (called[-2] == "clip_norm")


def conv_kernels_of(filters, batch, dtype, training):
    x = pycnn.Input((filters, 8, 8))
    net = pycnn.Network(x, L.Conv(filters, 3, name="conv")(x), dtype=dtype)
    return [layouts for label, kernel, layouts in steps(net.plan(batch, training=training)) if kernel == "conv_forward"]


@pytest.mark.parametrize("dtype", LANES)
def test_lanes_are_what_fills_them_samples_or_channels(dtype):
    lanes = LANES[dtype]
    for training in (False, True):
        assert conv_kernels_of(lanes + 1, 4 * lanes, dtype, training) == ["lanes are samples"]
        assert conv_kernels_of(2 * lanes, 4 * lanes, dtype, training)[0].endswith("lanes are channels")
        assert conv_kernels_of(lanes + 1, 1, dtype, training)[0].endswith("lanes are channels")


# ---- the arena -------------------------------------------------------------------------------------------------------


def end(buffer, real_size):
    return buffer.offset + buffer.size * real_size + ALIGNMENT


def assert_apart(buffers, real_size, arena):
    """Buffers that live together do not touch, a vector behind each included; all lie in the arena on cache lines."""
    living = [b for b in buffers if b.first is not None]
    for b in living:
        assert b.offset % ALIGNMENT == 0 and 0 <= b.offset and end(b, real_size) <= arena
    for i, b in enumerate(living):
        for other in living[:i]:
            if b.first <= other.last and other.first <= b.last:
                assert end(b, real_size) <= other.offset or end(other, real_size) <= b.offset


spans = st.tuples(st.integers(1, 300), st.integers(0, 20), st.integers(0, 8)).map(lambda t: (t[0], t[1], t[1] + t[2]))


@given(st.lists(spans, max_size=40), st.sampled_from([4, 8]))
def test_buffers_that_live_together_never_overlap(lives, real_size):
    buffers = []
    for size, first, last in lives:
        buffer = Buffer(size)
        buffer.first, buffer.last = first, last
        buffers.append(buffer)
    buffers.append(Buffer(10))      # one that no step uses
    arena = place_buffers(buffers, real_size)
    assert_apart(buffers, real_size, arena)
    sizes = {b: (math.ceil(b.size * real_size / ALIGNMENT) + 1) * ALIGNMENT for b in buffers[:-1]}
    together = max(sum(size for b, size in sizes.items() if b.first <= t <= b.last) for t in range(30))
    assert together <= arena <= sum(sizes.values())


def test_buffers_that_live_one_after_the_other_share_memory():
    buffers = [Buffer(1000) for _ in range(50)]
    for i, buffer in enumerate(buffers):
        buffer.first, buffer.last = i, i + 1
    assert place_buffers(buffers, 4) == 2 * (4032 + ALIGNMENT)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [lenet, mixed])
def test_the_arena_of_a_network_is_little_more_than_what_lives_at_once(make, training, monkeypatch, each_layout):
    seen = []

    def recorded(buffers, real_size):
        seen.append((buffers, real_size, place_buffers(buffers, real_size)))
        return seen[-1][2]

    monkeypatch.setattr(plan, "place_buffers", recorded)
    net = make()
    made = net.plan(33, training=training, loss=losses_of(net))
    (buffers, real_size, arena), = seen
    assert_apart(buffers, real_size, arena)
    sizes = {b: end(b, real_size) - b.offset for b in buffers if b.first is not None}
    together = max(sum(size for b, size in sizes.items() if b.first <= t <= b.last) for t in range(len(steps(made))))
    assert made.arena_bytes == arena < sum(sizes.values())
    assert together <= arena < 1.1 * together


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("make", [lenet, mixed])
@pytest.mark.parametrize("batch", [1, 5, 16, 19])
def test_no_step_reads_memory_that_none_has_written(make, batch, dtype, each_layout):
    net = make(dtype)
    xs, ys = data(net, batch)
    losses = losses_of(net)
    xs, ys = net.check_inputs(xs), net.check_targets(ys, losses)
    planned = Plan(
        net.graph,
        net.storage,
        config.kernels(dtype),
        batch,
        gradients=True,
        input_gradients=tuple(net.input_names),
        losses={name: (get_loss(of), 1.0) for name, of in losses.items()},
        outputs=tuple(net.output_names),
    )
    results = []
    for rubbish in (0, 255):        # every number NaN
        planned._arena[:] = rubbish
        outputs = [np.full((batch, *shape), np.nan, dtype) for shape in net.output_shapes.values()]
        gradients = [np.full(x.shape, np.nan, dtype) for x in xs]
        planned.run([*xs, None, *ys, None, *outputs, *gradients])
        results.append(
            [
                planned.results.copy(),
                *outputs,
                *gradients,
                *(net.storage.piece(net.storage.gradients, p).copy() for p in net.storage.parameters.values()),
            ]
        )
    assert all(np.isfinite(a).all() for a in results[0])
    assert_identical(*results)


# ---- the same result -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, count", [(lenet, 1), (lenet, 37), (mixed, 1), (mixed, 37)])
def test_training_and_prediction_are_bit_identical_for_any_number_of_threads(make, count, threads, each_layout):
    found = []
    for number in (1, 2, 3):
        threads(number)
        net = make()
        found.append([*train(net, count), *net.predict(data(net, count)[0]).values()] if make is mixed else
                     [*train(net, count), net.predict(data(net, count)[0])])
    assert_identical(found[0], found[1])
    assert_identical(found[0], found[2])


@pytest.mark.parametrize("optimizer", [pycnn.Adam(), pycnn.RMSprop(momentum=0.5)])
def test_clipped_updates_are_bit_identical_for_any_number_of_threads(optimizer, threads):
    found = []
    for number in (1, 3):
        threads(number)
        again = type(optimizer)(**optimizer.config())
        found.append(train(lenet(), 20, optimizer=again, clip_norm=0.1))
    assert_identical(*found)


@pytest.mark.parametrize("make", [lenet, mixed])
def test_training_is_bit_identical_from_run_to_run(make):
    assert_identical(train(make(), 20), train(make(), 20))


@pytest.mark.parametrize("make", [lenet, mixed])
def test_steps_on_rows_are_those_on_the_rows_copied(make, each_layout):
    net, twin = make(), make()
    losses = losses_of(net)
    xs, ys = data(net, 30)
    xs, ys = net.check_inputs(xs), net.check_targets(ys, losses)
    by_rows, by_arrays = net.trainer(losses, "sgd"), twin.trainer(losses, "sgd")
    order = np.random.default_rng(3).permutation(30)
    for rows in (order[:16], order[16:29], order[29:], np.array([4, 4, 4])):  # the last batches are smaller
        np.testing.assert_array_equal(
            by_rows.step(xs, ys, rows), by_arrays.step([x[rows] for x in xs], [y[rows] for y in ys])
        )
    assert_identical(net.parameters.values(), twin.parameters.values())


def residual(dtype="float32", last=L.ReLU):
    """Two normalised convolutions with a shortcut around them, another with a projected one, and a dense one."""
    x = pycnn.Input((20, 6, 6), name="x")
    h = x
    for filters in (20, 24):
        inner = L.ReLU()(L.BatchNorm()(L.Conv(filters, 3, padding=1, bias=False)(h)))
        inner = L.BatchNorm()(L.Conv(filters, 3, padding=1, bias=False)(inner))
        shortcut = h if filters == 20 else L.BatchNorm()(L.Conv(filters, 1, bias=False)(h))
        h = last()(L.Add()(inner, shortcut))
    h = L.Tanh()(L.BatchNorm()(L.Dense(9)(L.GlobalAvgPool()(h))))
    net = pycnn.Network(x, L.Dense(3)(h), dtype=dtype)
    rng = np.random.default_rng(1)
    for value in (*net.parameters.values(), *net.statistics.values()):
        value[...] = rng.uniform(0.5, 1, value.shape) if value.ndim == 1 else value
    return net


def test_predictions_of_normalised_residual_blocks_write_each_map_once():
    found = kernels(residual().plan(2))
    assert found["conv_forward"] == 5 and found["batch_norm_fold"] == 6
    assert not found["batch_norm_forward"] + found["sum"] + found["activation_forward"]


def test_training_of_normalised_residual_blocks_reads_and_writes_each_map_as_little_as_possible():
    found = kernels(residual().plan(2, training=True))
    assert found["batch_norm_sums"] == found["batch_norm_backward_data"] == 6
    assert found["batch_norm_forward"] == 6 + 3     # those that a convolution or dense layer reads, once more on the way back
    assert not found["sum"] + found["activation_forward"]
    assert found["activation_backward"] == 1    # of what the global average reads


def test_a_normalisation_whose_convolution_is_seen_elsewhere_is_not_folded():
    x = pycnn.Input((3, 6, 6))
    h = L.Conv(4, 3)(x)
    net = pycnn.Network(x, [h, L.BatchNorm()(h)])
    assert kernels(net.plan(2))["batch_norm_fold"] == 0 and kernels(net.plan(2))["batch_norm_forward"] == 1


@pytest.mark.parametrize("last", [L.ReLU, L.Sigmoid])
def test_folded_and_fused_plans_compute_what_plain_ones_compute(last, monkeypatch, each_layout):
    def found():
        net = residual("float64", last)
        xs, ys = data(net, 11)
        return net.predict(xs), net.gradients(xs, ys, loss=losses_of(net))

    (outputs, (loss, gradients)) = found()
    monkeypatch.setattr(stages, "absorbed_by", lambda *_: stages.Absorbed())
    (expected, (expected_loss, expected_gradients)) = found()
    np.testing.assert_allclose(outputs, expected, rtol=1e-11)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, gradient in gradients.items():
        scale = np.abs(expected_gradients[name]).max()
        np.testing.assert_allclose(gradient, expected_gradients[name], rtol=0, atol=1e-10 * max(1, scale), err_msg=name)


# ---- weights packed once ----------------------------------------------------------------------------------------------


@pytest.fixture
def begun(monkeypatch):
    """At which step each run of a plan has begun."""
    seen, run = [], ThreadChoice.run
    monkeypatch.setattr(ThreadChoice, "run", lambda *a: seen.append(a[5]) or run(*a))
    return seen


def write_nothing(net):
    pass


def write_a_view(net):
    net["conv"].weight[...] *= 2


def write_a_view_of_a_view(net):
    part = net["conv"].weight[1:]
    part = part.reshape(-1)[::2]
    part += 1


def write_an_attribute(net):
    net["conv"].bias = 0.5


def write_the_dict(net):
    net.parameters["scores/bias"][0] = 3


def write_a_statistic(net):
    net["norm"].running_var = 2.5


def write_a_flat_vector(net):
    net.set_parameters(net.get_parameters() + 1)


def write_by_training(net):
    net.trainer("cross_entropy", "sgd").step([data(net, 4)[0]["x"]], [np.zeros(4, np.int64)])


@pytest.mark.parametrize("write", [write_a_view, write_a_view_of_a_view, write_an_attribute, write_the_dict,
                                   write_a_statistic, write_a_flat_vector, write_by_training])
def test_weights_are_packed_again_only_after_they_may_have_been_written(write, begun):
    def made():
        x = pycnn.Input((5, 6, 6), name="x")
        h = L.BatchNorm(name="norm")(L.Conv(4, 3, name="conv")(x))
        return pycnn.Network(x, L.Dense(3, name="scores")(L.Flatten()(h)))

    net, twin = made(), made()
    x = data(net, 4)[0]["x"]
    for _ in range(3):
        net.predict(x)
    assert begun[0] == 0 and begun[1] == begun[2] > 0
    write(net)
    write(twin)
    del begun[:]
    for _ in range(2):
        np.testing.assert_array_equal(net.predict(x), twin.predict(x))
    assert begun[::2] == [0, max(begun)] and max(begun) > 0


def test_while_somebody_holds_a_view_of_a_parameter_every_write_is_seen(begun):
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.BatchNorm(name="norm")(L.Dense(2, name="dense", bias=False)(x)))
    weight = net["dense"].weight[:, 1]
    for value in (1.0, 2.0, 3.0):
        weight[...] = value
        assert net.predict(np.array([[0.0, 1.0, 0.0]]))[0, 0] == pytest.approx(value, rel=1e-4)
    assert begun == [0, 0, 0]
    del weight
    net.predict(np.zeros((1, 3)))
    net.predict(np.zeros((1, 3)))
    assert begun[3] == 0 < begun[4]


def fused_and_not(make, monkeypatch):
    """(outputs, loss and gradients) from a plan that fuses and from one that does not"""
    net = make("float64")
    xs, ys = data(net, 11)

    def found():
        outputs = net.predict(xs)
        return (outputs if isinstance(outputs, dict) else {"y": outputs}, *net.gradients(xs, ys, loss=losses_of(net)))

    fused = found()
    net = make("float64")
    monkeypatch.setattr(stages, "absorbed_by", lambda *_: stages.Absorbed())
    assert kernels(net.plan(11))["max_pool_forward"] + kernels(net.plan(11))["activation_forward"]
    return fused, found()


def activation_layers(dtype):
    x = pycnn.Input((2, 9, 9))
    h = L.MaxPool(3, stride=2, padding=1)(L.Softplus()(L.Conv(5, 3)(x)))
    h = L.ELU(0.3)(L.Conv(17, 2, groups=1)(h))
    return pycnn.Network(x, L.ScaledTanh()(L.Dense(4)(L.Flatten()(h))), dtype=dtype)


@pytest.mark.parametrize("make", [lenet, mixed, activation_layers])
def test_a_plan_that_fuses_computes_what_one_that_does_not_computes(make, monkeypatch, each_layout):
    (outputs, loss, gradients), (expected, expected_loss, expected_gradients) = fused_and_not(make, monkeypatch)
    assert_identical(outputs.values(), expected.values())
    assert loss == expected_loss
    for name, gradient in gradients.items():
        # f' of a maximum is multiplied by the sum of what overlapping windows pass back, not by each of them.
        rounding = 8 * np.finfo(np.float64).eps * np.abs(expected_gradients[name]).max()
        np.testing.assert_allclose(gradient, expected_gradients[name], rtol=0, atol=rounding, err_msg=name)


def layers_without_kinks(dtype, seed=0):
    x = pycnn.Input((3, 10, 10), name="x")
    h = L.Conv(12, 3, padding=1, activation="tanh")(x)
    h = L.AvgPool(2)(L.Add()(h, L.Conv(12, 3, padding=1, activation="sigmoid")(h)))
    return pycnn.Network(x, L.Dense(7)(L.Flatten()(h)), dtype=dtype, seed=seed)


@pytest.mark.parametrize("batch", [1, 16, 21])
def test_float32_agrees_with_float64_to_its_rounding(batch, each_layout):
    single, double = layers_without_kinks("float32"), layers_without_kinks("float64")
    for name, parameter in single.parameters.items():
        double.parameters[name][...] = parameter
    xs, ys = data(single, batch)
    xs = {name: x.astype("float32") for name, x in xs.items()}
    rounding = 16 * float(np.finfo(np.float32).eps)
    y, exact = single.predict(xs), double.predict(xs)
    assert y.dtype == np.float32 and exact.dtype == np.float64
    np.testing.assert_allclose(y, exact, rtol=0, atol=rounding * np.abs(exact).max())
    loss, gradients = single.gradients(xs, ys)
    exact_loss, exact = double.gradients(xs, ys)
    assert loss == pytest.approx(exact_loss, rel=rounding)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            gradient, exact[name], rtol=0, atol=rounding * np.abs(exact[name]).max(), err_msg=name
        )


def test_batches_of_any_size_predict_the_same():
    net = mixed("float64")
    xs, _ = data(net, 37)
    whole = net.predict(xs, batch_size=None)
    for size in (1, 5, 16, 36, 1000):
        parts = net.predict(xs, batch_size=size)
        for name in whole:
            np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-13)


def test_the_loss_and_gradient_of_a_batch_are_the_mean_of_those_of_its_halves():
    net = mixed("float64")
    xs, ys = data(net, 22)
    losses = losses_of(net)
    loss, gradients = net.gradients(xs, ys, loss=losses)
    halves = [net.gradients({n: x[h] for n, x in xs.items()}, {n: y[h] for n, y in ys.items()}, loss=losses)
              for h in (slice(11), slice(11, 22))]
    assert loss == pytest.approx(np.mean([half[0] for half in halves]), rel=1e-13)
    for name in net.parameters:
        expected = np.mean([half[1][name] for half in halves], axis=0)
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=1e-13 * max(1e-2, np.abs(expected).max()))


# ---- what is kept ----------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """The batch size of every plan that a network makes."""
    batches = []

    def recording(graph, storage, of, batch, **options):
        batches.append(batch)
        return Plan(graph, storage, of, batch, **options)

    monkeypatch.setattr(network, "Plan", recording)
    return batches


def test_a_plan_is_made_once_for_each_batch_size(made):
    net = lenet()
    x = np.zeros((10, 1, 28, 28))
    for _ in range(3):
        net.predict(x, batch_size=4)
        net.gradients(x, np.zeros(10, int))
    assert sorted(made) == [2, 4, 10]


def test_a_plan_is_made_again_when_a_flag_has_changed(made):
    net = lenet()
    x, y = np.zeros((4, 1, 28, 28)), np.zeros(4, int)
    C1 = net["C1"]
    for change in (lambda: None, lambda: C1.freeze(), lambda: C1.freeze(maps=[2]), lambda: C1.unfreeze()):
        change()
        net.gradients(x, y)
        net.gradients(x, y)
    assert len(made) == 4


def test_the_plans_used_last_are_kept(made):
    net = lenet()
    net.predict(np.zeros((1, 1, 28, 28)))
    for n in range(2, 2 * plan.PLANS_KEPT):
        net.predict(np.zeros((n, 1, 28, 28)))
        net.predict(np.zeros((1, 1, 28, 28)))
        assert len(net._plans.kept) <= plan.PLANS_KEPT
    assert made.count(1) == 1


def test_writing_a_parameter_needs_no_new_plan(made):
    net = lenet("float64")
    x = np.random.default_rng(0).normal(size=(3, 1, 28, 28))
    before = net.predict(x)
    net["C1"].weight *= -1
    flipped = net.predict(x)
    net["C1"].weight *= -1
    np.testing.assert_array_equal(net.predict(x), before)
    assert made == [3] and np.abs(flipped - before).max() > 1e-3


def test_trainers_with_other_weights_losses_or_clipping_have_other_plans():
    x, y = np.random.default_rng(0).normal(size=(4, 5)), np.ones((4, 3))
    results = []
    source = pycnn.Input((5,))
    net = pycnn.Network(source, L.Dense(3, activation="sigmoid")(source), dtype="float64")
    for options in ({}, {"loss_weights": 0.5}, {"clip_norm": 1e-6}, {}):
        start = {name: p.copy() for name, p in net.parameters.items()}
        net.trainer("mse", pycnn.SGD(1.0), **options).step(net.check_inputs(x), net.check_targets(y, "mse"))
        results.append(net.parameters["Dense1/weight"] - start["Dense1/weight"])
        for name, p in net.parameters.items():
            p[...] = start[name]
    np.testing.assert_allclose(results[1], results[0] / 2, rtol=1e-12)
    assert np.abs(results[2]).max() <= 1e-6
    np.testing.assert_array_equal(results[3], results[0])


class Scaled(MeanSquaredError):
    """A loss with a parameter of its own."""

    def __init__(self, factor):
        self.factor = factor

    def call(self, b, shape, weight, *rest):
        super().call(b, shape, weight * self.factor, *rest)


def test_losses_of_one_class_are_told_apart():
    x = pycnn.Input((5,))
    net = pycnn.Network(x, L.Dense(3)(x), dtype="float64")
    values, target = np.ones((4, 5)), np.ones((4, 3))
    once, twice = (net.gradients(values, target, loss=Scaled(factor))[0] for factor in (1.0, 2.0))
    assert twice == pytest.approx(2 * once)


# ---- what a plan runs on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrays", [[], [None], [None] * 5])
def test_a_wrong_number_of_arrays_is_refused(arrays):
    with pytest.raises(ValueError, match="wrong number of arrays"):
        lenet().plan(2).run(arrays)


def test_arrays_that_are_not_contiguous_or_not_writable_are_refused():
    planned = lenet().plan(2)
    x, y = np.zeros((2, 1, 28, 28), "float32"), np.zeros((2, 10), "float32")
    with pytest.raises((ValueError, BufferError)):
        planned.run([np.asfortranarray(np.zeros((2, 1, 28, 28), "float32").repeat(2, 1))[:, :1], None, None, y])
    y.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        planned.run([x, None, None, y])


@pytest.mark.parametrize(
    "batch, error", [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), ("4", TypeError)]
)
def test_a_batch_size_that_is_none_is_refused(batch, error):
    with pytest.raises(error, match="the batch size must be"):
        lenet().plan(batch)


def test_denormal_numbers_are_flushed_inside_and_left_alone_outside(threads):
    x = pycnn.Input((64,))
    net = pycnn.Network(x, L.Multiply()(x, x))
    tiny = np.full((3000, 64), 1e-20, np.float32)
    for number in (1, 2):
        threads(number)
        assert not net.predict(tiny, batch_size=None).any()
        assert (tiny * tiny > 0).all() and math.ldexp(1.0, -1070) / 2 > 0


def test_a_plan_refuses_arrays_that_are_too_small():
    image = pycnn.Input((1, 6, 6), name="image")
    net = pycnn.Network(image, L.Conv(2, 3, name="C")(image))
    plan = net.plan(4)
    x, y = np.zeros((4, 1, 6, 6), np.float32), np.empty((4, 2, 4, 4), np.float32)
    plan.run([x, None, None, y])
    with pytest.raises(ValueError, match="input 0 has 3 samples, the plan is one of 4"):
        plan.run([x[:3], None, None, y])
    with pytest.raises(ValueError, match="run: array 0 has 48 bytes, expects at least 144"):
        plan.run([np.zeros((4, 3), np.float32), None, None, y])
    with pytest.raises(ValueError, match="run: array 3 has 384 bytes, expects at least 512"):
        plan.run([x, None, None, y[:3]])
    for arrays, missing in (([None, None, None, y], 0), ([x, None, None, None], 3)):
        with pytest.raises(ValueError, match=f"array {missing} is missing"):
            plan.run(arrays)
    for i in (-1, 99):
        with pytest.raises(IndexError, match="there is no step"):
            plan.program.tasks(i)
