"""Boxes and edges as SVG, with colours for light pages and dark ones."""

from __future__ import annotations

from xml.sax.saxutils import escape

COLOURS = {             # family: border, filling of light pages, filling of dark ones
    "input": ("#7d8590", "#f0f2f4", "#2d333b"),
    "convolution": ("#2f74d0", "#e3eefc", "#16304f"),
    "dense": ("#8250df", "#f0e9fd", "#32235a"),
    "pooling": ("#1a8f6e", "#dff5ed", "#123c30"),
    "norm": ("#b7791f", "#fdf1d8", "#45330f"),
    "activation": ("#cf4a76", "#fde8ef", "#4c1c2f"),
    "merge": ("#0e8aa3", "#dcf3f8", "#0f3b46"),
    "capsules": ("#c2571a", "#fde9dc", "#4a2611"),
    "shape": ("#6b7a99", "#e9edf5", "#283149"),
    "other": ("#7d8590", "#ffffff", "#22272e"),
}
INKS = ("#1f2328", "#e6edf3")       # of light pages, dark ones
EDGE = "#848d97"                    # seen on both
MARGIN, HEADING = 12, 30
ARROW = 6
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"


def svg(drawing):
    """The text of an SVG document."""
    layout = drawing.layout
    width = max(layout.width, 8 * len(drawing.title)) + 2 * MARGIN
    height = layout.height + 2 * MARGIN + HEADING
    shift = (width - layout.width) / 2, MARGIN + HEADING
    parts = [
        (f'<svg xmlns="http://www.w3.org/2000/svg" class="pycnn-graph" width="{width:.0f}" height="{height:.0f}" '
         f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">'),
        f"<title>{escape(drawing.title)}</title>", f"<style>{style()}</style>",
        f'<text class="heading" x="{width / 2:.1f}" y="{MARGIN + 12}">{escape(drawing.title)}</text>',
        f'<g transform="translate({shift[0]:.1f} {shift[1]:.1f})">',
    ]
    for route in layout.routes:
        parts.append(f'<path class="edge" d="{path(route)}"/>')
        x, y = route[-1]
        parts.append(f'<path class="tip" d="M{x - ARROW / 2:.1f} {y - ARROW:.1f}h{ARROW}L{x:.1f} {y:.1f}z"/>')
    for box, (left, top, w, h) in zip(drawing.boxes, layout.boxes):
        frozen = " frozen" * box.frozen
        parts.append(f'<g class="box {box.family}{frozen}"><title>{escape(box.detail)}</title>'
                     f'<rect x="{left:.1f}" y="{top:.1f}" width="{w:.1f}" height="{h:.1f}" rx="7"/>')
        for i, (line, y) in enumerate(zip(box.lines, baselines(box, top, h))):
            kind = ("name", "kind", "shape", "remark")[i]
            parts.append(f'<text class="{kind}" x="{left + w / 2:.1f}" y="{y:.1f}">{escape(line)}</text>')
        parts.append("</g>")
    return "\n".join([*parts, "</g>", "</svg>"])


def baselines(box, top, height):
    """Where the lines of a box stand."""
    step = height / (len(box.lines) + 0.6)
    return [top + step * (i + 1.05) for i in range(len(box.lines))]


def path(route):
    """A route as SVG's path data: straight where it goes down, else a curve that is vertical at both ends."""
    (x, y), text = route[0], f"M{route[0][0]:.1f} {route[0][1]:.1f}"
    for to_x, to_y in route[1:]:
        middle = (y + to_y) / 2
        curve = f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
        text += f"V{to_y:.1f}" if to_x == x else curve
        x, y = to_x, to_y
    return text


def style():
    """The sheet of styles; all of it is about this picture only, in whatever page it stands."""
    own = ".pycnn-graph"
    rules = [
        f"{own}{{max-width:100%;height:auto;font-family:{FONT}}}",
        f"{own} text{{text-anchor:middle;font-size:11.5px;fill:{INKS[0]}}}",
        f"{own} .heading{{font-size:14px;fill:{EDGE}}}",
        f"{own} .name{{font-size:13px;font-weight:600}}",
        f"{own} .remark{{font-style:italic}}",
        f"{own} .edge{{fill:none;stroke:{EDGE};stroke-width:1.5}}",
        f"{own} .tip{{fill:{EDGE}}}",
        f"{own} rect{{stroke-width:1.5}}",
        f"{own} .frozen rect{{stroke-dasharray:5 4}}",
        *(f"{own} .{family} rect{{stroke:{border};fill:{light}}}" for family, (border, light, _) in COLOURS.items()),
    ]
    dark = [f"{own} .{family} rect{{fill:{filling}}}" for family, (_, _, filling) in COLOURS.items()]
    dark.append(f"{own} .box text{{fill:{INKS[1]}}}")
    return "".join(rules) + "@media (prefers-color-scheme: dark){" + "".join(dark) + "}"
