"""python -m bench networks: training steps and inference of whole networks, pycnn and its peers side by side."""

import numpy as np

import pycnn
from pycnn import layers as L
from pycnn import models
from pycnn.losses import get_loss
from pycnn.view import View
from pycnn.visualize.ascent import Ascent

from . import light, peers
from .timing import better, interleaved, threads_set


def lenet5():
    image = pycnn.Input((1, 28, 28))
    h = L.MaxPool(2)(L.Conv(6, 5, padding=2, activation="relu")(image))
    h = L.Flatten()(L.MaxPool(2)(L.Conv(16, 5, activation="relu")(h)))
    h = L.Dense(84, activation="relu")(L.Dense(120, activation="relu")(h))
    return pycnn.Network(image, L.Dense(10)(h))


def cifar():
    """conv 32, conv 32, pool, conv 64, conv 64, pool, dense 128, dense 10."""
    image = h = pycnn.Input((3, 32, 32))
    for filters in (32, 64):
        h = L.Conv(filters, 3, padding=1, activation="relu")(h)
        h = L.MaxPool(2)(L.Conv(filters, 3, padding=1, activation="relu")(h))
    h = L.Dense(128, activation="relu")(L.Flatten()(h))
    return pycnn.Network(image, L.Dense(10)(h))


NETWORKS = {        # name: (maker, loss)
    "lenet5": (lenet5, "cross_entropy"), "cifar": (cifar, "cross_entropy"), "autoencoder": (models.autoencoder, "mse"),
    "resnet18": (models.resnet18, "cross_entropy"),
    **{name: (maker, "cross_entropy") for name, maker in light.networks().items()},
}
CASES = [("lenet5", "training", 64), ("lenet5", "training", 1), ("lenet5", "inference", 64), ("lenet5", "inference", 1),
         ("cifar", "training", 64), ("cifar", "inference", 64), ("autoencoder", "training", 64),
         ("autoencoder", "inference", 64), ("resnet18", "training", 8), ("resnet18", "inference", 8),
         ("resnet18", "inference", 1),
         *((name, "inference", batch) for batch in light.BATCHES for name in light.networks())]


def contenders(net, loss, mode, batch, found, threads, compiled=True):
    """{name: call} of one step or one prediction, all of which agree; with or without what PyTorch has to compile."""
    x, y = data_of(net, loss, batch)
    if mode == "training":
        calls = {}
        for peer in found:      # before pycnn's own step changes the weights
            calls.update(peer.training(net, x, y, loss, threads))
        trainer = net.trainer(loss, pycnn.SGD(0.01, momentum=0.9))
        calls["pycnn"] = lambda: trainer.step([x], [y])[0, 0]
        tolerance = 1e-4
    else:
        calls = {"pycnn": lambda: net.predict(x, batch_size=batch)}
        for peer in found:
            calls.update(peer.inference(net, x, threads))
        tolerance = 1e-3
    calls = {n: call for n, call in calls.items() if compiled or "compiled" not in n}
    results = {n: np.asarray(result, np.float64) for n, result in peers.working(calls).items()}
    scale = max(1.0, np.abs(results["pycnn"]).max())
    for n, result in results.items():
        error = np.abs(result.reshape(results["pycnn"].shape) - results["pycnn"]).max() / scale
        assert error < tolerance, f"{mode}: {n} is {error:.1e} away from pycnn"
    return {n: calls[n] for n in results}


def peers_of(name, found):
    """Those that can follow the network: the layers of files are for ONNX Runtime alone."""
    return [peer for peer in found if not name.startswith(light.PREFIX) or peer.__name__.endswith("onnxruntime")]


def data_of(net, loss, batch):
    """A random batch of images and of what they should become."""
    rng = np.random.default_rng(0)
    (shape,), (out,) = ([node.shape for node in ends.values()] for ends in (net.graph.inputs, net.graph.outputs))
    x = rng.random((batch, *shape), dtype=np.float32)
    return x, rng.integers(0, out[0], batch) if loss == "cross_entropy" else rng.random((batch, *out), dtype=np.float32)


