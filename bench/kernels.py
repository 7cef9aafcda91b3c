"""python -m bench kernels: each pass of each layer, pycnn and its peers side by side; then what is bound by memory."""

import numpy as np
from tqdm import tqdm

from pycnn import functional, reference

from . import ceilings, machine, memory, peers
from .dense import bench_dense
from .layers import CONV_LAYERS, PASSES, random_layers
from .programs import Call
from .timing import better, interleaved, threads_set

REFERENCE_FLOPS = 2e8       # the NumPy reference takes part on layers up to this
OURS = ("plan", "functional", "functional, pages kept", "reference")
LARGE_BYTES = 16 << 20      # tensors that the C library may return to the system each time


def contenders(layer, which, found, threads):
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

    calls = {"functional": call_of(functional)}
    for peer in found:
        calls.update(peer.conv(layer, which, x, w, dy, threads))
    if layer.flops <= REFERENCE_FLOPS:
        calls["reference"] = call_of(reference)
    calls = agreeing(layer, which, calls)
    if max(x.nbytes, dy.nbytes) > LARGE_BYTES and machine.can_keep_pages():
        calls.update({f"{name}, pages kept": machine.KeepingPages(call)
                      for name, call in calls.items() if name != "reference"})
    return {"plan": Call(layer, which), **calls}


def agreeing(layer, which, calls):
    """The calls that work; AssertionError unless all their results are the same to float32 rounding."""
    results = {name: np.asarray(result) for name, result in peers.working(calls).items()}
    expected = results["functional"]
    scale = max(1e-30, np.abs(expected).max())
    for name, result in results.items():
        error = np.abs(result - expected).max() / scale
        assert error < 1e-3, f"{layer.name} {which}: {name} differs from pycnn by {error:.1e} of the largest value"
    return {name: calls[name] for name in results}


def measure_convolutions(layers, arguments, found, threads):
    """One row for each layer and pass.

    Each is visited once in every sweep, and each contender's best visit counts, as does the best of the peaks that are
    measured beside them: the clock goes up and down with what else the machine does.
    """
    passes = arguments.passes or PASSES
    kept, peaks, rows = {}, {}, []
    for sweep in range(arguments.sweeps):
        if sweep == arguments.sweeps - 1:
            print(HEADER, flush=True)
        for layer in tqdm(layers, desc=f"sweep {sweep + 1}", leave=False, disable=None):
            peaks[layer.name] = max(peaks.get(layer.name, 0.0), ceilings.fma_peak(threads, 0.05))
            for which in passes:
                times = interleaved(contenders(layer, which, found, threads), arguments.rounds, arguments.seconds)
                key = layer.name, which
                kept[key] = better(times, kept.get(key, {}))
                if sweep == arguments.sweeps - 1:
                    rows.append(row_of(layer, which, kept[key], threads, peaks[layer.name]))
                    tqdm.write(text_of(rows[-1]))
    return rows


HEADER = (f"{'layer':14s} {'pass':16s} {'plan':>6s} {'%peak':>6s} {'funct.':>6s} {'numpy':>6s} {'best peer':>24s} "
          f"{'':>6s} {'plan/peer':>9s} {'funct/peer':>10s}")


def row_of(layer, which, times, threads, peak):
    speeds = {name: layer.flops / t / 1e9 for name, t in times.items()}
    functional_speed = max(speed for name, speed in speeds.items() if name.startswith("functional"))
    others = {name: speed for name, speed in speeds.items() if name not in OURS}
    best = max(others, key=others.get) if others else None
    return {
        "layer": layer.name, "shape": layer.text, "pass": which, "threads": threads, "flops": layer.flops,
        "bytes": sum(layer.traffic_of(which)), "class": layer.class_of(which), "gflops": speeds,
        "functional": functional_speed, "peak": peak,
        "bandwidth": ceilings.bandwidth(*layer.traffic_of(which), threads), "best_peer": best,
        "plan_ratio": speeds["plan"] / others[best] if best else None,
        "functional_ratio": functional_speed / others[best] if best else None,
    }


def text_of(r):
    speeds = r["gflops"]
    numpy = f"{speeds['reference']:6.1f}" if "reference" in speeds else f"{'-':>6s}"
    text = (f"{r['layer']:14s} {r['pass']:16s} {speeds['plan']:6.0f} {100 * speeds['plan'] / r['peak']:5.0f}% "
            f"{r['functional']:6.0f} {numpy}")
    if r["best_peer"]:
        best = r["best_peer"].replace("channels_last", "cl").replace("pages kept", "kept")
        text += f" {best:>24s} {speeds[r['best_peer']]:6.0f} {r['plan_ratio']:9.2f} {r['functional_ratio']:10.2f}"
    return text


def measure(arguments, threads):
    """All rows on so many threads, printed as they come."""
    found = peers.available(arguments.peers)
    if arguments.kept_aside:
        layers = random_layers(arguments.kept_aside, arguments.seed)
        for layer in layers:
            print(layer.name, layer.text, f"{layer.flops / 1e6:.0f} MFLOP")
    else:
        layers = [layer for layer in CONV_LAYERS
                  if not arguments.layers or any(part in layer.name for part in arguments.layers)]
    with threads_set(threads):
        print(f"\n{threads} thread{'s' * (threads > 1)}: GFLOP/s in the better of {arguments.sweeps} sweeps, percent "
              f"of the peak of {ceilings.fma_peak(threads):.0f}, and ratio to the best peer")
        rows = measure_convolutions(layers, arguments, found, threads) if layers else []
        names = [peer.__name__.rpartition("peer_")[2] for peer in found]
        if not arguments.kept_aside:
            rows += memory.main(arguments, names, threads)
        if not arguments.kept_aside and (not arguments.layers or "dense" in arguments.layers):
            rows += bench_dense(threads, names, arguments.rounds, arguments.seconds)
    return rows
