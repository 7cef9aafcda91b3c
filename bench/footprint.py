"""How much memory a training step takes: ``python -m bench.footprint PEER NETWORK BATCH`` in a process of its own.

``network`` counts from before the network is made to the peak of its third step, parameters, gradients and momentum too.
``step`` counts what comes on top of those, which a plan prints as its arena. Linux only.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import pycnn

from . import machine, networks, peer_torch, peers

STEPS = 3
NETWORK, BATCH = "resnet18", 8
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field):
    """Bytes of this process: "VmRSS" now, "VmHWM" at most since the peak was reset."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())[1])


def measured(peer, name, batch):
    """{"network": bytes, "step": bytes}, and for pycnn the "arena", of a training step here and now."""
    maker, loss = networks.NETWORKS[name]
    result, net = {}, maker()       # PyTorch gets its weights
    x, y = networks.data_of(net, loss, batch)
    if peer != "pycnn":
        import torch

        kept = torch.channels_last if peer.endswith("channels_last") else torch.contiguous_format
        before = resident("VmRSS")
        call = peer_torch.training_step(peer_torch.module_of(net).to(memory_format=kept), kept, x, y, loss)
    else:
        before = resident("VmRSS")
        net = maker()
        trainer = net.trainer(loss, pycnn.SGD(0.01, momentum=0.9))
        for vector in (net.storage.gradients, *(net.storage.state(s) for s in trainer.optimizer.state)):
            vector.fill(0)      # touches its pages
        result["arena"] = net.plan(batch, training=True, loss=loss).arena_bytes

        def call():
            return trainer.step([x], [y])
    made = resident("VmRSS")
    PEAK_RESET.write_text("5")
    for _ in range(STEPS):
        np.asarray(call())
    peak = resident("VmHWM")
    return {**result, "network": peak - before, "step": peak - made}


def applies(arguments):
    """Whether a run compares with PyTorch, on the network that is weighed, where the system tells."""
    named = not arguments.layers or any(part in NETWORK for part in arguments.layers)
    return named and STATUS.exists() and bool(peers.available([p for p in arguments.peers if p == "torch"]))


def measure():
    """A row of what pycnn and PyTorch need, each in a process of its own."""
    found = {}
    print(f"\nmemory of a training step of {NETWORK}, batch {BATCH}: megabytes that a process grows by")
    for peer in ("pycnn", "torch", "torch channels_last"):
        command = [sys.executable, "-m", "bench.footprint", peer, NETWORK, str(BATCH)]
        found[peer] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        size = {key: value / 1e6 for key, value in found[peer].items()}
        arena = f" (arena {size['arena']:.0f})" if "arena" in size else ""
        print(f"  {peer:20s} {size['network']:6.0f}, of them {size['step']:6.0f} in the step{arena}")
    theirs = min(sizes["network"] for peer, sizes in found.items() if peer != "pycnn")
    return {"network": NETWORK, "mode": "memory", "batch": BATCH, "threads": 1, "bytes": found,
            "ratio": theirs / found["pycnn"]["network"]}


if __name__ == "__main__":
    machine.spread()
    print(json.dumps(measured(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
