"""The command ``python -m bench kernels|networks``."""

import argparse
import json

from . import kernels, networks
from .layers import PASSES


def words(text):
    return [word for word in text.split(",") if word]


def main():
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", choices=["kernels", "networks"])
    parser.add_argument("--layers", type=words, default=[], help="parts of names, separated by commas")
    parser.add_argument("--passes", type=words, default=[], help=", ".join(PASSES))
    parser.add_argument("--peers", type=words, default=["torch", "onnxruntime"], help="torch, onnxruntime")
    parser.add_argument("--threads", type=lambda text: [int(word) for word in words(text)], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=0.02, help="of each turn")
    parser.add_argument("--json", metavar="FILE", help="where to write all figures")
    arguments = parser.parse_args()
    rows = {"kernels": kernels, "networks": networks}[arguments.what].main(arguments)
    if arguments.json:
        with open(arguments.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
