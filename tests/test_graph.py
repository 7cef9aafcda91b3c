"""The graph: every node after its inputs, every layer with its own name, and errors that say which layer is wrong."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycnn import Input
from pycnn import layers as L
from pycnn.graph import Graph
from pycnn.layers.base import InputLayer, Node


def layer_class(name):
    known = {"InputLayer": InputLayer, **{n: getattr(L, n) for n in L.__all__ if n != "Layer"}}
    if name not in known:
        raise ValueError(f"unknown layer class {name!r}")
    return known[name]


def names(graph):
    return [node.layer.name for node in graph.nodes]


# ---- order -----------------------------------------------------------------------------------------------------------


def assert_ordered(graph):
    place = {node: i for i, node in enumerate(graph.nodes)}
    assert len(place) == len(graph.nodes)
    assert all(place[source] < place[node] for node in graph.nodes for source in node.inputs)


def test_branches_and_joins_are_ordered_each_node_after_its_inputs_and_once():
    x = Input((2, 6, 6), name="x")
    trunk = L.Conv(4, 3, name="trunk")(x)
    a, b = L.Tanh(name="a")(trunk), L.Sigmoid(name="b")(trunk)
    joined = L.Add(name="joined")(a, b)
    graph = Graph(x, L.Concat(name="end")(joined, a, trunk))
    assert_ordered(graph)
    assert sorted(names(graph)) == ["a", "b", "end", "joined", "trunk", "x"]


@given(st.lists(st.lists(st.integers(0, 100), min_size=2, max_size=4), min_size=1, max_size=25))
def test_any_network_of_sums_is_ordered(choices):
    nodes = [Input((3,))]
    for chosen in choices:
        nodes.append(L.Add()([nodes[i % len(nodes)] for i in chosen]))
    needed, stack = set(), [nodes[-1]]
    while stack:
        node = stack.pop()
        needed.add(node)
        stack.extend(i for i in node.inputs if i not in needed)
    graph = Graph(nodes[0], nodes[-1])
    assert_ordered(graph)
    assert set(graph.nodes) == needed


def test_a_path_of_ten_thousand_layers_needs_no_deep_recursion():
    h = x = Input((1,))
    for _ in range(10_000):
        h = L.ReLU()(h)
    graph = Graph(x, h)
    assert len(graph.nodes) == 10_001 and names(graph)[-1] == "ReLU10000"


def test_a_lattice_with_exponentially_many_paths_is_walked_once():
    h = x = Input((1,))
    for _ in range(200):
        h = L.Add()(h, h)
    assert len(Graph(x, h).nodes) == 201


def test_layers_that_lead_to_no_output_are_no_part_of_the_graph():
    x = Input((3,), name="x")
    L.Dense(5, name="unused")(x)
    assert list(Graph(x, L.Dense(2, name="used")(x)).layers) == ["x", "used"]


# ---- inputs and outputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["one", "list", "tuple", "dict"])
def test_inputs_and_outputs_are_one_a_list_or_a_dict(form):
    x = Input((3,), name="x")
    y = L.Dense(2, name="y")(x)
    wrap = {"one": lambda n, _: n, "list": lambda n, _: [n], "tuple": lambda n, _: (n,), "dict": lambda n, k: {k: n}}[
        form
    ]
    graph = Graph(wrap(x, "x"), wrap(y, "y"))
    assert graph.inputs == {"x": x} and graph.outputs == {"y": y}


def test_inputs_and_outputs_without_a_name_are_numbered_where_there_are_several():
    a, b = Input((3,)), Input((3,))
    graph = Graph([a, b], [L.Dense(2)(a), L.Dense(2)(b)])
    assert list(graph.inputs) == ["input0", "input1"] and list(graph.outputs) == ["output0", "output1"]
    a = Input((3,))
    graph = Graph(a, L.Dense(2)(a))
    assert list(graph.inputs) == ["input"] and list(graph.outputs) == ["output"]


def test_a_dict_names_inputs_and_outputs_whatever_their_layers_are_called():
    x = Input((3,), name="x")
    y = L.Dense(2, name="y")(x)
    graph = Graph({"image": x}, {"scores": y, "again": y})
    assert graph.inputs == {"image": x} and list(graph.outputs) == ["scores", "again"]
    assert list(graph.layers) == ["image", "y"]


@pytest.mark.parametrize("name", ["", "a/b", 1, None])
def test_an_input_may_not_be_given_a_name_that_no_layer_may_have(name):
    x = Input((3,))
    with pytest.raises((ValueError, TypeError), match="name"):
        Graph({name: x}, L.Dense(2)(x))


@pytest.mark.parametrize("name", [1, None])
def test_the_name_of_an_output_is_a_string(name):
    x = Input((3,))
    with pytest.raises((ValueError, TypeError), match="name"):
        Graph(x, {name: L.Dense(2)(x)})


def test_one_input_under_two_names_is_refused():
    x = Input((3,))
    with pytest.raises(ValueError, match="'a'.*'b'|'b'.*'a'"):
        Graph({"a": x, "b": x}, L.Dense(2)(x))


def test_two_outputs_of_one_name_are_refused():
    x = Input((3,))
    shared = L.Dense(3, name="shared")
    with pytest.raises(ValueError, match="two outputs are named 'shared'; pass a dict"):
        Graph(x, [shared(x), shared(shared(x))])


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("empty", [[], (), {}])
def test_a_network_without_inputs_or_outputs_is_refused(side, empty):
    x = Input((3,))
    sides = {"input": x, "output": L.Dense(2)(x), side: empty}
    with pytest.raises(ValueError, match=f"a network needs at least one {side}"):
        Graph(sides["input"], sides["output"])


@pytest.mark.parametrize("wrong", [None, 3, "x", L.Dense(2)])
def test_what_is_not_a_tensor_is_refused(wrong):
    x = Input((3,))
    for form in ([wrong], {"y": wrong}):
        with pytest.raises(TypeError, match="output '?[0y]'? is a .*, not a tensor made by Input or a layer"):
            Graph(x, form)


@pytest.mark.parametrize("wrong", [None, 3, L.Dense(2)])
def test_what_is_neither_a_tensor_nor_a_collection_is_refused(wrong):
    x = Input((3,))
    with pytest.raises(TypeError, match="output"):
        Graph(x, wrong)
    with pytest.raises(TypeError, match="input"):
        Graph(wrong, L.Dense(2)(x))


def test_an_input_that_is_the_result_of_a_layer_is_refused_by_name():
    x = Input((3,))
    h = L.Dense(2, name="hidden")(x)
    with pytest.raises(ValueError, match="input 'hidden' is the result of hidden, not an Input"):
        Graph(h, L.Dense(2)(h))


def test_an_input_that_leads_nowhere_is_refused_by_name():
    x, other = Input((3,), name="x"), Input((3,), name="other")
    with pytest.raises(ValueError, match="input 'other' leads to no output"):
        Graph([x, other], L.Dense(2)(x))


@pytest.mark.parametrize("name, described", [("other", "other"), (None, r"\(3,\)")])
def test_an_input_that_is_used_but_not_declared_is_refused(name, described):
    x, other = Input((3,), name="x"), Input((3,), name=name)
    with pytest.raises(ValueError, match=f"an Input {described} is used but not among the network's inputs"):
        Graph(x, L.Add()(x, other))


# ---- names -----------------------------------------------------------------------------------------------------------


def test_layers_without_a_name_are_numbered_by_class_and_avoid_names_that_are_taken():
    x = Input((4, 4))
    h = L.Conv(2, 1)(L.Conv(2, 1, name="Conv1")(L.Conv(2, 1)(x)))
    graph = Graph(x, L.Tanh()(h))
    assert names(graph) == ["input", "Conv2", "Conv1", "Conv3", "Tanh1"]


def test_a_shared_layer_appears_once_under_one_name():
    x = Input((3,), name="x")
    shared = L.Dense(3)
    graph = Graph(x, shared(shared(shared(x))))
    assert list(graph.layers) == ["x", "Dense1"] and graph.layers["Dense1"] is shared
    assert names(graph) == ["x", "Dense1", "Dense1", "Dense1"]


def test_two_layers_of_one_name_are_refused():
    x = Input((3,), name="x")
    with pytest.raises(ValueError, match="2 layers are named 'twin'; names must be unique"):
        Graph(x, L.Dense(3, name="twin")(L.Dense(3, name="twin")(x)))


def test_a_layer_with_the_name_of_an_input_is_refused():
    x = Input((3,), name="x")
    with pytest.raises(ValueError, match="2 layers are named 'x'"):
        Graph(x, L.Dense(3, name="x")(x))


def test_a_layer_keeps_its_name_when_the_graph_is_made_again():
    x = Input((3,))
    y = L.Dense(3)(L.Dense(3)(x))
    assert names(Graph(x, y)) == names(Graph(x, y)) == ["input", "Dense1", "Dense2"]


# ---- what was tampered with ------------------------------------------------------------------------------------------


def test_a_cycle_is_refused_and_names_a_layer_on_it():
    x = Input((3,), name="x")
    first = L.Add(name="first")(x, x)
    last = L.ReLU(name="last")(L.Tanh(name="middle")(first))
    first.inputs = (x, last)
    with pytest.raises(ValueError, match="(first|middle|last): the graph has a cycle"):
        Graph(x, last)


def test_a_layer_that_reads_itself_is_a_cycle():
    x = Input((3,), name="x")
    node = L.ReLU(name="loop")(x)
    node.inputs = (node,)
    with pytest.raises(ValueError, match="loop: the graph has a cycle"):
        Graph(x, node)


# ---- shapes that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join, shapes, error", [
    (L.Add, [(3, 4), (3, 5)], r"join: its inputs must have one shape, got \(3, 4\), \(3, 5\)"),
    (L.Add, [(3,), (3, 1)], "join: its inputs must have one shape"),
    (L.Multiply, [(3,), (4,)], "join: its inputs must have one shape"),
    (L.Concat, [(3, 4), (3, 5)], "join: its inputs must agree in all axes but the channels"),
    (L.Concat, [(3,), (3, 1)], "join: its inputs must agree in all axes but the channels"),
])
def test_shapes_that_cannot_be_joined_are_refused_by_name(join, shapes, error):
    with pytest.raises(ValueError, match=error):
        join(name="join")([Input(shape) for shape in shapes])


@pytest.mark.parametrize("make", [
    lambda: Input((2**31, 2**31)),
    lambda: L.Dense(2**60, name="huge")(Input((3,))),
    lambda: L.Conv(2**40, 1, name="huge")(Input((3, 2**20))),
    lambda: L.Flatten(name="huge")(L.Concat()([Input((2**30, 2**28)) for _ in range(4)])),
])
def test_tensors_beyond_the_address_space_are_refused(make):
    with pytest.raises(ValueError, match="too large"):
        make()


# ---- to_dict and from_dict -------------------------------------------------------------------------------------------


def described_graph():
    a, b = Input((2, 6, 6), name="a"), Input((6, 6), name="b")
    shared = L.Conv(3, 3, padding=((1, 1), (0, 2)), stride=(1, 1), activation="tanh", name="shared")
    h = L.Concat()(shared(a), shared(L.ReLU()(a)))
    h = L.Flatten()(L.MaxPool(2, padding="same")(L.LeakyReLU(0.2)(h)))
    g = L.Flatten()(L.Conv(4, 3, bias=False)(b))
    return Graph([a, b], {"left": L.Dense(4)(h), "right": L.Add()(L.Dense(4)(h), L.Dense(4)(g))})


def test_a_graph_survives_its_description_as_json():
    graph = described_graph()
    description = graph.to_dict()
    again = Graph.from_dict(json.loads(json.dumps(description)), layer_class)
    assert again.to_dict() == description
    assert [node.shape for node in again.nodes] == [node.shape for node in graph.nodes]
    assert [repr(layer) for layer in again.layers.values()] == [repr(layer) for layer in graph.layers.values()]
    assert list(again.inputs) == ["a", "b"] and list(again.outputs) == ["left", "right"]


def test_a_shared_layer_is_shared_again():
    again = Graph.from_dict(described_graph().to_dict(), layer_class)
    assert len({id(node.layer) for node in again.nodes if node.layer.name == "shared"}) == 1
    assert names(again).count("shared") == 2


def changed(*path, to):
    """A change of the description: the value at `path`, or its removal."""
    def change(description):
        for key in path[:-1]:
            description = description[key]
        if to is None:
            del description[path[-1]]
        else:
            description[path[-1]] = to
    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("layers", to=None),
        changed("nodes", to=None),
        changed("inputs", to=None),
        changed("outputs", to=None),
        changed("layers", to=[]),
        changed("layers", to="x"),
        changed("nodes", to={}),
        changed("nodes", to=7),
        changed("nodes", to=[]),
        changed("nodes", to=[7]),
        changed("nodes", to=[[]]),
        changed("nodes", to=["x"]),
        changed("inputs", to=[]),
        changed("inputs", to={}),
        changed("outputs", to={}),
        changed("outputs", to={"left": "x"}),
        changed("outputs", to={"left": 10**30}),
        changed("outputs", to={"left": [0]}),
        changed("outputs", to={"left": 1.0}),
        changed("inputs", to={"a": 1, "b": 2}),
        changed("inputs", to={"a": 0}),
        changed("layers", "shared", "class", to="Layer"),
        changed("layers", "shared", "class", to="__import__"),
        changed("layers", "shared", "class", to=["Conv"]),
        changed("layers", "shared", "class", to=None),
        changed("layers", "shared", "config", to=[]),
        changed("layers", "shared", "config", to=None),
        changed("layers", "shared", "config", "filters", to=-1),
        changed("layers", "shared", "config", "filters", to="3"),
        changed("layers", "shared", "config", "filters", to=10**30),
        changed("layers", "shared", "config", "filters", to=None),
        changed("layers", "shared", "config", "groups", to=7),
        changed("layers", "shared", "config", "stride", to=[1]),
        changed("layers", "shared", "config", "padding", to=[[1, 1], [1]]),
        changed("layers", "shared", "config", "padding", to={}),
        changed("layers", "shared", "config", "activation", to={}),
        changed("layers", "shared", "config", "self", to=1),
        changed("layers", "shared", "config", "dilation", to=10**40),
        changed("layers", "shared", "config", "unknown", to=1),
        changed("layers", "LeakyReLU1", "config", "alpha", to=10**400),
        changed("layers", "LeakyReLU1", "config", "alpha", to=-1),
        changed("layers", "a", "config", "shape", to=[2, 6, 10**30]),
        changed("layers", "a", "config", "shape", to="image"),
        changed("layers", "a", "config", "shape", to=[2, -6, 6]),
        changed("layers", "a", "config", "shape", to=[2, 6, 6, 6, 6, 6]),
        changed("layers", "a", "config", "shape", to=[6, 6]),
        changed("layers", "a", "class", to="ReLU"),
        changed("nodes", 1, "inputs", to=[1]),
        changed("nodes", 1, "inputs", to=[5]),
        changed("nodes", 1, "inputs", to=[-1]),
        changed("nodes", 1, "inputs", to=[0.0]),
        changed("nodes", 1, "inputs", to="0"),
        changed("nodes", 1, "inputs", to=[]),
        changed("nodes", 1, "inputs", to=[0, 0]),
        changed("nodes", 1, "inputs", to=3),
        changed("nodes", 1, "inputs", to=None),
        changed("nodes", 1, "layer", to="unknown"),
        changed("nodes", 1, "layer", to=[]),
        changed("nodes", 1, "layer", to="a"),
        changed("nodes", 0, "inputs", to=[0]),
    ],
)
def test_a_hostile_description_is_a_value_error(change):
    description = copy.deepcopy(json.loads(json.dumps(described_graph().to_dict())))
    change(description)
    with pytest.raises(ValueError):
        Graph.from_dict(description, layer_class)


@pytest.mark.parametrize(
    "description", [None, [], 3, "x", {}, {"layers": {}, "nodes": [], "inputs": {}, "outputs": {}}]
)
def test_what_is_no_description_at_all_is_a_value_error(description):
    with pytest.raises(ValueError):
        Graph.from_dict(description, layer_class)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)


@given(st.data())
def test_any_value_anywhere_in_a_description_is_accepted_or_a_value_error(data):
    description = json.loads(json.dumps(described_graph().to_dict()))
    place = description
    while isinstance(place, (dict, list)) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key, inside = data.draw(st.sampled_from(keys)), place
        place = inside[key]
        if data.draw(st.booleans()):
            break
    inside[key] = data.draw(json_values)
    try:
        graph = Graph.from_dict(description, layer_class)
    except ValueError:
        return
    assert_ordered(graph)


# ---- nodes -----------------------------------------------------------------------------------------------------------


def test_a_node_shows_its_layer_and_shape():
    x = Input((1, 28, 28), name="image")
    assert repr(x) == "<image (1, 28, 28)>"
    assert repr(L.Conv(6, 5, name="C1")(x)) == "<C1 (6, 24, 24)>"
    assert repr(L.Flatten()(x)) == "<Flatten (784,)>"


def test_an_input_of_one_axis_may_be_given_as_a_number():
    assert Input(5).shape == (5,) and isinstance(Input(5), Node)
