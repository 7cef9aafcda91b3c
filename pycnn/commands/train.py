"""``pycnn train``: a model, by its recipe."""

from __future__ import annotations

import os
import sys
import time

from ..callbacks import CosineDecay
from ..models import MODELS
from ..training import fit
from . import files
from .arguments import data_arguments, whole


def add_to(command):
    """Declares the command."""
    sub = command("train", train, "train a model, and write MODEL.safetensors and MODEL.png", data_arguments())
    sub.add_argument("model", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    sub.add_argument("--epochs", type=whole(1), metavar="N", help="epochs in all")
    sub.add_argument("--batch-size", type=whole(1), metavar="N", help="samples of a step")
    sub.add_argument("--samples", type=whole(1), metavar="N", help="train on the first N samples only")
    sub.add_argument("--lr", type=float, metavar="X", help="greatest learning rate")
    sub.add_argument("--seed", type=whole(0), metavar="N", help="for everything random (default: 0)")
    sub.add_argument("--out", default=".", metavar="DIR", help="folder for the files (default: the current one)")
    sub.add_argument("--resume", metavar="FILE", help="go on with the training that wrote this file")


def train(args):
    """Trains by the model's recipe for the data set, with what the arguments change of it."""
    net = files.load_network(args.resume) if args.resume else None
    plan = training_plan(args, net)
    model = MODELS[args.model]
    recipe, task = model.recipes[plan["data"]], model.task
    folder = files.output_folder(args.out)
    (x, y), test = files.load_data(plan["data"], args.data_dir)
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
    files.say(args, f"{sentence}, {seconds:.1f} s; wrote {path}")
    title = f"{args.model} on {plan['data']}: {sentence}"
    result["figure"] = write_figure(args, lambda: task.figure(net, history, *test, data=plan["data"], title=title))
    return result


def training_plan(args, net):
    """What decides the course of a training: from the arguments, else from the file to resume, else from the recipe."""
    before = {} if net is None else net.training_state.get("command")
    if before is None:
        raise files.InputError(f"{args.resume}: not the file of a training by this command")
    if before and before["model"] != args.model:
        raise files.InputError(f"{args.resume}: holds a {before['model']}, not a {args.model}")
    for key in ("data", "lr", "seed", "batch_size", "samples"):
        given = getattr(args, key)
        if before and given is not None and given != before.get(key):
            raise files.InputError(f"--{key.replace('_', '-')} {given}: the training to resume has {before.get(key)}")
    recipes = MODELS[args.model].recipes
    data = args.data or before.get("data") or next(iter(recipes))
    if data not in recipes:
        raise files.InputError(f"there is no recipe for {args.model} on {data}; there is for {', '.join(recipes)}")
    recipe = recipes[data]
    usual = {"lr": recipe.lr, "seed": 0, "batch_size": recipe.batch_size, "epochs": recipe.epochs, "samples": None, **before}
    given = {key: getattr(args, key) for key in ("lr", "seed", "batch_size", "epochs", "samples")}
    return {"model": args.model, "data": data, **{k: usual[k] if v is None else v for k, v in given.items()}}


def write_figure(args, draw):
    """Writes the figure that `draw` makes to MODEL.png; returns its path, or None where matplotlib is missing."""
    try:
        figure = draw()
    except ImportError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return None
    path = os.path.join(args.out, f"{args.model}.png")
    figure.savefig(path, dpi=100)
    files.say(args, f"wrote {path}")
    return path
