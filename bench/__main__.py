"""The command ``python -m bench kernels|networks``: each number of threads in a process of its own."""

import argparse
import json
import os
import sys
import tempfile

from . import kernels, machine, networks, peers, targets
from .layers import PASSES

PEERS = {"kernels": ["torch", "onnxruntime"], "networks": list(peers.PEERS)}


def words(text):
    return [word for word in text.split(",") if word]


def numbers(text):
    return [int(word) for word in words(text)]


def parser():
    p = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    p.add_argument("what", choices=["kernels", "networks"])
    p.add_argument("--layers", type=words, default=[], help="parts of names, separated by commas")
    p.add_argument("--passes", type=words, default=[], help=", ".join(PASSES))
    p.add_argument("--peers", type=words, help=f"of {', '.join(peers.PEERS)}; kernels: torch, onnxruntime; networks: all")
    p.add_argument("--threads", type=numbers, default=[1, 2])
    p.add_argument("--sweeps", type=int, default=2, help="visits of each layer, far apart; the better counts")
    p.add_argument("--rounds", type=int, default=5, help="turns of each contender in a sweep")
    p.add_argument("--seconds", type=float, default=0.02, help="of each turn")
    p.add_argument("--kept-aside", type=int, metavar="N", default=0, help="N random layers instead of the table's")
    p.add_argument("--seed", type=int, default=0, help="of --kept-aside")
    p.add_argument("--json", metavar="FILE", help="where to write all figures")
    return p


def rows_of(arguments):
    """The rows of a run: from this process if it is pinned to its cores, else from one process for each number of threads."""
    if machine.CORES_VARIABLE in os.environ:
        return {"kernels": kernels, "networks": networks}[arguments.what].measure(arguments, arguments.threads[0])
    rows = []
    for threads in arguments.threads:
        with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
            machine.run_pinned([*sys.argv[1:], "--json", file.name], threads)
            rows += json.load(file)["rows"]
    lines = {"kernels": targets.of_kernels, "networks": targets.of_networks}[arguments.what](rows)
    print("\n" + targets.text_of(lines))
    return rows


def main():
    arguments = parser().parse_args()
    if arguments.peers is None:
        arguments.peers = PEERS[arguments.what]
    rows = rows_of(arguments)
    if arguments.json:
        lines = {"kernels": targets.of_kernels, "networks": targets.of_networks}[arguments.what](rows)
        with open(arguments.json, "w") as f:
            json.dump({"what": arguments.what, "rows": rows, "targets": lines}, f, indent=1)


if __name__ == "__main__":
    main()
