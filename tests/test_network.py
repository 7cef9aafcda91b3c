"""A network predicts, learns as its optimizer is defined, freezes to the bit, and comes back from a file as it was.

What does not fit is refused before any work.
"""

import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import pycnn
from pycnn import SGD, Adam, AdamW, RMSprop, files, initializers, reference
from pycnn import layers as L

LENET_PARAMETERS = 61_706      # 156 + 2,416 + 48,120 + 10,164 + 850


def lenet(**options):
    image = pycnn.Input((1, 28, 28), name="image")
    h = L.MaxPool(2, name="S2")(L.Conv(6, 5, padding=2, activation="tanh", name="C1")(image))
    h = L.MaxPool(2, name="S4")(L.Conv(16, 5, activation="tanh", name="C3")(h))
    h = L.Dense(84, activation="tanh", name="F6")(L.Dense(120, activation="tanh", name="C5")(L.Flatten()(h)))
    return pycnn.Network(image, L.Dense(10, name="scores")(h), **options)


def small(dtype="float64", seed=0, **options):
    """(5, 6, 6) maps -> 4 maps -> 3 scores"""
    x = pycnn.Input((5, 6, 6), name="x")
    h = L.MaxPool(2)(L.Conv(4, 3, padding=1, activation="tanh", name="conv")(x))
    return pycnn.Network(x, L.Dense(3, name="scores")(L.Flatten()(h)), dtype=dtype, seed=seed, **options)


def normalised(dtype="float64", seed=0, **options):
    """`small` with a normalisation behind the convolution"""
    x = pycnn.Input((5, 6, 6), name="x")
    h = L.Tanh()(L.BatchNorm(name="norm")(L.Conv(4, 3, padding=1, bias=False, name="conv")(x)))
    return pycnn.Network(x, L.Dense(3, name="scores")(L.Flatten()(h)), dtype=dtype, seed=seed, **options)


def two_sided(dtype="float32", seed=0):
    a, b = pycnn.Input((4,), name="a"), pycnn.Input((2, 5), name="b")
    shared = L.Dense(6, activation="tanh", name="shared")
    left = L.Dense(3, name="left")(shared(a))
    right = L.Softmax(name="right")(L.Dense(2, name="scores")(L.Concat()(shared(a), L.Flatten()(b))))
    return pycnn.Network([a, b], {"left": left, "right": right}, dtype=dtype, seed=seed)


