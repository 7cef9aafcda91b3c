"""python -m bench kernels: each pass of each layer, pycnn and its peers side by side; then what is bound by memory."""

import sys

import numpy as np
from tqdm import tqdm

from pycnn import functional, reference

from . import ceilings, memory, peers
from .dense import bench_dense
from .layers import CONV_LAYERS, PASSES
from .programs import Call
from .timing import geometric_mean, interleaved, threads_set

REFERENCE_FLOPS = 2e8       # the NumPy reference takes part on layers up to this


def contenders(layer, which, names, threads):
    """{name: call} of one pass of one layer. All but "plan" return their result."""
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(s, dtype=np.float32) for s in (layer.x_shape, layer.w_shape, layer.y_shape))
    family = "conv_transpose" if layer.transposed else "conv"

    def call_of(module):
        function, p = getattr(module, f"{family}_{which}"), layer.parameters
        if which == "forward":
            return lambda: function(x, w, **p)
        if which == "backward_data":
            return lambda: function(dy, w, x.shape, **p)
        return lambda: function(dy, x, w.shape, **p)[0]

    calls = {"plan": Call(layer, which), "functional": call_of(functional)}
    if layer.flops <= REFERENCE_FLOPS:
        calls["reference"] = call_of(reference)
    if "torch" in names:
        calls.update(peers.torch_conv(layer, which, x, w, dy))
    if "onnxruntime" in names and which == "forward":
        calls["onnxruntime"] = peers.onnx_conv(layer, x, w, threads)
    check_agreement(layer, which, calls)
    return calls


def check_agreement(layer, which, calls):
    """AssertionError unless all results are the same to float32 rounding."""
    results = {name: np.asarray(call()) for name, call in calls.items() if name != "plan"}
    expected = results["functional"]
    for name, result in results.items():
        error = np.abs(result - expected).max() / max(1e-30, np.abs(expected).max())
        assert error < 1e-3, f"{layer.name} {which}: {name} differs from pycnn by {error:.1e} of the largest value"


def bench_convolutions(layers, passes, names, threads, rounds, seconds):
    """One row for each layer and pass."""
    with threads_set(threads):
        peak = ceilings.fma_peak(threads)
        print(f"\n{threads} thread{'s' * (threads > 1)}: peak {peak:.0f} GFLOP/s; GFLOP/s of each, percent of the peak, "
              f"and ratio to the best peer")
        print(f"{'layer':14s} {'pass':16s} {'plan':>6s} {'%peak':>6s} {'funct.':>6s} {'numpy':>6s} {'best peer':>20s} "
              f"{'':>6s} {'plan/peer':>9s} {'funct/peer':>10s}")
        rows = []
        for layer in tqdm(layers, desc=f"{threads} threads", leave=False, file=sys.stderr):
            for which in passes:
                times = interleaved(contenders(layer, which, names, threads), rounds, seconds)
                rows.append(row_of(layer, which, times, threads, peak))
                tqdm.write(text_of(rows[-1]))
    for which in passes:
        for kind in ("plan", "functional"):
            ratios = [r[f"{kind}_ratio"] for r in rows if r["pass"] == which and r["best_peer"]]
            if ratios:
                print(f"geometric mean of {kind:10s} / best peer, {which:16s} {geometric_mean(ratios):.2f}  "
                      f"(least {min(ratios):.2f})")
    return rows


def row_of(layer, which, times, threads, peak):
    speeds = {name: layer.flops / t / 1e9 for name, t in times.items()}
    others = {name: s for name, s in speeds.items() if name not in ("plan", "functional", "reference")}
    best = max(others, key=others.get) if others else None
    return {
        "layer": layer.name, "pass": which, "threads": threads, "gflops": speeds, "peak": peak, "best_peer": best,
        "plan_ratio": speeds["plan"] / others[best] if best else None,
        "functional_ratio": speeds["functional"] / others[best] if best else None,
    }


def text_of(r):
    speeds = r["gflops"]
    numpy = f"{speeds['reference']:6.1f}" if "reference" in speeds else f"{'-':>6s}"
    text = (f"{r['layer']:14s} {r['pass']:16s} {speeds['plan']:6.0f} {100 * speeds['plan'] / r['peak']:5.0f}% "
            f"{speeds['functional']:6.0f} {numpy}")
    if r["best_peer"]:
        text += f" {r['best_peer']:>20s} {speeds[r['best_peer']]:6.0f} {r['plan_ratio']:9.2f} {r['functional_ratio']:10.2f}"
    return text


def main(arguments):
    names = peers.available(arguments.peers)
    layers = [layer for layer in CONV_LAYERS if not arguments.layers or any(part in layer.name for part in arguments.layers)]
    rows = []
    for threads in arguments.threads:
        if layers:
            rows += bench_convolutions(layers, arguments.passes or PASSES, names, threads, arguments.rounds, arguments.seconds)
        if not arguments.layers or "dense" in arguments.layers:
            rows += bench_dense(threads, names, arguments.rounds, arguments.seconds)
        rows += memory.main(arguments, names, threads)
    return rows
