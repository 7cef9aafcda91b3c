"""The command ``pycnn``: train a model, try it, and look at it, from a shell."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import json
import os
import sys
import time
import traceback

import numpy as np

from . import config, datasets
from .callbacks import CosineDecay
from .models import MODELS
from .network import load
from .tasks import Classification
from .training import fit

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
DATA = list(dict.fromkeys(name for model in MODELS.values() for name in model.recipes))


class InputError(ValueError):
    """What was given on the command line cannot be used."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


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
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=whole(1), metavar="N", help="the most threads to use")
    common.add_argument("--verbose", type=int, choices=(0, 1, 2), default=1,
                        help="0: quiet; 2: a line per epoch, tracebacks")
    common.add_argument("--json", action="store_true", help="end with one line of JSON; all else goes to stderr")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", choices=DATA,
                      help="data set (default: the model's first, or what the file was trained on)")
    data.add_argument("--data-dir", metavar="DIR", help="where the data set's files are")

    top = Parser(prog="pycnn", description="Convolutional networks on the CPU.")
    top.add_argument("--version", action="version", version=f"pycnn {config.version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, help, *parents):
        sentence = help[0].upper() + help[1:] + "."
        sub = commands.add_parser(name, help=help, description=sentence, parents=[*parents, common])
        sub.set_defaults(run=run)
        return sub

    sub = command("train", train, "train a model, and write MODEL.safetensors and MODEL.png", data)
    sub.add_argument("model", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    sub.add_argument("--epochs", type=whole(1), metavar="N", help="epochs in all")
    sub.add_argument("--batch-size", type=whole(1), metavar="N", help="samples of a step")
    sub.add_argument("--samples", type=whole(1), metavar="N", help="train on the first N samples only")
    sub.add_argument("--lr", type=float, metavar="X", help="greatest learning rate")
    sub.add_argument("--seed", type=whole(0), metavar="N", help="for everything random (default: 0)")
    sub.add_argument("--out", default=".", metavar="DIR", help="folder for the files (default: the current one)")
    sub.add_argument("--resume", metavar="FILE", help="go on with the training that wrote this file")
    sub = command("predict", predict, "say what images show")
    sub.add_argument("file", metavar="FILE", help="a trained network")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, .npy or .npz")
    sub.add_argument("--top", type=whole(1), default=3, metavar="N", help="classes to name for each image (default: 3)")
    sub = command("evaluate", evaluate_file, "measure a trained network on a data set's test images", data)
    sub.add_argument("file", metavar="FILE", help="a trained network")
    sub = command("summary", summary, "show a network's layers")
    sub.add_argument("file", metavar="FILE", help="a network")
    command("info", info, "show what pycnn runs on")
    return top


def whole(least):
    """An argparse type: an integer of at least `least`."""

    def convert(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return value

    return convert


# ---- train -----------------------------------------------------------------------------------------------------------


def train(args):
    """Trains by the model's recipe for the data set, with what the arguments change of it."""
    net = load_network(args.resume) if args.resume else None
    plan = training_plan(args, net)
    model = MODELS[args.model]
    recipe, task = model.recipes[plan["data"]], model.task
    folder = output_folder(args.out)
    (x, y), test = load_data(plan["data"], args.data_dir)
    x, y = x[: plan["samples"]], y[: plan["samples"]]
    if net is None:
        net = model.build(**task.build_options(x, y), seed=plan["seed"])
    net.training_state["command"] = plan

    begun = time.perf_counter()
    history = fit(
        net, *task.training_data(x, y), loss=task.loss, loss_weights=task.loss_weights,
        optimizer=recipe.optimizer(plan["lr"]), epochs=plan["epochs"], batch_size=plan["batch_size"],
        validation_data=task.test_data(*test), seed=plan["seed"],
        callbacks=[CosineDecay(plan["epochs"], min(recipe.warmup, plan["epochs"] - 1)), *recipe.callbacks()],
        augment=recipe.augment, resume=bool(args.resume), verbose=args.verbose,
    )
    seconds = time.perf_counter() - begun
    path = os.path.join(folder, f"{args.model}.safetensors")
    net.save(path)
    result = {"model": args.model, "data": plan["data"], "epochs": len(history.epoch), "seconds": round(seconds, 3),
              "parameters": net.count_parameters(), "file": path}
    if history.interrupted:
        print(f"interrupted after {len(history.epoch)} of {plan['epochs']} epochs; go on with: "
              f"pycnn train {args.model} --resume {path}", file=sys.stderr)
        return {**result, "interrupted": True}
    scores = task.scores(net, *test)
    result.update((f"test_{name}", value) for name, value in scores.items())
    sentence = task.sentence(scores)
    say(args, f"{sentence}, {seconds:.1f} s; wrote {path}")
    title = f"{args.model} on {plan['data']}: {sentence}"
    result["figure"] = write_figure(args, lambda: task.figure(net, history, *test, data=plan["data"], title=title))
    return result


def training_plan(args, net):
    """What decides the course of a training: from the arguments, else from the file to resume, else from the recipe."""
    before = {} if net is None else net.training_state.get("command")
    if before is None:
        raise InputError(f"{args.resume}: not the file of a training by this command")
    if before and before["model"] != args.model:
        raise InputError(f"{args.resume}: holds a {before['model']}, not a {args.model}")
    for key in ("data", "lr", "seed", "batch_size", "samples"):
        given = getattr(args, key)
        if before and given is not None and given != before.get(key):
            raise InputError(f"--{key.replace('_', '-')} {given}: the training to resume has {before.get(key)}")
    recipes = MODELS[args.model].recipes
    data = args.data or before.get("data") or next(iter(recipes))
    if data not in recipes:
        raise InputError(f"there is no recipe for {args.model} on {data}; there is for {', '.join(recipes)}")
    recipe = recipes[data]
    usual = {"lr": recipe.lr, "seed": 0, "batch_size": recipe.batch_size, "epochs": recipe.epochs, "samples": None, **before}
    given = {key: getattr(args, key) for key in ("lr", "seed", "batch_size", "epochs", "samples")}
    return {"model": args.model, "data": data, **{k: usual[k] if v is None else v for k, v in given.items()}}


def output_folder(path):
    """The folder, made if there is none; InputError if nothing can be written to it."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        raise InputError(f"--out {path}: no permission to write there")
    return path


def write_figure(args, draw):
    """Writes the figure that `draw` makes to MODEL.png; returns its path, or None where matplotlib is missing."""
    try:
        figure = draw()
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return None
    path = os.path.join(args.out, f"{args.model}.png")
    figure.savefig(path, dpi=100)
    say(args, f"wrote {path}")
    return path


# ---- predict, evaluate, summary, info --------------------------------------------------------------------------------


def predict(args):
    """Names the likeliest classes of each image."""
    net = load_network(args.file)
    shape = check_classifier(net, args.file)
    names = class_names(net.training_state.get("command", {}).get("data"))
    predictions = []
    for path in args.images:
        images, inverted = read_images(path, shape)
        for i, p in enumerate(probabilities(net.predict(images))):
            label = path if len(images) == 1 else f"{path}[{i}]"
            best = np.argsort(-p, kind="stable")[: args.top]
            classes = [{"class": names[k] if names else str(k), "probability": float(p[k])} for k in best]
            predictions.append({"image": label, "inverted": bool(inverted[i]), "classes": classes})
            note = " (dark on light: inverted)" if inverted[i] else ""
            print(f"{label}{note}: " + ", ".join(f"{c['class']} {c['probability']:.1%}" for c in classes))
    return {"file": args.file, "predictions": predictions}


def check_classifier(net, path):
    """The shape of the only input; InputError unless there is one output of scores."""
    if len(net.input_shapes) != 1 or len(net.output_shapes) != 1 or len(*net.output_shapes.values()) != 1:
        raise InputError(f"{path}: predict needs a network of one input and one output of scores, not {net!r}")
    return next(iter(net.input_shapes.values()))


def probabilities(scores):
    """Softmax of scores ``(N, classes)``; as they are, if they are probabilities already."""
    scores = scores.astype(np.float64)
    if (scores >= 0).all() and np.allclose(scores.sum(1), 1, atol=1e-4):
        return scores
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def evaluate_file(args):
    """How well a file's network does on test data."""
    net = load_network(args.file)
    command = net.training_state.get("command", {})
    data = args.data or command.get("data")
    if data is None:
        raise InputError(f"{args.file} does not say what it was trained on; name a data set with --data")
    task = MODELS[command["model"]].task if command.get("model") in MODELS else Classification()
    x, y = load_data(data, args.data_dir)[1]
    begun = time.perf_counter()
    scores = task.scores(net, x, y, verbose=min(args.verbose, 1))
    seconds = time.perf_counter() - begun
    print(f"{data}: {task.sentence(scores)}, {len(x):,} samples")
    return {"file": args.file, "data": data, **{f"test_{name}": value for name, value in scores.items()},
            "samples": len(x), "seconds": round(seconds, 3)}


def summary(args):
    """Prints a network's table."""
    net = load_network(args.file)
    net.summary()
    return {"file": args.file, "name": net.name, "parameters": net.count_parameters(),
            "trainable": net.count_parameters(trainable=True), "inputs": net.input_shapes, "outputs": net.output_shapes}


def info(args):
    """Prints what pycnn runs on."""
    return config.show_config()


# ---- what the commands read ------------------------------------------------------------------------------------------


def say(args, text):
    """Prints, unless silenced."""
    if args.verbose:
        print(text)


def load_network(path):
    """The network of a file, or InputError."""
    try:
        return load(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def load_data(name, folder):
    """((x, y), (x_test, y_test)) of a data set; InputError if the folder is not one of it."""
    read = getattr(datasets, name.replace("-", "_"))
    if folder is None:
        return read()
    if not inspect.signature(read).parameters:
        where = "ship with pycnn" if name == "digits" else "are kept in the folder that PYCNN_DATA names"
        raise InputError(f"--data-dir: the {name} {where}")
    try:
        return read(folder)
    except OSError as error:
        raise InputError(f"--data-dir: {error}") from None


def class_names(data):
    """Names of a data set's classes, or None where they are numbers."""
    return datasets.CLASS_NAMES.get(data)


def read_images(path, shape):
    """The images of a file as a network takes them.

    Light images of one channel (those with a light border) are inverted: the digits are white on black.

    Parameters
    ----------
    path : str
        PNG, JPEG and whatever else pillow reads; ``.npy``, or ``.npz`` with one or several arrays.
    shape : tuple of int
        The network's input, ``(C, H, W)``. Arrays of that shape, or ``(N, *shape)``, need no conversion.

    Returns
    -------
    images : array (N, *shape), float32 in [0, 1]
    inverted : list of bool
    """
    try:
        if path.lower().endswith((".npy", ".npz")):
            images = [image for array in read_arrays(path) for image in split_array(array, shape)]
        else:
            images = [read_picture(path, shape)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    inverted = [len(shape) == 3 and shape[0] == 1 and is_light(image) for image in images]
    images = [fitted(1 - image if flip else image, shape) for image, flip in zip(images, inverted)]
    return np.stack(images).astype(np.float32), inverted


def read_arrays(path):
    """The arrays of a .npy or .npz file; integers of 8 bits as fractions of 255."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        arrays = [loaded]
    else:
        with loaded:
            arrays = [loaded[key] for key in loaded.files]
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise ValueError(f"holds {array.dtype}, not numbers")
    return [array / 255 if array.dtype == np.uint8 else array.astype(np.float64) for array in arrays]


def split_array(array, shape):
    """The single inputs of an array of one or many; ValueError if it is neither."""
    if array.shape == shape:
        return [array]
    if array.shape[1:] == shape:
        return list(array)
    if len(shape) == 3 and shape[0] == 1:
        if array.ndim == 2:
            return [array[None]]
        if array.ndim == 3 and array.shape[1:] == shape[1:]:
            return list(array[:, None])
    raise ValueError(f"has shape {array.shape}; the network takes {shape}, or (N, {', '.join(map(str, shape))})")


def read_picture(path, shape):
    """An image file as an array (C, H, W) in [0, 1], in its own size; transparent parts as white."""
    need_pillow()
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"the network takes {shape}, which a picture cannot be made into; pass a .npy file")
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):
                return np.repeat(np.asarray(picture, np.float64)[None] / 65535, shape[0], axis=0)
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"), np.float64) / 255
    except UnidentifiedImageError:
        raise ValueError("not a picture that pillow can read") from None
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)


def need_pillow():
    """ImportError with the remedy, where pillow is missing."""
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("pictures need pillow: pip install pycnn[plot]")


def is_light(image):
    """Whether the border of an image (1, H, W) in [0, 1] is light."""
    pixels = image[0]
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(pixels.min() >= 0 and pixels.max() <= 1 and border.mean() > 0.5)


def fitted(image, shape):
    """The image in the network's size: made to its proportions with black, then resized."""
    if image.shape == shape:
        return image
    need_pillow()
    from PIL import Image

    height, width = image.shape[1:]
    scale = max(height / shape[1], width / shape[2])
    tall, wide = round(scale * shape[1]), round(scale * shape[2])
    top, left = (tall - height) // 2, (wide - width) // 2
    image = np.pad(image, ((0, 0), (top, tall - height - top), (left, wide - width - left)))
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in image]
    return np.stack([np.asarray(plane.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)) for plane in planes])