def batch(net, count=7, seed=0):
    """Inputs and labels of a network with one of each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *net.input_shapes[net.input_names[0]]))
    return x, rng.integers(0, net.output_shapes[net.output_names[0]][0], count)


def step(trainer, x, y):
    net = trainer.net
    return trainer.step(net.check_inputs(x), net.check_targets(y, {n: loss for n, (loss, _) in trainer.losses.items()}))


def run_program(text, **options):
    """Runs Python text in an interpreter of its own, which a crash may end."""
    command = [sys.executable, "-c", text]
    result = subprocess.run(command, check=False, text=True, capture_output=True, timeout=60, **options)
    assert result.returncode == 0, result.stderr


def bits(net, state=True):
    """All parameters, statistics and optimizer vectors, as bytes."""
    found = {name: value.tobytes() for name, value in {**net.parameters, **net.statistics}.items()}
    for name in net.optimizer.state if state and net.optimizer else ():
        found.update((f"{name}/{p.name}", net.storage.piece(net.storage.state(name), p).tobytes())
                     for p in net.storage.parameters.values())
    return found


# ---- what it is made of ----------------------------------------------------------------------------------------------


def test_lenet_has_61706_parameters_and_the_summary_counts_them(capsys):
    net = lenet()
    assert net.count_parameters() == net.count_parameters(trainable=True) == LENET_PARAMETERS
    text = net.summary()
    assert capsys.readouterr().out.strip() == text.strip() == str(net).strip()
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert rows["layer"].split() == ["layer", "output", "shape", "neurons", "parameters", "trainable", "connections", "reads"]
    assert rows["C1"].split() == ["C1", "(Conv)", "6", "x", "28", "x", "28", "4,704", "156", "156", "122,304", "image"]
    assert rows["C3"].split() == ["C3", "(Conv)", "16", "x", "10", "x", "10", "1,600", "2,416", "2,416", "241,600", "S2"]
    assert rows["C5"].split() == ["C5", "(Dense)", "120", "120", "48,120", "48,120", "48,120", "Flatten1"]
    assert rows["total"].split()[1:4] == ["9,278", "61,706", "61,706"]
    assert repr(net) == "<Network  {'image': (1, 28, 28)} -> {'scores': (10,)}, 61,706 parameters>"


def test_the_summary_counts_what_is_frozen():
    net = lenet()
    net["C1"].freeze()
    net["C3"].freeze(maps=[0, 5, 15])
    net["F6"].trainable = False
    rows = {line.split()[0]: line.split() for line in str(net).splitlines()}
    assert rows["C1"][-4:-1] == ["156", "0", "122,304"] and rows["F6"][-4:-1] == ["10,164", "0", "10,164"]
    assert rows["C3"][-4:-1] == ["2,416", str(2416 * 13 // 16 // 1000) + f",{2416 * 13 // 16 % 1000:03d}", "241,600"]
    trainable = LENET_PARAMETERS - 156 - 3 * 151 - 10_164
    assert rows["total"][2:4] == ["61,706", f"{trainable:,}"] and net.count_parameters(trainable=True) == trainable


def test_the_summary_counts_a_shared_layer_once_and_shows_what_each_use_reads():
    x = pycnn.Input((3,), name="x")
    shared = L.Dense(3, name="shared")
    net = pycnn.Network(x, shared(shared(x)))
    lines = [line.split() for line in str(net).splitlines() if line.startswith("shared")]
    assert [line[-4:] for line in lines] == [["12", "12", "12", "x"], ["0", "0", "12", "shared"]]
    assert net.count_parameters() == 12


def test_layers_are_found_by_name_and_an_unknown_name_is_a_key_error():
    net = lenet()
    assert net["C3"] is net.layers["C3"]
    with pytest.raises(KeyError, match="no layer is named 'C2'; there are image, C1, S2"):
        net["C2"]


def test_parameters_are_views_to_read_and_write():
    net = small()
    weight = net["conv"].weight
    assert weight.shape == (4, 5, 3, 3) and np.shares_memory(weight, net.parameters["conv/weight"])
    net["conv"].weight = 2
    assert (weight == 2).all()
    net["conv"].weight[0] = np.arange(45).reshape(5, 3, 3)
    np.testing.assert_array_equal(net.parameters["conv/weight"][0].ravel(), np.arange(45))
    with pytest.raises(ValueError):
        net["conv"].weight = np.zeros((4, 5, 3))
    with pytest.raises(AttributeError, match="Conv 'conv' has no attribute 'wait'"):
        _ = net["conv"].wait


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_parameter_begins_on_a_cache_line(dtype):
    assert all(p.ctypes.data % 64 == 0 for p in small(dtype).parameters.values())


def test_a_value_set_before_the_network_exists_does_not_hide_the_parameter():
    x = pycnn.Input((3,))
    layer = L.Dense(2, name="dense")
    try:
        layer.weight = np.ones((2, 3))
    except AttributeError:
        return
    try:
        net = pycnn.Network(x, layer(x))
    except ValueError as error:
        assert "weight" in str(error)
    else:
        assert np.shares_memory(layer.weight, net.parameters["dense/weight"])


def test_the_same_seed_gives_the_same_parameters_and_another_seed_others():
    assert (
        bits(small(seed=1)) == bits(small(seed=1)) == bits(small(seed=np.random.default_rng(1))) != bits(small(seed=2))
    )


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("default", -1 / 45**0.5, 1 / 45**0.5),
        ("lecun_1998", -2.4 / 45, 2.4 / 45),
        ("ones", 1, 1),
        ("glorot_uniform", -((6 / 81) ** 0.5), (6 / 81) ** 0.5),
        ("zeros", 0, 0),
        ("he_uniform", -((6 / 45) ** 0.5), (6 / 45) ** 0.5),
    ],
)
def test_initializers_keep_within_their_bounds_and_fill_them(name, low, high):
    x = pycnn.Input((5, 8, 8))
    net = pycnn.Network(x, L.Conv(4, 3, weight_init=name, name="conv")(x), dtype="float64")
    weight = net["conv"].weight
    assert low <= weight.min() <= low + 0.1 * (high - low) and high - 0.1 * (high - low) <= weight.max() <= high
    assert not net.parameters["conv/bias"].any()


@pytest.mark.parametrize("name, deviation", [("glorot_normal", (2 / 300) ** 0.5), ("he_normal", (2 / 100) ** 0.5)])
def test_normal_initializers_have_their_deviation(name, deviation):
    x = pycnn.Input((100,))
    weight = pycnn.Network(x, L.Dense(200, weight_init=name, name="d")(x), dtype="float64")["d"].weight
    assert weight.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * weight.size))
    assert abs(weight.mean()) < 4 * deviation / np.sqrt(weight.size)


def test_an_initializer_may_be_a_function_of_shape_fans_and_generator():
    seen = []

    def mine(shape, fan_in, fan_out, rng):
        seen.append((shape, fan_in, fan_out))
        return np.full(shape, rng.integers(5, 6))

    x = pycnn.Input((6, 4, 4))
    net = pycnn.Network(x, L.Conv(8, 3, groups=2, weight_init=mine, name="conv")(x))
    assert (net["conv"].weight == 5).all() and seen == [((8, 3, 3, 3), 27, 36)]


@pytest.mark.parametrize(
    "initializer, error",
    [
        ("nonsense", "unknown initializer 'nonsense'; known are zeros"),
        (lambda *_: np.zeros(3), r"the initializer made an array of shape \(3,\)"),
    ],
)
def test_an_initializer_that_cannot_work_is_refused_by_layer_and_leaves_the_layers_free(initializer, error):
    x = pycnn.Input((3,))
    first, layer = L.Dense(4), L.Dense(2, name="bad", weight_init=initializer)
    y = layer(first(x))
    with pytest.raises(ValueError, match=f"bad: {error}"):
        pycnn.Network(x, y)
    assert pycnn.Network(x, first(x)).count_parameters() == 16


@pytest.mark.parametrize(
    "reason", ["another type", "a seed that is none", "a value set too early", "two shapes of one layer"]
)
def test_a_network_that_cannot_be_made_leaves_its_layers_free(reason):
    x, options = pycnn.Input((3,)), {}
    first, last = L.Dense(4), L.Dense(3)
    y = last(first(x))
    if reason == "another type":
        options["dtype"] = "int32"
    elif reason == "a seed that is none":
        options["seed"] = "seed"
    elif reason == "a value set too early":
        last.weight = np.ones((3, 4))
    else:
        y = L.Add()(y, last(x))
    with pytest.raises((ValueError, TypeError)):
        pycnn.Network(x, y, **options)
    assert pycnn.Network(x, first(x)).count_parameters() == 16


def test_every_initializer_of_the_table_is_tested_here():
    assert set(initializers.INITIALIZERS) == {"default", "lecun_1998", "normal", "ones", "zeros", "glorot_uniform",
                                              "he_uniform", "glorot_normal", "he_normal"}


def test_a_layer_belongs_to_one_network():
    x = pycnn.Input((3,), name="x")
    y = L.Dense(2, name="dense")(x)
    first = pycnn.Network(x, y)
    with pytest.raises(ValueError, match="(dense|x|other).* already belongs to a network"):
        pycnn.Network({"other": x}, y)
    assert first.input_names == ["x"] and first.graph.to_dict()["nodes"][0]["layer"] == "x"


def test_uses_of_a_shared_layer_must_agree_on_its_parameters():
    a, b = pycnn.Input((3,)), pycnn.Input((4,))
    shared = L.Dense(2, name="shared")
    with pytest.raises(ValueError, match="shared: shared by inputs of different shapes"):
        pycnn.Network([a, b], L.Add()(shared(a), shared(b)))


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "banana", object])
def test_other_types_than_float32_and_float64_are_refused(dtype):
    with pytest.raises(TypeError):
        small(dtype)


@pytest.mark.parametrize(
    "change",
    [
        "net['conv'].filters = 80_000",
        "net['conv'].padding = 2_000",
        "net['conv'].kernel_size = 1",
        "net['conv'].groups = 5",
        "net['pool'].stride = 1",
        "net['scores'].units = 10_000_000",
        "net['scores'].activation = 'relu'",
        "net['conv'].name = 'other'",
    ],
)
def test_a_layer_of_a_network_stays_what_it_was_when_the_network_was_made(change, tmp_path):
    run_program(f"""
import numpy as np, pycnn
from pycnn import layers as L
x = pycnn.Input((5, 8, 8), name="x")
h = L.MaxPool(2, name="pool")(L.Tanh()(L.Conv(4, 3, name="conv")(x)))
net = pycnn.Network(x, L.Dense(3, name="scores")(L.Flatten()(h)))
batch = np.random.default_rng(0).normal(size=(9, 5, 8, 8))
before = net.predict(batch, batch_size=3)
try:
    {change}
except (AttributeError, ValueError):
    pass
for size in range(1, 10):
    np.testing.assert_allclose(net.predict(batch, batch_size=size), before, rtol=1e-5, atol=1e-5)
