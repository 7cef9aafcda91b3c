"""``pycnn convert`` and ``run``: networks between pycnn's files and ONNX, and on arrays."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np

from ..files import write_whole
from . import files
from .arguments import whole


def add_to(command):
    """Declares the commands."""
    sub = command("convert", convert, "write a network in the other format: .safetensors of pycnn, or .onnx")
    sub.add_argument("file", metavar="IN", help="a network")
    sub.add_argument("out", metavar="OUT", help="the file to write")
    sub.add_argument("--opset", type=whole(1), metavar="N", help="of an ONNX file (default: 20)")
    sub.add_argument("--shape", action="append", default=[], metavar="[NAME=]CxHxW",
                     help="of an input, without the batch, where an ONNX file leaves it open")
    sub = command("run", run, "compute what a network makes of arrays")
    sub.add_argument("file", metavar="FILE", help="a network, .safetensors or .onnx")
    sub.add_argument("--input", action="append", required=True, metavar="[NAME=]FILE", dest="inputs",
                     help="an array (N, ...) as .npy, or several by name as .npz")
    sub.add_argument("--out", metavar="FILE", help="where to write the output, .npy, or all of them by name, .npz")


def convert(args):
    """Reads one file and writes the other."""
    suffix = suffix_of(args.out, ".safetensors", ".onnx")
    if args.opset is not None and suffix != ".onnx":
        raise files.InputError(f"--opset is for an ONNX file, which {args.out} is not")
    shapes = [named_shape(text) for text in args.shape]
    net = files.load_network(args.file, assigned(shapes, files.input_names(args.file), args.file) if shapes else None)
    try:
        if suffix == ".safetensors":
            net.save(args.out)
        else:
            from ..onnx import save

            save(net, args.out, **({} if args.opset is None else {"opset": args.opset}))
    except OSError as error:
        raise files.InputError(f"{args.out}: {error.strerror or error}") from None
    files.say(args, f"wrote {args.out}: {net.count_parameters():,} parameters")
    return {"file": args.file, "out": args.out, "parameters": net.count_parameters(),
            "bytes": os.path.getsize(args.out)}


def run(args):
    """Predicts, writes the outputs, and says what is in them."""
    suffix = args.out and suffix_of(args.out, ".npy", ".npz")
    given = [named for text in args.inputs for named in named_arrays(text)]
    arrays = assigned(given, files.input_names(args.file), args.file)
    of_arrays = {name: array.shape[1:] for name, array in arrays.items()}
    net = files.load_network(args.file, of_arrays if files.is_onnx(args.file) else None)
    if suffix == ".npy" and len(net.output_names) > 1:
        raise files.InputError(f"--out {args.out}: holds one array; the network has the outputs "
                               f"{', '.join(net.output_names)}, so name a .npz file")
    made = net.predict({name.replace("/", "."): array for name, array in arrays.items()}, verbose=min(args.verbose, 1))
    made = made if isinstance(made, dict) else dict(zip(net.output_names, made if isinstance(made, list) else [made]))
    figures = {name: {"shape": list(y.shape), **described(y)} for name, y in made.items()}
    for name, of in figures.items():
        values = "".join(f", {key} {of[key]:.6g}" for key in of if key != "shape")
        print(f"{name}: {' x '.join(map(str, of['shape']))}{values}")
    if args.out:
        write_arrays(args.out, made)
        files.say(args, f"wrote {args.out}")
    return {"file": args.file, "outputs": figures, **({"out": args.out} if args.out else {})}


def suffix_of(path, *known):
    """The suffix of a file to write; InputError unless it is among those known, and there is a folder for it."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in known:
        raise files.InputError(f"{path}: its name must end with {' or '.join(known)}")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise files.InputError(f"{path}: there is no such folder")
    return suffix


def assigned(pairs, names, path):
    """Input name -> value, of pairs that may lack the name where there is one input."""
    values = {}
    for name, value in pairs:
        if name is None and len(names) > 1:
            raise files.InputError(f"{path} has the inputs {', '.join(names)}: write NAME= before what is for each")
        name = names[0] if name is None else name
        if name not in names or name in values:
            wrong = "is given twice" if name in values else f"is none of {path}, whose inputs are {', '.join(names)}"
            raise files.InputError(f"the input {name!r} {wrong}")
        values[name] = value
    return values


def split_name(text):
    """(name of an input, the rest) of ``[name=]rest``."""
    name, equals, rest = text.rpartition("=")
    return (name if equals else None), rest


def named_shape(text):
    """(name of an input, shape) of ``[name=]3x320x320``."""
    name, sizes = split_name(text)
    try:
        return name, tuple(map(int, sizes.split("x")))
    except ValueError:
        raise files.InputError(f"--shape {text}: expects sizes such as 3x320x320") from None


def named_arrays(text):
    """Pairs (name of an input, array) of ``[name=]file``; all arrays of a .npz file without a name."""
    name, file = split_name(text)
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            pairs = [(name, loaded)]
        else:
            with loaded:
                pairs = [(key, loaded[key]) for key in loaded.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise files.InputError(f"--input {text}: {getattr(error, 'strerror', None) or error}") from None
    if not all(array.ndim for _, array in pairs):
        raise files.InputError(f"--input {text}: holds a single number, not samples (N, ...)")
    return pairs


def write_arrays(path, arrays):
    """Writes one array as .npy, or arrays by name as .npz."""
    memory = io.BytesIO()
    if path.lower().endswith(".npz"):
        np.savez(memory, **arrays)
    else:
        np.save(memory, *arrays.values())
    try:
        write_whole(path, memory.getvalue())
    except OSError as error:
        raise files.InputError(f"--out {path}: {error.strerror or error}") from None


def described(y):
    """Least value, mean and greatest value of an array that has any."""
    return {"min": float(y.min()), "mean": float(y.mean()), "max": float(y.max())} if y.size else {}
