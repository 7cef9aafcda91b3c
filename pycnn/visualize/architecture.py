"""The graph of a network as a picture: a box for each use of a layer, with what it is, makes and learns."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path

from ..figures import picture_path, write_figure
from ..figures.canvas import check_folder
from ..files import write_whole
from ..layers.base import InputLayer
from ..network import Network
from . import boxes_matplotlib, boxes_svg
from .layering import layered

FAMILIES = {            # what is drawn alike -> where its layers are defined
    "convolution": ("connect", "conv", "conv_transpose", "local"),
    "dense": ("bias", "dense", "embedding", "matmul", "rbf"),
    "pooling": ("arg_max", "pooling", "reduce", "resample", "resize", "spatial_transformer", "subsample"),
    "norm": ("local_response", "norm", "random", "sample_norm"),
    "activation": ("activations", "pointwise", "prelu", "softmax", "unary"),
    "merge": ("binary", "merge", "where"),
    "capsules": ("capsules",),
    "shape": ("constant", "reshape", "select"),
}
LINE, PADDING = 17, 10                  # height of a line of text, and space within a box
NARROWEST, WIDEST = 120, 380
NAME_SIZE, TEXT_SIZE = 14, 11.5         # as wide as the bold 13 of names, and the text
NARROW = "fijlrt1!.,:; ·|()[]'"


@dataclass
class Box:
    """A use of a layer.

    Attributes
    ----------
    lines : list of str
        Its name; its kind and settings; output shape and parameters; and what is special about it, if anything is.
    detail : str
        All that is known of the layer, for those who point at it.
    family : str
        One of FAMILIES, ``"input"`` or ``"other"``.
    frozen : bool
        Whether it has parameters of which none may change.
    """

    lines: list
    detail: str
    family: str
    frozen: bool

    @property
    def size(self):
        widths = [text_width(line, TEXT_SIZE if i else NAME_SIZE) for i, line in enumerate(self.lines)]
        return max(NARROWEST, max(widths) + 2 * PADDING), LINE * len(self.lines) + 1.4 * PADDING


class Drawing:
    """A network's graph as a picture. ``str()`` of it is SVG; notebooks show it.

    Attributes
    ----------
    title : str
    boxes : list of Box
        In the order of the graph's nodes.
    layout : Layout
        Where they are, in pixels.
    """

    def __init__(self, title, boxes, edges):
        self.title, self.boxes = title, boxes
        self.layout = layered([box.size for box in boxes], edges)

    def __str__(self):
        return boxes_svg.svg(self)

    def __repr__(self):
        return f"<Drawing of {self.title!r}, {len(self.boxes)} boxes>"

    def _repr_svg_(self):
        return str(self)

    def _repr_html_(self):
        return f'<div style="overflow:auto">{self}</div>'

    def figure(self):
        """The same as a matplotlib figure; ImportError where matplotlib is missing."""
        return boxes_matplotlib.figure(self)


def architecture(net, save=None):
    """Draws a network's graph, from its inputs at the top to its outputs.

    Each use of a layer is a box: the layer's name; its kind, and the settings that are not the usual ones; the shape of
    what comes out, without the batch, and the number of parameters. Colours tell the kinds apart, a broken border what
    is frozen. A layer that is used more than once has a box for each use, which says so.

    Parameters
    ----------
    net : Network
    save : str or path, optional
        A file to be written: ``.svg``, or ``.png``, which needs matplotlib.

    Returns
    -------
    Drawing
        ``str(drawing)`` is the SVG. Its colours suit a light page and a dark one. Notebooks show it, as they show a
        network by itself.

    Raises
    ------
    TypeError, ValueError
        When `net` is no Network, or `save` no path of such a file in a folder that exists.
    ImportError
        For a PNG file, when matplotlib is missing.

    Examples
    --------
    >>> from pycnn.models import lenet5
    >>> drawing = architecture(lenet5())
    >>> drawing.boxes[1].lines
    ['C1', 'Conv: 6 filters, 5×5, padding 2, relu', '6 × 28 × 28 · 156 parameters']
    >>> str(drawing).startswith("<svg")
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"architecture draws a Network, got {type(net).__name__}")
    path, svg = None, isinstance(save, (str, os.PathLike)) and Path(save).suffix.lower() == ".svg"
    if svg:
        check_folder(Path(save))
    elif isinstance(save, (str, os.PathLike)) and Path(save).suffix.lower() != ".png":
        raise ValueError(f"save is the path of a file whose name ends in .svg or .png, got {str(save)!r}")
    else:
        path = picture_path(save)
    nodes = net.graph.nodes
    number = {node: i for i, node in enumerate(nodes)}
    edges = [(number[source], i) for i, node in enumerate(nodes) for source in node.inputs]
    title = f"{net.name or 'network'}: {counted(net.count_parameters(), 'parameter')}"
    drawing = Drawing(printable(title), [box_of(net, node) for node in nodes], edges)
    if svg:
        write_whole(save, str(drawing).encode())
    write_figure(path, drawing.figure)
    return drawing


