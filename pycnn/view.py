"""A look inside a network: what it computes at nodes within it, and how that depends on its inputs."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np

from . import config
from .checks import by_name, checked_inputs
from .plan import Plan, Plans
from .shapes import integer

RECTIFIED = ("gradient", "guided", "deconvnet")


class View:
    """What a network computes at layers within it, and the gradients of what you make of that by the network's inputs.

    A view shares the network's parameters and never changes them. Layers work as in predictions.

    Parameters
    ----------
    net : Network
    layers : str, list of str, optional
        What is looked at: names of layers, or ``"name[1]"`` for the second use of a shared one. The outputs where missing.
    start : str or list of str, optional
        Layers to begin at: they become inputs, beside those of the network that are still needed. Without any, the view has all
        inputs of the network.
    input_shapes : tuple of int, or dict of str to tuple of int, optional
        Other shapes of the inputs than the network's own, without the batch, for layers that can take them.
    rectified : {"gradient", "guided", "deconvnet"}
        How gradients pass rectifiers: where the value is positive (the derivative), where both the value and the gradient
        are (guided backpropagation, Springenberg et al. 2015, arXiv:1412.6806), or where the gradient is (deconvnet, Zeiler &
        Fergus 2014, arXiv:1311.2901).

    Attributes
    ----------
    input_shapes, output_shapes : dict of str to tuple of int
        Without the batch; outputs by the names in `layers`.

    Raises
    ------
    ValueError
        When there is no such layer, or one cannot take the shape that it gets.

    Examples
    --------
    >>> import numpy as np
    >>> from pycnn.models import lenet5
    >>> view = View(lenet5(), ["C1", "C3"])
    >>> view.output_shapes
    {'C1': (6, 28, 28), 'C3': (16, 10, 10)}
    >>> maps = view(np.zeros((5, 1, 28, 28)))
    >>> maps["C3"].shape
    (5, 16, 10, 10)

    The gradient of the sum of squares of all values of C3 by the images:

    >>> def half_square(values):
    ...     return 0.5 * np.sum(values["C3"] ** 2), {"C3": values["C3"]}
    >>> value, gradients = view.gradients(np.zeros((5, 1, 28, 28)), half_square)
    >>> gradients["image"].shape
    (5, 1, 28, 28)
    """

    def __init__(self, net, layers=None, *, start=None, input_shapes=None, rectified="gradient"):
        if rectified not in RECTIFIED:
            raise ValueError(f"rectified is one of {', '.join(RECTIFIED)}, got {rectified!r}")
        self.net, self.rectified = net, rectified
        if layers is None:
            outputs = dict(net.graph.outputs)
        else:
            outputs = {name: net.graph.find(name) for name in listed(layers)}
            if not outputs:
                raise ValueError("a view looks at one layer at least")
        starts = [net.graph.find(name) for name in listed(start)]
        if input_shapes is not None:
            names = list(net.input_names)
            if not isinstance(input_shapes, dict):
                if len(names) > 1:
                    raise ValueError(f"the network has {len(names)} inputs: input_shapes is a dict by their names, {names}")
                input_shapes = {names[0]: input_shapes}
            input_shapes = {name: tuple(integer(size, "each size of a shape", 1) for size in shape)
                            for name, shape in input_shapes.items()}
        self.graph = net.graph.part(outputs, starts, input_shapes)
        self.input_shapes = {name: node.shape for name, node in self.graph.inputs.items()}
        self.output_shapes = {name: node.shape for name, node in self.graph.outputs.items()}
        self._picky = {name: self.graph.picky_readers(node) for name, node in self.graph.inputs.items()}
        self._plans = Plans(net.storage)
        self._objective = self._value = None

    def by_rule(self, rectified):
        """The same view with another rule of how gradients pass rectifiers."""
        other = copy.copy(self)
        other.rectified, other._plans = rectified, Plans(self.net.storage)
        return other

    @property
    def dtype(self):
        return self.net.dtype

    def check_inputs(self, x):
        """Arrays in the order of the inputs, C-contiguous and of the network's dtype; see `Network.check_inputs`."""
        return checked_inputs(x, self.input_shapes, self.dtype, self._picky)

    def __call__(self, x, batch_size=256):
        """The values at the layers.

        Parameters
        ----------
        x : array, list or dict of array
            Each ``(N, *shape)``.
        batch_size : int
            Samples at a time.

        Returns
        -------
        dict of str to array (N, *shape)
            By the names of the layers.
        """
        arrays, size = self.check_inputs(x), integer(batch_size, "batch_size", 1)
        count = len(arrays[0])
        results = {name: np.empty((count, *shape), self.dtype) for name, shape in self.output_shapes.items()}
        for begin in range(0, count, size):
            end = min(begin + size, count)
            with self.net._lock:
                plan = self._plan("values", end - begin, outputs=tuple(results))
                plan.run([*(a[begin:end] for a in arrays), None, None, *(r[begin:end] for r in results.values())])
        return results

    def gradients(self, x, objective):
        """The value of an objective, and its gradients by the inputs, in one pass forward and back.

        Parameters
        ----------
        x : array, list or dict of array
            Each ``(N, *shape)``, N at least 1.
        objective : callable
            ``objective(values) -> (value, gradients)``: `values` is a dict of arrays ``(N, *shape)`` by the names of the
            layers, which must not be written or kept, and `gradients` one of the objective's gradients by them, of the same
            shapes (or that broadcast to them); those of layers left out are zero.

        Returns
        -------
        value
            What the objective returned.
        gradients : dict of str to array (N, *shape)
            By the names of the inputs.
        """
        if not callable(objective):
            raise TypeError(f"the objective is a function of a dict of values, got {objective!r}")
        arrays = self.check_inputs(x)
        if not len(arrays[0]):
            raise ValueError("gradients need one sample at least")
        results = {name: np.zeros(a.shape, self.dtype) for name, a in zip(self.input_shapes, arrays)}
        with self.net._lock:
            before = self._objective, self._value
            self._objective, self._value = objective, None
            try:
                plan = self._plan("gradients", len(arrays[0]), objective=(tuple(self.output_shapes), self._judge),
                                  input_gradients=tuple(results), rectified=self.rectified)
                plan.run([*arrays, None, None, *results.values()])
                return self._value, results
            finally:
                self._objective, self._value = before

    def _judge(self, *arrays):
        """The step between forward and backward: the objective of the values, its gradients where the plan wants them."""
        names = list(self.output_shapes)
        values, places = dict(zip(names, arrays)), dict(zip(names, arrays[len(names):]))
        result = self._objective(values)
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            raise TypeError(f"an objective returns (value, dict of gradients by the names of layers), got {result!r}")
        self._value, gradients = result
        gradients = by_name({name: gradients.get(name, 0.0) for name in {**places, **gradients}}, names, "gradient")
        for name, place in places.items():
            gradient = np.asarray(gradients[name])
            if gradient.dtype.kind not in "fiub":
                raise TypeError(f"the gradient by {name} is numbers of the shape {place.shape}, got {gradients[name]!r}")
            if gradient.shape != place.shape and np.broadcast_shapes(gradient.shape, place.shape) != place.shape:
                raise ValueError(f"the gradient by {name} has shape {gradient.shape}, expects {place.shape}")
            place[...] = gradient

    def _plan(self, what, batch, **options):
        make = partial(Plan, self.graph, self.net.storage, config.kernels(self.dtype), batch, **options)
        return self._plans.plan((what, batch), make)


def listed(names):
    """None, one name or several -> a list of names."""
    if names is None:
        return []
    if not isinstance(names, (str, list, tuple)):
        raise TypeError(f"layers are named by a string or a list of them, got {names!r}")
    return [names] if isinstance(names, str) else list(names)