net.save("net.safetensors")
np.testing.assert_allclose(pycnn.load("net.safetensors").predict(batch), before, rtol=1e-5, atol=1e-5)
""", cwd=tmp_path)


# ---- predictions -----------------------------------------------------------------------------------------------------


def test_predict_answers_in_the_form_of_the_outputs():
    def outputs_as(form):
        x = pycnn.Input((3,))
        first, second = L.Dense(2, name="first")(x), L.Dense(4, name="second")(x)
        return pycnn.Network(x, {"one": first, "list": [first, second], "single": [first], "tuple": (first, second),
                                 "dict": {"a": first, "b": second}}[form]).predict(np.zeros((5, 3)))

    assert outputs_as("one").shape == (5, 2)
    assert [y.shape for y in outputs_as("list")] == [y.shape for y in outputs_as("tuple")] == [(5, 2), (5, 4)]
    assert isinstance(outputs_as("single"), list) and [y.shape for y in outputs_as("single")] == [(5, 2)]
    assert {name: y.shape for name, y in outputs_as("dict").items()} == {"a": (5, 2), "b": (5, 4)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_of_no_samples_has_no_rows(dtype):
    y = two_sided(dtype).predict([np.zeros((0, 4)), np.zeros((0, 2, 5))])
    assert (y["left"].shape, y["right"].shape, y["left"].dtype) == ((0, 3), (0, 2), dtype)


def test_a_call_is_one_forward_pass():
    net = small()
    x, _ = batch(net, 300)
    np.testing.assert_array_equal(net(x), net.predict(x, batch_size=None))
    np.testing.assert_allclose(net(x), net.predict(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "size, error", [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("8", TypeError), (True, TypeError)]
)
def test_a_batch_size_that_is_none_is_refused(size, error):
    net = small()
    with pytest.raises(error, match="batch_size"):
        net.predict(np.zeros((3, 5, 6, 6)), batch_size=size)


def test_predict_shows_a_progress_bar_only_when_asked(capsys):
    net = small()
    net.predict(np.zeros((3, 5, 6, 6)), verbose=0)
    assert capsys.readouterr() == ("", "")
    net.predict(np.zeros((3, 5, 6, 6)), batch_size=1, verbose=1)
    assert "3/3" in capsys.readouterr().err


FORMS = {
    "fortran order": np.asfortranarray,
    "every other column": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "float32": lambda x: x.astype(np.float32),
    "lists": lambda x: x.tolist(),
    "unaligned": lambda x: unaligned(x),
    "read-only": lambda x: read_only(x),
    "a transposed view": lambda x: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
}


def unaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    y = memory[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_any_memory_order_are_taken_and_left_alone(form):
    net = small()
    x, y = batch(net)
    x = x.astype(np.float32).astype(np.float64)
    given_x = FORMS[form](x)
    np.testing.assert_array_equal(net.predict(given_x), net.predict(x))
    for name, gradient in net.gradients(given_x, y)[1].items():
        np.testing.assert_array_equal(gradient, net.gradients(x, y)[1][name])
    np.testing.assert_array_equal(given_x, x)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, np.longdouble])
def test_numbers_of_other_types_are_converted(dtype):
    net = small()
    x = np.random.default_rng(0).integers(0, 2, (3, 5, 6, 6)).astype(dtype)
    np.testing.assert_array_equal(net.predict(x), net.predict(x.astype(np.float64)))


@pytest.mark.parametrize("dtype", [complex, object, "U3", "S3", "datetime64[s]", [("a", float)]])
def test_what_is_not_a_real_number_is_refused_by_name(dtype):
    with pytest.raises(TypeError, match="input 'x' must hold real numbers"):
        small().predict(np.zeros((3, 5, 6, 6), dtype))


@pytest.mark.parametrize("shape", [(5, 6, 6), (3, 5, 6), (3, 6, 6, 5), (3, 5, 6, 6, 1), (3,), (), (3, 5, 6, 7), (0,)])
def test_an_input_of_another_shape_is_refused_by_name(shape):
    with pytest.raises(ValueError, match=r"input 'x' has shape .*, expects \(N, 5, 6, 6\)"):
        small().predict(np.zeros(shape))


def test_rows_of_different_lengths_are_refused():
    x = pycnn.Input((2,), name="x")
    net = pycnn.Network(x, L.Dense(1)(x))
    with pytest.raises((ValueError, TypeError), match="input 'x'"):
        net.predict([[1.0, 2.0], [3.0]])


def test_several_inputs_are_a_list_or_a_dict():
    net = two_sided()
    a, b = np.ones((3, 4)), np.ones((3, 2, 5))
    np.testing.assert_array_equal(net.predict([a, b])["left"], net.predict({"b": b, "a": a})["left"])
    for wrong in ([a], [a, b, b], a, {"a": a}, {"a": a, "b": b, "c": b}, {"a": a, "c": b}):
        with pytest.raises(ValueError, match="input"):
            net.predict(wrong)
    with pytest.raises(ValueError, match="inputs have different numbers of samples: 3, 2"):
        net.predict([a, b[:2]])


def test_one_input_may_be_wrapped_in_a_list_or_dict():
    net = small()
    x, _ = batch(net)
    expected = net.predict(x)
    np.testing.assert_array_equal(net.predict([x]), expected)
    np.testing.assert_array_equal(net.predict({"x": x}), expected)


def test_one_target_and_one_loss_weight_may_be_wrapped_in_a_list_or_dict():
    net = small()
    x, y = batch(net)
    loss = net.gradients(x, y)[0]
    assert net.gradients([x], {"scores": y})[0] == loss
    assert net.trainer("cross_entropy", "sgd", loss_weights={"scores": 0.5}).losses["scores"][1] == 0.5
    assert net.trainer("cross_entropy", "sgd", loss_weights=[0.5]).losses["scores"][1] == 0.5
    assert net.gradients([x], [y])[0] == loss


def test_one_sample_of_numbers_is_not_taken_for_a_list_of_arrays():
    x = pycnn.Input((3,))
    net = pycnn.Network(x, L.Dense(2)(x))
    assert net.predict([[1.0, 2.0, 3.0]]).shape == (1, 2)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 4, 5)])
@pytest.mark.parametrize("count", [1, 2])
def test_a_list_of_samples_is_a_batch(shape, count):
    x = pycnn.Input(shape)
    net = pycnn.Network(x, L.Dense(2)(L.Flatten()(x)))
    samples = [np.full(shape, i + 1.0) for i in range(count)]
    np.testing.assert_array_equal(net.predict(samples), net.predict(np.array(samples)))


def test_predictions_from_several_python_threads_do_not_mix():
    net, other = small(), lenet(dtype="float64")
    x, _ = batch(net, 40)
    images, _ = batch(other, 40)
    expected, expected_other = net.predict(x, batch_size=7), other.predict(images, batch_size=7)

    def run(i):
        if i % 2:
            np.testing.assert_array_equal(net.predict(x, batch_size=7), expected)
        else:
            np.testing.assert_array_equal(other.predict(images, batch_size=7), expected_other)
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(run, range(60)))


def test_losses_from_several_python_threads_do_not_mix():
    x = pycnn.Input((4,))
    net = pycnn.Network(x, L.Dense(3)(x), dtype="float64")
    batches = [batch(net, 5, seed) for seed in range(8)]
    expected = [net.gradients(*b)[0] for b in batches]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda i: [net.gradients(*batches[i])[0] for _ in range(1000)], range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert [set(losses) for losses in found] == [{loss} for loss in expected]


def test_a_process_forked_after_a_prediction_predicts_the_same():
    run_program("""
import os, signal, numpy as np, pycnn
from pycnn import layers as L
pycnn.set_num_threads(2)
x = pycnn.Input((3, 32, 32))
net = pycnn.Network(x, L.Conv(16, 3)(x))
images = np.ones((64, 3, 32, 32))
before = net.predict(images)
child = os.fork()
if not child:
    signal.alarm(10)        # what hangs is killed
    os._exit(not np.array_equal(net.predict(images), before))
