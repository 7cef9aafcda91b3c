"""The graph: layers applied to symbolic tensors, ordered and named."""

from __future__ import annotations

from collections import Counter

from .layers.base import InputLayer, Layer, Node, checked_name


def Input(shape, name=None):
    """An input of a network.

    Parameters
    ----------
    shape : tuple of int
        Shape without the batch: ``(C,)``, ``(C, L)``, ``(C, H, W)`` or ``(C, D, H, W)``.
    name : str, optional

    Returns
    -------
    Node
        A symbolic tensor to call layers with.
    """
    return Node(InputLayer(shape, name=name), ())


def named_nodes(nodes, what, default):
    """One node, a list or a dict by name -> dict of nodes by name."""
    if isinstance(nodes, Node):
        nodes = [nodes]
    if not isinstance(nodes, (list, tuple, dict)):
        raise TypeError(f"the {what}s are a tensor, a list or a dict of them, not {type(nodes).__name__}")
    if isinstance(nodes, dict):
        named = {checked_name(name, f"the name of an {what}"): node for name, node in nodes.items()}
    else:
        named = {}
        for i, node in enumerate(nodes):
            if not isinstance(node, Node):
                raise TypeError(f"{what} {i} is a {type(node).__name__}, not a tensor made by Input or a layer")
            name = node.layer.name or (default if len(nodes) == 1 else f"{default}{i}")
            if name in named:
                raise ValueError(f"two {what}s are named {name!r}; pass a dict to name them")
            named[name] = node
    for name, node in named.items():
        if not isinstance(node, Node):
            raise TypeError(f"{what} {name!r} is a {type(node).__name__}, not a tensor made by Input or a layer")
    if not named:
        raise ValueError(f"a network needs at least one {what}")
    return named


def ordered_nodes(outputs, starts=()):
    """All nodes that the outputs depend on, each after its inputs, none below `starts`; ValueError on a cycle."""
    order, state = [], {}
    stack = [(node, False) for node in reversed(outputs)]
    while stack:
        node, inputs_done = stack.pop()
        if inputs_done:
            state[node] = "done"
            order.append(node)
        elif state.get(node) is None:
            state[node] = "open"
            stack.append((node, True))
            for source in reversed(() if node in starts else node.inputs):
                if state.get(source) == "open":
                    raise ValueError(f"{node.label}: the graph has a cycle through this layer and {source.label}")
                stack.append((source, False))
    return order


def check_parameters(node):
    """ValueError unless the layer's parameters have the shapes that this use of it needs."""
    for kind, spec in node.layer.parameters(*(i.shape for i in node.inputs)).items():
        shape = node.layer._parameters[kind].shape
        if tuple(spec.shape) != shape:
            raise ValueError(f"{node.label}: cannot take an input of shape {node.inputs[0].shape}: its {kind} would be of "
                             f"shape {tuple(spec.shape)} and is of {shape}; look at a layer below it, or keep to the "
                             f"network's own input size")


