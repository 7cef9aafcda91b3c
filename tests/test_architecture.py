"""The graph as a picture: where boxes and edges lie, what stands in them, and SVG that is well formed whatever the names."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyBboxPatch
from PIL import Image

import pycnn
from pycnn import layers as L
from pycnn.visualize import architecture
from pycnn.visualize.architecture import FAMILIES
from pycnn.visualize.boxes_svg import COLOURS
from pycnn.visualize.layering import crossings, layered, spread

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("1")</script>&amp;]]>\x00\x1b\ud800\u202e\n\'\uffff'


def branches(**options):
    """Two inputs, two outputs, branches side by side, a shared layer, an edge over several ranks."""
    image, vector = pycnn.Input((3, 8, 8), name="image"), pycnn.Input((7,), name="vector")
    h = L.Conv(4, 3, padding=1, activation="relu", name="stem")(image)
    h = L.Concat(name="concat")([L.Conv(4, 1, name=f"branch{i}")(h) for i in range(3)])
    shared = L.Conv(12, 3, padding=1, bias=False, name="shared")
    h = L.Add(name="add")([shared(shared(h)), h])
    h = L.GlobalAvgPool(name="mean")(h)
    scores = L.Dense(10, name="scores")(L.Concat(name="both")([h, vector]))
    return pycnn.Network([image, vector], {"scores": scores, "size": L.Dense(1, name="amount")(h)}, **options)


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 14))
    sizes = draw(st.lists(st.tuples(st.integers(10, 200), st.integers(10, 90)), min_size=count, max_size=count))
    edges = [(draw(st.integers(0, v - 1)), v) for v in range(1, count) for _ in range(draw(st.integers(0, 3)))]
    return [tuple(map(float, size)) for size in sizes], edges


def apart(a, b):
    return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_boxes_do_not_overlap_and_edges_go_down_around_them(graph):
    sizes, edges = graph
    layout = layered(sizes, edges)
    boxes = layout.boxes
    assert [(w, h) for _, _, w, h in boxes] == sizes
    for i, box in enumerate(boxes):
        assert box[0] >= -1e-6 and box[0] + box[2] <= layout.width + 1e-6
        assert box[1] >= 0 and box[1] + box[3] <= layout.height + 1e-6
        assert all(apart(box, other) for other in boxes[:i])
    for (source, target), route in zip(edges, layout.routes):
        left, top, width, height = boxes[source]
        assert route[0] == pytest.approx((left + width / 2, top + height))
        left, top, width, _ = boxes[target]
        assert route[-1][1] == pytest.approx(top) and left < route[-1][0] < left + width
        for (x, y), (to_x, to_y) in zip(route, route[1:]):      # the curve lies within the rectangle of its ends
            assert to_y >= y
            piece = (min(x, to_x), y, abs(to_x - x), to_y - y)
            assert all(apart(piece, (a + 1e-6, b + 1e-6, w - 2e-6, h - 2e-6)) for a, b, w, h in boxes)


def test_a_chain_is_straight_and_branches_stand_side_by_side():
    layout = layered([(100, 40), (60, 40), (80, 40)], [(0, 1), (1, 2)])
    assert len({left + width / 2 for left, _, width, _ in layout.boxes}) == 1
    boxes = layered([(100, 40)] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)]).boxes
    (_, top, _, _), (left, one, width, _), (right, other, _, _), _ = boxes
    assert one == other > top and left + width < right


def test_branches_are_put_in_an_order_without_crossings():
    edges = [(0, 2), (0, 3), (1, 4), (1, 5), (2, 8), (3, 7), (4, 6), (5, 9)]
    layout = layered([(50, 20)] * 10, edges)
    rows = {}
    for v, (left, top, _, _) in enumerate(layout.boxes):
        rows.setdefault(top, []).append((left, v))
    rows = [[v for _, v in sorted(row)] for _, row in sorted(rows.items())]
    assert crossings(rows, [[t for s, t in edges if s == v] for v in range(10)]) == 0


def test_crossings_are_counted_pair_by_pair():
    below = [[3, 5], [3, 4], [4], [], [], []]
    assert crossings([[0, 1, 2], [3, 4, 5]], below) == 3


def test_spread_keeps_places_that_are_far_enough_and_shares_what_is_missing():
    np.testing.assert_allclose(spread([0.0, 10.0], [1, 1], [5]), [0, 10])
    np.testing.assert_allclose(spread([0.0, 1.0, 30.0], [1, 1, 1], [5, 5]), [-2, 3, 30])
    np.testing.assert_allclose(spread([4.0, 0.0], [3, 1], [4]), [2, 6])


def test_boxes_say_what_layers_are():
    net = branches(name="both")
    net["stem"].freeze(maps=[0, 3])
    net["branch1"].trainable = False
    net["amount"].freeze()
    drawing = architecture(net)
    lines = {box.lines[0]: box.lines[1:] for box in drawing.boxes}
    assert drawing.title == "both: 1,681 parameters"
    assert lines["image"] == ["Input", "3 × 8 × 8"]
    assert lines["stem"] == ["Conv: 4 filters, 3×3, padding 1, relu", "4 × 8 × 8 · 112 parameters",
                             "2 of 4 maps frozen"]
    assert lines["branch1"] == ["Conv: 4 filters, 1×1", "4 × 8 × 8 · 20 parameters", "frozen"]
    assert lines["shared"] == ["Conv: 12 filters, 3×3, padding 1, no bias", "12 × 8 × 8 · 1,296 parameters",
                               "shared: use 2 of 2"]
    assert lines["add"] == ["Add", "12 × 8 × 8"]
    assert lines["scores"][-1] == "output"
    assert lines["amount"] == ["Dense: 1 unit", "1 · 13 parameters", "frozen, output size"]
    assert {box.lines[0] for box in drawing.boxes if box.frozen} == {"branch1", "amount"}
    assert len(drawing.boxes) == len(net.graph.nodes)


def test_layers_of_the_users_own_are_drawn_too():
    class Twice(L.Lambda):
        def __init__(self):
            super().__init__(lambda x: 2 * x)

    x = pycnn.Input((4,), name="x")
    net = pycnn.Network(x, L.Lambda(np.sin, name="sine")(Twice()(x)))
    assert [box.lines[1] for box in architecture(net).boxes] == ["Input", "Twice", "Lambda"]
    assert [box.family for box in architecture(net).boxes] == ["input", "other", "other"]


def test_every_kind_of_layer_has_a_colour():
    known = {module for modules in FAMILIES.values() for module in modules}
    kinds = {getattr(L, name).__module__.rpartition(".")[2] for name in L.__all__} - {"base", "function"}
    assert kinds == known
    assert COLOURS.keys() == FAMILIES.keys() | {"input", "other"}


@pytest.mark.parametrize("name", [HOSTILE, "x" * 500, "層" * 40, " ", "a&b"])
def test_svg_is_well_formed_whatever_layers_are_called(name):
    x = pycnn.Input((4,), name="x")
    net = pycnn.Network(x, L.Dense(2, name=name.replace("/", "|"))(x), name=name)
    root = ET.fromstring(str(architecture(net)))
    assert root.tag == f"{SVG}svg"
    texts = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "name"]
    assert texts[0] == "x" and len(texts) == 2
    assert not root.findall(f".//{SVG}script")
    assert all(c.isprintable() for c in "".join(texts))
    assert all(float(rect.get("width")) <= 380 for rect in root.iter(f"{SVG}rect"))


def test_svg_has_a_box_for_each_use_and_an_edge_for_each_input():
    net = branches()
    root = ET.fromstring(str(architecture(net)))
    assert len(list(root.iter(f"{SVG}rect"))) == len(net.graph.nodes)
    edges = [path for path in root.iter(f"{SVG}path") if path.get("class") == "edge"]
    assert len(edges) == sum(len(node.inputs) for node in net.graph.nodes)
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_notebooks_show_a_network_as_its_graph():
    net = branches()
    html = net._repr_html_()
    assert str(architecture(net)) in html
    ET.fromstring(html)
    assert architecture(net)._repr_svg_() == str(architecture(net))


def test_files_are_svg_and_png(tmp_path):
    drawing = architecture(branches(), save=tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == str(drawing)
    architecture(branches(), save=str(tmp_path / "net.png"))
    with Image.open(tmp_path / "net.png") as picture:
        assert picture.format == "PNG"
        shape = (drawing.layout.height + 54) / (drawing.layout.width + 24)
        assert picture.height / picture.width == pytest.approx(shape, rel=0.01)


def test_text_on_the_png_stays_in_its_box():
    figure = architecture(branches()).figure()
    renderer, (axes,) = FigureCanvasAgg(figure).get_renderer(), figure.axes
    boxes = [patch.get_window_extent(renderer) for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    for text in axes.texts[1:]:
        inner = text.get_window_extent(renderer)
        assert any(box.x0 <= inner.x0 and inner.x1 <= box.x1 and box.y0 <= inner.y0 and inner.y1 <= box.y1
                   for box in boxes), text


def test_bad_arguments_are_refused(tmp_path):
    net = branches()
    with pytest.raises(TypeError, match="architecture draws a Network, got str"):
        architecture("net")
    with pytest.raises(ValueError, match=r"ends in \.svg or \.png, got 'net\.pdf'"):
        architecture(net, save="net.pdf")
    with pytest.raises(TypeError, match="got 3"):
        architecture(net, save=3)
    for name in ("net.svg", "net.png"):
        with pytest.raises(ValueError, match="there is no folder"):
            architecture(net, save=tmp_path / "missing" / name)
    assert list(tmp_path.iterdir()) == []


def test_svg_needs_nothing_heavy():
    code = ("import sys; sys.modules['matplotlib'] = sys.modules['PIL'] = None; import pycnn; "
            "print(str(pycnn.visualize.architecture(pycnn.models.lenet5()))[:4])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "<svg\n"
