"""python -m bench curves: what a network or a layer costs against its size, and each kernel under the roofline."""

import functools
import itertools
import json
import statistics
from pathlib import Path

import pycnn
from pycnn import layers as L

from . import ceilings, kernels, machine, memory, networks, peers, plots
from .layers import CONV_LAYERS, PASSES, ConvLayer
from .programs import Call
from .timing import interleaved, threads_set

BATCHES = [2**i for i in range(11)]
SIDES = [16, 32, 64, 128, 256, 512]
WIDTHS = [8, 16, 32, 64, 128, 256, 512]
NETWORKS = [("lenet5", "LeNet-5"), ("cifar", "CIFAR network")]
WORKING_SETS = {"memory": 128 << 20, "second-level cache": 256 << 10}     # bytes read, and as many written
LIBRARIES = {"plan": "pycnn", "pycnn": "pycnn", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def listed(function):
    """A generator function that returns a list instead."""
    return functools.wraps(function)(lambda *arguments: list(function(*arguments)))


def timed(calls):
    """Seconds of the fastest way of each library."""
    calls = {name: call for name, call in calls.items() if name.split()[0].split(",")[0] in LIBRARIES}
    times = {}
    for name, t in interleaved(calls, 3, 0.01).items():
        library = LIBRARIES[name.split()[0].split(",")[0]]
        times[library] = min(t, times.get(library, t))
    return times


def point(panel, x, images, calls):
    """What one image costs each library, printed and returned."""
    print(f"{panel:28s} {x:5d}", end="", flush=True)
    times = timed(calls)
    print("".join(f"  {name} {t / images * 1e6:.1f}" for name, t in times.items()), "us", flush=True)
    return {"panel": panel, "x": x, "seconds": {name: t / images for name, t in times.items()}}


@listed
def against_batch(found):
    """Time per image of whole networks, one thread."""
    for name, label in NETWORKS:
        for mode in ("training", "inference"):
            for batch in BATCHES:
                maker, loss = networks.NETWORKS[name]
                calls = networks.contenders(maker(), loss, mode, batch, found, 1, compiled=False)
                yield point(f"{label}, {mode}", batch, batch, calls)


def fully_convolutional(side):
    """Four layers that take images of any size."""
    image = pycnn.Input((3, side, side))
    h = L.Conv(16, 3, padding=1, activation="relu")(image)
    h = L.Conv(32, 3, stride=2, padding=1, activation="relu")(h)
    h = L.Conv(32, 3, padding=1, activation="relu")(h)
    return pycnn.Network(image, L.Conv(8, 1)(h))


@listed
def against_side(found):
    """Time per image of a fully convolutional network, batches of 4, one thread."""
    for mode in ("training", "inference"):
        for side in SIDES:
            calls = networks.contenders(fully_convolutional(side), "mse", mode, 4, found, 1,
                                        compiled=False)
            yield point(mode, side, 4, calls)


@listed
def against_width(found):
    """Time per image of a 3x3 layer from as many maps to as many, 8 images of 14 x 14, one thread."""
    for which in PASSES:
        for width in WIDTHS:
            layer = ConvLayer(f"width_{width}", 8, width, (14, 14), width, (3, 3), padding=1)
            yield point(which, width, 8, kernels.contenders(layer, which, found, 1))


@listed
def against_threads(found):
    """Time per image of whole networks, batches of 64."""
    for name, label in NETWORKS:
        for mode in ("training", "inference"):
            for threads in range(1, len(machine.cores()) + 1):
                with threads_set(threads):
                    maker, loss = networks.NETWORKS[name]
                    calls = networks.contenders(maker(), loss, mode, 64, found, threads, compiled=False)
                    yield point(f"{label}, {mode}", threads, 64, calls)


def roofline(found):
    """The peak, the bandwidths, and the speed of each pass of each layer as a plan calls it, one thread."""
    points, peaks = [], []
    for layer in CONV_LAYERS:
        for which in PASSES:
            seconds = interleaved({"plan": Call(layer, which)}, 5, 0.01)["plan"]
            points.append({"kernel": layer.name, "kind": which, "gflops": layer.flops / seconds / 1e9,
                           "intensity": layer.flops / sum(layer.traffic_of(which))})
        peaks.append(ceilings.fma_peak(1, 0.02))
    for case in itertools.chain.from_iterable(cases([]) for cases in memory.CASES):
        if case.operations:
            seconds = interleaved({"plan": case.calls["plan"]}, 5, 0.01)["plan"]
            points.append({"kernel": case.name, "kind": "bound by memory", "gflops": case.operations / seconds / 1e9,
                           "intensity": case.operations / sum(case.traffic["plan"])})
    bandwidths = {name: ceilings.bandwidth(half, half, 1) for name, half in WORKING_SETS.items()}
    return {"peak": statistics.median(peaks), "bandwidths": bandwidths, "points": points}


MEASUREMENTS = {
    "batch": against_batch, "side": against_side, "width": against_width, "threads": against_threads,
    "roofline": roofline,
}


def main(arguments):
    """Measures the curves, all or those asked for, writes ``curves.json`` and draws what is in it."""
    found = peers.available(["torch", "onnxruntime"])
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "curves.json"
    figures = json.loads(path.read_text()) if arguments.only and path.exists() else {}
    for name in arguments.only or MEASUREMENTS:
        with threads_set(1):
            figures[name] = MEASUREMENTS[name](found)
    path.write_text(json.dumps(figures, indent=1))
    plots.draw(figures, folder)
