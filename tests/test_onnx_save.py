"""Files of ONNX that pycnn writes: every layer gives in ONNX Runtime what it gives here."""

import functools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

import pycnn.onnx

NEWEST = min(26, onnx.defs.onnx_opset_version())
TABLE = np.array([[1, 0, 1], [0, 1, 1]], bool)


def single(layer, *shapes):
    """What makes a network of one layer, or of what a function makes of inputs, once."""
    inputs = [pycnn.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    return functools.cache(lambda: pycnn.Network(inputs, layer(*inputs)))


CASES = {       # name: (what makes a network, the lowest opset that can express it)
    "relu": (single(L.ReLU(), (3, 4)), 7),
    "leaky relu": (single(L.LeakyReLU(0.2), (3, 4)), 7),
    "elu": (single(L.ELU(0.7), (3, 4)), 7),
    "selu": (single(L.SELU(), (3, 4)), 7),
    "sigmoid": (single(L.Sigmoid(), (3,)), 7),
    "tanh": (single(L.Tanh(), (3,)), 7),
    "scaled tanh": (single(L.ScaledTanh(), (3,)), 7),
    "softplus": (single(L.Softplus(), (3,)), 7),
    "gelu": (single(L.GELU(), (3, 4)), 9),
    "gelu tanh": (single(L.GELU("tanh"), (3, 4)), 7),
    "silu": (single(L.SiLU(), (3, 4)), 7),
    "hard sigmoid": (single(L.HardSigmoid(0.3, 0.4), (3, 4)), 7),
    "hard swish": (single(L.HardSwish(), (3, 4)), 7),
    "mish": (single(L.Mish(), (3, 4)), 7),
    "softsign": (single(L.Softsign(), (3, 4)), 7),
    "clip": (single(L.Clip(-0.5, 0.25), (3, 4)), 7),
    "clip below": (single(L.Clip(min=-0.5), (3, 4)), 7),
    "clip above": (single(L.Clip(max=0.5), (3, 4)), 7),
    "prelu": (single(L.PReLU(0.3), (3, 4, 4)), 7),
    "prelu of a vector": (single(L.PReLU(0.3), (3,)), 7),
    "softmax": (single(L.Softmax(), (3, 4, 4)), 7),
    "softmax of a vector": (single(L.Softmax(), (5,)), 7),
    "log softmax": (single(L.LogSoftmax(), (3, 4)), 7),
    "dropout": (single(L.Dropout(0.3), (3, 4)), 7),
    "dropout of maps": (single(L.Dropout(0.3, maps=True), (3, 4)), 7),
    "noise": (single(L.GaussianNoise(0.3), (3, 4)), 7),
    "conv": (single(L.Conv(4, 3, 2, padding=((0, 1), (2, 1)), dilation=(1, 2), activation="relu"), (3, 8, 9)), 7),
    "conv of a line": (single(L.Conv(4, 3, padding="same", stride=2, bias=False, activation="leaky_relu"), (3, 9)), 7),
    "conv of a volume": (single(L.Conv(2, (1, 2, 3), groups=2, activation="scaled_tanh"), (4, 4, 5, 6)), 7),
    "conv with a table": (single(L.Conv(2, 3, connections=TABLE, activation="elu"), (3, 6, 6)), 7),
    "transposed conv": (single(L.ConvTranspose(4, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 5, 5)), 7),
    "transposed conv, asymmetric": (
        single(L.ConvTranspose(2, 4, stride=(1, 3), padding=((0, 1), (2, 1)), dilation=(2, 1)), (3, 5, 5)), 7),
    "transposed conv, same": (single(L.ConvTranspose(2, 2, stride=3, padding="same", activation="tanh"), (3, 5)), 7),
    "dense": (single(L.Dense(4, activation="sigmoid"), (3,)), 7),
    "dense without bias": (single(L.Dense(4, bias=False), (3,)), 7),
    "locally connected": (single(L.LocallyConnected(2, 3, padding=1, stride=2, activation="relu"), (3, 6, 5)), 7),
    "locally connected in sections": (
        single(L.LocallyConnected(2, (3, 2), sections=(2, 3), dilation=(1, 2)), (3, 7, 9)), 7),
    "locally connected without bias": (single(L.LocallyConnected(2, 3, sections=2, bias=False), (3, 9)), 7),
    "rbf": (single(L.RBF(4), (6,)), 7),
    "bias": (single(L.Bias("normal"), (3, 4)), 7),
    "max pool": (single(L.MaxPool(3, 2, padding=1), (3, 8, 8)), 7),
    "max pool, rounded up": (single(L.MaxPool((3, 2), 2, padding=(1, 0), ceil_mode=True), (3, 8, 7)), 7),
    "max pool, last window dropped": (single(L.MaxPool(2, 2, padding=1, ceil_mode=True), (3, 5)), 7),
    "max pool, dilated": (single(L.MaxPool(2, 1, dilation=2), (3, 8, 8)), 10),
    "average pool": (single(L.AvgPool(3, 2, padding=1), (3, 8, 8)), 7),
    "average pool without padding": (single(L.AvgPool(3, 2, padding=1, count_include_pad=False), (3, 8, 8)), 7),
    "average pool, rounded up": (single(L.AvgPool(3, 2, padding=1, ceil_mode=True), (3, 8, 7)), 7),
    "average pool, rounded up, without padding": (
        single(L.AvgPool(3, 2, padding=1, ceil_mode=True, count_include_pad=False), (3, 8)), 7),
    "sum pool": (single(L.SumPool(3, 2, padding=1, ceil_mode=True), (3, 8, 8)), 7),
    "power pool": (single(L.LPPool(3, 3, 2, padding=1), (3, 8, 8)), 7),
    "power pool of a fraction": (single(L.LPPool(2.5, 3, 2, padding=1, ceil_mode=True), (3, 8, 8)), 7),
    "max unpool": (single(L.MaxUnpool(2), (3, 4, 4), (3, 8, 8)), 9),
    "max unpool with overlap": (single(L.MaxUnpool(3, 2, padding=1), (3, 4), (3, 8)), 16),
    "global average": (single(L.GlobalAvgPool(), (3, 4, 4)), 7),
    "global maximum": (single(L.GlobalMaxPool(), (3, 4)), 7),
    "subsample": (single(L.Subsample(2, activation="scaled_tanh", bias_init="normal"), (3, 8, 8)), 7),
    "subsample without bias": (single(L.Subsample(3, 2, bias=False), (3, 8)), 7),
    "softmax pool": (single(L.SoftMaxPool(2, sharpness_init="normal"), (3, 6, 6)), 7),
    "softmax pool with a table": (single(L.SoftMaxPool(3, 2, connections=TABLE, sharpness_init="normal"), (3, 7)), 7),
    "batch norm": (single(L.BatchNorm(1e-3), (3, 4, 4)), 7),
    "batch norm of a vector": (single(L.BatchNorm(), (3,)), 7),
    "instance norm": (single(L.InstanceNorm(weight_init="normal", bias_init="normal"), (3, 4, 4)), 7),
    "group norm": (single(L.GroupNorm(2, weight_init="normal", bias_init="normal"), (4, 3, 3)), 7),
    "group norm of a vector": (single(L.GroupNorm(2, weight_init="normal", bias_init="normal"), (6,)), 7),
    "layer norm": (single(L.LayerNorm(weight_init="normal", bias_init="normal"), (4, 3, 3)), 7),
    "local response": (single(L.LocalResponseNorm(3, 0.1), (6, 4, 4)), 7),
    "local response of an even size": (single(L.LocalResponseNorm(4, 0.5, 0.6, 2.0), (6, 4)), 7),
    "pad": (single(L.Pad(((1, 2), (0, 1)), value=0.5), (3, 4, 4)), 7),
    "pad by reflection": (single(L.Pad(2, "reflect"), (3, 4, 4)), 7),
    "pad by the edge": (single(L.Pad((1, 2), "edge"), (3, 4, 4)), 7),
    "crop": (single(L.Crop(((1, 2), (0, 1))), (3, 6, 5)), 7),
    "adaptive average": (single(L.AdaptiveAvgPool((2, 3)), (3, 8, 6)), 7),
    "adaptive average, uneven": (single(L.AdaptiveAvgPool((3, 2, 3)), (3, 4, 5, 7)), 7),
    "upsample": (single(L.Upsample(2), (3, 4, 4)), 7),
    "upsample to a size": (single(L.Upsample(size=(7, 5)), (3, 4, 5)), 7),
    "upsample linearly": (single(L.Upsample((2, 1.7), mode="linear"), (3, 4, 5)), 7),
    "upsample linearly to a size": (single(L.Upsample(size=7, mode="linear"), (3, 4)), 7),
    "upsample linearly between corners": (single(L.Upsample(2, mode="linear", align_corners=True), (3, 4, 4)), 7),
    "resize cubically": (single(L.Resize(1.5, mode="cubic", exclude_outside=True), (3, 4, 6)), 11),
    "resize to a size": (single(L.Resize(size=(3, 9), mode="linear", coordinates="align_corners"), (2, 5, 4)), 11),
    "resize, nearest": (single(L.Resize((0.5, 2), coordinates="asymmetric", rounding="ceil"), (2, 6, 4)), 11),
    "resize, antialiased": (single(L.Resize(0.5, mode="linear", antialias=True), (2, 6, 4)), 18),
    "resize a region": (single(L.Resize(mode="linear", coordinates="tf_crop_and_resize", value=9.0,
                                        roi=((0.2, 0.8), (0.4, 1.3)), scale=(1.25, 1.5)), (2, 4, 4)), 11),
    "places of maxima": (single(L.MaxPoolPlaces(2, 1), (3, 4, 4)), 10),
    "places of maxima in columns": (single(L.MaxPoolPlaces(2, columns_first=True), (3, 4, 6)), 10),
    "affine grid": (single(L.AffineGrid((4, 5)), (2, 3)), 7),
    "affine grid between corners": (single(L.AffineGrid((4, 5, 3), align_corners=True), (12,)), 7),
    "affine grid of a line": (single(L.AffineGrid(5), (2,)), 7),
    "grid sample": (single(L.GridSample(), (3, 6, 6), (4, 5, 2)), 16),
    "grid sample, reflected": (single(L.GridSample("bicubic", "reflection", True), (3, 6, 6), (4, 5, 2)), 16),
    "grid sample of a line": (single(L.GridSample("nearest", "border"), (3, 6), (5, 1)), 16),
    "grid sample of a volume": (single(L.GridSample(), (2, 4, 4, 4), (3, 2, 3, 3)), 20),
    "add": (single(L.Add(), (3, 4), (3, 4)), 7),
    "add three": (single(L.Add(), (3, 4), (3, 4), (3, 4)), 7),
    "multiply": (single(L.Multiply(), (3, 4), (3, 4)), 7),
    "concat": (single(L.Concat(), (3, 4), (2, 4)), 7),
    "concat of rows": (single(L.Concat(1), (3, 2), (3, 4)), 7),
    "expand": (single(L.Expand((3, 5)), (3, 1)), 8),
    "slice": (single(L.Slice(1, -1, axis=1), (3, 6)), 7),
    "slice backwards": (single(L.Slice(None, None, -2, axis=1), (3, 6)), 10),
    "take": (single(L.Take([2, -1, 0, 2]), (3, 6)), 7),
    "softmax of rows": (single(L.Softmax(1), (3, 4, 2)), 7),
    "average pool, dilated": (single(L.AvgPool(2, 1, dilation=2), (3, 8, 8)), 19),
    "power pool, dilated": (single(L.LPPool(2, 2, 1, dilation=2), (3, 8)), 18),
    "celu": (single(L.CELU(0.7), (3, 4)), 7),
    "thresholded relu": (single(L.ThresholdedReLU(0.3), (3, 4)), 10),
    "matrix product": (single(L.MatMul(), (2, 3, 4), (1, 4, 2)), 7),
    **{kind: (single(L.Unary(kind), (3, 4)), 7) for kind in ("abs", "ceil", "exp", "floor", "neg", "reciprocal")},
    **{kind: (single(L.Unary(kind), (3, 4)), 9) for kind in ("sign", "trunc")},
    **{f"{kind} of a square": (single(lambda x, kind=kind: L.Unary(kind)(L.Multiply()(x, x)), (3, 4)), 7)
       for kind in ("log", "sqrt")},
    **{f"{kind} of two": (single(L.Binary(kind), (3, 4), (3, 4)), 7) for kind in ("add", "sub", "mul", "div")},
    **{f"{kind} of two that stretch": (single(L.Binary(kind), (3, 1), (1, 4)), 8) for kind in ("max", "min")},
    "equal": (single(lambda x: L.Binary("equal")(x, L.ReLU()(x)), (3, 4)), 11),
    **{kind: (single(L.Binary(kind), (3, 4), (1, 4)), since)
       for kind, since in (("greater", 7), ("greater_equal", 12), ("less", 7), ("less_equal", 12))},
    "where": (single(L.Where(), (3, 4), (1, 4), (3, 1)), 9),
    "power": (single(lambda x: L.Binary("pow")(L.Unary("exp")(x), x), (3, 4)), 7),
    "reduce": (single(L.Reduce("mean", (0, 2)), (3, 4, 2)), 7),
    "reduce, axes kept": (single(L.Reduce("sum", 1, keepdims=True), (3, 4, 2)), 7),
    "reduce all": (single(L.Reduce("max", (0, 1)), (3, 4)), 7),
    "least": (single(L.Reduce("min", 1), (3, 4)), 7),
    "constant": (single(L.Constant((3, 4), "normal"), (2,)), 8),
    "constant that is added": (single(lambda x: L.Binary("add")(x, L.Constant((1, 4), "normal")(x)), (3, 4)), 7),
    "flatten": (single(L.Flatten(), (3, 4, 2)), 7),
    "reshape": (single(L.Reshape((4, -1)), (3, 4, 2)), 7),
    "permute": (single(L.Permute((2, 0, 1)), (3, 4, 2)), 7),
    "primary capsules": (single(L.PrimaryCapsules(3, 4, 3), (2, 7, 7)), 7),
    "capsules": (single(L.Capsules(3, 5, weight_init="normal"), (6, 4)), 7),
    "capsules without routing": (single(L.Capsules(3, 5, 1, weight_init="normal"), (6, 4)), 7),
    "squash": (single(L.Squash(), (6, 4)), 7),
    "length": (single(L.Length(), (6, 4)), 7),
    "mask": (single(L.Mask(), (6, 4)), 9),
    "mask with a target": (single(L.Mask(), (6, 4), (6,)), 9),
}


def runtime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def results(path, x):
    """What ONNX Runtime makes of inputs, by name of the output."""
    session = runtime(path)
    return dict(zip((out.name for out in session.get_outputs()), session.run(None, x)))


def drawn_inputs(net, batch, rng):
    return {name: rng.standard_normal((batch, *shape)).astype(net.dtype) for name, shape in net.input_shapes.items()}


def compare(net, path, x, tolerance=2e-6):
    """Both give the same, to rounding."""
    expected = net.predict(x)
    expected = expected if isinstance(expected, dict) else dict(zip(net.output_names, [expected]))
    for name, found in results(path, x).items():
        scale = max(1.0, np.abs(expected[name]).max())
        assert found.shape == expected[name].shape
        assert np.abs(found - expected[name]).max() < tolerance * scale, name


@pytest.mark.parametrize("opset", [None, 13, 20, NEWEST], ids=["lowest", "13", "20", "newest"])
@pytest.mark.parametrize("name", CASES)
def test_a_layer_gives_the_same_in_onnx_runtime(name, opset, tmp_path):
    make, lowest = CASES[name]
    net, rng, path = make(), np.random.default_rng(0), tmp_path / "net.onnx"
    for parameter in net.statistics.values():
        parameter[...] = rng.uniform(0.5, 2.0, parameter.shape)
    if opset is not None and opset < lowest:
        kind = type(list(net.layers.values())[-1]).__name__
        with pytest.raises(ValueError, match=rf"\({kind}\).*opset {lowest}.*opset={opset}"):
            pycnn.onnx.save(net, path, opset=opset)
        assert not path.exists()
        return
    pycnn.onnx.save(net, path, opset=opset or lowest)
    for batch in (1, 3):
        compare(net, path, drawn_inputs(net, batch, rng))


def test_every_layer_can_be_written_but_functions():
    from pycnn.onnx.save import WRITERS

    kinds = {getattr(L, name) for name in L.__all__} - {L.Layer, L.Lambda}
    assert {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, L.Layer)} == WRITERS.keys()


