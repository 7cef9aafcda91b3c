"""The pictures of curves.py: lines with their names beside them, in colours that the colour-blind can tell apart."""

from math import atan2, degrees

COLOURS = {"pycnn": "#0072B2", "PyTorch": "#D55E00", "ONNX Runtime": "#009E73"}     # Okabe and Ito
PASS_COLOURS = {
    "forward": "#0072B2", "backward_data": "#D55E00", "backward_weights": "#009E73", "bound by memory": "#CC79A7",
}
MARKERS = {"forward": "o", "backward_data": "s", "backward_weights": "^", "bound by memory": "D"}
GREY = "#666666"
CURVES = {      # curve: (title, label of x, columns)
    "batch": ("Time per image against batch size, one thread", "batch size", 2),
    "side": ("Time per image against image side: four convolutions, batches of 4, one thread", "side of the image", 2),
    "width": ("Time per image against width: a 3x3 layer on 14 x 14, batches of 8, one thread", "maps in and out", 3),
    "threads": ("Time per image against threads, batches of 64", "threads", 4),
}


def draw(figures, folder):
    """Writes ``cost-NAME.png`` of each curve that was measured, and ``roofline.png``."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                         "grid.color": "#e4e4e4", "axes.edgecolor": GREY, "axes.axisbelow": True, "savefig.dpi": 130})
    for name, measured in figures.items():
        if name == "roofline":
            figure, file = draw_roofline(plt, measured), "roofline.png"
        else:
            figure, file = draw_curve(plt, measured, *CURVES[name]), f"cost-{name}.png"
        figure.savefig(folder / file)
        plt.close(figure)


def draw_curve(plt, rows, title, x_label, columns):
    """One panel for each of the curve's panels, log-log."""
    panels = list(dict.fromkeys(r["panel"] for r in rows))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(10, 1.2 + 3.1 * lines), sharex=True, squeeze=False,
                                layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    for number, (ax, panel) in enumerate(zip(axes.flat, panels)):
        mine = [r for r in rows if r["panel"] == panel]
        ticks = [r["x"] for r in mine]
        ends = {}
        for library, colour in COLOURS.items():
            points = [(r["x"], r["seconds"][library] * 1e6) for r in mine if library in r["seconds"]]
            if points:
                ax.plot(*zip(*points), "o-", color=colour, lw=2, ms=4, zorder=3 if library == "pycnn" else 2)
                ends[library] = points[-1]
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        shown = ticks if len(ticks) < 9 else ticks[::2]
        ax.set_xticks(shown, [f"{tick:,}" for tick in shown])
        ax.set_xlim(ticks[0] / 1.15, ticks[-1] * (ticks[-1] / ticks[0]) ** 0.33)
        one_two_five(ax)
        ax.set_title(panel.replace("_", " "), loc="left", fontsize=10)
        label_ends(ax, ends)
        if number % columns == 0:
            ax.set_ylabel("microseconds per image")
        if number // columns == lines - 1:
            ax.set_xlabel(x_label)
    return figure


def one_two_five(ax):
    """Ticks of y at 1, 2 and 5 times a power of ten, or at powers of ten where there are many."""
    from matplotlib.ticker import LogLocator

    low, high = ax.get_ylim()
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")


def label_ends(ax, ends):
    """The names of the lines right of their ends, moved apart where they would touch."""
    ax.figure.canvas.draw()
    least = 12 * ax.figure.dpi / 72     # between two lines of text, in pixels
    placed, below = [], -1e9
    for library, (x, y) in sorted(ends.items(), key=lambda item: item[1][1]):
        pixel = max(ax.transData.transform((x, y))[1], below + least)
        placed.append((library, x, y, pixel - ax.transData.transform((x, y))[1]))
        below = pixel
    for library, x, y, shift in placed:
        ax.annotate(library, (x, y), (7, shift * 72 / ax.figure.dpi), textcoords="offset points", va="center",
                    color=COLOURS[library], fontsize=9, fontweight="bold", annotation_clip=False)


