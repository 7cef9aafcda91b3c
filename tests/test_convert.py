"""pycnn convert and run: networks between formats, and on arrays."""

import json
import re

import numpy as np
import pytest
from test_cli import fails, run

import pycnn
from pycnn import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a network of one input, one of two inputs and outputs, and arrays for them."""
    folder = tmp_path_factory.mktemp("convert")
    x = pycnn.Input((2, 6, 6), name="x")
    h = L.Flatten()(L.Conv(4, 3, activation="relu")(x))
    pycnn.Network(x, L.Dense(3, name="y")(h)).save(folder / "one.safetensors")
    a, b = pycnn.Input((3,), name="a"), pycnn.Input((3,), name="b")
    pycnn.Network([a, b], {"sum": L.Add()(a, b), "product": L.Multiply()(a, b)}).save(folder / "two.safetensors")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.standard_normal((5, 2, 6, 6)))
    np.save(folder / "a.npy", rng.standard_normal((5, 3)))
    np.savez(folder / "ab.npz", a=np.ones((2, 3)), b=np.full((2, 3), 4.0))
    return folder


def test_convert_there_and_back_keeps_what_a_network_computes(capsys, folder, tmp_path):
    code, out, _ = run(capsys, "convert", folder / "one.safetensors", tmp_path / "net.onnx", "--opset", 13, "--json")
    assert code == 0
    assert json.loads(out)["parameters"] == 4 * 2 * 9 + 4 + 64 * 3 + 3
    assert [i.version for i in onnx.load(tmp_path / "net.onnx").opset_import] == [13]
    assert run(capsys, "convert", tmp_path / "net.onnx", tmp_path / "back.safetensors")[:2] == (
        0, f"wrote {tmp_path / 'back.safetensors'}: 271 parameters\n")
    x = np.load(folder / "x.npy")
    nets = [pycnn.load(path) for path in (folder / "one.safetensors", tmp_path / "back.safetensors")]
    np.testing.assert_array_equal(nets[1].predict(x), nets[0].predict(x))


@pytest.mark.parametrize("suffix", ["safetensors", "onnx"])
def test_run_writes_what_a_network_makes_of_an_array(capsys, folder, tmp_path, suffix):
    net, x = pycnn.load(folder / "one.safetensors"), np.load(folder / "x.npy")
    file = tmp_path / f"net.{suffix}"
    assert run(capsys, "convert", folder / "one.safetensors", file)[0] == 0
    code, out, _ = run(capsys, "run", file, "--input", folder / "x.npy", "--out", tmp_path / "y.npy", "--json")
    y = net.predict(x)
    assert code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), y)
    figures = json.loads(out)["outputs"]["y"]
    assert figures["shape"] == [5, 3]
    assert [figures[key] for key in ("min", "mean", "max")] == pytest.approx([y.min(), y.mean(), y.max()])


def test_run_takes_several_inputs_by_name(capsys, folder, tmp_path):
    file = folder / "two.safetensors"
    of_both = [f"{name}={folder / 'a.npy'}" for name in "ba"]
    for inputs in (["--input", folder / "ab.npz"], ["--input", of_both[0], "--input", of_both[1]]):
        assert run(capsys, "run", file, *inputs, "--out", tmp_path / "y.npz")[0] == 0
    a = np.load(folder / "a.npy").astype(np.float32)
    with np.load(tmp_path / "y.npz") as made:
        np.testing.assert_allclose(made["sum"], 2 * a)
        np.testing.assert_allclose(made["product"], a * a)
    assert run(capsys, "run", file, "--input", folder / "ab.npz")[1] == (
        "sum: 2 x 3, min 5, mean 5, max 5\nproduct: 2 x 3, min 4, mean 4, max 4\n")


def test_sizes_that_a_file_leaves_open_come_from_the_array_or_from_shape(capsys, folder, tmp_path):
    node = onnx.helper.make_node("Relu", ["in/x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 2, "H", "W"])
            for name in ("in/x", "y")]
    graph = onnx.helper.make_graph([node], "open", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8),
              tmp_path / "open.onnx")
    convert = "convert", tmp_path / "open.onnx", tmp_path / "n.safetensors"
    assert "say which the network is to have" in fails(capsys, *convert)
    for given in ("2x4x5", "in/x=2x4x5"):
        assert run(capsys, *convert, "--shape", given)[0] == 0
    assert pycnn.load(tmp_path / "n.safetensors").input_shapes == {"in.x": (2, 4, 5)}
    assert run(capsys, "run", tmp_path / "open.onnx", "--input", folder / "x.npy")[0] == 0


@pytest.mark.parametrize(("args", "message"), [
    (["convert", "one.safetensors", "net.txt"], r"must end with .safetensors or .onnx"),
    (["convert", "one.safetensors", "net.safetensors", "--opset", "13"], "--opset is for an ONNX file"),
    (["convert", "one.safetensors", "net.onnx", "--opset", "3"], "opset must be at least 7"),
    (["convert", "one.safetensors", "none/net.onnx"], "no such folder"),
    (["convert", "one.safetensors", "net.onnx", "--shape", "2x6x6"], "not an ONNX file"),
    (["convert", "none.onnx", "net.onnx"], "No such file"),
    (["convert", "x.npy.onnx", "net.onnx"], "not an ONNX model"),
    (["convert", "one.safetensors", "net.onnx", "--shape", "2xh"], "expects sizes such as"),
    (["run", "one.safetensors", "--input", "none.npy"], "No such file"),
    (["run", "one.safetensors", "--input", "one.safetensors"], "--input"),
    (["run", "one.safetensors", "--input", "z=x.npy"], "input 'z' is none of .*whose inputs are x"),
    (["run", "one.safetensors", "--input", "x.npy", "--input", "x.npy"], "given twice"),
    (["run", "one.safetensors", "--input", "a.npy"], r"shape \(5, 3\), expects"),
    (["run", "one.safetensors", "--input", "x.npy", "--out", "y.txt"], "must end with .npy or .npz"),
    (["run", "one.safetensors", "--input", "x.npy", "--out", "none/y.npy"], "no such folder"),
    (["run", "two.safetensors", "--input", "a.npy"], "has the inputs a, b: write NAME="),
    (["run", "two.safetensors", "--input", "a=a.npy"], "b"),
    (["run", "two.safetensors", "--input", "ab.npz", "--out", "y.npy"], "name a .npz file"),
])
def test_what_cannot_be_done_is_one_line(capsys, folder, monkeypatch, args, message):
    monkeypatch.chdir(folder)
    (folder / "x.npy.onnx").write_bytes((folder / "x.npy").read_bytes())
    code, _, err = run(capsys, *args)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err
