"""The command ``pycnn``: train a model, try it, and look at it, from a shell."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback

from . import config
from .commands import convert, look, predict, show, train
from .commands.arguments import BAD_INPUT, Commands, Parser, common_arguments

FAMILIES = (train, predict, look, convert, show)
OK, FAILED, INTERRUPTED = 0, 1, 130


def main(argv=None):
    """Runs the command.

    Parameters
    ----------
    argv : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        0; 1 after a failure; 2 for bad usage or input; 130 after Ctrl-C.
    """
    args = parser().parse_args(argv)
    out = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
            if args.threads:
                config.set_num_threads(args.threads)
            result = args.run(args)
        if args.json:
            print(json.dumps(result), file=out, flush=True)
        return INTERRUPTED if result.get("interrupted") else OK
    except KeyboardInterrupt:
        print("pycnn: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 (a command ends with a line, whatever happened)
        if args.verbose == 2:
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"pycnn {args.command}: error: {text}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, (ValueError, TypeError)) else FAILED


def parser():
    """The commands and their arguments."""
    top = Parser(prog="pycnn", description="Convolutional networks on the CPU.")
    top.add_argument("--version", action="version", version=f"pycnn {config.version()}")
    command = Commands(top, "command", common_arguments())
    for family in FAMILIES:
        family.add_to(command)
    return top