assert os.waitpid(child, 0)[1] == 0
""")


# ---- targets and losses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels, error, message", [
    ([0, 1, 3], ValueError, "target 'scores' has labels from 0 to 3, expects 0 to 2"),
    ([0, -1, 2], ValueError, "target 'scores' has labels from -1 to 2"),
    (np.array([0, 2**63, 2], np.uint64), ValueError, "target 'scores' has labels from 0 to 9223372036854775808"),
    ([0.0, 1.0, 2.0], TypeError, "target 'scores' must be integer labels, got float64"),
    ([True, False, True], TypeError, "target 'scores' must be integer labels"),
    (["a", "b", "c"], TypeError, "target 'scores' must be integer labels"),
    ([[0], [1], [2]], ValueError, r"target 'scores' has shape \(3, 1\), expects labels of shape \(N\)"),
    ([0, 1], ValueError, "inputs have 3 samples, targets 2"),
    (np.eye(3), TypeError, "target 'scores' must be integer labels"),
])
def test_labels_that_do_not_fit_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        small().gradients(np.zeros((3, 5, 6, 6)), np.array(labels))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, ">i8"])
def test_labels_of_any_integer_type_count(dtype):
    net = small()
    x, y = batch(net)
    assert net.gradients(x, y.astype(dtype))[0] == net.gradients(x, y)[0] == net.gradients(x, y.tolist())[0]


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 3, 1), (2, 3)])
def test_targets_of_another_shape_than_their_output_are_refused(shape):
    with pytest.raises(ValueError, match="target 'scores' has shape|inputs have 3 samples"):
        small().gradients(np.zeros((3, 5, 6, 6)), np.zeros(shape), loss="mse")


def test_no_samples_are_nothing_to_learn_from():
    net = small()
    with pytest.raises(ValueError, match="there is no sample to learn from"):
        net.gradients(np.zeros((0, 5, 6, 6)), np.zeros(0, int))


@pytest.mark.parametrize("loss, error", [
    ("hinge", "unknown loss 'hinge'; known are cross_entropy, mse"), (None, "unknown loss None"), (3, "unknown loss 3"),
    ({"nothing": "mse"}, r"losses for unknown outputs \['nothing'\]; the outputs are \['left', 'right'\]"),
    (["mse"], "1 losses for 2 outputs"), (["mse", "mse", "mse"], "3 losses for 2 outputs"),
])
def test_losses_that_are_unknown_or_for_no_output_are_refused(loss, error):
    net = two_sided()
    with pytest.raises(ValueError, match=error):
        net.gradients([np.zeros((3, 4)), np.zeros((3, 2, 5))], [np.zeros((3, 3)), np.zeros((3, 2))], loss=loss)


@pytest.mark.parametrize("losses", [{}, {"left": None}, [None, None]])
def test_a_trainer_needs_a_loss(losses):
    with pytest.raises(ValueError, match="no output has a loss"):
        two_sided().trainer(losses, "sgd")


def test_several_losses_add_up_with_their_weights():
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(6, 4)), "b": rng.normal(size=(6, 2, 5))}
    y = {"left": rng.normal(size=(6, 3)), "right": rng.integers(0, 2, 6)}
    losses, weights = {"left": "mse", "right": "cross_entropy"}, {"left": 0.25, "right": 3.0}
    net = two_sided("float64")
    alone = {name: net.gradients(x, {name: y[name]}, loss={name: losses[name]}) for name in losses}
    together = net.gradients(x, y, loss=losses)
    assert together[0] == pytest.approx(alone["left"][0] + alone["right"][0], rel=1e-14)
    for name in together[1]:
        np.testing.assert_allclose(
            together[1][name], alone["left"][1][name] + alone["right"][1][name], rtol=0, atol=1e-15
        )
    start = {name: p.copy() for name, p in net.parameters.items()}
    result = step(net.trainer(losses, SGD(1.0), loss_weights=weights), x, y)
    np.testing.assert_allclose(result[:, 0], [weights[name] * alone[name][0] for name in losses], rtol=1e-14)
    for name, p in net.parameters.items():
        expected = start[name] - sum(weights[output] * alone[output][1][name] for output in losses)
        np.testing.assert_allclose(p, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "weights, error",
    [
        ([1.0], ValueError),
        ({"left": 1.0}, ValueError),
        (1.0, ValueError),
        (["a", 1.0], TypeError),
        ([-1.0, 1.0], ValueError),
        ([np.nan, 1.0], ValueError),
    ],
)
def test_loss_weights_that_do_not_fit_are_refused(weights, error):
    with pytest.raises(error, match="loss weight"):
        two_sided().trainer("mse", "sgd", loss_weights=weights)


def test_a_step_counts_correct_predictions():
    net = small()
    x, y = batch(net, 50)
    expected = (net.predict(x).argmax(axis=1) == y).sum()
    assert step(net.trainer("cross_entropy", "sgd"), x, y)[0, 1] == expected


@pytest.mark.parametrize("class_weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 3.0], [0.0, 1.0, 2.0]])
def test_class_weights_weigh_loss_and_gradient_and_divide_by_their_sum(class_weights):
    net = small()
    x, y = batch(net, 20)
    scores = net.predict(x)
    loss, dscores = reference.softmax_cross_entropy(scores, y, class_weights=np.array(class_weights))
    bias = net.parameters["scores/bias"].copy()
    trainer = net.trainer("cross_entropy", SGD(1.0), class_weights=class_weights)
    assert step(trainer, x, y)[0, 0] == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(net.parameters["scores/bias"], bias - dscores.sum(axis=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "weights, error",
    [
        ([1, 1], ValueError),
        ([1, 1, -1], ValueError),
        ([0, 0, 0], ValueError),
        ([1, 1, np.nan], ValueError),
        ([[1, 1, 1]], ValueError),
        (["a", "b", "c"], TypeError),
        (1.0, ValueError),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(weights, error):
    with pytest.raises(error, match="class_weights"):
        small().trainer("cross_entropy", "sgd", class_weights=weights)


# ---- optimizers ------------------------------------------------------------------------------------------------------


def reference_update(optimizer, values, state, gradients, t):
    """Updates `values` and `state`, dicts by name, as pycnn.reference does in step t."""
    config = optimizer.config()
    for name, g in gradients.items():
        w, old = values[name], state.get(name, (None, None))
        if isinstance(optimizer, SGD):
            values[name], *state[name] = reference.sgd_update(w, g, old[0], **config)
        elif isinstance(optimizer, RMSprop):
            values[name], *state[name] = reference.rmsprop_update(w, g, *old, **config)
        else:
            decoupled = isinstance(optimizer, AdamW)
            values[name], *state[name] = reference.adam_update(w, g, *old, t, **config, decoupled=decoupled)


OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, momentum=0.9),
    SGD(0.1, momentum=0.9, nesterov=True),
    SGD(0.1, momentum=0.5, dampening=0.5),
    SGD(0.0),
    SGD(0.1, weight_decay=0.01),
    SGD(0.1, momentum=0.9, dampening=0.1, weight_decay=0.01, nesterov=True),
    Adam(0.01),
    Adam(0.01, beta1=0.5, beta2=0.6, eps=1e-3, weight_decay=0.1),
    AdamW(0.01),
    AdamW(0.01, weight_decay=0.3, beta1=0.0),
    RMSprop(0.01),
    RMSprop(0.01, alpha=0.5, eps=1e-3, weight_decay=0.1, momentum=0.9),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_updates_are_those_of_the_definition_for_several_steps(optimizer):
    optimizer = type(optimizer)(**optimizer.config())
    net = small()
    trainer = net.trainer("cross_entropy", optimizer)
    expected, state = {name: p.copy() for name, p in net.parameters.items()}, {}
    for t in range(1, 6):
        x, y = batch(net, seed=t)
        gradients = net.gradients(x, y)[1]
        del gradients["inputs/x"]
        reference_update(optimizer, expected, state, gradients, t)
        step(trainer, x, y)
        for name, value in net.parameters.items():
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-13)
    assert optimizer.steps == 5


def test_the_learning_rate_may_change_between_two_steps():
    net, twin = small(), small()
    x, y = batch(net)
    optimizer = SGD(0.1)
    trainer = net.trainer("cross_entropy", optimizer)
    optimizer.lr = 0.3
    step(trainer, x, y)
    step(twin.trainer("cross_entropy", SGD(0.3)), x, y)
    assert bits(net, False) == bits(twin, False)


def test_another_optimizer_starts_with_its_state_at_zero():
    net, fresh = small(), small()
    x, y = batch(net)
    first = SGD(0.1, momentum=0.9)
    step(net.trainer("cross_entropy", first), x, y)
    for name, p in net.parameters.items():
        fresh.parameters[name][...] = p
    for one in (net, fresh):
        step(one.trainer("cross_entropy", SGD(0.1, momentum=0.9)), x, y)
    assert bits(net) == bits(fresh)


def test_the_same_optimizer_keeps_its_state_in_another_trainer():
    net, twin = small(), small()
    x, y = batch(net)
    kept = Adam()
    for _ in range(3):
        step(net.trainer("cross_entropy", kept), x, y)
    trainer = twin.trainer("cross_entropy", Adam())
    for _ in range(3):
        step(trainer, x, y)
    assert bits(net) == bits(twin) and kept.steps == 3


@pytest.mark.parametrize("clip", [1e-3, 0.05, 1e6])
@pytest.mark.parametrize("frozen", [(), ("conv",)])
def test_clip_norm_limits_the_norm_of_all_gradients_that_count(clip, frozen):
    net = small()
    x, y = batch(net)
    for name in frozen:
        net[name].freeze()
    net["scores"].freeze(maps=[1])
    gradients = {n: g for n, g in net.gradients(x, y)[1].items() if not n.startswith("inputs/")}
    for n in ("scores/weight", "scores/bias"):
        gradients[n][1] = 0
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    start = {name: p.copy() for name, p in net.parameters.items()}
    step(net.trainer("cross_entropy", SGD(1.0), clip_norm=clip), x, y)
    for name, p in net.parameters.items():
        expected = start[name] - min(1.0, clip / norm) * gradients.get(name, 0.0)
        np.testing.assert_allclose(p, expected, rtol=0, atol=1e-15)
    assert (clip > norm) == (clip == 1e6)


@pytest.mark.parametrize(
    "clip, error", [(-1, ValueError), (np.inf, ValueError), (np.nan, ValueError), ("1", TypeError), (True, TypeError)]
)
def test_a_clip_norm_that_is_no_limit_is_refused(clip, error):
    with pytest.raises(error, match="clip_norm"):
        small().trainer("cross_entropy", "sgd", clip_norm=clip)


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(), RMSprop(momentum=0.9)], ids=repr)
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("make", [small, normalised])
def test_a_loss_that_is_not_finite_changes_no_bit_and_the_next_step_none_the_less(make, optimizer, clip, bad):
    optimizer = type(optimizer)(**optimizer.config())
    net, twin = make("float32"), make("float32")
    x, y = batch(net)
    poisoned = x.copy()
    poisoned[3, 2] = bad
    trainer = net.trainer("cross_entropy", optimizer, clip_norm=clip)
    other = twin.trainer("cross_entropy", type(optimizer)(**optimizer.config()), clip_norm=clip)
    step(trainer, x, y)
    step(other, x, y)
    before = bits(net)
    assert not np.isfinite(step(trainer, poisoned, y)[0, 0])
    assert bits(net) == before and optimizer.steps == 1
    step(trainer, x, y)
    step(other, x, y)
    assert bits(net) == bits(twin)


def test_a_step_that_was_refused_does_not_count():
    net = small()
    x, y = batch(net)
    trainer = net.trainer("cross_entropy", Adam())
    xs, ys = net.check_inputs(x), net.check_targets(y, "cross_entropy")
    with pytest.raises((ValueError, TypeError)):
        trainer.step(xs, [*ys, *ys])
    assert trainer.optimizer.steps == 0


@pytest.mark.parametrize("kind", ["int32", "uint8", ">i8"])
def test_rows_of_any_integer_type_are_those_rows(kind):
    run_program(f"""
