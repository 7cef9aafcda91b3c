"""What is to be reached, as rules over the rows of a run, and how far the run is from it."""

from . import light
from .timing import geometric_mean

RATIO_TO_PEER = {
    "plan": {"forward": 1.5, "backward_data": 2.0, "backward_weights": 1.5},
    "functional": {"forward": 1.2, "backward_data": 1.5, "backward_weights": 1.2},
}
LEAST_RATIO = 0.95
SHARE_OF_PEAK = {
    "direct": (0.85, "compute-bound direct convolutions"), "few channels": (0.75, "few channels, batch of 16 or more"),
    "winograd": (1.3, "3x3, stride 1, 32 channels or more"),
}
SHARE_OF_BANDWIDTH = 0.8
ARENA_SHARE = 0.9
LIGHT_RATIO = 1.0
SPEED_UP, SPEED_UP_FLOPS = 1.85, 5e7
NETWORK_RATIOS = {      # (network, mode, batch): at 1 and at 2 threads
    ("lenet5", "training", 64): 4, ("lenet5", "training", 1): 12, ("autoencoder", "training", 64): 5,
    ("cifar", "training", 64): 1.6, ("resnet18", "training", 8): 1.4, ("lenet5", "inference", 64): 2,
    ("lenet5", "inference", 1): 1.5, ("cifar", "inference", 64): 1.4, ("resnet18", "inference", 8): 1.25,
    ("resnet18", "inference", 1): 1.25, ("resnet18", "memory", 8): 1 / 0.6,
}


def target(what, threads, value, least, below=()):
    """One line of the summary; `below` are those that miss it, as (name, value)."""
    return {"what": what, "threads": threads, "value": value, "target": least, "reached": not below and value >= least,
            "below": sorted(below, key=lambda pair: pair[1])}


def is_bound_by_memory(row):
    """Whether its bytes take longer at the bandwidth of a copy than its arithmetic at the peak."""
    return row["bytes"] / row["bandwidth"] > row["flops"] / row["peak"]


def name_of(row):
    return f"{row['layer']} {row['pass']}"


def of_kernels(rows):
    """The lines of a run of kernels."""
    lines = []
    for threads in sorted({r["threads"] for r in rows}):
        mine = [r for r in rows if r["threads"] == threads]
        convolutions = [r for r in mine if "flops" in r]
        compared = [r for r in convolutions if r["best_peer"]]
        for kind, targets in RATIO_TO_PEER.items():
            for which, least in targets.items():
                ratios = [r[f"{kind}_ratio"] for r in compared if r["pass"] == which]
                if ratios:
                    what = f"{kind} / best peer, {which}, geometric mean"
                    lines.append(target(what, threads, geometric_mean(ratios), least))
        if compared:
            ratios = {name_of(r): r["plan_ratio"] for r in compared}
            lines.append(least_of("plan / best peer, the least", threads, ratios, LEAST_RATIO))
        for kind, (least, what) in SHARE_OF_PEAK.items():
            shares = {name_of(r): r["gflops"]["plan"] / r["peak"] for r in convolutions
                      if r["class"] == kind and not is_bound_by_memory(r)}
            if shares:
                lines.append(least_of(f"of peak: {what}, the least", threads, shares, least))
        shares = {r["kernel"]: r["share"] for r in mine if r.get("contender") == "plan"}
        shares |= {name_of(r): r["gflops"]["plan"] / r["flops"] * r["bytes"] / r["bandwidth"] for r in convolutions
                   if is_bound_by_memory(r)}
        if shares:
            what = "of bandwidth: kernels bound by memory, the least"
            lines.append(least_of(what, threads, shares, SHARE_OF_BANDWIDTH))
    return lines + speed_ups(rows)


def least_of(what, threads, values, least):
    return target(what, threads, min(values.values()), least, [pair for pair in values.items() if pair[1] < least])


def speed_ups(rows):
    """Two threads against one on every large layer."""
    times = {(name_of(r), r["threads"]): 1 / r["gflops"]["plan"] for r in rows if r.get("flops", 0) > SPEED_UP_FLOPS}
    gains = {name: t / times[name, 2] for (name, threads), t in times.items() if threads == 1 and (name, 2) in times}
    return [least_of("two threads / one, above 50 MFLOP, the least", 2, gains, SPEED_UP)] if gains else []


def of_networks(rows):
    """The lines of a run of networks."""
    lines = []
    for r in rows:
        key = r["network"], r.get("mode"), r["batch"]
        if key in NETWORK_RATIOS and r["ratio"]:
            lines.append(target(f"{key[0]}, {key[1]}, batch {key[2]}", r["threads"], r["ratio"], NETWORK_RATIOS[key]))
        if r.get("mode") == "memory":
            arena, step = (r["bytes"]["pycnn"][key] for key in ("arena", "step"))
            lines.append(target(f"{r['network']}, arena / growth in a step, or inverse", r["threads"],
                                min(arena / step, step / arena), ARENA_SHARE))
    return lines + of_light_networks(rows)


def of_light_networks(rows):
    """The lines of the networks of the package onnx, against ONNX Runtime."""
    ratios = {}
    for r in rows:
        if r["network"].startswith(light.PREFIX) and r["ratio"]:
            ratios.setdefault((r["threads"], r["batch"]), {})[r["network"]] = r["ratio"]
    return [target(f"networks of onnx, batch {batch}, geometric mean", threads,
                   geometric_mean(of_case.values()), LIGHT_RATIO) for (threads, batch), of_case in sorted(ratios.items())]


def text_of(lines):
    """The summary as a table to print."""
    table = [f"{'target':54s} {'threads':>7s} {'is':>6s} {'at least':>8s}  missed by"]
    for line in lines:
        worst = ", ".join(f"{name} {value:.2f}" for name, value in line["below"][:3])
        missed = f"{len(line['below'])}: {worst}" if line["below"] else "" if line["reached"] else "x"
        table.append(f"{line['what']:54s} {line['threads']:7d} {line['value']:6.2f} {line['target']:8.2f}  {missed}")
    return "\n".join(table)
