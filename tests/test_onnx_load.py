"""ONNX models become networks that compute what ONNX says."""

from pathlib import Path

import numpy as np
import pytest

import pycnn

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FLOAT = TensorProto.FLOAT


def model(nodes, inputs, outputs, weights=(), opset=18, types=FLOAT):
    """A model of nodes ``(operator, inputs, outputs, attributes)``, with weights by name."""
    graph = helper.make_graph(
        [helper.make_node(kind, reads, makes, **attributes) for kind, reads, makes, attributes in nodes], "test",
        [helper.make_tensor_value_info(name, types, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, types, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_as_onnx_says(proto, batch=3, tolerance=1e-5, **load):
    """The network gives what the onnx package's own evaluator gives."""
    net = pycnn.onnx.load(proto, **load)
    x = {name: normal(batch, *shape, seed=i) for i, (name, shape) in enumerate(net.input_shapes.items())}
    got = net.predict(x)
    got = list(got.values()) if isinstance(got, dict) else [got]
    for y, expected in zip(got, ReferenceEvaluator(proto).run(None, x), strict=True):
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))
    return net


def steps(net):
    """Names of the kernels that predictions call."""
    return [step[1] for step in net.plan(2)._steps]


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "densenet121", "inception_v2"])
def test_light_models_give_their_recorded_output(name):
    net = pycnn.onnx.load(LIGHT / f"light_{name}.onnx")
    expected = numpy_helper.to_array(onnx.load_tensor(str(LIGHT / f"light_{name}_output_0.pb")))
    y = net.predict({n: np.zeros((2, *s), np.float32) for n, s in net.input_shapes.items()})
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-3, atol=1e-7)
    assert "python" not in steps(net)


def test_scales_and_shifts_become_part_of_the_layer_before():
    nodes = [("Conv", ["x", "w"], ["c"], {}), ("Mul", ["c", "s"], ["m"], {}), ("Add", ["m", "t"], ["a"], {}),
             ("BatchNormalization", ["a", "g", "b", "mean", "var"], ["n"], {}), ("Mul", ["n", "s"], ["o"], {}),
             ("Relu", ["o"], ["y"], {})]
    weights = {"w": normal(4, 3, 3, 3), "s": normal(4, 1, 1), "t": normal(1, 4, 1, 1), "g": normal(4), "b": normal(4),
               "mean": normal(4), "var": np.abs(normal(4)) + 0.5}
    net = assert_as_onnx_says(model(nodes, {"x": ["N", 3, 8, 8]}, ["y"], weights))
    assert steps(net).count("conv_forward") == 1 and "batch_norm_forward" not in steps(net)


@pytest.mark.parametrize("target", [[0, -1], [-1, 48], ["N", 48]])
def test_the_batch_stays_free_when_a_shape_is_computed(target):
    nodes = [("Relu", ["x"], ["h"], {}), ("Shape", ["h"], ["shape"], {}),
             ("Gather", ["shape", "zero"], ["n"], {}), ("Concat", ["n", "rest"], ["computed"], {"axis": 0}),
             ("Reshape", ["h", "computed" if target[0] == "N" else "target"], ["y"], {})]
    weights = {"zero": np.array([0]), "rest": np.array([48]),
               "target": np.array([0 if n == "N" else n for n in target])}
    proto = model(nodes, {"x": ["N", 3, 4, 4]}, ["y"], weights)
    net = assert_as_onnx_says(proto, batch=5)
    assert net(normal(2, 3, 4, 4)).shape == (2, 48)


def test_a_model_written_for_one_sample_takes_any_number():
    nodes = [("Reshape", ["x", "s"], ["r"], {}), ("Transpose", ["r"], ["t"], {"perm": [0, 2, 1, 3, 4]}),
             ("Reshape", ["t", "u"], ["y"], {})]
    weights = {"s": np.array([1, 2, 3, 4, 4]), "u": np.array([1, 6, 4, 4])}
    net = pycnn.onnx.load(model(nodes, {"x": [1, 6, 4, 4]}, ["y"], weights))
    x = normal(5, 6, 4, 4)
    np.testing.assert_array_equal(net(x), x.reshape(5, 2, 3, 4, 4).swapaxes(1, 2).reshape(5, 6, 4, 4))