def notebook_view(net):
    """What a notebook shows of a network: its graph."""
    return architecture(net)._repr_html_()


def box_of(net, node):
    """The box of a use of a layer."""
    layer, count = node.layer, node.layer.count_parameters()
    kind = "Input" if isinstance(layer, InputLayer) else type(layer).__name__
    settings = ", ".join(brief_settings(layer, len(node.inputs[0].shape) - 1 if node.inputs else 0))
    lines = [layer.name, f"{kind}: {settings}" if settings else kind,
             times(node.shape) + (f" · {counted(count, 'parameter')}" if count else "")]
    remarks = special(net, node)
    if remarks:
        lines.append(", ".join(remarks))
    values = ", ".join(f"{name} {times(p.shape)}" for name, p in layer._parameters.items())
    detail = f"{layer.name}: {kind}" + (f"({', '.join(f'{k}={v!r}' for k, v in settings_of(layer).items())})")
    frozen = bool(count) and not layer.count_parameters(trainable=True)
    return Box([shortened(printable(line), TEXT_SIZE if i else NAME_SIZE) for i, line in enumerate(lines)],
               printable(detail + (f"; {values}" if values else "")), family_of(layer), frozen)


def special(net, node):
    """What else there is to say of a use of a layer: shared, frozen, an output of the network."""
    layer, remarks = node.layer, []
    uses = [other for other in net.graph.nodes if other.layer is layer]
    if len(uses) > 1:
        remarks.append(f"shared: use {uses.index(node) + 1} of {len(uses)}")
    count, free = layer.count_parameters(), layer.count_parameters(trainable=True)
    still = int((~layer.trainable_maps).sum()) if count else 0
    if count and not free:
        remarks.append("frozen")
    elif still:
        remarks.append(f"{still} of {counted(len(layer.trainable_maps), 'map')} frozen")
    elif free < count:
        remarks.append(f"{count - free:,} of {counted(count, 'parameter')} frozen")
    for name, output in net.graph.outputs.items():
        if output is node:
            remarks.append("output" if name == layer.name else f"output {name}")
    return remarks


def settings_of(layer):
    """The constructor's arguments; none of a layer that keeps them otherwise, or cannot write them."""
    try:
        return layer.config()
    except (KeyError, TypeError, ValueError):
        return {}


def brief_settings(layer, axes):
    """The settings that are not the usual ones, in words; those of a layer over so many axes."""
    signature = inspect.signature(type(layer).__init__).parameters
    for name, value in settings_of(layer).items():
        usual = signature[name].default
        if value == usual or value is None or name.endswith("_init") or isinstance(layer, InputLayer):
            continue
        if name in ("kernel_size", "size", "shape"):
            yield "×".join(map(str, value if isinstance(value, list) else [value] * max(1, axes)))
        elif name in ("filters", "units", "capsules"):
            yield counted(value, name[:-1])
        elif name in ("activation", "mode"):
            yield str(value)
        elif isinstance(value, bool):
            yield f"{'' if value else 'no '}{name.replace('_', ' ')}"
        elif isinstance(value, (list, dict)) and len(str(value)) > 24:
            yield name.replace("_", " ")
        else:
            text = "×".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{name.replace('_', ' ')} {text}"


def family_of(layer):
    """What it is drawn like."""
    if isinstance(layer, InputLayer):
        return "input"
    for kind in type(layer).__mro__:
        package, _, module = kind.__module__.rpartition(".")
        for family, modules in FAMILIES.items():
            if package == "pycnn.layers" and module in modules:
                return family
    return "other"


def times(shape):
    return " × ".join(map(str, shape))


def counted(number, what):
    """``1 map``, ``1,000 maps``."""
    return f"{number:,} {what}{'s' * (number != 1)}" if isinstance(number, int) else f"{number} {what}s"


def printable(text):
    """The text without what cannot be printed: controls, marks that turn the direction of writing, half characters."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def text_width(text, size):
    """An upper estimate of the width of a text in a sans-serif font of that size, in pixels."""
    return size * sum(1.1 if c > "\u1100" or c in "WM@%" else 0.42 if c in NARROW else 0.62 for c in text)


def shortened(text, size):
    """The text, or as much of it as the widest box holds."""
    while text_width(text, size) > WIDEST - 2 * PADDING:
        text = text[:-2] + "…"
    return text