import numpy as np, pycnn
from pycnn import layers as L
nets = []
for kind in ("int64", "{kind}"):
    x = pycnn.Input((4,))
    net = pycnn.Network(x, L.Dense(3)(x))
    trainer = net.trainer("cross_entropy", "sgd")
    rng = np.random.default_rng(0)
    xs, ys = net.check_inputs(rng.normal(size=(50, 4))), net.check_targets(rng.integers(0, 3, 50), "cross_entropy")
    trainer.step(xs, ys, np.arange(10, 30).astype(kind))
    nets.append(net)
np.testing.assert_array_equal(nets[0].parameters["Dense1/weight"], nets[1].parameters["Dense1/weight"])
""")


@pytest.mark.parametrize("what", ["step", "evaluate"])
def test_a_trainer_refuses_an_empty_batch(what):
    run_program(f"""
import pytest, pycnn
from pycnn import layers as L
x = pycnn.Input((4,))
net = pycnn.Network(x, L.Dense(3)(x))
trainer = net.trainer("cross_entropy", "sgd")
nothing = [net.check_inputs([[1.0] * 4])[0][:0]], [net.check_targets([0], "cross_entropy")[0][:0]]
with pytest.raises(ValueError):
    trainer.{what}(*nothing)
""")


@pytest.mark.parametrize("rows", [[7], [-1], [], [0.0]])
def test_rows_that_are_not_there_are_refused(rows):
    net = small()
    x, y = batch(net, 7)
    trainer = net.trainer("cross_entropy", "sgd")
    before = bits(net)
    with pytest.raises((ValueError, IndexError, TypeError)):
        trainer.step(net.check_inputs(x), net.check_targets(y, "cross_entropy"), np.array(rows))
    assert bits(net) == before and trainer.optimizer.steps == 0


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: SGD(-1), "the learning rate"),
        (lambda: SGD(np.nan), "the learning rate"),
        (lambda: SGD("0.1"), "the learning rate"),
        (lambda: SGD(10**400), "the learning rate"),
        (lambda: SGD(True), "the learning rate"),
        (lambda: SGD(None), "the learning rate"),
        (lambda: SGD(momentum=-0.1), "momentum"),
        (lambda: SGD(momentum=1.5), "momentum"),
        (lambda: SGD(weight_decay=-1), "weight_decay"),
        (lambda: Adam(beta1=1.0), "beta1"),
        (lambda: Adam(beta2=1.0), "beta2"),
        (lambda: Adam(eps=-1), "eps"),
        (lambda: RMSprop(alpha=1.0), "alpha"),
        (lambda: RMSprop(momentum=[0.9]), "momentum"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused_by_name(make, error):
    with pytest.raises((ValueError, TypeError), match=error):
        make()


@pytest.mark.parametrize("optimizer", ["adagrad", "", None, 3, SGD])
def test_an_unknown_optimizer_is_refused(optimizer):
    with pytest.raises(ValueError, match="unknown optimizer .*; known are SGD, SDLM, Adam, AdamW, RMSprop"):
        small().trainer("cross_entropy", optimizer)


# ---- freezing --------------------------------------------------------------------------------------------------------

RESTLESS = [
    SGD(0.1, momentum=0.9, weight_decay=0.1),
    SGD(0.1, momentum=0.9, nesterov=True),
    Adam(0.1, weight_decay=0.1),
    AdamW(0.1),
    RMSprop(0.1, weight_decay=0.1, momentum=0.9),
]


def as_bits(array):
    return array.view(f"u{array.itemsize}").copy()


@pytest.mark.parametrize("optimizer", RESTLESS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_frozen_numbers_do_not_change_by_a_single_bit_and_all_others_do(optimizer, dtype):
    net = small(dtype)
    net["scores"].bias = 0.1
    net["conv"].bias = 0.1
    x, y = batch(net, 20)
    trainer = net.trainer("cross_entropy", type(optimizer)(**optimizer.config()))
    step(trainer, x, y)         # momentum is under way when the freezing begins
    net["conv"].freeze(maps=[1, 3])
    net["scores"].trainable = False
    before = {name: as_bits(p) for name, p in net.parameters.items()}
    for t in range(3):
        step(trainer, *batch(net, 20, seed=t))
    for name, p in net.parameters.items():
        same = as_bits(p) == before[name]
        if name.startswith("scores"):
            assert same.all()
        else:
            assert same[[1, 3]].all() and not same[[0, 2]].any()
    net["conv"].unfreeze()
    net["scores"].unfreeze()
    step(trainer, x, y)
    assert not any((as_bits(p) == before[name]).any() for name, p in net.parameters.items())


def test_a_layer_may_be_frozen_before_the_network_exists():
    x = pycnn.Input((3,))
    first, second = L.Dense(4, name="first"), L.Dense(2, name="second")
    first.trainable = False
    net = pycnn.Network(x, second(first(x)))
    assert not first.trainable and not first.trainable_maps.any() and net.count_parameters(trainable=True) == 10


def test_freezing_maps_before_the_network_exists_is_kept_or_refused_but_not_forgotten():
    x = pycnn.Input((3,))
    layer = L.Dense(2)
    try:
        layer.freeze(maps=[1])
    except ValueError:
        return
    pycnn.Network(x, layer(x))
    np.testing.assert_array_equal(layer.trainable_maps, [True, False])


def test_trainable_maps_are_a_copy_of_the_mask():
    net = small()
    conv = net["conv"]
    assert conv.trainable and conv.trainable_maps.tolist() == [True] * 4
    conv.trainable_maps[0] = False
    assert conv.trainable_maps.all()
    conv.freeze(maps=[0, 3])
    assert conv.trainable_maps.tolist() == [False, True, True, False]
    conv.unfreeze(maps=[3])
    assert conv.trainable_maps.tolist() == [False, True, True, True]
    conv.freeze()
    assert not conv.trainable and not conv.trainable_maps.any()
    conv.unfreeze()
    assert conv.trainable_maps.all()


def test_maps_of_a_frozen_layer_can_be_unfrozen_one_by_one():
    net = small()
    net["conv"].freeze()
    net["conv"].unfreeze(maps=[2])
    assert net["conv"].trainable_maps.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "maps", [1, [1], (1,), np.array([1]), np.array([False, True, False, False]), range(1, 2), np.uint8(1)]
)
def test_maps_are_given_as_numbers_or_a_mask(maps):
    net = small()
    net["conv"].freeze(maps=maps)
    assert net["conv"].trainable_maps.tolist() == [True, False, True, True]


@pytest.mark.parametrize("maps", [4, -1, [0, 4], [0.0], ["a"], np.array([True, False]), [None]])
def test_maps_that_a_layer_does_not_have_are_refused_by_name(maps):
    net = small()
    with pytest.raises(ValueError, match="conv: maps must be numbers from 0 to 3"):
        net["conv"].freeze(maps=maps)
    assert net["conv"].trainable_maps.all()


# ---- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_are_no_parameters():
    net = normalised()
    assert list(net.statistics) == ["norm/running_mean", "norm/running_var"]
    assert [n for n in net.parameters if n.startswith("norm")] == ["norm/weight", "norm/bias"]
    assert net.count_parameters() == net.count_parameters(trainable=True) == len(net.get_parameters()) == 180 + 8 + 435
    assert net["norm"].running_mean.tolist() == [0] * 4 and net["norm"].running_var.tolist() == [1] * 4
    net["norm"].running_mean = 3
    assert (net.statistics["norm/running_mean"] == 3).all()


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_training_steps_leave_running_averages_and_nothing_else_does(momentum, trainable):
    x = pycnn.Input((5, 6, 6), name="x")
    h = L.BatchNorm(momentum=momentum, name="norm")(x)
    net = pycnn.Network(x, L.Dense(3)(L.Flatten()(h)), dtype="float64")
    net["norm"].trainable = trainable
    trainer, mean, variance = net.trainer("cross_entropy", "sgd"), np.zeros(5), np.ones(5)
    for seed in range(3):
        images, labels = batch(net, seed=seed)
        step(trainer, images, labels)
        mean += momentum * (images.mean(axis=(0, 2, 3)) - mean)
        variance += momentum * (images.var(axis=(0, 2, 3), ddof=1) - variance)
        net.gradients(images, labels)
        net.predict(images)
        trainer.evaluate([images], [labels])
        np.testing.assert_allclose(net["norm"].running_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(net["norm"].running_var, variance, rtol=1e-12)
    assert (net["norm"].weight == 1).all() != trainable


def test_one_value_has_no_variance_to_average():
    x = pycnn.Input((3,), name="x")
    net = pycnn.Network(x, L.Dense(2)(L.BatchNorm(momentum=0.5, name="norm")(x)), dtype="float64")
    step(net.trainer("cross_entropy", "sgd"), np.array([[1.0, 2.0, 3.0]]), np.array([0]))
    assert net["norm"].running_mean.tolist() == [0.5, 1.0, 1.5] and net["norm"].running_var.tolist() == [1, 1, 1]


def test_second_derivatives_do_not_pass_a_normalisation():
    net = normalised()
    x, y = batch(net)
    with pytest.raises(ValueError, match="norm: BatchNorm has no second derivatives"):
        net.trainer("mse", pycnn.SDLM()).estimate_curvature([x], [np.zeros((7, 3))])


def test_training_with_normalisation_follows_pytorch():
    torch = pytest.importorskip("torch")
    net = normalised()
    model = torch.nn.Sequential(torch.nn.Conv2d(5, 4, 3, padding=1, bias=False), torch.nn.BatchNorm2d(4), torch.nn.Tanh(),
                                torch.nn.Flatten(), torch.nn.Linear(144, 3)).double()
    with torch.no_grad():
        for theirs, ours in zip(model.parameters(), net.parameters.values()):
            theirs.copy_(torch.from_numpy(ours))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    trainer = net.trainer("cross_entropy", SGD(0.1, momentum=0.9))
    for seed in range(5):
        x, y = batch(net, seed=seed)
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert step(trainer, x, y)[0, 0] == pytest.approx(loss.item(), rel=1e-10)
    for theirs, ours in zip(model.parameters(), net.parameters.values()):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(net["norm"].running_mean, model[1].running_mean.numpy(), rtol=1e-10)
    np.testing.assert_allclose(net["norm"].running_var, model[1].running_var.numpy(), rtol=1e-10)
    np.testing.assert_allclose(net.predict(x), model.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-9, atol=1e-10)


# ---- files -----------------------------------------------------------------------------------------------------------


def trained(optimizer=None, net=None):
    net = net or small()
    trainer = net.trainer("cross_entropy", optimizer or Adam(0.01))
    for t in range(3):
        step(trainer, *batch(net, seed=t))
    return net


def trained_normalised(**options):
    return trained(net=normalised(**options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [small, lenet, trained_normalised])
def test_a_network_comes_back_from_its_file_bit_for_bit(make, dtype, tmp_path):
    net = make(dtype=dtype, name="nét")
    path = tmp_path / "nét.safetensors"
    net.save(path)
    again = pycnn.load(str(path))
    assert again.graph.to_dict() == net.graph.to_dict() and (again.name, again.dtype) == ("nét", np.dtype(dtype))
    assert bits(again) == bits(net) and repr(again.optimizer) == repr(net.optimizer) and again.training_state == {}
    x, _ = batch(net)
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    assert str(again) == str(net)


@pytest.mark.parametrize("form", ["one", "list", "dict"])
def test_the_form_of_the_outputs_comes_back(form, tmp_path):
    x = pycnn.Input((3,))
    y = L.Dense(2, name="y")(x)
    net = pycnn.Network(x, {"one": y, "list": [y], "dict": {"other name": y}}[form])
    net.save(tmp_path / "net")
    again = pycnn.load(tmp_path / "net").predict(np.zeros((1, 3)))
    assert type(again) is {"one": np.ndarray, "list": list, "dict": dict}[form]
    assert form != "dict" or list(again) == ["other name"]


def test_shared_layers_and_several_inputs_come_back(tmp_path):
    net = two_sided()
    net.save(tmp_path / "net")
    again = pycnn.load(tmp_path / "net")
    x = [np.ones((3, 4)), np.ones((3, 2, 5))]
    assert again.input_names == ["a", "b"] and again.count_parameters() == net.count_parameters()
    for name, y in net.predict(x).items():
        np.testing.assert_array_equal(again.predict(x)[name], y)


def test_flags_come_back(tmp_path):
    net = small()
    net["conv"].freeze(maps=[0, 2])
    net["scores"].trainable = False
    net.save(tmp_path / "net")
    again = pycnn.load(tmp_path / "net")
    assert again["conv"].trainable_maps.tolist() == [False, True, False, True] and not again["scores"].trainable
    assert again.count_parameters(trainable=True) == net.count_parameters(trainable=True) == 2 * 46


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_from_a_file_bit_for_bit(optimizer, tmp_path):
    net = trained(type(optimizer)(**optimizer.config()))
    net.training_state = {"epoch": 3, "random": [1, 2.5, "x", None, {"a": []}]}
    net.save(tmp_path / "net")
    again = pycnn.load(tmp_path / "net")
    assert again.training_state == net.training_state
    assert repr(again.optimizer) == repr(net.optimizer) and again.optimizer.steps == net.optimizer.steps == 3
    for one in (net, again):
        step(one.trainer("cross_entropy", one.optimizer), *batch(one, seed=9))
    assert bits(again) == bits(net)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.Conv(2, np.array([3, 3])),
        lambda: L.Conv(np.int64(2), (np.int32(3), 3), padding=((np.int64(1), 1), (0, 0))),
        lambda: L.Conv(2, 3, weight_init=lambda shape, fan_in, fan_out, rng: rng.normal(size=shape)),
        lambda: L.MaxPool(np.array([2, 2])),
        lambda: L.LeakyReLU(np.float64(0.5)),
        lambda: L.Conv(2, 3, bias=np.bool_(False)),
    ],
)
def test_whatever_a_layer_takes_can_be_saved(layer, tmp_path):
    x = pycnn.Input((1, 6, 6))
    net = pycnn.Network(x, layer()(x))
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(
        pycnn.load(tmp_path / "net").predict(np.ones((1, 1, 6, 6))), net.predict(np.ones((1, 1, 6, 6)))
    )


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(call, tmp_path, monkeypatch):
    path = tmp_path / "net"
    small(seed=1).save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="no space left"):
        small(seed=2).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net"]


def test_a_write_that_is_interrupted_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "net"
    small(seed=1).save(path)
    before = path.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        small(seed=2).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net"]


def test_what_cannot_be_described_leaves_the_old_file(tmp_path):
    net = small()
    net.save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()
    net.training_state = {"epoch": object()}
    with pytest.raises(TypeError):
        net.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == before and os.listdir(tmp_path) == ["net"]


def test_a_process_killed_while_it_saves_leaves_a_whole_file(tmp_path):
    program = """
