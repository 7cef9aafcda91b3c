"""python -m bench report kernels.json networks.json: the tables of docs/performance.md, from the figures of runs.

With ``--into PAGE`` they replace what stands there between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.
"""

import json
import re
from pathlib import Path

from .layers import PASSES


def tables_of(files):
    """{name: markdown} of all tables that the files have figures for."""
    found = {}
    for file in files:
        run = json.loads(Path(file).read_text())
        found[f"{run['what']} machine"] = machine_of(run["machine"])
        found[f"{run['what']} targets"] = targets_table(run["targets"])
        if run["what"] == "networks":
            found["networks"] = networks_table(run)
            continue
        for threads in sorted({r["threads"] for r in run["rows"]}):
            rows = [r for r in run["rows"] if r["threads"] == threads]
            if any("flops" in r for r in rows):
                found[f"kernels {threads}"] = kernels_table([r for r in rows if "flops" in r])
            if any("share" in r for r in rows):
                found[f"memory {threads}"] = memory_table([r for r in rows if "share" in r])
    return found


def machine_of(machine):
    versions = ", ".join(f"{name.removesuffix('_cpu')} {version}" for name, version in machine["versions"].items())
    return f"{machine['processor']}, {machine['cores']} cores, {machine['isa']}; {versions}."


def table(heads, rows):
    """A markdown table; the first column is text, the others stand to the right."""
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def targets_table(lines):
    """A row for each target, a column for each number of threads."""
    threads = sorted({line["threads"] for line in lines})
    by_what = {}
    for line in lines:
        by_what.setdefault(line["what"], {})[line["threads"]] = line
    rows = []
    for what, of_threads in by_what.items():
        cells = [f"{of_threads[t]['value']:.2f}{missed(of_threads[t])}" if t in of_threads else "" for t in threads]
        rows.append([what, f"{next(iter(of_threads.values()))['target']:.2f}", *cells])
    return table(["", "at least", *(f"{t} thread{'s' * (t > 1)}" for t in threads)], rows)


def missed(line):
    """How many miss the target, where it is one for each of many."""
    return f" ({len(line['below'])} below)" if line["below"] else ""


def kernels_table(rows):
    """A row for each layer, and in it of each pass: GFLOP/s, percent of the peak, ratio to the best peer."""
    layers = {}
    for r in rows:
        layers.setdefault(r["layer"], {})[r["pass"]] = r
    body = []
    for name, passes in layers.items():
        shape = next(iter(passes.values()))["shape"]
        body.append([f"{name}: {shape}", *(kernel_cell(passes.get(which)) for which in PASSES)])
    return table(["layer", *(which.replace("_", " ") for which in PASSES)], body)


def kernel_cell(r):
    if r is None:
        return ""
    speed = r["gflops"]["plan"]
    ratio = f", {r['plan_ratio']:.2f}" if r["best_peer"] else ""
    return f"{speed:.0f}, {100 * speed / r['peak']:.0f} %{ratio}"


def memory_table(rows):
    body = []
    for r in rows:
        peer = f"{r['ratio']:.2f} ({r['best_peer']})" if r["best_peer"] else ""
        body.append([f"{r['kernel']}, {r['contender']}", f"{r['bytes'] / 1e6:.1f}", f"{r['gbytes']:.0f}",
                     f"{100 * r['share']:.0f} %", peer])
    return table(["kernel", "MB", "GB/s", "of the bandwidth", "best peer's time / own"], body)


def networks_table(run):
    least = {line["what"]: line["target"] for line in run["targets"]}
    body = []
    for r in run["rows"]:
        if "images_per_second" not in r:
            continue
        what, speeds, best = f"{r['network']}, {r['mode']}, batch {r['batch']}", r["images_per_second"], r["best_peer"]
        peer = [f"{speeds[best]:,.0f} ({best})", f"{r['ratio']:.2f}"] if best else ["", ""]
        goal = f"{least[what]:.2f}" if what in least else ""
        body.append([what, str(r["threads"]), f"{speeds['pycnn']:,.0f}", *peer, goal])
    return table(["network", "threads", "pycnn, images/s", "best peer, images/s", "ratio", "at least"], body)


def put_into(page, tables):
    """Replaces the tables of a page; ValueError for one that it has no place for."""
    path = Path(page)
    text = path.read_text(encoding="utf-8")
    for name, markdown in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"{page} has no place <!-- {name} -->")
        text = place.sub(lambda match, new=markdown: f"{match[1]}\n{new}\n\n{match[2]}", text)
    path.write_text(text, encoding="utf-8")


def main(arguments):
    tables = tables_of(arguments.files)
    if arguments.into:
        put_into(arguments.into, tables)
    else:
        for name, markdown in tables.items():
            print(f"<!-- {name} -->\n\n{markdown}\n\n<!-- end of {name} -->\n")
