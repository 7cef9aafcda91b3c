"""Every model of `pycnn train` on each of its data sets, trained by its recipe: what it reaches, and in what time.

A training is a process of its own, so that one that lacks its data leaves the others alone.
"""

import json
import os
import subprocess
import sys
import tempfile

from tqdm import tqdm

from pycnn.models import MODELS

GOALS = {       # (model, data) -> (score, what it must at least be, or at most where less is better)
    ("autoencoder", "digits"): ("mse", 0.010),
    ("autoencoder", "fashion-mnist"): ("mse", 0.015),
    ("autoencoder-upsample", "digits"): ("mse", 0.010),
    ("autoencoder-upsample", "fashion-mnist"): ("mse", 0.015),
    ("denoiser", "digits"): ("gain", 6.0),
    ("denoiser", "fashion-mnist"): ("gain", 6.0),
    ("capsnet", "digits"): ("accuracy", 0.97),
    ("lenet5", "fashion-mnist"): ("accuracy", 0.91),
    ("convnet", "fashion-mnist"): ("accuracy", 0.935),
    ("stn", "distorted-digits"): ("accuracy", 0.96),    # 1.5 points above the average of stn-without
    ("text", "movie-reviews"): ("accuracy", 0.773),     # two points below logistic regression on TF-IDF features
    ("go", "go-games"): ("top1", 0.30),
    ("speech", "spoken-words"): ("accuracy", 0.9),
    ("speech-sections", "spoken-words"): ("accuracy", 0.9),
    ("speech-time", "spoken-words"): ("accuracy", 0.9),
}
LESS_IS_BETTER = {"mse"}


def measure(arguments):
    """A row for each model and data set; printed as they come."""
    names = arguments.only or list(MODELS)
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise SystemExit(f"no models {', '.join(unknown)}; there are {', '.join(MODELS)}")
    cases = [(name, data) for name in names for data in MODELS[name].recipes]
    rows = []
    for name, data in tqdm(cases, desc="models", unit="training"):
        rows.append(trained(name, data, arguments))
        tqdm.write(text_of(rows[-1]))
    return rows


def trained(name, data, arguments):
    """The row of one training."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(arguments.out, data) if arguments.out else scratch
        command = [sys.executable, "-m", "pycnn", "train", name, "--data", data, "--out", folder, "--json"]
        command += ["--verbose", "0"]
        for option in ("samples", "epochs"):
            value = getattr(arguments, option)
            command += [f"--{option}", str(value)] if value else []
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        return {"model": name, "data": data, "error": result.stderr.strip().splitlines()[-1]}
    row = json.loads(result.stdout)
    goal = GOALS.get((name, data))
    if goal:
        score, bound = goal
        less, value = score in LESS_IS_BETTER, row[f"test_{score}"]
        row.update(goal=f"{score} at {'most' if less else 'least'} {bound}",
                   reached=value <= bound if less else value >= bound)
    return row


def text_of(row):
    """A row as a line of a markdown table."""
    if "error" in row:
        return f"| {row['model']} | {row['data']} | {row['error']} | | | | |"
    scores = ", ".join(f"{key.removeprefix('test_').replace('_', ' ')} {value:.4f}"
                       for key, value in row.items() if key.startswith("test_"))
    verdict = "" if "goal" not in row else f"{row['goal']}: {'yes' if row['reached'] else 'no'}"
    return (f"| {row['model']} | {row['data']} | {row['parameters']:,} | {row['epochs']} | {row['seconds']:,.0f} "
            f"| {scores} | {verdict} |")


HEAD = "| model | data | parameters | epochs | seconds | on test data | wanted |\n" + "| --- " * 7 + "|"


def main(arguments):
    print(HEAD, flush=True)
    rows = measure(arguments)
    if arguments.json:
        with open(arguments.json, "w") as f:
            json.dump({"what": "models", "rows": rows}, f, indent=1)
