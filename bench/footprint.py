"""Memory of a training step: how much a fresh process grows by, in pycnn and in PyTorch.

``network`` counts everything from before the network is made to the peak of its third step: parameters, gradients and momentum
too. ``step`` counts what comes on top of those, which a plan prints as its arena.
"""

import json
import os
import subprocess
import sys


def memory_of(field):
    """Bytes of this process: "VmRSS" now, "VmHWM" at most since the last `reset_peak`."""
    with open("/proc/self/status") as f:
        return next(1024 * int(line.split()[1]) for line in f if line.startswith(f"{field}:"))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def measured(peer, name, batch, threads):
    """What `growth` prints."""
    import numpy as np

    import pycnn

    from . import descriptions, peers

    description = getattr(descriptions, name)()
    rng = np.random.default_rng(0)
    x = rng.random((batch, *description.shape), dtype=np.float32)
    y = rng.integers(0, description.classes, batch) if description.classes else x
    pycnn.set_num_threads(threads)
    result = {}
    if peer == "pycnn":
        before = memory_of("VmRSS")
        net = descriptions.pycnn_network(description)
        trainer = net.trainer(description.loss, pycnn.SGD(0.01, momentum=0.9))
        for vector in (net.storage.gradients, *(net.storage.state(s) for s in trainer.optimizer.state)):
            vector.fill(0)      # touches its pages
        result["arena"] = net.plan(batch, training=True, loss=description.loss).arena_bytes
        step = lambda: trainer.step([x], [y])       # noqa: E731
    else:
        import torch

        torch.set_num_threads(threads)
        values = {key: value.copy() for key, value in descriptions.arrays(descriptions.pycnn_network(description)).items()}
        before = memory_of("VmRSS")
        model = peers.torch_network(description, values, peer.endswith("channels_last"))
        step = peers.torch_training_step(model, x, y, peer.endswith("channels_last"), description.loss)
    made = memory_of("VmRSS")
    reset_peak()
    for _ in range(3):
        step()
    peak = memory_of("VmHWM")
    return {**result, "network": peak - before, "step": peak - made}


def growth(peer, name, batch, threads=2):
    """Bytes by which a fresh process grows."""
    command = [sys.executable, "-m", "bench.footprint", peer, name, str(batch), str(threads)]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


if __name__ == "__main__":
    who, which, images, count = sys.argv[1:]
    print(json.dumps(measured(who, which, int(images), int(count))))
