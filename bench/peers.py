"""The same work in other libraries; one that is not installed is left out, with one line that says so.

Each has a file ``peer_NAME.py`` with

- ``REQUIRES``: the modules it imports;
- ``conv(layer, which, x, w, dy, threads)``: {name: call} of one pass of a convolution;
- ``training(net, x, y, loss, threads)``: {name: step} of the same network with the same weights; a step returns its
  loss;
- ``inference(net, x, threads)``: {name: call} of one prediction.

What a library cannot do is an empty dict. Arrays are converted and on hand before a call is timed.
"""

import importlib
import sys

from . import machine

PEERS = ("torch", "onnxruntime", "openvino", "jax", "tensorflow")


def available(names):
    """The modules of those peers that can be imported, imported."""
    found = []
    for name in names:
        if name not in PEERS:
            raise SystemExit(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
        peer = importlib.import_module(f".peer_{name}", __package__)
        try:
            for module in peer.REQUIRES:
                importlib.import_module(module)
            found.append(peer)
        except ImportError:
            print(f"{name} is left out: it is not installed (pip install pycnn[bench])", file=sys.stderr)
    machine.spread()
    return found


def working(calls):
    """{name: result} of the calls that succeed; of one that fails a line says why."""
    results = {}
    for name, call in calls.items():
        try:
            results[name] = call.result() if hasattr(call, "result") else call()
        except Exception as error:      # each library has its own
            if name in ("pycnn", "plan", "functional", "reference"):
                raise
            print(f"{name} is left out: {(str(error) or type(error).__name__).splitlines()[0][:150]}", file=sys.stderr)
    return results
