"""``pycnn summary`` and ``info``: what a network is made of, and what pycnn runs on."""

from __future__ import annotations

from .. import config
from . import files


def add_to(command):
    """Declares the commands."""
    sub = command("summary", summary, "show a network's layers")
    sub.add_argument("file", metavar="FILE", help="a network")
    command("info", info, "show what pycnn runs on")


def summary(args):
    """Prints a network's table."""
    net = files.load_network(args.file)
    net.summary()
    return {"file": args.file, "name": net.name, "parameters": net.count_parameters(),
            "trainable": net.count_parameters(trainable=True), "inputs": net.input_shapes, "outputs": net.output_shapes}


def info(args):
    """Prints what pycnn runs on."""
    return config.show_config()
