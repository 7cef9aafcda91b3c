"""python -m bench networks: training steps and inference of whole networks, pycnn and its peers side by side."""

import numpy as np

import pycnn
from pycnn import layers as L
from pycnn import models

from . import peers
from .timing import interleaved, threads_set

# What each network is for PyTorch: ("conv", channels, filters, kernel, padding), ("dense", inputs, outputs), ...
LENET5 = [("conv", 1, 6, 5, 2), ("relu",), ("pool",), ("conv", 6, 16, 5, 0), ("relu",), ("pool",), ("flatten",),
          ("dense", 400, 120), ("relu",), ("dense", 120, 84), ("relu",), ("dense", 84, 10)]
CIFAR = [("conv", 3, 32, 3, 1), ("relu",), ("conv", 32, 32, 3, 1), ("relu",), ("pool",),
         ("conv", 32, 64, 3, 1), ("relu",), ("conv", 64, 64, 3, 1), ("relu",), ("pool",), ("flatten",),
         ("dense", 4096, 128), ("relu",), ("dense", 128, 10)]
NETWORKS = {"lenet5": (LENET5, (1, 28, 28)), "cifar": (CIFAR, (3, 32, 32))}
CASES = [("lenet5", "training", 64), ("lenet5", "training", 1), ("lenet5", "inference", 64), ("lenet5", "inference", 1),
         ("cifar", "training", 64), ("cifar", "inference", 64)]


def pycnn_network(description, shape):
    """The same network in pycnn."""
    image = h = pycnn.Input(shape)
    for kind, *sizes in description:
        if kind == "conv":
            h = L.Conv(sizes[1], sizes[2], padding=sizes[3])(h)
        elif kind == "dense":
            h = L.Dense(sizes[1])(h)
        else:
            h = {"relu": L.ReLU, "flatten": L.Flatten, "pool": lambda: L.MaxPool(2)}[kind]()(h)
    return pycnn.Network(image, h)


def copy_weights(net, model):
    """Gives the torch model the weights of the pycnn network."""
    import torch

    with torch.no_grad():
        for parameter, value in zip(model.parameters(), net.parameters.values()):
            parameter.copy_(torch.from_numpy(value))


def contenders(name, mode, batch, names, threads):
    """{name: call} of one step or one prediction."""
    description, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    x, y = rng.random((batch, *shape), dtype=np.float32), rng.integers(0, 10, batch)
    net = pycnn_network(description, shape)
    torch_models = {}
    if "torch" in names or "onnxruntime" in names:
        for channels_last in (False, True):
            torch_models[channels_last] = peers.torch_layers(description, channels_last)
            copy_weights(net, torch_models[channels_last])
    if mode == "training":
        trainer = net.trainer("cross_entropy", pycnn.SGD(0.01, momentum=0.9))
        calls = {"pycnn": lambda: trainer.step([x], [y])[0, 0]}
        if "torch" in names:
            calls["torch"] = peers.torch_training_step(torch_models[False], x, y, False)
            calls["torch channels_last"] = peers.torch_training_step(torch_models[True], x, y, True)
        losses = {n: float(call().item()) for n, call in calls.items()}
        assert max(losses.values()) - min(losses.values()) < 1e-4, f"{name}: the losses differ: {losses}"
        return calls
    calls = {"pycnn": lambda: net.predict(x, batch_size=batch)}
    if "torch" in names:
        calls["torch"] = peers.torch_inference(torch_models[False], x, False)
        calls["torch channels_last"] = peers.torch_inference(torch_models[True], x, True)
    if "onnxruntime" in names and torch_models:
        calls["onnxruntime"] = peers.onnx_inference(torch_models[False], x, (batch, 10), threads)
    for n, call in calls.items():
        assert np.allclose(np.asarray(call()), calls["pycnn"](), atol=1e-4), f"{name}: {n} predicts something else"
    return calls


def lenet5_steps():
    """{name: training step} of the modern LeNet-5 at batch 64, whole and frozen but for its last layer, and of the published
    one at batch 1 with SDLM."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 64)
    steps = {}
    for name in ("whole", "frozen"):
        net, x = models.lenet5(), rng.random((64, 1, 28, 28), dtype=np.float32)
        for layer in ("C1", "C3", "C5", "F6") if name == "frozen" else ():
            net[layer].trainable = False
        trainer = net.trainer("cross_entropy", pycnn.SGD(0.0))
        steps[name] = lambda trainer=trainer, x=x: trainer.step([x], [y])
    x = models.lenet5_images(x[:1])
    published = models.lenet5("1998").trainer("distance", pycnn.SDLM(0.0))
    steps["1998"] = lambda: published.step([x], [y[:1]])
    return steps


def main(arguments):
    names, rows = peers.available(arguments.peers), []
    for threads in arguments.threads:
        with threads_set(threads):
            print(f"\n{threads} thread{'s' * (threads > 1)}, images/s")
            print(f"{'network':8s} {'mode':10s} {'batch':>5s} {'pycnn':>10s} {'best peer':>22s} {'':>10s} {'ratio':>6s}")
            for name, mode, batch in CASES:
                if arguments.layers and not any(part in name for part in arguments.layers):
                    continue
                times = interleaved(contenders(name, mode, batch, names, threads), arguments.rounds, arguments.seconds)
                speeds = {n: batch / t for n, t in times.items()}
                others = {n: s for n, s in speeds.items() if n != "pycnn"}
                best = max(others, key=others.get) if others else None
                text = f"{name:8s} {mode:10s} {batch:5d} {speeds['pycnn']:10,.0f}"
                if best:
                    text += f" {best:>22s} {others[best]:10,.0f} {speeds['pycnn'] / others[best]:6.2f}"
                print(text, flush=True)
                rows.append({"network": name, "mode": mode, "batch": batch, "threads": threads, "images_per_second": speeds,
                             "best_peer": best, "ratio": speeds["pycnn"] / others[best] if best else None})
            times = interleaved(lenet5_steps(), arguments.rounds, arguments.seconds)
            gain = times["whole"] / times["frozen"]
            print(f"LeNet-5, batch 64, frozen but for its last layer: {gain:.2f} times as fast as whole; "
                  f"as published, batch 1: 4,000 steps in {4000 * times['1998']:.2f} s")
            rows.append({"network": "lenet5 frozen", "batch": 64, "threads": threads, "ratio": gain})
            rows.append({"network": "lenet5 1998", "batch": 1, "threads": threads,
                         "seconds_of_4000_steps": 4000 * times["1998"]})
    return rows
