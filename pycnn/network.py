"""A network: a graph with parameters, that predicts, learns, is saved and loaded."""

from __future__ import annotations

import threading
from math import prod

import numpy as np

from . import config, layers
from .checks import by_name, check_samples, check_values, checked_inputs, checked_labels, checked_samples
from .files import read_tensors, write_tensors
from .graph import Graph
from .initializers import initial_value
from .layers.base import InputLayer
from .losses import get_loss
from .optimizers import OPTIMIZERS, get_optimizer
from .plan import Plan, Plans
from .shapes import as_tensor, check_size, integer
from .storage import Storage
from .trainer import Trainer


class Network:
    """Layers between inputs and outputs, with their parameters.

    Parameters
    ----------
    inputs, outputs : Node, list of Node or dict of str to Node
        What `Input` and layers made. `predict` answers in the form of `outputs`: an array, a list or a dict.
    name : str, optional
    dtype : {"float32", "float64"}
    seed : int or numpy.random.Generator
        For the first values of the parameters, and for layers that draw at random in training.

    Attributes
    ----------
    layers : dict of str to Layer
    optimizer : Optimizer or None
        The last one it was trained with, its state included.
    training_state : dict
        What the fit loop keeps in the file: epoch, random state, history.
    """

    def __init__(self, inputs, outputs, *, name=None, dtype="float32", seed=0):
        self._form = "dict" if isinstance(outputs, dict) else "list" if isinstance(outputs, (list, tuple)) else "one"
        graph = Graph(inputs, outputs)
        specs, statistics = parameter_specs(graph), statistic_specs(graph)
        rng = np.random.default_rng(seed)
        values = initial_values(specs, rng)
        self._set_up(graph, specs, statistics, name, dtype)
        self.storage.seed = int(rng.integers(2**63))
        for parameter_name, value in values.items():
            self.storage.parameters[parameter_name].value[...] = value

    def _set_up(self, graph, specs, statistics, name, dtype):
        self.graph, self.name = graph, name
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"a network's dtype is float32 or float64, not {self.dtype}")
        self.layers = graph.layers
        self._picky = {n: graph.picky_readers(node) for n, node in graph.inputs.items()}
        self.storage = Storage({n: (self.layers[n], s, statistics[n]) for n, s in specs.items()}, self.dtype)
        self.optimizer = None
        self.training_state = {}
        self._plans = Plans(self.storage)
        self._lock = threading.RLock()

    # ---- what it is made of

    @property
    def input_names(self):
        return list(self.graph.inputs)

    @property
    def output_names(self):
        return list(self.graph.outputs)

    @property
    def input_shapes(self):
        return {name: node.shape for name, node in self.graph.inputs.items()}

    @property
    def output_shapes(self):
        return {name: node.shape for name, node in self.graph.outputs.items()}

    @property
    def parameters(self):
        """dict of names such as ``"C1/weight"`` to views of the parameters."""
        return {name: p.value for name, p in self.storage.parameters.items()}

    @property
    def statistics(self):
        """dict of names such as ``"BN1/running_mean"`` to views of what layers keep of what they have seen."""
        return {name: s.value for name, s in self.storage.statistics.items()}

    def count_parameters(self, trainable=False):
        """How many parameters there are, or can learn."""
        if not trainable:
            return sum(p.size for p in self.storage.parameters.values())
        return sum(end - begin for begin, end in self.storage.trainable_ranges())

    def get_parameters(self):
        """All parameters that can learn as one vector, a copy: layer by layer, frozen maps and connections left out."""
        return self._flat(self.storage.values)

    def set_parameters(self, vector):
        """Sets what `get_parameters` gives."""
        vector = as_tensor(vector, self.dtype, "the parameters", 1)
        count = self.count_parameters(trainable=True)
        if len(vector) != count:
            raise ValueError(f"got {len(vector)} numbers, expects one for each of the {count} trainable parameters")
        begin = 0
        for first, last in self.storage.trainable_ranges():
            self.storage.values[first:last] = vector[begin : begin + last - first]
            begin += last - first

    def flat_gradient(self, x, y, *, loss="cross_entropy"):
        """The loss of one batch and its gradient as one vector, in the order of `get_parameters`.

        Returns
        -------
        loss : float
        gradient : array (parameters,)
        """
        value, gradients = self.gradients(x, y, loss=loss)
        vector = np.zeros_like(self.storage.values)
        for name, p in self.storage.parameters.items():
            if name in gradients:
                self.storage.piece(vector, p)[...] = gradients[name]
        return value, self._flat(vector)

    def _flat(self, vector):
        ranges = self.storage.trainable_ranges()
        return np.concatenate([vector[begin:end] for begin, end in ranges]) if ranges else vector[:0].copy()

    def __getitem__(self, name):
        """The layer of that name."""
        if name not in self.layers:
            raise KeyError(f"no layer is named {name!r}; there are {', '.join(self.layers)}")
        return self.layers[name]

    def summary(self):
        """Prints and returns a table: layer, output shape, neurons, parameters, trainable ones, connections, what it reads."""
        text = str(self)
        print(text)
        return text

    def __str__(self):
        rows = [("layer", "output shape", "neurons", "parameters", "trainable", "connections", "reads")]
        seen = set()
        neurons = connections = 0
        for node in self.graph.nodes:
            layer, shapes = node.layer, [i.shape for i in node.inputs]
            own = (0, 0) if layer in seen else (layer.count_parameters(), layer.count_parameters(trainable=True))
            seen.add(layer)
            joined = layer.count_connections(*shapes)
            connections += joined
            neurons += prod(node.shape)
            kind = "Input" if isinstance(layer, InputLayer) else type(layer).__name__
            counts = (prod(node.shape), *own, joined)
            rows.append((f"{layer.name} ({kind})", " x ".join(map(str, node.shape)), *(f"{count:,}" for count in counts),
                         ", ".join(i.label for i in node.inputs)))
        totals = (neurons, self.count_parameters(), self.count_parameters(trainable=True), connections)
        rows.append(("total", "", *(f"{count:,}" for count in totals), ""))
        return table(rows, numbers=(2, 3, 4, 5))

    def __repr__(self):
        shapes = f"{self.input_shapes} -> {self.output_shapes}"
        return f"<Network {self.name or ''} {shapes}, {self.count_parameters():,} parameters>"

    # ---- arrays in

    def check_inputs(self, x):
        """Arrays in the order of the inputs, C-contiguous and of the network's dtype.

        Parameters
        ----------
        x : array, list of array or dict of str to array
            Each ``(N, *shape)``.

        Raises
        ------
        ValueError, TypeError
            When an array is missing, its shape or type does not fit, or a layer cannot take its values.
        """
        return checked_inputs(x, self.input_shapes, self.dtype, self._picky)

    def check_values(self, name, array):
        """ValueError where a layer that reads the input of that name cannot take these values."""
        check_values(array, self._picky[name], name)

    def check_targets(self, y, loss):
        """Targets in the order of the outputs: labels as int64, others as the network's dtype.

        Raises
        ------
        ValueError, TypeError
            When a target is missing, has another shape than its output, or a label is out of range.
        """
        checked = []
        losses = self.losses_by_output(loss)
        axes = [len(self.output_shapes[name]) + (not loss_of.labels) for name, loss_of in losses.items()]
        for name, target in by_name(y, list(losses), "target", axes).items():
            shape = self.output_shapes[name]
            if losses[name].labels:
                checked.append(checked_labels(target, shape, f"target {name!r}"))
            else:
                checked.append(checked_samples(target, shape, self.dtype, f"target {name!r}"))
        return checked

    def losses_by_output(self, loss):
        """Output name -> Loss, of one loss for all outputs, a list or a dict; outputs without one are left out."""
        if isinstance(loss, dict):
            unknown = [name for name in loss if name not in self.output_names]
            if unknown:
                raise ValueError(f"losses for unknown outputs {unknown}; the outputs are {self.output_names}")
            return {name: get_loss(loss[name]) for name in self.output_names if loss.get(name) is not None}
        if isinstance(loss, (list, tuple)):
            if len(loss) != len(self.output_names):
                raise ValueError(f"{len(loss)} losses for {len(self.output_names)} outputs")
            return {name: get_loss(of) for name, of in zip(self.output_names, loss) if of is not None}
        return {name: get_loss(loss) for name in self.output_names}

    # ---- plans

    def _new_plan(self, batch, **options):
        if not batch:
            raise ValueError("a batch has at least one sample")
        return Plan(self.graph, self.storage, config.kernels(self.dtype), batch, **options)

    def plan(self, batch, training=False, loss=None, optimizer="sgd"):
        """What the network does with a batch of that size: print it to read the steps.

        Parameters
        ----------
        batch : int
        training : bool
            A training step (with `loss`, by default cross-entropy where the output is a vector, else mean squared error)
            instead of a prediction.
        """
        batch = integer(batch, "the batch size", 1)
        if not training:
            return self._prediction_plan(batch)
        if loss is None:
            loss = {n: "cross_entropy" if len(s) == 1 and s[0] > 1 else "mse" for n, s in self.output_shapes.items()}
        weighted = {name: (of, 1.0) for name, of in self.losses_by_output(loss).items()}
        return self._new_plan(batch, losses=weighted, gradients=True, optimizer=get_optimizer(optimizer))

    def _prediction_plan(self, batch):
        return self._plans.plan(("predict", batch), lambda: self._new_plan(batch, outputs=tuple(self.output_names)))

    # ---- predictions and gradients

    def __call__(self, x):
        """One forward pass of all of `x` as one batch."""
        return self.predict(x, batch_size=None)

    def predict(self, x, batch_size=256, verbose=0):
        """The outputs for `x`.

        Parameters
        ----------
        x : array, list or dict of array
            Each ``(N, *shape)``; N may be 0.
        batch_size : int, optional
            Samples at a time; all at once where None.
        verbose : int
            1 shows a progress bar.

        Returns
        -------
        array, list or dict of array
            In the form in which the network was given its outputs.
        """
        arrays = self.check_inputs(x)
        count = len(arrays[0])
        size = max(1, count) if batch_size is None else integer(batch_size, "batch_size", 1)
        results = {name: np.empty((count, *shape), self.dtype) for name, shape in self.output_shapes.items()}
        starts = range(0, count, size)
        if verbose:
            from tqdm import tqdm
            starts = tqdm(starts, desc="predict", unit="batch")
        for begin in starts:
            end = min(begin + size, count)
            with self._lock:
                plan = self._prediction_plan(end - begin)
                plan.run([*(a[begin:end] for a in arrays), None, None, *(r[begin:end] for r in results.values())])
        if self._form == "one":
            return results[self.output_names[0]]
        return list(results.values()) if self._form == "list" else results

    def gradients(self, x, y, *, loss="cross_entropy"):
        """The loss of one batch and its gradients.

        Returns
        -------
        loss : float
        gradients : dict of str to array
            Of every parameter that can learn (``"C1/weight"``) and every input (``"inputs/image"``).
        """
        arrays, losses = self.check_inputs(x), self.losses_by_output(loss)
        targets = self.check_targets(y, loss)
        check_samples(arrays, targets)
        names = tuple(self.input_names)
        of_inputs = {name: np.zeros(a.shape, self.dtype) for name, a in zip(names, arrays)}
        weighted = {name: (of, 1.0) for name, of in losses.items()}
        with self._lock:
            key = ("gradients", len(arrays[0]), *losses.items())
            plan = self._plans.plan(key, lambda: self._new_plan(len(arrays[0]), losses=weighted, gradients=True,
                                                          input_gradients=names))
            plan.draws[1] = 1 + (self.optimizer.steps if self.optimizer else 0)
            plan.run([*arrays, None, *targets, None, *of_inputs.values()])
            gradients = {}
            for layer in self.layers.values():
                for p in layer._parameters.values():
                    if layer.trainable and p.learns.any():
                        g = self.storage.piece(self.storage.gradients, p)
                        gradients[p.name] = g.copy() if layer in plan.learned else np.zeros_like(g)
                        gradients[p.name][~p.learns] = 0
            loss_value = float(plan.results[-1, 0])
        gradients.update((f"inputs/{name}", g) for name, g in of_inputs.items())
        return loss_value, gradients

    def trainer(self, loss, optimizer, *, loss_weights=None, class_weights=None, clip_norm=None):
        """What takes training steps; see `Trainer`."""
        return Trainer(self, loss, optimizer, loss_weights, class_weights, clip_norm)

    # ---- files

    def save(self, path):
        """Writes graph, parameters, statistics, flags, optimizer and training state to one safetensors file.

        The file appears whole or not at all: it is written beside `path`, flushed to disk and renamed.
        """
        tensors = {**self.parameters, **self.statistics}
        for state in self.optimizer.state if self.optimizer else ():
            vector = self.storage.state(state)
            for p in self.storage.parameters.values():
                tensors[f"optimizer/{state}/{p.name}"] = self.storage.piece(vector, p)
        description = {
            "name": self.name, "dtype": self.dtype.name, "form": self._form, "graph": self.graph.to_dict(),
            "trainable": {n: layer._trainable for n, layer in self.layers.items()},
            "frozen": {p.name: np.flatnonzero(~p.learns).tolist() for p in self.storage.parameters.values()},
            "optimizer": None,
            "seed": self.storage.seed,
            "training_state": self.training_state,
        }
        if self.optimizer:
            description["optimizer"] = {"class": type(self.optimizer).__name__, "config": self.optimizer.config(),
                                        "steps": self.optimizer.steps}
        write_tensors(path, tensors, description)