class Graph:
    """A directed acyclic graph of layers between named inputs and outputs.

    Parameters
    ----------
    inputs, outputs : Node, list of Node or dict of str to Node

    Attributes
    ----------
    inputs, outputs : dict of str to Node
    nodes : list of Node
        In an order in which every node follows its inputs.
    layers : dict of str to Layer
        In the order of their first use; a shared layer appears once.

    Raises
    ------
    ValueError
        On a cycle, on two layers of the same name, and on an input that is missing or leads nowhere.
    """

    def __init__(self, inputs, outputs):
        self.inputs = named_nodes(inputs, "input", "input")
        self.outputs = named_nodes(outputs, "output", "output")
        self.nodes = ordered_nodes(list(self.outputs.values()))
        self._check_inputs()
        self._name_layers()

    def _check_inputs(self):
        declared = list(self.inputs.values())
        for name, node in self.inputs.items():
            if not isinstance(node.layer, InputLayer):
                raise ValueError(f"input {name!r} is the result of {node.label}, not an Input")
            first = next(n for n, other in self.inputs.items() if other is node)
            if first != name:
                raise ValueError(f"inputs {first!r} and {name!r} are one and the same")
            if node not in self.nodes:
                raise ValueError(f"input {name!r} leads to no output")
        for node in self.nodes:
            if isinstance(node.layer, InputLayer) and node not in declared:
                raise ValueError(f"an Input {node.layer.name or node.shape} is used but not among the network's inputs")

    def _name_layers(self):
        layers = list(dict.fromkeys(node.layer for node in self.nodes))
        for layer in layers:
            if layer._sealed:
                raise ValueError(f"{layer.name} already belongs to a network; make a new layer")
        for name, node in self.inputs.items():
            node.layer.name = name
        taken = Counter(layer.name for layer in layers if layer.name)
        for name, count in taken.items():
            if count > 1:
                raise ValueError(f"{count} layers are named {name!r}; names must be unique "
                                 f"(call one layer twice to share it)")
        counts = Counter()
        for layer in layers:
            while not layer.name:
                kind = type(layer).__name__
                counts[kind] += 1
                if f"{kind}{counts[kind]}" not in taken:
                    layer.name = f"{kind}{counts[kind]}"
        self.layers: dict[str, Layer] = {layer.name: layer for layer in layers}

    def part(self, outputs, starts=(), shapes=None):
        """The graph between inputs, or nodes within, and other nodes within: new nodes of the same layers.

        Parameters
        ----------
        outputs : dict of str to Node
        starts : iterable of Node
            Where it begins: these become inputs, named like their layers, beside the inputs that are still needed. Without
            any, it has all inputs.
        shapes : dict of str to tuple of int, optional
            Other shapes of inputs. The layers' parameters must be the same at these.

        Returns
        -------
        Graph

        Raises
        ------
        ValueError
            When a start is of no use, or a layer cannot take the shape that it gets.
        """
        shapes = dict(shapes or {})
        names = {node: name for name, node in self.inputs.items()}
        names.update((node, node.label) for node in starts)
        made = {}
        part = Graph.__new__(Graph)
        part.inputs = {}
        needed = ordered_nodes(list(outputs.values()), set(starts))
        for node, name in names.items():
            if node in needed or not starts:
                made[node] = part.inputs[name] = Node(InputLayer(shapes.pop(name, node.shape), name=name), ())
        for node in needed:
            if node not in made:
                made[node] = Node(node.layer, tuple(made[i] for i in node.inputs))
                check_parameters(made[node])
        for node in starts:
            if node not in made:
                raise ValueError(f"{node.label}: nothing that is looked at depends on it")
        if shapes:
            raise ValueError(f"shapes are given of {list(shapes)}; the inputs are {list(part.inputs)}")
        part.outputs = {name: made[node] for name, node in outputs.items()}
        part.nodes = list(made.values())
        part.layers = {node.layer.name: node.layer for node in part.nodes}
        return part

    def find(self, name):
        """The node of the layer of that name, or of its use number i, counted from 0, where it is ``"name[i]"``.

        Raises
        ------
        ValueError
            When no layer has that name, or it is used more than once and the number is missing or too large.
        """
        if not isinstance(name, str):
            raise TypeError(f"a layer is looked up by its name, got {name!r}")
        layer, bracket, number = (name, "", "") if name in self.layers else name.partition("[")
        uses = [node for node in self.nodes if node.layer.name == layer]
        if not uses:
            raise ValueError(f"no layer is named {name!r}; there are {', '.join(self.layers)}")
        if not bracket and len(uses) == 1:
            return uses[0]
        number = number.removesuffix("]")
        if not number.isdecimal() or int(number) >= len(uses):
            raise ValueError(f"layer {layer!r} is used {len(uses)} times: name a use, from '{layer}[0]' to "
                             f"'{layer}[{len(uses) - 1}]'; got {name!r}")
        return uses[int(number)]

    def name_of(self, node):
        """The name by which `find` finds a node."""
        uses = [other for other in self.nodes if other.layer is node.layer]
        return node.label if len(uses) == 1 else f"{node.label}[{uses.index(node)}]"

    def picky_readers(self, node):
        """The layers that read a node and check its values."""
        return [other.layer for other in self.nodes
                if node in other.inputs and type(other.layer).check_input is not Layer.check_input]

    def to_dict(self):
        """The graph as JSON-able data; `Graph.from_dict` reads it."""
        number = {node: i for i, node in enumerate(self.nodes)}
        return {
            "layers": {name: {"class": type(layer).__name__, "config": layer.config()}
                       for name, layer in self.layers.items()},
            "nodes": [{"layer": node.layer.name, "inputs": [number[i] for i in node.inputs]} for node in self.nodes],
            "inputs": {name: number[node] for name, node in self.inputs.items()},
            "outputs": {name: number[node] for name, node in self.outputs.items()},
        }

    @classmethod
    def from_dict(cls, data, layer_class):
        """Builds the graph that `to_dict` described; `layer_class` maps a class name to the class.

        Raises
        ------
        ValueError
            When the description is not one of a graph.
        """
        try:
            layers = {name: layer_class(d["class"])(**d["config"]) for name, d in data["layers"].items()}
            for name, layer in layers.items():
                layer.name = name
            nodes = []
            for d in data["nodes"]:
                if not all(isinstance(i, int) and 0 <= i < len(nodes) for i in d["inputs"]):
                    raise ValueError(f"{d['layer']}: the graph has a cycle or an unknown input")
                nodes.append(Node(layers[d["layer"]], tuple(nodes[i] for i in d["inputs"])))
            return cls(*({name: nodes[i] for name, i in data[side].items()} for side in ("inputs", "outputs")))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"this is not the description of a network: {error!r}") from error