@settings(max_examples=40)
@given(data=st.data(), kind=st.sampled_from([L.MaxPool, L.AvgPool, L.SumPool]), ceil_mode=st.booleans(),
       opset=st.sampled_from([7, 20]))
def test_pooling_of_any_window(data, kind, ceil_mode, opset, tmp_path_factory):
    kernel, stride, size = (data.draw(st.integers(1, most)) for most in (4, 5, 9))
    pads = data.draw(st.tuples(*[st.integers(0, kernel - 1)] * 2))
    options = {"count_include_pad": data.draw(st.booleans())} if kind is L.AvgPool else {}
    x = pycnn.Input((2, size), name="x")
    try:
        net = pycnn.Network(x, kind(kernel, stride, (pads,), ceil_mode=ceil_mode, **options)(x))
    except ValueError:
        return      # no window fits
    path = tmp_path_factory.mktemp("pool") / "net.onnx"
    pycnn.onnx.save(net, path, opset=opset)
    compare(net, path, drawn_inputs(net, 2, np.random.default_rng(0)))


def test_a_mask_keeps_the_capsule_of_the_label_or_the_longest(tmp_path):
    net, path = CASES["mask with a target"][0](), tmp_path / "net.onnx"
    pycnn.onnx.save(net, path)
    x = drawn_inputs(net, 4, np.random.default_rng(0))
    x["x1"] = np.eye(6, dtype=np.float32)[[3, 0, 5, 1]] * np.array([[1], [0], [1e-30], [-1]], np.float32)
    compare(net, path, x)