def lenet5_steps():
    """{name: step} of the modern LeNet-5 at batch 64: training it whole and frozen but for its last layer, its forward and
    backward_data passes alone, and an ascent on 64 images; and of the published one at batch 1, trained with SDLM."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 64)
    steps = {}
    for name in ("whole", "frozen"):
        net, x = models.lenet5(), rng.random((64, 1, 28, 28), dtype=np.float32)
        for layer in ("C1", "C3", "C5", "F6") if name == "frozen" else ():
            net[layer].trainable = False
        trainer = net.trainer("cross_entropy", pycnn.SGD(0.0))
        steps[name] = lambda trainer=trainer, x=x: trainer.step([x], [y])
    net = models.lenet5()
    for layer in net.layers.values():
        layer.trainable = False
    losses = {"output": (get_loss("cross_entropy"), 1.0)}
    passes = net._new_plan(64, losses=losses, gradients=True, input_gradients=("image",))
    slope = np.empty_like(x)
    steps["data"] = lambda x=x: passes.run([x, None, y, None, slope])
    weights = np.eye(10, dtype=np.float32)[y]
    ascent = Ascent(View(net), lambda values: {"output": weights}, {"image": x.copy()}, ["image"], (), 0.01, (0.0, 1.0),
                    rng)
    steps["ascent"] = lambda: ascent.step(0)
    x = models.lenet5_images(x[:1])
    published = models.lenet5("1998").trainer("distance", pycnn.SDLM(0.0))
    steps["1998"] = lambda: published.step([x], [y[:1]])
    return steps


def measure(arguments, threads):
    """The rows of all networks, in the better of two sweeps."""
    found = peers.available(arguments.peers)
    cases = [case for case in CASES if not arguments.layers or any(part in case[0] for part in arguments.layers)]
    kept, rows = {}, []
    with threads_set(threads):
        print(f"\n{threads} thread{'s' * (threads > 1)}, images/s in the better of {arguments.sweeps} sweeps")
        print(f"{'network':18s} {'mode':10s} {'batch':>5s} {'pycnn':>10s} {'best peer':>24s} {'':>10s} {'ratio':>6s}")
        for sweep in range(arguments.sweeps):
            for case in cases:
                name, mode, batch = case
                maker, loss = NETWORKS[name]
                calls = contenders(maker(), loss, mode, batch, peers_of(name, found), threads)
                times = interleaved(calls, arguments.rounds, arguments.seconds)
                kept[case] = better(times, kept.get(case, {}))
                if sweep == arguments.sweeps - 1:
                    rows.append(row_of(*case, kept[case], threads))
                    print(text_of(rows[-1]), flush=True)
        if not arguments.layers or "lenet5" in arguments.layers:
            rows += measure_lenet5(arguments, threads)
    return rows


def row_of(name, mode, batch, times, threads):
    speeds = {n: batch / t for n, t in times.items()}
    others = {n: s for n, s in speeds.items() if n != "pycnn"}
    best = max(others, key=others.get) if others else None
    return {"network": name, "mode": mode, "batch": batch, "threads": threads, "images_per_second": speeds,
            "best_peer": best, "ratio": speeds["pycnn"] / others[best] if best else None}


def text_of(r):
    speeds = r["images_per_second"]
    text = f"{r['network']:18s} {r['mode']:10s} {r['batch']:5d} {speeds['pycnn']:10,.0f}"
    if r["best_peer"]:
        text += f" {r['best_peer']:>24s} {speeds[r['best_peer']]:10,.0f} {r['ratio']:6.2f}"
    return text


def measure_lenet5(arguments, threads):
    """What freezing gains, what an ascent on images costs, and how long the network as published takes."""
    times = interleaved(lenet5_steps(), arguments.rounds, arguments.seconds)
    gain, cost = times["whole"] / times["frozen"], times["ascent"] / times["data"]
    print(f"LeNet-5, batch 64, frozen but for its last layer: {gain:.2f} times as fast as whole; "
          f"a step of ascent on 64 images {1e6 * times['ascent']:.0f} us, {cost:.2f} times the forward and "
          "backward_data passes; "
          f"as published, batch 1: 4,000 steps in {4000 * times['1998']:.2f} s")
    return [{"network": "lenet5 frozen", "batch": 64, "threads": threads, "ratio": gain},
            {"network": "lenet5 ascent", "batch": 64, "threads": threads, "ratio": cost},
            {"network": "lenet5 1998", "batch": 1, "threads": threads, "seconds_of_4000_steps": 4000 * times["1998"]}]
