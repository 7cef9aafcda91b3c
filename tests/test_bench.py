"""The benchmark measures what it says: its layers, its ceilings, its verdicts, and the same work for every library."""

import argparse
import ctypes
import importlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import layers as L
from pycnn import models

sys.path.append(str(Path(__file__).resolve().parent.parent))    # behind an installed pycnn

bench = pytest.importorskip("bench", reason="the benchmarks are not part of the installed package")

from bench import ceilings, graphs, kernels, light, machine, networks, peers, plots, report, targets, timing
from bench import models as bench_models
from bench.layers import CONV_LAYERS, LEAST_FLOPS, MOST_FLOPS, PASSES, ConvLayer, random_layers

SMALL = ConvLayer("small", 2, 4, (6, 5), 8, (3, 3), padding=1)


def peer_named(name):
    """The peer's module; the test is skipped where its library is not installed."""
    peer = importlib.import_module(f"bench.peer_{name}")
    for module in peer.REQUIRES:
        pytest.importorskip(module)
    return peer


def test_layers_kept_aside_are_of_the_size_asked_for_and_the_same_for_a_seed():
    layers = random_layers(40, 3)
    assert layers == random_layers(40, 3) != random_layers(40, 4)
    assert all(LEAST_FLOPS <= layer.flops <= MOST_FLOPS and min(layer.y_shape) >= 1 for layer in layers)
    assert {len(layer.spatial) for layer in layers} == {1, 2, 3}
    assert any(layer.transposed for layer in layers) and any(layer.groups > 1 for layer in layers)


def test_the_work_of_a_layer_is_two_operations_a_tap_and_its_traffic_each_tensor_once():
    assert SMALL.flops == 2 * (2 * 8 * 6 * 5) * (4 * 3 * 3)
    x, w, y = 4 * 2 * 4 * 30, 4 * 8 * 4 * 9, 4 * 2 * 8 * 30
    assert [SMALL.traffic_of(which) for which in PASSES] == [(x + w, y), (y + w, x), (x + y, w)]


def test_layers_are_judged_by_what_limits_them():
    by_name = {layer.name: layer for layer in CONV_LAYERS}
    assert by_name["lenet_c1"].class_of("forward") == "few channels"
    assert by_name["alexnet_1"].class_of("forward") == "direct"        # its batch is 8
    assert by_name["vgg_3_2"].class_of("backward_data") == "winograd"
    assert by_name["vgg_3_2"].class_of("backward_weights") == "direct"
    assert by_name["dilated"].class_of("forward") == by_name["resnet_3_s2"].class_of("forward") == "direct"


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino", "jax", "tensorflow"])
def test_a_peer_does_the_same_convolution(name, which):
    peer = peer_named(name)
    layers = [
        SMALL, ConvLayer("line", 2, 3, (9,), 4, (3,)), ConvLayer("groups", 1, 4, (5, 5), 4, (3, 3), 2, 1, groups=2),
        ConvLayer("up", 2, 3, (4, 4), 5, (4, 4), 2, 1, transposed=True),
        ConvLayer("wide", 1, 2, (9, 9), 3, (3, 3), 1, 2, 2),
    ]
    for layer in layers:
        calls = kernels.contenders(layer, which, [peer], 1)
        assert {"plan", "functional", "reference"} <= set(calls)
        if which == "forward" and layer is SMALL:
            assert name in calls


def small_residual():
    """All kinds of operations of ResNet-18, small."""
    image = pycnn.Input((2, 9, 9))
    h = L.ReLU()(L.BatchNorm(name="a.norm")(L.Conv(4, 3, stride=2, padding=1, bias=False, name="a")(image)))
    h = L.MaxPool(3, stride=2, padding=1)(h)
    h = L.ReLU()(L.Add()(L.Conv(4, 1)(h), L.BatchNorm()(L.Conv(4, 3, padding=1)(h))))
    return pycnn.Network(image, L.Dense(5)(L.GlobalAvgPool()(h)))


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize(("maker", "loss"), [(networks.lenet5, "cross_entropy"), (small_residual, "cross_entropy"),
                                             (models.autoencoder, "mse")])
