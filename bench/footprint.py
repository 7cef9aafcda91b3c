"""How much memory a training step takes: ``python -m bench.footprint LIBRARY NETWORK BATCH`` in a process of its own.

The high-water mark of the resident set, less what was resident when everything was imported; Linux only.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import pycnn

from . import machine, networks, peers

STEPS, RUNS = 3, 2
NETWORK, BATCH = "resnet18", 8
STATUS = Path("/proc/self/status")


def status(field):
    """A size in /proc/self/status, in bytes."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())[1])


def peak_of(library, name, batch):
    """{"peak_bytes": ...} of a training step here and now, and for pycnn the bytes of the plan's arena."""
    found = [] if library == "pycnn" else peers.available([library])
    before = status("VmRSS")
    maker, loss = networks.NETWORKS[name]
    net = maker()
    x, y = networks.data_of(net, loss, batch)
    if library == "pycnn":
        trainer = net.trainer(loss, pycnn.SGD(0.01, momentum=0.9))
        for _ in range(STEPS):
            trainer.step([x], [y])
        arena = net.plan(batch, training=True, loss=loss).arena_bytes
        return {"peak_bytes": status("VmHWM") - before, "arena_bytes": arena}
    calls = found[0].training(net, x, y, loss, 1)
    call = calls[library]
    del net, calls
    for _ in range(STEPS):
        np.asarray(call())
    return {"peak_bytes": status("VmHWM") - before}


def applies(arguments):
    """Whether a run compares with PyTorch, on the network that is weighed, where the system tells."""
    named = not arguments.layers or any(part in NETWORK for part in arguments.layers)
    return named and STATUS.exists() and bool(peers.available([p for p in arguments.peers if p == "torch"]))


def measure():
    """A row of what pycnn and PyTorch need, each in a process of its own."""
    found = {}
    for library in ("pycnn", "torch"):
        command = [sys.executable, "-m", "bench.footprint", library, NETWORK, str(BATCH)]
        runs = [subprocess.run(command, capture_output=True, check=True, text=True) for _ in range(RUNS)]
        found[library] = min((json.loads(run.stdout) for run in runs), key=lambda run: run["peak_bytes"])
    own, theirs = (found[library]["peak_bytes"] for library in ("pycnn", "torch"))
    print(f"\nmemory of a training step of {NETWORK}, batch {BATCH}: pycnn {own / 1e6:.0f} MB, of which arena "
          f"{found['pycnn']['arena_bytes'] / 1e6:.0f}; PyTorch {theirs / 1e6:.0f} MB")
    return {"network": NETWORK, "mode": "memory", "batch": BATCH, "threads": 1, "bytes": found, "ratio": theirs / own}


if __name__ == "__main__":
    machine.spread()
    print(json.dumps(peak_of(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
