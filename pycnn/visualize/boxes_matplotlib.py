"""Boxes and edges as a matplotlib figure."""

from __future__ import annotations

from ..figures import new_figure
from .boxes_svg import COLOURS, EDGE, HEADING, INKS, MARGIN, baselines

INCH = 72       # pixels of the layout


def figure(drawing):
    """The picture, as large as its layout; ImportError where matplotlib is missing."""
    layout = drawing.layout
    width = max(layout.width, 8 * len(drawing.title)) + 2 * MARGIN
    height = layout.height + 2 * MARGIN + HEADING
    canvas = new_figure(width / INCH, height / INCH)
    canvas.set_layout_engine("none")

    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon

    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    across, down = (width - layout.width) / 2, MARGIN + HEADING
    words = {"ha": "center", "va": "baseline", "parse_math": False}
    axes.text(width / 2, MARGIN + 12, drawing.title, color=EDGE, fontsize=13, **words)
    for route in layout.routes:
        points = [(x + across, y + down) for x, y in route]
        axes.add_patch(PathPatch(path(points), facecolor="none", edgecolor=EDGE, linewidth=1.4))
        x, y = points[-1]
        axes.add_patch(Polygon([(x - 3, y - 6), (x + 3, y - 6), (x, y)], color=EDGE, linewidth=0))
    for box, (left, top, w, h) in zip(drawing.boxes, layout.boxes):
        border, filling, _ = COLOURS[box.family]
        axes.add_patch(FancyBboxPatch((left + across + 6, top + down + 6), w - 12, h - 12, boxstyle="round,pad=6",
                                      linewidth=1.4, facecolor=filling, edgecolor=border,
                                      linestyle="--" if box.frozen else "-"))
        for i, (line, y) in enumerate(zip(box.lines, baselines(box, top, h))):
            axes.text(left + across + w / 2, y + down, line, color=INKS[0], fontsize=10 if i else 11.5,
                      fontweight="bold" if i == 0 else "normal", fontstyle="italic" if i == 3 else "normal", **words)
    return canvas


def path(points):
    """Points of a route as a matplotlib path, of curves that are vertical at both ends."""
    from matplotlib.path import Path

    corners, codes = [points[0]], [Path.MOVETO]
    for (x, y), (to_x, to_y) in zip(points, points[1:]):
        middle = (y + to_y) / 2
        corners += [(x, middle), (to_x, middle), (to_x, to_y)]
        codes += [Path.CURVE4] * 3
    return Path(corners, codes)
