"""The command ``python -m bench``: kernels and networks beside other libraries, cost curves, the tables of a run; and what
the models reach."""

import argparse
import json
import os
import sys
import tempfile

from . import curves, footprint, kernels, machine, models, networks, peers, report, targets
from .layers import PASSES


def words(text):
    return [word for word in text.split(",") if word]


def numbers(text):
    return [int(word) for word in words(text)]


def parser():
    p = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = p.add_subparsers(dest="what", required=True)
    timed = argparse.ArgumentParser(add_help=False)
    timed.add_argument("--layers", type=words, default=[], help="parts of names, separated by commas")
    timed.add_argument("--threads", type=numbers, default=[1, 2], help="each number in a process of its own")
    timed.add_argument("--sweeps", type=int, default=2, help="visits of each layer, far apart; the better counts")
    timed.add_argument("--rounds", type=int, default=5, help="turns of each contender in a sweep")
    timed.add_argument("--seconds", type=float, default=0.02, help="of each turn")
    timed.add_argument("--json", metavar="FILE", help="where to write all figures")

    one = commands.add_parser("kernels", parents=[timed], help="each pass of each layer")
    one.add_argument("--peers", type=words, default=["torch", "onnxruntime"], help=", ".join(peers.PEERS))
    one.add_argument("--passes", type=words, default=[], help=", ".join(PASSES))
    one.add_argument("--kept-aside", type=int, metavar="N", default=0, help="N random layers instead of the table's")
    one.add_argument("--seed", type=int, default=0, help="of --kept-aside")

    one = commands.add_parser("networks", parents=[timed], help="training and inference of whole networks")
    one.add_argument("--peers", type=words, default=list(peers.PEERS), help=", ".join(peers.PEERS))

    one = commands.add_parser("curves", help="cost against batch, side, width and threads; the roofline")
    one.add_argument("--out", metavar="FOLDER", default="docs/images")
    one.add_argument("--only", type=words, default=[],
                     help=f"of {', '.join(curves.MEASUREMENTS)}; the others stay as they are")
    one.add_argument("--threads", type=numbers, help=argparse.SUPPRESS)

    one = commands.add_parser("models", help="every model of `pycnn train`, trained by its recipes; takes hours")
    one.add_argument("--only", type=words, default=[], help="names of models, separated by commas")
    one.add_argument("--samples", type=int, metavar="N", help="train on the first N samples only")
    one.add_argument("--epochs", type=int, metavar="N", help="instead of the recipes'")
    one.add_argument("--out", metavar="FOLDER", help="where to keep networks and pictures")
    one.add_argument("--json", metavar="FILE", help="where to write all figures")

    one = commands.add_parser("report", help="the tables of runs, in markdown")
    one.add_argument("files", nargs="+", metavar="JSON")
    one.add_argument("--into", metavar="PAGE", help="a page in whose places they go")
    return p


MEASURED = {"kernels": (kernels.measure, targets.of_kernels), "networks": (networks.measure, targets.of_networks)}


def run(arguments):
    """The rows of all numbers of threads, and the verdict on them."""
    measure, verdict = MEASURED[arguments.what]
    if machine.CORES_VARIABLE in os.environ:
        rows = measure(arguments, arguments.threads[0])
    else:
        rows = []
        for threads in arguments.threads:
            with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
                machine.run_pinned([*sys.argv[1:], "--json", file.name], threads)
                rows += json.load(file)["rows"]
        if arguments.what == "networks" and footprint.applies(arguments):
            rows.append(footprint.measure())
        print("\n" + targets.text_of(verdict(rows)))
    if arguments.json:
        with open(arguments.json, "w") as f:
            figures = {"what": arguments.what, "machine": machine.described(), "rows": rows, "targets": verdict(rows)}
            json.dump(figures, f, indent=1)


def main():
    arguments = parser().parse_args()
    if arguments.what in ("models", "report"):
        {"models": models, "report": report}[arguments.what].main(arguments)
    elif arguments.what != "curves":
        run(arguments)
    elif machine.CORES_VARIABLE in os.environ:
        curves.main(arguments)
    else:
        machine.run_pinned(sys.argv[1:], len(machine.cores()))


if __name__ == "__main__":
    main()