def draw_roofline(plt, roof):
    """GFLOP/s against operations per byte. The points of a layer stand above one another, and lead down to its name."""
    figure, ax = plt.subplots(figsize=(11, 8), layout="constrained")
    points, peak = roof["points"], roof["peak"]
    left, right = min(p["intensity"] for p in points) / 1.8, max(p["intensity"] for p in points) * 1.6
    lowest, highest = min(p["gflops"] for p in points), max(peak, *(p["gflops"] for p in points))
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(lowest / 4.5, highest * 1.25),
           xlabel="operations per byte that must be moved", ylabel="GFLOP/s, one thread")
    ax.set_title("Each kernel's place under the roofline", loc="left", fontweight="bold")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    ax.grid(False)
    for label, bandwidth in roof["bandwidths"].items():
        corner = peak / bandwidth
        ax.plot([left, corner], [left * bandwidth, peak], color=GREY, lw=1.5)
        ax.annotate(f"{label}, {bandwidth:.0f} GB/s", (left * 1.1, left * bandwidth * 1.1), (0, 4), color=GREY,
                    fontsize=9, textcoords="offset points", rotation=slope_of(ax), rotation_mode="anchor")
    ax.plot([peak / max(roof["bandwidths"].values()), right], [peak, peak], color=GREY, lw=1.5)
    ax.annotate(f"multiply-adds, {peak:.0f} GFLOP/s (Winograd goes beyond: it needs fewer)", (right, peak), (0, 4),
                textcoords="offset points", ha="right", color=GREY, fontsize=9)
    for kind, colour in PASS_COLOURS.items():
        mine = [p for p in points if p["kind"] == kind]
        if mine:
            ax.scatter([p["intensity"] for p in mine], [p["gflops"] for p in mine], s=38, color=colour, zorder=3,
                       marker=MARKERS[kind], edgecolors="white", linewidths=0.6, label=kind.replace("_", " "))
    name_below(ax, points, lowest / 1.25)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, handletextpad=0.2)
    return figure


def slope_of(ax):
    """Degrees at which a line of slope one stands in a log-log plot."""
    ax.figure.canvas.draw()
    (x0, y0), (x1, y1) = (ax.transData.transform((v, v)) for v in (1, 10))
    return degrees(atan2(y1 - y0, x1 - x0))


def name_below(ax, points, top):
    """Writes the name of each kernel under its lowest point, upright, side by side."""
    lowest = {}
    for p in points:
        if p["kernel"] not in lowest or p["gflops"] < lowest[p["kernel"]]["gflops"]:
            lowest[p["kernel"]] = p
    pixel = {name: ax.transData.transform((p["intensity"], 1))[0] for name, p in lowest.items()}
    width, border = 13 * ax.figure.dpi / 72, ax.transData.transform((ax.get_xlim()[1], 1))[0]
    places = spread_out(pixel, width, border - width)
    for name, p in lowest.items():
        x = ax.transData.inverted().transform((places[name], 0))[0]
        ax.plot([p["intensity"], p["intensity"], x], [p["gflops"], top * 1.12, top], color="#c8c8c8", lw=0.7, zorder=1)
        ax.annotate(name, (x, top), (0, -3), textcoords="offset points", rotation=90, ha="center", va="top", fontsize=8,
                    color="#333333")


def spread_out(wanted, least, most):
    """{name: place} as near to what each wants as can be, in order, at least so far apart and none beyond the most."""
    groups = []         # (names, mean place): neighbours that would touch move as one
    for name in sorted(wanted, key=wanted.get):
        groups.append(([name], min(wanted[name], most)))
        while len(groups) > 1:
            (a, x), (b, y) = groups[-2:]
            if y - (len(b) - 1) * least / 2 - x - (len(a) - 1) * least / 2 >= least:
                break
            names = a + b
            shift = [wanted[n] - (i - (len(names) - 1) / 2) * least for i, n in enumerate(names)]
            groups[-2:] = [(names, min(sum(shift) / len(names), most - (len(names) - 1) * least / 2))]
    return {n: x + (i - (len(names) - 1) / 2) * least for names, x in groups for i, n in enumerate(names)}
