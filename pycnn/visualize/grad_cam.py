"""Grad-CAM: where the maps of a layer within speak for a class."""

from __future__ import annotations

from math import prod

import numpy as np

from ..functional import upsample_forward
from ..graph import ordered_nodes
from ..layers import ConvTranspose
from ..layers.conv import Sliding
from .scores import Scores

CONVOLUTIONS = (Sliding, ConvTranspose)


def grad_cam(net, x, target=None, *, layer=None, output=None, input=None, batch_size=64, verbose=1, save=None):
    """Where a layer's maps speak for a class: the rectified sum of its maps, each weighted by the mean of its gradient
    (Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2), resized linearly to the input.

    Parameters
    ----------
    net, x, target, output, input, batch_size, verbose, save
        As in `saliency`. The input must have positions.
    layer : str, optional
        A layer with as many spatial axes as the input. By default the last convolution with more than one position,
        together with what alone reads it and leaves its maps their size: a normalisation, a sum, a rectifier.

    Returns
    -------
    array (N, *positions), without N if `x` was without
        At least 0, in units of the score.

    Raises
    ------
    ValueError, TypeError
        When arrays or names do not fit the network, or there is no such layer.
    """
    scores = Scores(net, x, target, output, input, save=save)
    spatial = scores.positions("Grad-CAM")
    node = last_maps(net.graph, scores) if layer is None else net.graph.find(layer)
    if len(node.shape) != len(spatial) + 1:
        raise ValueError(f"{node.label}: Grad-CAM weighs maps with as many spatial axes as the input {scores.input!r}, "
                         f"{len(spatial)}; it gives {node.shape}")
    at_layer = scores.at(node)
    gradients = at_layer.mean_gradients(at_layer.unchanged, 1, batch_size, "Grad-CAM", verbose)
    weights = gradients.mean(tuple(range(2, gradients.ndim)), keepdims=True)
    heat = np.maximum(0, np.sum(weights * at_layer.x, 1, keepdims=True))
    return scores.finished(upsample_forward(heat, size=spatial, mode="linear")[:, 0], "Grad-CAM")


def last_maps(graph, scores):
    """The node of the last convolution between what changes and the score, or what follows it of the same shape."""
    reached = {scores.start}
    between = ordered_nodes([scores.node])
    for node in between:
        if not reached.isdisjoint(node.inputs):
            reached.add(node)
    found = [node for node in between if node in reached and isinstance(node.layer, CONVOLUTIONS)
             and len(node.shape) == len(scores.start.shape) and prod(node.shape[1:]) > 1]
    if not found:
        raise ValueError(f"no convolution with several positions lies between {scores.input!r} and the score: name a "
                         f"layer; there are {', '.join(graph.layers)}")
    last = found[-1]
    while True:
        readers = [node for node in between if last in node.inputs]
        if len(readers) != 1 or readers[0].shape != last.shape:
            return last
        last = readers[0]
