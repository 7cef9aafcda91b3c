"""What a classifier takes for a class: the image that it likes best, and images that fool it."""

from __future__ import annotations

import warnings

import numpy as np

from ..figures import draw_image, new_figure, picture_path, write_figure
from ..layers.base import number_within
from ..progress import shown
from ..shapes import integer
from ..view import View
from .ascent import Ascent, ascend, checked_ascent, starting_inputs
from .regularizers import L1, Blur, Jitter
from .scores import score_node

CONSTRAINT = (L1(0.2), Blur(every=4, sigma=0.5), Jitter(1))


class Classes:
    """The scores of a classifier at one output, and the probabilities that follow from them.

    Where the output is a Softmax or LogSoftmax, the scores are those below it; of distances (`pycnn.layers.RBF`), minus these.
    """

    def __init__(self, net, output):
        node, self.sign = score_node(net, output)
        if len(node.shape) != 1 or node.shape[0] < 2:
            raise ValueError(f"{node.label}: an output of scores is (classes,) with two classes at least, got {node.shape}")
        self.name, self.count = net.graph.name_of(node), node.shape[0]
        self.view = View(net, self.name)

    def targets(self, target):
        """The classes that were asked for, all where None."""
        targets = np.atleast_1d(np.arange(self.count) if target is None else target)
        if not targets.size:
            raise ValueError("target names no class")
        for one in targets.tolist():
            if not 0 <= integer(one, "target") < self.count:
                raise ValueError(f"target must be from 0 to {self.count - 1}, got {one}")
        return targets

    def probabilities(self, scores):
        """Softmax of scores ``(N, classes)``."""
        powers = np.exp(self.sign * scores - (self.sign * scores).max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def of(self, x, targets):
        """The probability of each input's target: an array (N,)."""
        return self.probabilities(self.view(x)[self.name])[np.arange(len(targets)), targets]

    def score_gradients(self, targets):
        """The gradients of the targets' scores, as an ascent takes them."""
        weights = self.sign * np.eye(self.count, dtype=self.view.dtype)[targets]
        return lambda values: {self.name: weights}


def class_image(net, target=None, *, output=None, regularizers=CONSTRAINT, steps=300, learning_rate=0.1, confidence=0.99,
                value_range=(0.0, 1.0), start=None, fixed=None, seed=0, verbose=1, save=None):
    """The image that a network likes best as one of a class, kept simple by a constraint: argmax S_c(x) - R(x) (Simonyan et al.
    2013, arXiv:1312.6034, eq. 1), of scores and not of probabilities.

    Where the network is less sure of it than `confidence`, the image then goes on without the constraint until it is.

    Parameters
    ----------
    net : Network
        A classifier.
    target : int or list of int, optional
        The class, or several; all where missing.
    output : str, optional
        Which, where there are several.
    regularizers : list of Regularizer
        The constraint R.
    steps, learning_rate, value_range, start, fixed, seed, verbose
        As in `maximize_activation`.
    confidence : float
        In (0, 1).
    save : str, optional
        Where to write a sheet of the images, PNG.

    Returns
    -------
    array (*shape) or (N, *shape)
        In `value_range`: one image for a single target, else one for each. A dict by name, where several inputs are moved.

    Warns
    -----
    UserWarning
        When the network is less sure of an image than `confidence` in the end.

    Raises
    ------
    ValueError, TypeError
        For a class, an output or settings that cannot be used.
    """
    path, classes = picture_path(save), Classes(net, output)
    targets = classes.targets(target)
    settings = checked_ascent(steps, learning_rate, regularizers, value_range)
    steps, learning_rate, regularizers, value_range = settings
    confidence = number_within(confidence, "confidence", 1)
    rng = np.random.default_rng(seed)
    x, moved = starting_inputs(classes.view, len(targets), value_range, start, fixed, rng)
    ascent = Ascent(classes.view, classes.score_gradients(targets), x, moved, regularizers, learning_rate, value_range, rng)
    ascend(ascent, steps, "class images", verbose)
    make_sure(classes, targets, x, moved, confidence, value_range, steps, learning_rate, rng)
    write_figure(path, lambda: sheet_of_classes(classes, targets, x, moved))
    return answered(x, moved, target)


def fool(net, target=None, start="noise", *, output=None, steps=300, learning_rate=0.01, confidence=0.99,
         value_range=(0.0, 1.0), fixed=None, seed=0, verbose=1, save=None):
    """Images that a network calls something that they are not, and is sure of it (Nguyen, Yosinski & Clune 2015,
    arXiv:1412.1897; by gradient ascent on log p(target), as in their section 3.4).

    An image goes no further than it must: it stays as soon as the network is sure enough.

    Parameters
    ----------
    net : Network
        A classifier.
    target : int or list of int, optional
        What it is to be called; each class in turn where missing.
    start : "noise", array (*shape) or (N, *shape), or dict of such by name
        What it is.
    output : str, optional
        Which, where there are several.
    steps : int
        At most.
    learning_rate : float
        How far a value moves in a step, as a root mean square.
    confidence : float
        The least probability that the network is to give the target, in (0, 1).
    value_range, fixed, seed, verbose
        As in `maximize_activation`.
    save : str, optional
        Where to write a picture, PNG: what it was, what it became, and what the network says of it.

    Returns
    -------
    array (*shape) or (N, *shape)
        In `value_range`: one image for a single target, else one for each. A dict by name, where several inputs are moved.

    Warns
    -----
    UserWarning
        When an image does not reach the confidence in so many steps.

    Raises
    ------
    ValueError, TypeError
        For a class, an output or settings that cannot be used.
    """
    path, classes = picture_path(save), Classes(net, output)
    targets = classes.targets(target)
    steps, learning_rate, _, value_range = checked_ascent(steps, learning_rate, (), value_range)
    confidence = number_within(confidence, "confidence", 1)
    if isinstance(start, str) and start != "noise":
        raise ValueError(f"start is 'noise' or an image, got {start!r}")
    rng = np.random.default_rng(seed)
    begin = None if isinstance(start, str) else start
    x, moved = starting_inputs(classes.view, len(targets), value_range, begin, fixed, rng, contrast=0.25)
    before = {name: x[name].copy() for name in moved}
    make_sure(classes, targets, x, moved, confidence, value_range, steps, learning_rate, rng, verbose, "fooling images")
    write_figure(path, lambda: figure_of_fooling(classes, targets, before, x, moved))
    return answered(x, moved, target)


def make_sure(classes, targets, x, moved, confidence, value_range, steps, learning_rate, rng, verbose=0, title=""):
    """Moves images in place towards their target's probability, each until that is as great as `confidence`; UserWarning if
    some never are. The steps become smaller, so that images settle."""
    rows, weights = np.arange(len(targets)), np.eye(classes.count, dtype=classes.view.dtype)[targets]
    sure = np.zeros(len(targets), bool)

    def log_probability_gradients(values):
        probabilities = classes.probabilities(values[classes.name])
        sure[:] = probabilities[rows, targets] >= confidence
        return {classes.name: classes.sign * (weights - probabilities)}

    ascent = Ascent(classes.view, log_probability_gradients, x, moved, (), learning_rate, value_range, rng)
    for number in shown(range(steps), title, "step", verbose):
        ascent.learning_rate = learning_rate * (1 - 0.9 * number / steps)
        before = {name: x[name].copy() for name in moved}
        ascent.step(number)
        for name in moved:
            x[name][sure] = before[name][sure]
        if sure.all():
            return
    reached = classes.of(x, targets)
    if not (reached >= confidence).all():
        of = ", ".join(f"{t} ({p:.1%})" for t, p in zip(targets, reached) if not p >= confidence)
        warnings.warn(f"after {steps} steps the network is less sure than {confidence:.1%} of {of}", stacklevel=3)


def answered(x, moved, target):
    """Images in the form of what was asked: one for a single target."""
    images = {name: x[name] if target is None or np.ndim(target) else x[name][0] for name in moved}
    return images if len(moved) > 1 else images[moved[0]]


def sheet_of_classes(classes, targets, x, moved):
    """A matplotlib figure of an image for each class, and how sure the network is of it."""
    images, sure = x[moved[0]], classes.of(x, targets)
    across = min(len(targets), 5)
    down = -(-len(targets) // across)
    figure = new_figure(1.7 * across, 2.0 * down + 0.4)
    for axes in figure.subplots(down, across, squeeze=False).ravel():
        axes.axis("off")
    for axes, image, target, p in zip(figure.axes, images, targets, sure):
        draw_image(axes, image, f"{target}: {p:.1%}")
    figure.suptitle("class images")
    return figure


def figure_of_fooling(classes, targets, before, x, moved):
    """A matplotlib figure of images before and after, one pair above the other, and what the network says of them."""
    was = classes.probabilities(classes.view({**x, **before})[classes.name])
    sure, columns, name = classes.of(x, targets), len(targets), moved[0]
    figure = new_figure(1.5 * columns + 0.3, 4.0)
    rows = figure.subplots(2, columns, squeeze=False)
    for i, target in enumerate(targets):
        draw_image(rows[0, i], before[name][i], f"{was[i].argmax()}: {was[i].max():.0%}")
        draw_image(rows[1, i], x[name][i], f"{target}: {sure[i]:.1%}")
    rows[0, 0].set_ylabel("before")
    rows[1, 0].set_ylabel("after")
    figure.suptitle("above: what it was, below: what fools the network; what it says, and how sure it is")
    return figure