import pycnn
from pycnn import layers as L
x = pycnn.Input((300,), name="x")
net = pycnn.Network(x, L.Dense(1000, weight_init="zeros", name="d")(x))
net.save("net")
print("saved", flush=True)
while True:
    net["d"].weight += 1
    net.save("net")
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "saved\n"
    for _ in range(20):
        pycnn.load(tmp_path / "net")
    process.kill()
    process.wait()
    process.stdout.close()
    weight = pycnn.load(tmp_path / "net")["d"].weight
    assert weight.min() == weight.max()     # one version of the parameters, not parts of two


def test_a_file_has_the_permissions_that_the_umask_gives(tmp_path):
    old = os.umask(0o027)
    try:
        small().save(tmp_path / "net")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)
    assert (tmp_path / "net").stat().st_mode & 0o777 == 0o640


def test_files_that_cannot_be_read_or_written_are_os_errors(tmp_path):
    for path in (tmp_path / "missing", tmp_path, tmp_path / "no folder" / "net"):
        with pytest.raises(OSError):
            pycnn.load(path)
    with pytest.raises(OSError):
        small().save(tmp_path / "no folder" / "net")


# ---- hostile files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole():
    """The bytes of a good file."""
    with tempfile.TemporaryDirectory() as folder:
        net = trained()
        net["conv"].freeze(maps=[1])
        net.save(os.path.join(folder, "net"))
        return pathlib.Path(folder, "net").read_bytes()