@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino", "jax", "tensorflow"])
def test_a_peer_trains_and_runs_the_same_network(name, maker, loss, mode):
    calls = networks.contenders(maker(), loss, mode, 3, [peer_named(name)], 1, compiled=False)
    assert "pycnn" in calls
    assert len(calls) > 1 or (mode == "training" and name in ("onnxruntime", "openvino"))


def test_a_result_that_differs_stops_the_benchmark():
    calls = {"functional": lambda: np.ones(3), "torch": lambda: np.array([1, 1, 1.01])}
    with pytest.raises(AssertionError, match="torch differs"):
        kernels.agreeing(SMALL, "forward", calls)


def test_a_peer_that_fails_is_left_out_with_a_line_that_says_so(capsys):
    def fails():
        raise RuntimeError("no such kernel")

    assert list(peers.working({"jax": fails, "torch": lambda: 1})) == ["torch"]
    assert "jax is left out: no such kernel" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        peers.working({"functional": fails})


def test_operations_name_what_a_network_computes_in_order():
    image = pycnn.Input((2, 8, 8))
    h = L.Conv(4, 3, padding=1, activation="relu", name="C1")(image)
    net = pycnn.Network(image, L.Dense(3, name="out")(L.Flatten()(L.MaxPool(2)(h))))
    found = graphs.operations(net)
    assert [step.kind for step in found] == ["conv", "relu", "max_pool", "flatten", "dense"]
    assert [step.inputs[0] for step in found[1:]] == [step.output for step in found[:-1]]
    assert np.array_equal(found[0].weights["weight"], net.parameters["C1/weight"])
    assert not np.shares_memory(found[0].weights["weight"], net.parameters["C1/weight"])


def test_ceilings_are_of_the_right_size():
    one = ceilings.fma_peak(1, 0.02)
    assert 1 < one < 1000
    assert 0.5 < ceilings.bandwidth(1 << 20, 1 << 20, 1) < 5000


def test_pages_are_kept_only_for_those_that_ask(monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "keep_pages", asked.append)
    timing.interleaved({"as it comes": int, "kept": machine.KeepingPages(int)}, 2, 1e-5)
    assert asked == [False, True] * 2 + [False]
    timing.interleaved({"as it comes": int}, 1, 1e-5)
    assert len(asked) == 5


@pytest.mark.skipif(not machine.can_keep_pages(), reason="this C library has no mallopt")
def test_memory_that_is_freed_stays_or_goes():
    size, resident = 200 << 20, lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    try:
        left = {}
        for kept in (True, False):
            machine.keep_pages(kept)
            block = ctypes.create_string_buffer(size)
            ctypes.memset(block, 1, size)
            before = resident()
            del block
            left[kept] = before - resident()
    finally:
        machine.keep_pages(False)
    assert left[True] < size // 2 < left[False]


def row(layer, which, threads, plan, peer, flops=1e8, kind="direct"):
    return {"layer": layer, "pass": which, "threads": threads, "flops": flops, "bytes": 1e6, "class": kind,
            "peak": 200.0, "gflops": {"plan": plan}, "bandwidth": 50.0, "best_peer": "torch", "plan_ratio": plan / peer,
            "functional_ratio": plan / peer}


def test_the_summary_says_what_is_reached_and_what_is_not():
    rows = [row("a", "forward", 1, 180, 90), row("b", "forward", 1, 90, 100), row("a", "forward", 2, 300, 150)]
    lines = {(line["what"], line["threads"]): line for line in targets.of_kernels(rows)}
    mean = lines["plan / best peer, forward, geometric mean", 1]
    assert mean["value"] == pytest.approx((2 * 0.9) ** 0.5) and not mean["reached"]
    assert lines["plan / best peer, the least", 1]["below"] == [("b forward", 0.9)]
    peak = lines["of peak: compute-bound direct convolutions, the least", 1]
    assert peak["below"] == [("b forward", 0.45)]
    scaling = lines["two threads / one, above 50 MFLOP, the least", 2]
    assert scaling["value"] == pytest.approx(300 / 180) and not scaling["reached"]
    assert "b forward" in targets.text_of(list(lines.values()))