def parameter_specs(graph):
    """Layer name -> parameter name -> ParameterSpec; ValueError if uses of a shared layer disagree."""
    specs = {}
    for node in graph.nodes:
        of_use = node.layer.parameters(*(i.shape for i in node.inputs))
        shapes = {kind: spec.shape for kind, spec in of_use.items()}
        known = specs.setdefault(node.layer.name, of_use)
        if shapes != {kind: spec.shape for kind, spec in known.items()}:
            raise ValueError(f"{node.label}: shared by inputs of different shapes; for {node.inputs[0].shape} its "
                             f"parameters would have to be {shapes}")
    total = sum(prod(spec.shape) for of_layer in specs.values() for spec in of_layer.values())
    check_size((total,), "the parameters")
    return specs


def statistic_specs(graph):
    """Layer name -> statistic name -> (shape, first value)."""
    return {node.layer.name: node.layer.statistics(*(i.shape for i in node.inputs)) for node in graph.nodes}


def initial_values(specs, rng):
    """The first value of each parameter, by its name."""
    values = {}
    for layer_name, of_layer in specs.items():
        for kind, spec in of_layer.items():
            try:
                values[f"{layer_name}/{kind}"] = initial_value(spec, rng)
            except (ValueError, TypeError) as error:
                raise type(error)(f"{layer_name}: {error}") from None
    return values