@pytest.fixture
def soon():
    """What takes longer than five seconds fails."""
    def too_long(*_):
        raise AssertionError("takes too long")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def loaded_or_refused(path, data):
    """Whether the file is a network. Anything but a ValueError or OSError is a failure, as is a large allocation."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        pycnn.load(path)
        return True
    except (ValueError, OSError):
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6 + 10 * len(data)


def test_a_truncated_file_is_refused_at_any_length(whole, tmp_path):
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for length in sorted({*range(64), *range(64, len(whole), 97), header - 1, header, header + 1, len(whole) - 1}):
        assert not loaded_or_refused(tmp_path / "net", whole[:length])
    assert not loaded_or_refused(tmp_path / "net", whole + b"\0")
    assert loaded_or_refused(tmp_path / "net", whole)


@given(st.binary(max_size=300))
@settings(max_examples=150)
def test_random_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random"
    assert not loaded_or_refused(path, data)
    assert not loaded_or_refused(path, struct.pack("<Q", len(data)) + data)


@given(st.data())
@settings(max_examples=300)
def test_changed_bytes_are_another_network_or_refused(whole, tmp_path_factory, data):
    damaged = bytearray(whole)
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, header - 1))] = data.draw(
            st.one_of(st.integers(0, 255), st.sampled_from(b'0919"{}[],:-e'))
        )
    loaded_or_refused(tmp_path_factory.getbasetemp() / "changed", bytes(damaged))


def with_header(data, change):
    """The file with its JSON header changed; `change` takes the header and the description inside."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["pycnn"])
    description = change(header, description) or description
    header["__metadata__"]["pycnn"] = description if isinstance(description, str) else json.dumps(description)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def at(*path, value):
    """Sets the description's value at the path, or removes it where the value is `...`."""
    def change(_, description):
        for key in path[:-1]:
            description = description[key]
        if value is ...:
            del description[path[-1]]
        else:
            description[path[-1]] = value
    return change