def test_a_kernel_whose_bytes_take_longer_is_judged_by_the_bandwidth():
    slow = row("m", "forward", 1, 1, 1, flops=1e6)
    assert targets.is_bound_by_memory(slow)
    lines = {line["what"]: line for line in targets.of_kernels([slow])}
    share = (1e6 / 50e9) / (1e6 / 1e9)      # seconds at the bandwidth / seconds taken
    assert lines["of bandwidth: kernels bound by memory, the least"]["value"] == pytest.approx(share)


def test_a_report_puts_the_tables_of_a_run_where_the_page_has_places(tmp_path):
    rows = [{**row("a", "forward", 1, 180, 90), "shape": "1,2,3,3 -> 4"}]
    run = {"what": "kernels", "rows": rows, "targets": targets.of_kernels(rows),
           "machine": {"processor": "P", "cores": 2, "isa": "avx2", "versions": {"tensorflow_cpu": "2"}}}
    file, page = tmp_path / "run.json", tmp_path / "page.md"
    file.write_text(json.dumps(run))
    tables = report.tables_of([file])
    assert set(tables) == {"kernels machine", "kernels targets", "kernels 1"}
    assert "| a: 1,2,3,3 -> 4 | 180, 90 %, 2.00 |" in tables["kernels 1"]
    places = "".join(f"<!-- {name} -->\nold\n<!-- end of {name} -->\n" for name in tables)
    page.write_text(f"before\n{places}after\n")
    report.put_into(page, tables)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    report.put_into(page, tables)
    assert page.read_text() == text
    with pytest.raises(ValueError, match="no place"):
        report.put_into(page, {"elsewhere": ""})


def test_labels_are_moved_apart_and_keep_their_order():
    wanted = {"a": 0.0, "b": 1.0, "c": 1.0, "d": 30.0, "e": 99.0}
    places = plots.spread_out(wanted, 10, 95)
    ordered = [places[name] for name in wanted]
    assert all(later - earlier >= 10 - 1e-9 for earlier, later in itertools.pairwise(ordered))
    assert places["d"] == 30 and places["e"] == 95


def test_models_are_trained_for_a_moment_and_judged(capsys, tmp_path):
    kept, file = tmp_path / "kept", tmp_path / "figures.json"
    bench_models.main(argparse.Namespace(only=["lenet5"], samples=64, epochs=1, out=str(kept), json=str(file)))
    rows = {row["data"]: row for row in json.loads(file.read_text())["rows"]}
    assert set(rows) == set(models.MODELS["lenet5"].recipes)
    assert rows["digits"]["parameters"] == 61706 and 0 <= rows["digits"]["test_accuracy"] <= 1
    assert (kept / "digits" / "lenet5.png").is_file()
    assert "lenet5 | digits | 61,706 | 1 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no models lenet6"):
        bench_models.main(argparse.Namespace(only=["lenet6"], json=None))
    reached = bench_models.text_of({**rows["digits"], "goal": "accuracy at least 0.9", "reached": False})
    assert reached.endswith("| accuracy at least 0.9: no |")


def test_the_networks_of_the_onnx_package_compute_the_same_in_onnx_runtime():
    peer = peer_named("onnxruntime")
    makers = light.networks()
    assert len(makers) == 9 and makers.keys() <= networks.NETWORKS.keys()
    net = makers["light squeezenet"]()
    calls = networks.contenders(net, "cross_entropy", "inference", 1, networks.peers_of("light squeezenet", [peer]), 1)
    assert calls.keys() == {"pycnn", "onnxruntime"}


def test_the_networks_of_the_onnx_package_are_judged_together():
    rows = [{"network": f"light {name}", "mode": "inference", "batch": 8, "threads": 2, "ratio": ratio}
            for name, ratio in (("a", 0.5), ("b", 4.5))]
    (line,) = targets.of_networks(rows)
    assert (line["threads"], line["value"], line["reached"]) == (2, pytest.approx(1.5), True)
