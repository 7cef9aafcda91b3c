"""Files that are damaged or made to do harm: a ValueError names what is wrong, and nothing else happens."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import pycnn

onnx = pytest.importorskip("onnx")

import fuzz_onnx
from onnx import TensorProto, helper, numpy_helper


def model(nodes, inputs=None, outputs=("y",), weights=None, **options):
    """A model of nodes ``(operator, inputs, outputs, attributes)`` with float inputs by name, and weights."""
    inputs = {"x": ["N", 3, 8, 8]} if inputs is None else inputs
    graph = helper.make_graph(
        [helper.make_node(kind, reads, makes, **attributes) for kind, reads, makes, attributes in nodes], "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], list(weights or []))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", options.get("opset", 18))])


def vector(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def number(name, value):
    return numpy_helper.from_array(np.array(value, np.int64), name)


def tensor(name, dims, data=b"", data_type=TensorProto.FLOAT):
    """A tensor that says it has those sizes."""
    return TensorProto(name=name, dims=dims, raw_data=data, data_type=data_type)


def conv(weights, **attributes):
    return model([("Conv", ["x", "w"], ["y"], attributes)], weights=weights)


FILTERS = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")
CASES = {
    "cycle": (model([("Add", ["x", "b"], ["a"], {}), ("Relu", ["a"], ["b"], {}), ("Relu", ["b"], ["y"], {})]),
              "the graph has a cycle through Add"),
    "missing initialiser": (conv([]), "Conv that makes 'y' reads 'w', which is neither"),
    "missing output": (model([("Relu", ["x"], ["z"], {})]), "output 'y' is made by no node"),
    "made twice": (model([("Relu", ["x"], ["y"], {}), ("Tanh", ["x"], ["y"], {})]), "'y' is made twice"),
    "no outputs": (model([("Relu", ["x"], ["y"], {})], outputs=()), "has no outputs"),
    "negative input": (model([("Relu", ["x"], ["y"], {})], {"x": ["N", -3]}), r"input 'x' has a negative size: .*-3"),
    "absurd input": (model([("Relu", ["x"], ["y"], {})], {"x": ["N", 2**40, 2**20]}), "too large"),
    "huge input": (model([("Relu", ["x"], ["y"], {})], {"x": ["N", 3, 2**20, 2**20]}), "x: a tensor .* is larger"),
    "negative weights": (conv([tensor("w", [4, -3, 3, 3])]), r"initialiser 'w' has a negative size: \(4, -3, 3, 3\)"),
    "absurd weights": (conv([tensor("w", [2**31, 2**31, 3, 3], b"1234")]), "initialiser 'w' .* only 4 bytes"),
    "weights cut off": (conv([tensor("w", [4, 3, 3, 3], b"0" * 100)]), "initialiser 'w' .* only 100 bytes"),
    "weights of no type": (conv([tensor("w", [1], b"0", 999)]), "initialiser 'w' has the unknown element type 999"),
    "weights of too many axes": (conv([tensor("w", [1] * 40, b"0000")]), "initialiser 'w' has 40 axes"),
    "weights twice": (conv([FILTERS, FILTERS]), "two initialisers 'w'"),
    "weights that do not fit": (conv([FILTERS], group=2), r"Conv .* weights of shape \(4, 3, 3, 3\) in 2 groups"),
    "absurd padding": (conv([FILTERS], pads=[2**40] * 4), "Conv .* pads .* at most"),
    "absurd dilation": (conv([FILTERS], dilations=[2**40] * 2), "Conv .* dilations .* at most"),
    "negative stride": (conv([FILTERS], strides=[-1, -1]), "Conv .* stride must be at least 1"),
    "stride that is text": (conv([FILTERS], strides=["a", "b"]), "Conv .* strides .* must be integers"),
    "unknown attribute": (conv([FILTERS], colour=3), "Conv .* unexpected keyword argument 'colour'"),
    "axis out of range": (model([("Concat", ["x", "x"], ["y"], {"axis": 9})]), "Concat .* axis 9 is none of"),
    "constant of absurd size": (
        model([("ConstantOfShape", ["s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
              weights=[vector("s", 1, 2**31, 2**31)]),
        "ConstantOfShape .* is larger than"),
    "constant of negative size": (
        model([("ConstantOfShape", ["s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})], weights=[vector("s", 1, -4)]),
        "ConstantOfShape .* negative size -4"),
    "reshape to negative sizes": (model([("Reshape", ["x", "s"], ["y"], {})], weights=[vector("s", 0, -2, 5)]),
                                  r"Reshape .* 192 values do not fill the shape \(-2, 5\)"),
    "expansion": (model([("Expand", ["x", "s"], ["y"], {})], {"x": ["N", 1, 1]},
                        weights=[vector("s", 1, 2**20, 2**20)]),
                  "Expand .* is larger than"),
    "tiles": (model([("Tile", ["x", "s"], ["y"], {})], weights=[vector("s", 1, 2**40, 1, 1)]), "Tile .* is larger"),
    "upsampling": (model([("Resize", ["x", "", "s"], ["y"], {})],
                         weights=[numpy_helper.from_array(np.array([1, 1, 1e9, 1e9], np.float32), "s")]),
                   "Resize .* is larger than"),
    "range": (model([("Range", ["a", "b", "c"], ["r"], {}), ("Gather", ["x", "r"], ["y"], {"axis": 1})],
                    weights=[number("a", 0), number("b", 2**50), number("c", 1)]),
              "Range .* is larger than"),
    "pieces without end": (model([("Split", ["x"], ["y"], {"axis": 1, "num_outputs": 2**40})]), "Split .* says it"),
    "blocks of nothing": (model([("DepthToSpace", ["x"], ["y"], {"blocksize": 0})]), "DepthToSpace"),
    "opset of the future": (model([("Relu", ["x"], ["y"], {})], opset=999), "opset 999; .* knows 1 to"),
    "opset below all": (model([("Relu", ["x"], ["y"], {})], opset=-1), "opset -1"),
    "foreign operator": (helper.make_model(helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], domain="com.example")], "g",
        [helper.make_tensor_value_info("x", 1, ["N", 3])], [helper.make_tensor_value_info("y", 1, None)])),
        "operators of the domain 'com.example'"),
    "text that flows": (helper.make_model(helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", 8, ["N", 3])],
        [helper.make_tensor_value_info("y", 1, None)])), "input 'x' holds strings"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_model_is_a_value_error_that_names_what_is_wrong(name):
    proto, message = CASES[name]
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        pycnn.onnx.load(proto.SerializeToString())
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"not a model", bytes(range(256)) * 20],
                         ids=["nothing", "zeros", "text", "any"])
def test_bytes_that_are_no_model_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="is not an ONNX model"):
        pycnn.onnx.load(data)
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.onnx is not an ONNX model"):
        pycnn.onnx.load(path)


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends():
    data = conv([FILTERS]).SerializeToString()
    for end in range(len(data)):
        with pytest.raises(ValueError):
            pycnn.onnx.load(data[:end])


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        pycnn.onnx.load(tmp_path / "none.onnx")


# ---- weights in other files ------------------------------------------------------------------------------------------


def with_external(location, dims=(4, 3, 3, 3), **entries):
    weights = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        weights.external_data.add(key=key, value=str(value))
    return conv([weights]).SerializeToString()


def test_weights_beside_the_model_are_read(tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    (tmp_path / "w.bin").write_bytes(b"four" + values.tobytes())
    (tmp_path / "net.onnx").write_bytes(with_external("w.bin", offset=4, length=values.nbytes))
    net = pycnn.onnx.load(tmp_path / "net.onnx")
    np.testing.assert_array_equal(net.parameters["y/weight"], values)


@pytest.mark.parametrize(("location", "entries", "message"), [
    ("../secret.bin", {}, "not a file in the folder"),
    ("{folder}/secret.bin", {}, "not a file in the folder"),
    ("link.bin", {}, "not a file in the folder"),
    ("sub/../../secret.bin", {}, "not a file in the folder"),
    ("none.bin", {}, "not a file in the folder"),
    ("", {}, "not a file in the folder"),
    ("\0", {}, "not a file in the folder"),
    (".", {}, "not a file in the folder"),
    ("w.bin", {"offset": 10**15}, "does not fit"),
    ("w.bin", {"offset": -4}, "does not fit"),
    ("w.bin", {"length": 10**15}, "does not fit"),
    ("w.bin", {"length": "many"}, "must be integers"),
])
def test_weights_are_read_from_the_folder_of_the_model_alone(location, entries, message, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    (folder / "w.bin").write_bytes(bytes(432))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "net.onnx").write_bytes(with_external(location.format(folder=tmp_path), **entries))
    with pytest.raises(ValueError, match=f"initialiser 'w'.*{message}"):
        pycnn.onnx.load(folder / "net.onnx")


@pytest.mark.parametrize("dims", [(2**31, 2**31, 3, 3), (4, -3, 3, 3)])
def test_absurd_sizes_of_weights_in_other_files_are_refused(dims, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(432))
    (tmp_path / "net.onnx").write_bytes(with_external("w.bin", dims))
    with pytest.raises(ValueError, match="initialiser 'w'"):
        pycnn.onnx.load(tmp_path / "net.onnx")


def test_a_model_without_a_folder_has_no_weights_in_files():
    with pytest.raises(ValueError, match="load the model by its path"):
        pycnn.onnx.load(with_external("w.bin"))


# ---- files changed at random -----------------------------------------------------------------------------------------


def test_files_changed_at_random_become_networks_or_value_errors():
    """A few hundred; ``python tests/fuzz_onnx.py`` does 10,000."""
    script = Path(fuzz_onnx.__file__)
    run = subprocess.run([sys.executable, script, "300", "7"], capture_output=True, text=True, cwd=script.parent.parent,
                         check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "300 mutated files" in run.stdout
