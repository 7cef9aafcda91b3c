"""python -m bench networks: training steps and inference of whole networks, pycnn and its peers side by side."""

import numpy as np

import pycnn
from pycnn import models

from . import descriptions, peers
from .footprint import growth
from .timing import interleaved, threads_set

NETWORKS = {d.__name__: d for d in (descriptions.lenet5, descriptions.cifar, descriptions.autoencoder, descriptions.resnet18)}
CASES = [("lenet5", "training", 64), ("lenet5", "training", 1), ("lenet5", "inference", 64), ("lenet5", "inference", 1),
         ("cifar", "training", 64), ("cifar", "inference", 64), ("autoencoder", "training", 64),
         ("autoencoder", "inference", 64), ("resnet18", "training", 8), ("resnet18", "inference", 8),
         ("resnet18", "inference", 1)]


def contenders(name, mode, batch, names, threads):
    """{name: call} of one step or one prediction."""
    description = NETWORKS[name]()
    rng = np.random.default_rng(0)
    x = rng.random((batch, *description.shape), dtype=np.float32)
    y = rng.integers(0, description.classes, batch) if description.classes else x
    net = descriptions.pycnn_network(description)
    # Copies: while somebody holds a view of a parameter, pycnn packs its weights in every prediction.
    values = {key: value.copy() for key, value in descriptions.arrays(net).items()}
    if mode == "training":
        trainer = net.trainer(description.loss, pycnn.SGD(0.01, momentum=0.9))
        calls = {"pycnn": lambda: trainer.step([x], [y])[0, 0]}
        if "torch" in names:
            for channels_last in (False, True):
                model = peers.torch_network(description, values, channels_last)
                calls[f"torch{' channels_last' * channels_last}"] = peers.torch_training_step(model, x, y, channels_last,
                                                                                             description.loss)
        losses = {n: float(call().item()) for n, call in calls.items()}
        assert max(losses.values()) - min(losses.values()) < 1e-4 * max(losses.values()), f"{name}: losses differ: {losses}"
        return calls
    calls = {"pycnn": lambda: net.predict(x, batch_size=batch)}
    if "torch" in names:
        for channels_last in (False, True):
            model = peers.torch_network(description, values, channels_last)
            calls[f"torch{' channels_last' * channels_last}"] = peers.torch_inference(model, x, channels_last)
    if "onnxruntime" in names:
        calls["onnxruntime"] = peers.onnx_inference(description, values, x, calls["pycnn"]().shape, threads)
    expected = calls["pycnn"]()
    for n, call in calls.items():
        assert np.allclose(np.asarray(call()), expected, atol=1e-4 * max(1, abs(expected).max())), f"{name}: {n} differs"
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


def step_memory(names, threads, batch=8):
    """Prints and returns megabytes by which fresh processes grow in a training step of ResNet-18."""
    found = {peer: growth(peer, "resnet18", batch, threads) for peer in (
        "pycnn", *(("torch", "torch channels_last") if "torch" in names else ()))}
    print(f"resnet18 training, batch {batch}: megabytes that a process grows by")
    for peer, bytes_of in found.items():
        print(f"  {peer:20s} {bytes_of['network'] / 1e6:6.0f}, of them {bytes_of['step'] / 1e6:6.0f} in the step"
              f"{' (arena ' + format(bytes_of['arena'] / 1e6, '.0f') + ')' if 'arena' in bytes_of else ''}")
    return {"network": "resnet18 memory", "batch": batch, "threads": threads, "bytes": found}


def main(arguments):
    names, rows = peers.available(arguments.peers), []
    for threads in arguments.threads:
        with threads_set(threads):
            print(f"\n{threads} thread{'s' * (threads > 1)}, images/s")
            print(f"{'network':11s} {'mode':10s} {'batch':>5s} {'pycnn':>10s} {'best peer':>22s} {'':>10s} {'ratio':>6s}")
            for name, mode, batch in CASES:
                if arguments.layers and not any(part in name for part in arguments.layers):
                    continue
                times = interleaved(contenders(name, mode, batch, names, threads), arguments.rounds, arguments.seconds)
                speeds = {n: batch / t for n, t in times.items()}
                others = {n: s for n, s in speeds.items() if n != "pycnn"}
                best = max(others, key=others.get) if others else None
                text = f"{name:11s} {mode:10s} {batch:5d} {speeds['pycnn']:10,.0f}"
                if best:
                    text += f" {best:>22s} {others[best]:10,.0f} {speeds['pycnn'] / others[best]:6.2f}"
                print(text, flush=True)
                rows.append({"network": name, "mode": mode, "batch": batch, "threads": threads, "images_per_second": speeds,
                             "best_peer": best, "ratio": speeds["pycnn"] / others[best] if best else None})
            if not arguments.layers or any(part in "resnet18" for part in arguments.layers):
                rows.append(step_memory(names, threads))
            if arguments.layers and not any(part in "lenet5" for part in arguments.layers):
                continue
            times = interleaved(lenet5_steps(), arguments.rounds, arguments.seconds)
            gain = times["whole"] / times["frozen"]
            print(f"LeNet-5, batch 64, frozen but for its last layer: {gain:.2f} times as fast as whole; "
                  f"as published, batch 1: 4,000 steps in {4000 * times['1998']:.2f} s")
            rows.append({"network": "lenet5 frozen", "batch": 64, "threads": threads, "ratio": gain})
            rows.append({"network": "lenet5 1998", "batch": 1, "threads": threads,
                         "seconds_of_4000_steps": 4000 * times["1998"]})
    return rows