def test_words_are_integers_where_only_embeddings_read_them(tmp_path):
    def network(*others):
        words = pycnn.Input((7,), name="words")
        rows = L.Embedding(9, 4, padding_id=0, name="table")(words)
        return pycnn.Network(words, {"rows": rows, **{layer.name: layer(words) for layer in others}})

    ids, path = np.random.default_rng(0).integers(0, 9, (3, 7)), tmp_path / "net.onnx"
    for others, kind in (((), np.int64), ((L.Tanh(name="also"),), np.float32)):
        net = network(*others)
        pycnn.onnx.save(net, path)
        compare(net, path, {"words": ids.astype(kind)})


def test_inputs_and_outputs_keep_their_names_and_any_batch(tmp_path):
    a, b = pycnn.Input((3,), name="a"), pycnn.Input((3,), name="b")
    h = L.Dense(3, name="out")(L.Add(name="sum")(a, b))         # named as another layer's output is
    net = pycnn.Network({"left": a, "right": b}, {"sum": h, "again": h, "out": L.Tanh(name="act")(h), "same": a})
    pycnn.onnx.save(net, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [i.name for i in graph.input] == ["left", "right"]
    assert [o.name for o in graph.output] == ["sum", "again", "out", "same"]
    assert {i.type.tensor_type.shape.dim[0].dim_param for i in [*graph.input, *graph.output]} == {"N"}
    compare(net, tmp_path / "net.onnx", drawn_inputs(net, 5, np.random.default_rng(0)))


def test_parameters_have_their_names_and_a_shared_layer_has_them_once(tmp_path):
    x = pycnn.Input((3, 6, 6), name="x")
    conv = L.Conv(3, 3, padding=1, name="C1", activation="relu")
    net = pycnn.Network(x, L.GlobalAvgPool(name="mean")(conv(conv(x))))
    pycnn.onnx.save(net, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [i.name for i in graph.initializer] == ["C1/weight", "C1/bias"]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(graph.initializer[0]), net["C1"].weight)
    assert [node.name for node in graph.node] == ["C1", "C1.Relu", "C1.2", "C1.Relu.2", "mean", "mean.Flatten"]
    compare(net, tmp_path / "net.onnx", drawn_inputs(net, 2, np.random.default_rng(0)))


def test_a_network_of_doubles_is_written_in_doubles(tmp_path):
    from onnx.reference import ReferenceEvaluator

    x = pycnn.Input((2, 6, 6), name="x")
    net = pycnn.Network(x, L.Dense(3)(L.Flatten()(L.MaxPool(2)(L.Conv(4, 3, activation="elu")(x)))), dtype="float64")
    pycnn.onnx.save(net, tmp_path / "net.onnx")
    inputs = drawn_inputs(net, 2, np.random.default_rng(0))
    (found,) = ReferenceEvaluator(str(tmp_path / "net.onnx")).run(None, inputs)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, net.predict(inputs), rtol=1e-6)