@pytest.mark.parametrize("axes", [(0, 2, 4, 1, 3, 5), (0, 5, 4, 3, 2, 1), (0, 3, 5, 1, 2, 4)])
def test_axes_change_places_in_any_order(axes):
    nodes = [("Reshape", ["x", "s"], ["r"], {}), ("Transpose", ["r"], ["t"], {"perm": axes}),
             ("Reshape", ["t", "u"], ["y"], {})]
    weights = {"s": np.array([0, 2, 3, 4, 2, 3]), "u": np.array([0, -1])}
    assert_as_onnx_says(model(nodes, {"x": ["N", 144]}, ["y"], weights))


def test_height_and_width_that_vary_are_said_when_loading():
    proto = model([("Conv", ["x", "w"], ["c"], {}), ("GlobalAveragePool", ["c"], ["y"], {})],
                  {"x": ["N", 3, "H", "W"]}, ["y"], {"w": normal(4, 3, 3, 3)})
    with pytest.raises(ValueError, match=r"input 'x' .* sizes that may vary; .* shapes="):
        pycnn.onnx.load(proto)
    with pytest.raises(ValueError, match="has the shape"):
        pycnn.onnx.load(proto, shapes={"x": (4, 8, 8)})
    assert_as_onnx_says(proto, shapes={"x": (3, 9, 7)})


def test_what_is_loaded_goes_on_learning():
    nodes = [("Conv", ["x", "w", "b"], ["c"], {"pads": [1, 1, 1, 1]}), ("Relu", ["c"], ["r"], {}),
             ("Flatten", ["r"], ["f"], {}), ("Gemm", ["f", "v", "d"], ["y"], {"transB": 1})]
    weights = {"w": normal(4, 1, 3, 3), "b": normal(4), "v": normal(3, 64) / 8, "d": normal(3)}
    net = assert_as_onnx_says(model(nodes, {"x": ["N", 1, 4, 4]}, ["y"], weights))
    x, labels = normal(32, 1, 4, 4), np.arange(32) % 3
    before = net.evaluate(x, labels)["loss"]
    net.fit(x, labels, epochs=5, optimizer=pycnn.SGD(0.05), verbose=0)
    assert net.evaluate(x, labels)["loss"] < before


def test_an_operator_that_mixes_samples_is_refused():
    with pytest.raises(ValueError, match="ReduceMean .* axis 0.* one by one"):
        pycnn.onnx.load(model([("ReduceMean", ["x", "a"], ["y"], {})], {"x": ["N", 3]}, ["y"], {"a": np.array([0])}))


def test_an_unknown_operator_is_named():
    with pytest.raises(ValueError, match="Det that makes 'y': this operator is not supported"):
        pycnn.onnx.load(model([("Det", ["x"], ["y"], {})], {"x": ["N", 3, 3]}, ["y"]))


def test_padding_slices_and_pieces_along_channels_and_positions():
    nodes = [("Pad", ["x", "pads"], ["p"], {"mode": "reflect"}),
             ("Split", ["p"], ["a", "b"], {"axis": 1, "num_outputs": 2}),
             ("Slice", ["a", "begin", "end", "axes", "steps"], ["s"], {}), ("Concat", ["s", "s"], ["y"], {"axis": 3})]
    weights = {"pads": np.array([0, 1, 2, 0, 0, 1, 0, 1]), "begin": np.array([-1, 0]), "end": np.array([-9, 2**63 - 1]),
               "axes": np.array([1, 3]), "steps": np.array([-1, 2])}
    assert_as_onnx_says(model(nodes, {"x": ["N", 4, 5, 6]}, ["y"], weights))


@pytest.mark.parametrize("sizes", ["scales", "sizes"])
def test_maps_are_resized_whatever_the_batch(sizes):
    nodes = [("Shape", ["x"], ["shape"], {}), ("Slice", ["shape", "zero", "two"], ["lead"], {}),
             ("Concat", ["lead", "spatial"], ["sizes"], {"axis": 0}),
             ("Resize", ["x", "", "scales" if sizes == "scales" else "", "sizes" if sizes == "sizes" else ""], ["y"],
              {"mode": "cubic"})]
    weights = {"zero": np.array([0]), "two": np.array([2]), "spatial": np.array([7, 9]),
               "scales": np.array([1, 1, 1.5, 2], np.float32)}
    assert_as_onnx_says(model(nodes, {"x": ["N", 2, 4, 5]}, ["y"], weights), tolerance=2e-6)