def load(path):
    """The network that `Network.save` wrote.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is not a network's file, or tensors are missing, superfluous or of the wrong shape.
    """
    tensors, description = read_tensors(path)
    try:
        return restored(tensors, description)
    except KeyError as error:
        raise ValueError(f"{path}: the description of the network lacks {error}") from error
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from error


def restored(tensors, description):
    def layer_class(name):
        if name == "InputLayer":
            return InputLayer
        kind = getattr(layers, name) if name in layers.__all__ else None
        if not isinstance(kind, type) or not issubclass(kind, layers.Layer) or kind is layers.Layer:
            raise ValueError(f"unknown layer class {name!r}")
        return kind

    graph = Graph.from_dict(description["graph"], layer_class)
    specs, statistics = parameter_specs(graph), statistic_specs(graph)
    check_tensors(specs, statistics, tensors, description)
    net = Network.__new__(Network)
    net._form = description["form"]
    net._set_up(graph, specs, statistics, description["name"], description["dtype"])
    for stored in (*net.storage.parameters.values(), *net.storage.statistics.values()):
        stored.value[...] = tensors[stored.name]
    for name, trainable in description["trainable"].items():
        net.layers[name]._trainable = bool(trainable)
    for name, entries in description["frozen"].items():
        learns = net.storage.parameters[name].learns
        if not all(type(i) is int and 0 <= i < learns.size for i in entries):
            raise ValueError(f"{name}: what is frozen must be numbers from 0 to {learns.size - 1}")
        learns.flat[np.array(entries, np.int64)] = False
    net.storage.seed = integer(description.get("seed", 0), "the seed", 0)
    saved = description["optimizer"]
    if saved:
        net.optimizer = OPTIMIZERS[saved["class"]](**saved["config"])
        net.optimizer.steps = integer(saved["steps"], "the optimizer's steps", 0)
        for state in net.optimizer.state:
            for p in net.storage.parameters.values():
                net.storage.piece(net.storage.state(state), p)[...] = tensors[f"optimizer/{state}/{p.name}"]
    net.training_state = dict(description["training_state"])
    return net


def check_tensors(specs, statistics, tensors, description):
    """ValueError unless the file holds exactly the tensors of the layers; nothing has been allocated yet."""
    shapes = {f"{name}/{kind}": tuple(spec.shape) for name, of_layer in specs.items() for kind, spec in of_layer.items()}
    states = OPTIMIZERS[description["optimizer"]["class"]].state if description["optimizer"] else ()
    shapes.update({f"optimizer/{state}/{name}": shape for name, shape in list(shapes.items()) for state in states})
    shapes.update({f"{name}/{kind}": tuple(shape) for name, of_layer in statistics.items()
                   for kind, (shape, _) in of_layer.items()})
    for name in set(shapes) ^ set(tensors):
        raise ValueError(f"tensor {name!r} is {'missing' if name in shapes else 'of no layer'}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape or tensors[name].dtype != description["dtype"]:
            raise ValueError(f"tensor {name!r} is {tensors[name].dtype} {tensors[name].shape}, expected "
                             f"{description['dtype']} {shape}")


def table(rows, numbers):
    """Rows of cells as text in columns, a rule below the first and above the last; `numbers` are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [cell.rjust(w) if i in numbers else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