class Doubled(L.Tanh):
    """A class of the user's own."""


@pytest.mark.parametrize(("layer", "what"), [
    (L.Lambda(np.square, name="mine"), r"mine \(Lambda\): .* functions, which ONNX cannot express"),
    (Doubled(name="mine"), r"mine \(Doubled\): .* not this class")])
def test_layers_that_onnx_cannot_express_are_named(layer, what, tmp_path):
    x = pycnn.Input((3,), name="x")
    with pytest.raises(ValueError, match=what):
        pycnn.onnx.save(pycnn.Network(x, layer(x)), tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("opset", "error"), [(6, "at least 7, got 6"), (1000, "at most .* got 1000"), ("20", "an integer")])
def test_an_opset_that_is_none_is_an_error(opset, error, tmp_path):
    with pytest.raises((ValueError, TypeError), match=f"opset must be {error}"):
        pycnn.onnx.save(CASES["relu"][0](), tmp_path / "net.onnx", opset=opset)


def test_what_is_no_network_or_path_is_an_error(tmp_path):
    with pytest.raises(TypeError, match="takes a Network, not ndarray"):
        pycnn.onnx.save(np.zeros(3), tmp_path / "net.onnx")
    with pytest.raises(TypeError):
        pycnn.onnx.save(CASES["relu"][0](), None)


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install pycnn\[onnx\]"):
        pycnn.onnx.save(CASES["relu"][0](), tmp_path / "net.onnx")
