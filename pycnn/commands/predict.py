"""``pycnn predict`` and ``evaluate``: a trained network on images, and on a data set."""

from __future__ import annotations

import time

import numpy as np

from ..models import MODELS
from ..tasks import Classification
from ..visualize.scores import score_node
from . import files
from .arguments import data_arguments, whole
from .pictures import read_images


def add_to(command):
    """Declares the commands."""
    sub = command("predict", predict, "say what images show")
    sub.add_argument("file", metavar="FILE", help="a trained network")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, .npy or .npz")
    sub.add_argument("--top", type=whole(1), default=3, metavar="N", help="classes to name for each image (default: 3)")
    sub = command("evaluate", evaluate, "measure a trained network on a data set's test images", data_arguments())
    sub.add_argument("file", metavar="FILE", help="a trained network")


def predict(args):
    """Names the likeliest classes of each image."""
    net = files.load_network(args.file)
    shape = check_classifier(net, args.file)
    names = files.class_names(net.training_state.get("command", {}).get("data"))
    predictions = []
    for path in args.images:
        images, inverted = read_images(path, shape)
        for i, p in enumerate(probabilities(score_node(net, None)[1] * net.predict(images))):
            label = path if len(images) == 1 else f"{path}[{i}]"
            best = np.argsort(-p, kind="stable")[: args.top]
            classes = [{"class": names[k] if names else str(k), "probability": float(p[k])} for k in best]
            predictions.append({"image": label, "inverted": bool(inverted[i]), "classes": classes})
            note = " (dark on light: inverted)" if inverted[i] else ""
            print(f"{label}{note}: " + ", ".join(f"{c['class']} {c['probability']:.1%}" for c in classes))
    return {"file": args.file, "predictions": predictions}


def check_classifier(net, path):
    """The shape of the only input; files.InputError unless there is one output of scores."""
    if len(net.input_shapes) != 1 or len(net.output_shapes) != 1 or len(*net.output_shapes.values()) != 1:
        raise files.InputError(f"{path}: predict needs a network of one input and one output of scores, not {net!r}")
    return next(iter(net.input_shapes.values()))


def probabilities(scores):
    """Softmax of scores ``(N, classes)``; as they are, if they are probabilities already."""
    scores = scores.astype(np.float64)
    if (scores >= 0).all() and np.allclose(scores.sum(1), 1, atol=1e-4):
        return scores
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def evaluate(args):
    """How well a file's network does on test data."""
    net = files.load_network(args.file)
    data, command = files.data_of(args, net), net.training_state.get("command", {})
    task = MODELS[command["model"]].task if command.get("model") in MODELS else Classification()
    x, y = files.load_data(data, args.data_dir)[1]
    begun = time.perf_counter()
    scores = task.scores(net, x, y, verbose=min(args.verbose, 1))
    seconds = time.perf_counter() - begun
    print(f"{data}: {task.sentence(scores)}, {len(x):,} samples")
    return {"file": args.file, "data": data, **{f"test_{name}": value for name, value in scores.items()},
            "samples": len(x), "seconds": round(seconds, 3)}
