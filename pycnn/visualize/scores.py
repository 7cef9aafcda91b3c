"""The score that an attribution explains: what a network says of one class, as a function of one of its inputs."""

from __future__ import annotations

import numpy as np

from ..checks import by_name
from ..figures import picture_path
from ..layers import RBF, Embedding, Softmax
from ..progress import shown
from ..shapes import integer
from ..view import View
from .heat import write_sheet


class Scores:
    """The scores of one class for each sample, and their gradients by one input or by what one layer makes of the
    inputs.

    The score is the value of the class at the output; where the output is a Softmax or LogSoftmax, the one below it;
    where it is a distance (`pycnn.layers.RBF`), minus that. Where an output has positions, the score of a class is the
    sum over them.

    Parameters
    ----------
    net : Network
    x : array, list or dict of array
        As `Network.predict` takes it, or one sample without the axis of the batch.
    target : int or array of int (N,), optional
        The classes; those of the greatest score where missing.
    output : str, optional
        Its name, where there are several.
    input : str, optional
        What changes: the name of an input or of a layer. By default the only input with positions, or the only input;
        numbers of words, which have no gradient, stand for what their embedding makes of them.
    rectified : str
        See `View`.
    save : str or path, optional
        A PNG file that `finished` writes.

    Attributes
    ----------
    single : bool
        Whether there is one sample without the axis of the batch.
    start : Node
        What changes.
    x : array (N, *shape)
        Its values.
    target : array of int (N,)
    values : array (N,)
        The scores.
    """

    def __init__(self, net, x, target=None, output=None, input=None, rectified="gradient", save=None):
        self.net, self.output, self.rectified = net, output, rectified
        self.path = picture_path(save)
        self.given, self.single = checked_samples(net, x)
        self.node, self.sign = score_node(net, output)
        node, count = explained_node(net, input), len(next(iter(self.given.values())))
        if not count:
            raise ValueError("there is no sample whose answer could be explained")
        if target is not None:
            target = checked_target(target, count, self.node.shape[0])
        self.start = node
        if save is not None:
            self.check_images("save", count)
        name, score = net.graph.name_of(node), net.graph.name_of(self.node)
        self.view = View(net, score, start=name if node.inputs else None, rectified=rectified)
        self.x = View(net, name)(self.given)[name] if node.inputs else self.given[name]
        scores = self._of_classes(self.x, np.arange(count))
        self.target = scores.argmax(1) if target is None else target
        self.values = scores[np.arange(count), self.target]

    @property
    def input(self):
        """The name of what changes."""
        return self.start.label

    def _arrays(self, x, rows):
        return {name: x if name == self.input else self.given[name][rows] for name in self.view.input_shapes}

    def _of_classes(self, x, rows):
        values, = self.view(self._arrays(x, rows)).values()
        return self.sign * values.reshape(*values.shape[:2], -1).sum(2)

    def positions(self, who):
        """The spatial shape of what changes."""
        if self.x.ndim < 3:
            raise ValueError(f"{who} needs an input with positions; {self.input!r} has shape {self.x.shape[1:]}")
        return self.x.shape[2:]

    def check_images(self, who, count):
        """ValueError unless a picture can be made of what changes."""
        if len(self.start.shape) != 3 or not count:
            raise ValueError(f"{who}: a picture shows images (C, H, W), one at least; {self.input!r} has shape "
                             f"{(count, *self.start.shape)}")

    def at(self, node):
        """The same scores as a function of what a node within makes of the samples."""
        return Scores(self.net, self.given, self.target, self.output, self.net.graph.name_of(node), self.rectified)

    def of(self, x, rows):
        """The scores of samples `rows`, had they `x` in place of what changes: an array (rows,)."""
        return self._of_classes(x, rows)[np.arange(len(rows)), self.target[rows]]

    def gradients(self, x, rows):
        """The gradients of these scores by `x`, in its shape."""
        def objective(values):
            (name, scores), = values.items()
            gradients = np.zeros_like(scores)
            gradients[np.arange(len(rows)), self.target[rows]] = self.sign
            return None, {name: gradients}

        return self.view.gradients(self._arrays(x, rows), objective)[1][self.input]

    def unchanged(self, rows, numbers):
        """Copies of the samples `rows` as they are, for `mean_gradients`."""
        return self.x[rows]

    def mean_gradients(self, changed, copies=1, batch_size=64, title="", verbose=0):
        """The mean gradient over changed copies of each sample.

        Parameters
        ----------
        changed : callable
            ``changed(rows, numbers) -> x``: copies with those numbers, from 0 to copies - 1, of the samples `rows`.
        copies : int
        batch_size : int
            Copies at a time.
        title : str
            Of the progress bar.
        verbose : int
            1 shows it.

        Returns
        -------
        array (N, *shape)
        """
        sums = np.zeros(self.x.shape)
        for rows, numbers in batches(len(self.x), copies, batch_size, title, verbose):
            np.add.at(sums, rows, self.gradients(changed(rows, numbers).astype(self.net.dtype), rows))
        return (sums / copies).astype(self.net.dtype)

    def finished(self, heat, title):
        """An attribution of all samples as the user gets it, written below its images as well where that was asked
        for."""
        write_sheet(self.path, self.x, heat, title, self.target)
        return heat[0] if self.single else heat