HUGE = 10**12
CONV = ("graph", "layers", "conv", "config")
WRONG_DESCRIPTIONS = [
    *[
        at(key, value=...)
        for key in ("name", "dtype", "form", "graph", "trainable", "frozen", "optimizer", "training_state")
    ],
    *[
        at(key, value=value)
        for key in ("graph", "trainable", "frozen", "training_state")
        for value in (None, 7, "x", [7], [[]])
    ],
    at("dtype", value="float16"),
    at("dtype", value="float32"),
    at("dtype", value="complex128"),
    at("dtype", value="banana"),
    at("dtype", value=7),
    at("dtype", value=[]),
    at("dtype", value={}),
    at("optimizer", value="Adam"),
    at("optimizer", value=[1]),
    at("optimizer", "class", value="Adagrad"),
    at("optimizer", "class", value=[]),
    at("optimizer", "class", value="SGD"),
    at("optimizer", "class", value=...),
    at("optimizer", "config", value=...),
    at("optimizer", "config", value=[]),
    at("optimizer", "config", "lr", value="fast"),
    at("optimizer", "config", "lr", value=-1),
    at("optimizer", "config", "lr", value=10**400),
    at("optimizer", "config", "lr", value=None),
    at("optimizer", "config", "beta1", value=2),
    at("optimizer", "config", "self", value=1),
    at("optimizer", "steps", value=-1),
    at("optimizer", "steps", value=1.5),
    at("optimizer", "steps", value=None),
    at("optimizer", value=None),
    at("trainable", value={"nobody": True}),
    at("frozen", value={"nobody": [0]}),
    at("frozen", value={"conv/weight": [999]}),
    at("frozen", value={"conv/weight": ["x"]}),
    at("frozen", value={"conv/weight": [0.5]}),
    at("graph", "layers", "conv", "class", value="Layer"),
    at("graph", "layers", "conv", "class", value="eval"),
    at("graph", "layers", "conv", "class", value="base"),
    at("graph", "layers", "conv", "class", value=[]),
    at(*CONV, "filters", value=5),
    at(*CONV, "filters", value=HUGE),
    at(*CONV, "filters", value=10**30),
    at(*CONV, "filters", value="4"),
    at(*CONV, "kernel_size", value=5),
    at(*CONV, "groups", value=5),
    at(*CONV, "bias", value=False),
    at(*CONV, "padding", value=HUGE),
    at(*CONV, "dilation", value=HUGE),
    at(*CONV, "activation", value="eval"),
    at("graph", "layers", "scores", "config", "units", value=HUGE),
    at("graph", "layers", "x", "config", "shape", value=[HUGE, 6, 6]),
    at("graph", "layers", "x", "config", "shape", value=[5, 10**9, 10**9]),
    at("graph", "layers", "x", "config", "shape", value=[]),
    at("graph", "nodes", 1, "inputs", value=[4]),
    at("graph", "nodes", 1, "inputs", value=[1]),
    lambda header, description: "[]",
    lambda header, description: "7",
    lambda header, description: "null",
    lambda header, description: "{",
    lambda header, description: " ",
    lambda header, description: "[" * 100_000,
    lambda header, description: '{"name": ' + "9" * 10_000 + "}",
    lambda header, description: "{}",
    lambda header, description: header.pop("conv/weight") and None,
    lambda header, description: header.update({"conv/other": dict(header["conv/weight"])}),
    lambda header, description: header.update({"conv/weights": header.pop("conv/weight")}),
    lambda header, description: header.pop("optimizer/m/conv/weight") and None,
    lambda header, description: header["conv/weight"].update(shape=[5, 4, 3, 3]),
    lambda header, description: header["conv/weight"].update(shape=[180]),
    lambda header, description: header["conv/weight"].update(shape=[HUGE, 5, 3, 3]),
    lambda header, description: header["conv/weight"].update(shape=[0]),
    lambda header, description: header["conv/weight"].update(dtype="I64"),
    lambda header, description: header["conv/weight"].update(data_offsets=[0, HUGE]),
    lambda header, description: header["conv/bias"].update(data_offsets=header["scores/bias"]["data_offsets"]),
    *[
        lambda header, description, d=d, n=n: header["conv/weight"].update(dtype=d, shape=[n])
        for d, n in (
            ("BF16", 720),
            ("F16", 720),
            ("F8_E4M3", 1440),
            ("F8_E5M2", 1440),
            ("BOOL", 1440),
            ("U8", 1440),
            ("F32", 360),
        )
    ],
]


@pytest.mark.parametrize("change", WRONG_DESCRIPTIONS)
def test_a_file_with_a_wrong_description_or_wrong_tensors_is_refused(change, whole, tmp_path, soon):
    assert not loaded_or_refused(tmp_path / "net", with_header(whole, change))


@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": HUGE, "padding": HUGE - 1, "stride": 1},
        {"kernel_size": 2**31 - 1, "padding": 2**31 - 2, "stride": 1},
        {"kernel_size": 2**31 - 1, "padding": 2**31 - 2, "stride": 1, "dilation": 2**31 - 1},
        {"kernel_size": HUGE, "padding": "same", "stride": 1},
        {"kernel_size": HUGE, "padding": HUGE - 1, "stride": 1, "dilation": HUGE},
        {"kernel_size": 1, "stride": HUGE, "ceil_mode": True},
    ],
)
def test_a_file_with_a_huge_window_is_refused_at_once(window, whole, tmp_path, soon):
    def change(_, description):
        description["graph"]["layers"]["MaxPool1"]["config"].update(window)

    assert not loaded_or_refused(tmp_path / "net", with_header(whole, change))


@pytest.mark.parametrize("key, message", [("graph", "graph"), ("optimizer", "optimizer"), ("trainable", "trainable")])
def test_an_incomplete_description_says_what_is_missing_and_in_which_file(key, message, whole, tmp_path):
    (tmp_path / "net").write_bytes(with_header(whole, at(key, value=...)))
    with pytest.raises(ValueError, match=f"net: .*(missing|no|lacks).*{message}"):
        pycnn.load(tmp_path / "net")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda header, _: header.update({"conv/mean": header.pop("conv/weight")}),
            "tensor 'conv/(weight' is missing|mean' is of no layer)",
        ),
        (
            lambda header, _: header["conv/weight"].update(shape=[180]),
            r"tensor 'conv/weight' is float64 \(180,\), expected float64 \(4, 5, 3, 3\)",
        ),
        (at("graph", "layers", "conv", "class", value="eval"), "unknown layer class 'eval'"),
        (lambda header, _: "{", "its description of the network cannot be read"),
        (lambda header, _: "[]", "its description of the network is not an object"),
    ],
)
def test_a_refused_file_says_what_is_wrong_with_it(change, message, whole, tmp_path):
    (tmp_path / "net").write_bytes(with_header(whole, change))
    with pytest.raises(ValueError, match=message):
        pycnn.load(tmp_path / "net")


def test_tensors_of_another_program_are_refused(tmp_path):
    save_file({"weight": np.zeros(3)}, tmp_path / "net")
    with pytest.raises(ValueError, match="a safetensors file, but not one that pycnn wrote"):
        pycnn.load(tmp_path / "net")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    (tmp_path / "net").write_bytes(b"cos\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR.")
    with pytest.raises(ValueError, match="not a safetensors file"):
        pycnn.load(tmp_path / "net")
    assert not ran.exists()


def test_a_gradient_that_overflows_under_a_finite_loss_changes_nothing_when_its_norm_is_limited():
    x = pycnn.Input((2,), name="x")
    net = pycnn.Network(x, L.Dense(1, name="a")(L.Dense(1, name="b")(x)))
    net["a"].weight, net["b"].weight = 1e19, 1e-19
    before = {name: value.copy() for name, value in net.parameters.items()}
    xs, ys = np.full((1, 2), 1e10, np.float32), np.zeros((1, 1), np.float32)
    trainer = net.trainer("mse", pycnn.SGD(0.1), clip_norm=1.0)
    steps = trainer.optimizer.steps
    results = trainer.step(net.check_inputs(xs), net.check_targets(ys, "mse"))
    assert np.isfinite(results).all() and trainer.optimizer.steps == steps
    assert all((net.parameters[name] == value).all() for name, value in before.items())