def test_matrices_of_words_and_their_normalisation():
    """As in a transformer on patches: the positions are an axis of their own, constants go in before."""
    nodes = [("Gather", ["table", "zero"], ["row"], {}), ("Add", ["x", "row"], ["h"], {}),
             ("LayerNormalization", ["h", "g", "b"], ["n"], {"axis": -1}), ("MatMul", ["n", "w"], ["q"], {}),
             ("Transpose", ["n"], ["t"], {"perm": [0, 2, 1]}), ("MatMul", ["q", "t"], ["s"], {}),
             ("Softmax", ["s"], ["p"], {"axis": -1}), ("MatMul", ["p", "n"], ["o"], {}),
             ("ReduceMean", ["o"], ["y"], {"axes": [1]})]
    weights = {"table": normal(3, 8), "zero": np.array(1), "g": normal(8), "b": normal(8), "w": normal(8, 8)}
    assert_as_onnx_says(model(nodes, {"x": ["N", 5, 8]}, ["y"], weights, opset=17), tolerance=2e-5)


def test_places_of_maxima_go_back_to_where_they_were():
    nodes = [("MaxPool", ["x"], ["p", "i"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
             ("MaxUnpool", ["p", "i"], ["y"], {"kernel_shape": [2, 2], "strides": [2, 2]})]
    net = pycnn.onnx.load(model(nodes, {"x": ["N", 3, 4, 6]}, ["y"]))
    x = normal(5, 3, 4, 6)
    y = net(x)
    assert ((y == x) | (y == 0)).all() and (y != 0).sum() == x.size // 4


def test_numbers_of_16_bits_are_computed_with_in_32():
    nodes = [("Cast", ["x"], ["h"], {"to": TensorProto.FLOAT16}), ("Conv", ["h", "w"], ["c"], {}),
             ("Cast", ["c"], ["y"], {"to": FLOAT})]
    net = pycnn.onnx.load(model(nodes, {"x": ["N", 3, 6, 6]}, ["y"], {"w": normal(4, 3, 3, 3).astype(np.float16)}))
    assert net.dtype == np.float32
    x = np.round(normal(2, 3, 6, 6), 1)
    expected = pycnn.functional.conv_forward(x, net.parameters["c/weight"])
    np.testing.assert_allclose(net(x), expected, atol=1e-5)


def test_what_was_read_can_be_kept_and_written_again(tmp_path):
    nodes = [("Conv", ["x", "w"], ["c"], {"pads": [1, 1, 1, 1]}), ("Exp", ["c"], ["e"], {}),
             ("Div", ["e", "c"], ["d"], {}),
             ("ReduceMax", ["d", "axes"], ["y"], {"keepdims": 0})]
    net = pycnn.onnx.load(model(nodes, {"x": ["N", 1, 4, 4]}, ["y"], {"w": normal(3, 1, 3, 3), "axes": np.array([1])}))
    x = normal(3, 1, 4, 4)
    net.save(tmp_path / "net.safetensors")
    pycnn.onnx.save(net, tmp_path / "net.onnx")
    for again in (pycnn.load(tmp_path / "net.safetensors"), pycnn.onnx.load(tmp_path / "net.onnx")):
        np.testing.assert_array_equal(again(x), net(x))


def with_random_weights(path):
    """A light model, whose weights are all alike, with others: convolutions keep the spread of what they read."""
    proto, rng = onnx.load(path), np.random.default_rng(0)
    graph = proto.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    positive = {node.input[i] for node in graph.node if node.op_type == "BatchNormalization" for i in (1, 4)}
    others = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            others.append(node)
            continue
        shape = shapes[node.input[0]]
        values = rng.standard_normal(shape).astype(np.float32)
        values *= np.float32(np.sqrt(2 / np.prod(shape[1:]))) if len(shape) > 1 else np.float32(0.2)
        values = np.abs(values) + 0.5 if node.output[0] in positive else values
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(others)
    return proto


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "densenet121", "inception_v1", "inception_v2",
                                  "resnet50"])
def test_light_models_with_other_weights_give_what_onnx_runtime_gives(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    proto = with_random_weights(LIGHT / f"light_{name}.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    net = pycnn.onnx.load(proto)
    x = normal(1, *net.input_shapes[net.input_names[0]])
    expected = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