def batches(samples, copies, batch_size, title, verbose):
    """(samples, copies of them) of one batch after the other, all copies of a sample in turn; with a progress bar."""
    size, total = integer(batch_size, "batch_size", 1), samples * copies
    for begin in shown(range(0, total, size), title, "batch", verbose and total > size):
        numbers = np.arange(begin, min(begin + size, total))
        yield numbers // copies, numbers % copies


def checked_samples(net, x):
    """Inputs by name as arrays ``(N, *shape)`` of finite numbers, and whether `x` was one sample without the batch."""
    shapes = net.input_shapes
    arrays = by_name(x, list(shapes), "input", [1 + len(shape) for shape in shapes.values()])
    single = all(np.ndim(a) == len(shapes[name]) for name, a in arrays.items())
    if single:
        arrays = {name: np.asarray(a)[np.newaxis] for name, a in arrays.items()}
    arrays = dict(zip(shapes, net.check_inputs(arrays)))
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"input {name!r} has values that are not finite")
    return arrays, single


def finite_values(values, shape, what):
    """Finite numbers as float64, broadcast to that shape."""
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{what} must be a number or an array of numbers, got {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError(f"{what} has values that are not finite")
    try:
        return np.broadcast_to(values.astype(np.float64), shape)
    except ValueError:
        raise ValueError(f"{what} has shape {values.shape}, which does not broadcast to {shape}") from None


def checked_target(target, count, classes):
    """One class for each sample, as int64 (N,)."""
    target = np.asarray(target)
    if target.dtype.kind not in "iu":
        raise TypeError(f"target must be the number of a class, or one for each sample; got {target.dtype}")
    if target.ndim > 1 or target.ndim == 1 and len(target) != count:
        raise ValueError(f"target must be one class, or one for each of {count} samples; got shape {target.shape}")
    if target.size and not (0 <= target.min() and target.max() < classes):
        raise ValueError(f"target must be from 0 to {classes - 1}, got {target.min()} to {target.max()}")
    return np.broadcast_to(target.astype(np.int64), (count,))


def score_node(net, output):
    """The node where an output's scores are, and the sign that makes the greatest the best."""
    names = net.output_names
    if output is None and len(names) > 1:
        raise ValueError(f"the network has {len(names)} outputs: output is one of {', '.join(names)}")
    if output is not None and output not in names:
        raise ValueError(f"no output is named {output!r}; there are {', '.join(names)}")
    node = net.graph.outputs[output or names[0]]
    if isinstance(node.layer, Softmax):
        return node.inputs[0], 1
    return node, -1 if isinstance(node.layer, RBF) else 1


def explained_node(net, name):
    """The node that changes: of that name, or the only one with positions, or the only one."""
    if name is not None:
        return net.graph.find(name)
    nodes = [embedded(net.graph, node) for node in net.graph.inputs.values()]
    with_positions = [node for node in nodes if len(node.shape) > 1]
    for candidates in (with_positions, nodes):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(f"the network has {len(nodes)} inputs: input is one of {', '.join(net.input_names)}")


def embedded(graph, node):
    """The node itself, or the embedding that alone reads it."""
    readers = [other for other in graph.nodes if node in other.inputs]
    return readers[0] if len(readers) == 1 and isinstance(readers[0].layer, Embedding) else node
