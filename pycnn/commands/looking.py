"""What the commands of ``pycnn look`` have in common: arguments, what they read, and what they say in the end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from ..figures.canvas import check_folder
from . import files
from .arguments import whole
from .pictures import read_images


def network_argument(sub):
    sub.add_argument("file", metavar="FILE", help="a network")


def layer_argument(sub):
    sub.add_argument("layer", metavar="LAYER", help="the name of a layer, as `pycnn summary` shows it")


def picture_argument(sub, usual, *suffixes):
    """Where the picture goes: a file whose name ends in one of the suffixes, ``.png`` where none is named."""
    suffixes = suffixes or (".png",)

    def picture_file(text):
        path = Path(text)
        if path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"the name of a picture ends in {' or '.join(suffixes)}, got {text!r}")
        try:
            check_folder(path)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if not os.access(path.parent, os.W_OK):
            raise argparse.ArgumentTypeError(f"no permission to write to {str(path.parent)!r}")
        return text

    sub.add_argument("--out", type=picture_file, default=usual, metavar="FILE",
                     help=f"the picture to write (default: {usual})")


def ascent_arguments(sub, steps, usual=None):
    """Those of gradient ascent and descent on images; `usual` says in words what the default is."""
    sub.add_argument("--steps", type=whole(1), default=steps, metavar="N", help=f"steps (default: {usual or steps})")
    sub.add_argument("--seed", type=whole(0), default=0, metavar="N", help="for everything random (default: 0)")


def read_inputs(net, file, paths):
    """The pictures or arrays of files, as the only input of a network takes them: ``(N, *shape)``."""
    shape = only_shape(net, file)
    return np.concatenate([read_images(path, shape)[0] for path in paths])


def only_shape(net, file):
    """The shape of the only input; InputError where there are several."""
    shapes = list(net.input_shapes.values())
    if len(shapes) != 1:
        raise files.InputError(f"{file}: has the inputs {', '.join(net.input_names)}; images are for a network of one")
    return shapes[0]


def images(count):
    """``1 image``, ``2 images``."""
    return f"{count} image{'s' * (count != 1)}"


def wrote(args, text, **result):
    """Says what the picture shows; what ``--json`` prints."""
    files.say(args, f"wrote {args.out}: {text}")
    file = {"file": args.file} if getattr(args, "file", None) else {}
    return {"look": args.what, **file, **result, "out": args.out}
