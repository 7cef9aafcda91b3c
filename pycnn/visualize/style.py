"""Style transfer and textures: an image whose maps have the correlations of one image, and the values of another."""

from __future__ import annotations

import numpy as np

from ..figures import picture_path
from ..layers.activations import Activation
from ..layers.conv import Conv
from ..layers.norm import BatchNorm
from ..shapes import integer
from ..view import View
from .descent import check_optimizer, descend
from .images import as_image, image_input, in_channels, named_layers, share, write_image
from .random_filters import random_filters

MOST_LAYERS = 5         # that are looked at by default
MARGIN = 16             # pixels beyond the edges that are painted too
NOISE = 0.02            # standard deviation of the noise to begin with
STARTS = ("content", "noise")


def style_transfer(content, style, net=None, *, content_layers=None, style_layers=None, content_weight=0.02,
                   style_weight=1.0, optimizer="lbfgs", start="content", steps=100, seed=0, callback=None, verbose=1,
                   save=None):
    """Paints what is on one image in the style of another (Gatys, Ecker and Bethge 2015, arXiv:1508.06576).

    The image is found by descent of content_weight * L_content + style_weight * L_style. With F ``(N, M)`` the N maps
    of M positions at a layer, and G = F F^T / M, both are means over their layers l of squared differences::

        L_content = mean_l  sum (F_l - F_l of the content)^2 / sum (F_l of the content)^2
        L_style   = mean_l  sum (G_l - G_l of the style)^2 / sum (G_l of the style)^2

    These are the paper's eq. 1 and 5 with w_l such that maps of zeros would cost 1 at each layer, so that the same
    weights suit any network, and images of any two sizes. Filters see little of what lies at an edge, or see padding;
    so the image is mirrored for up to 16 pixels beyond its edges, and these are cut off at the end.

    Parameters
    ----------
    content, style : array
        Images; see `as_image`. Their sizes may differ.
    net : Network, optional
        Whose layers to look at: any with convolutions and an input of images of 1 or 3 channels, that takes both
        sizes at these layers. By default `random_filters`, in colour if one of the images is.
    content_layers, style_layers : str or list of str, optional
        By default `style_layers` is the first convolution at each size of maps, the largest five, seen behind its
        normalisation and activation, and `content_layers` the last of these but one.
    content_weight, style_weight : float
        At least 0.
    optimizer : {"lbfgs", "adam"}
        L-BFGS is scipy's, in the extra ``[style]``.
    start : {"content", "noise"} or array (C, H, W)
        The image to begin with; noise is normal, around grey.
    steps : int
        Of the optimizer.
    seed : int or numpy.random.Generator
        Of the random filters and the noise.
    callback : callable, optional
        ``callback(step, losses)`` before the first step and after each: `losses` has "loss", the total, "content" and
        "style", the two sums without their weights.
    verbose : int
        1 shows a progress bar.
    save : str or path, optional
        A PNG file to be written.

    Returns
    -------
    array of float32 (C, H, W)
        Of the size of `content`, values in [0, 1].

    Raises
    ------
    ValueError, TypeError
        When arguments do not fit each other or the network.
    ImportError
        When scipy is missing, or what `save` needs.
    """
    content, style = as_image(content, "content"), as_image(style, "style")
    check_optimizer(optimizer)
    path, steps = picture_path(save), integer(steps, "steps", 1)
    rng = np.random.default_rng(seed)
    if net is None:
        channels = max(len(content), len(style))
        net = random_filters((channels, *np.minimum(content.shape[1:], style.shape[1:]).tolist()), seed=rng)
    style_layers = named_layers(first_of_sizes(net) if style_layers is None else style_layers, "style_layers")
    content_layers = named_layers(style_layers[-2:][:1] if content_layers is None else content_layers, "content_layers")
    channels = image_input(net, [*style_layers, *content_layers])[1][0]
    content, style = in_channels(content, channels), in_channels(style, channels)
    image, margin = first_image(start, content, rng), margin_of(content.shape[1:])
    image, content = mirrored(image, margin), mirrored(content, margin)
    losses = Losses(net, content.shape)
    losses.add_style(style, style_layers, share(style_weight, "style_weight"))
    losses.add_content(content, content_layers, share(content_weight, "content_weight"))
    return painted(losses, image, margin, optimizer, steps, callback, "style transfer", verbose, path)


def texture(style, net=None, *, shape=None, style_layers=None, optimizer="lbfgs", steps=100, seed=0, callback=None,
            verbose=1, save=None):
    """More of what an image is made of: noise that is given the correlations of its maps (Gatys, Ecker and Bethge 2015,
    arXiv:1505.07376).

    Parameters
    ----------
    style : array
        An image; see `as_image`.
    shape : (int, int), optional
        Rows and columns of the result, by default those of `style`.
    net, style_layers, optimizer, steps, seed, callback, verbose, save
        As in `style_transfer`; the loss is L_style.

    Returns
    -------
    array of float32 (C, H, W)
        Values in [0, 1].

    Raises
    ------
    ValueError, TypeError, ImportError
        As in `style_transfer`.
    """
    style = as_image(style, "style")
    check_optimizer(optimizer)
    path, steps = picture_path(save), integer(steps, "steps", 1)
    rows, columns = style.shape[1:] if shape is None else (integer(n, "each size of shape", 1) for n in shape)
    rng = np.random.default_rng(seed)
    if net is None:
        net = random_filters((len(style), *np.minimum((rows, columns), style.shape[1:]).tolist()), seed=rng)
    style_layers = named_layers(first_of_sizes(net) if style_layers is None else style_layers, "style_layers")
    style = in_channels(style, image_input(net, style_layers)[1][0])
    margin = margin_of((rows, columns))
    image = noise((len(style), rows + 2 * margin, columns + 2 * margin), rng)
    losses = Losses(net, image.shape)
    losses.add_style(style, style_layers, 1.0)
    return painted(losses, image, margin, optimizer, steps, callback, "texture", verbose, path)


def margin_of(size):
    """How many pixels beyond its edges an image of so many rows and columns gets."""
    return min(MARGIN, min(size) // 4)


def mirrored(image, margin):
    """An image ``(C, H, W)`` that goes on beyond its edges."""
    return np.pad(image, [(0, 0), (margin, margin), (margin, margin)], mode="reflect") if margin else image


def noise(shape, rng):
    """What an image is found in: normal noise around grey, in [0, 1]."""
    return np.clip(0.5 + NOISE * rng.standard_normal(shape, np.float32), 0, 1)


def gram(maps):
    """The correlations F F^T / M of maps ``(N, ...)`` of M positions: ``(N, N)``."""
    flat = maps.reshape(len(maps), -1)
    return flat @ flat.T / flat.shape[1]


class Losses:
    """How far an image is from the style of one image and the content of another, at layers of a network.

    Parameters
    ----------
    net : Network
    shape : tuple of int
        ``(C, H, W)`` of the image.

    Attributes
    ----------
    last : dict of str to float
        "loss", "content" and "style" of the last image.
    """

    def __init__(self, net, shape):
        self.net, self.shape = net, shape
        self.grams, self.maps = {}, {}      # layer -> (what it is to be, the weight of squared differences)
        self.weights = {"style": 0.0, "content": 0.0}
        self.last, self._view, self._scratch = {}, None, {}

    def _values(self, image, layers):
        """The maps ``(N, ...)`` of an image at layers."""
        values = self._view_of(image.shape, layers)(image[np.newaxis])
        for name, maps in values.items():
            if maps.ndim < 4:
                raise ValueError(f"{name} has no maps of positions, but shape {maps.shape[1:]}")
        return {name: maps[0] for name, maps in values.items()}

    def _view_of(self, shape, layers):
        name, _ = image_input(self.net, layers)
        return View(self.net, layers, start=name, input_shapes={name: shape})

    def add_style(self, style, layers, weight):
        """The correlations of an image ``(C, H, W)`` are to be had at these layers."""
        self.weights["style"] = weight
        for name, maps in self._values(style, layers).items():
            target = gram(maps)
            self.grams[name] = target, 1 / (len(layers) * size_of(target, name, "style"))

    def add_content(self, content, layers, weight):
        """The maps of an image ``(C, H, W)`` are to be had at these layers."""
        self.weights["content"] = weight
        for name, maps in self._values(content, layers).items():
            self.maps[name] = maps, 1 / (len(layers) * size_of(maps, name, "content"))

    def __call__(self, image):
        """The loss of an image ``(C, H, W)``, and its gradient."""
        if self._view is None:
            self._view = self._view_of(self.shape, list({**self.grams, **self.maps}))
        value, gradients = self._view.gradients(image[np.newaxis], self._judge)
        return value, next(iter(gradients.values()))[0]

    def _judge(self, values):
        sums, gradients = {"style": 0.0, "content": 0.0}, {}
        for name, (target, each) in self.grams.items():
            maps = values[name][0]
            flat = maps.reshape(len(maps), -1)
            apart = gram(maps) - target
            sums["style"] += each * float(np.vdot(apart, apart))
            if name not in self._scratch:       # its pages stay mapped from step to step
                self._scratch[name] = np.empty_like(flat)
            apart *= 4 * each * self.weights["style"] / flat.shape[1]
            gradients[name] = np.matmul(apart, flat, out=self._scratch[name]).reshape(values[name].shape)
        for name, (target, each) in self.maps.items():
            apart = values[name][0] - target
            sums["content"] += each * float(np.vdot(apart, apart))
            apart *= 2 * each * self.weights["content"]
            gradients[name] = gradients[name] + apart if name in gradients else apart[np.newaxis]
        self.last = {"loss": sum(self.weights[kind] * value for kind, value in sums.items()), **sums}
        return self.last["loss"], gradients


def size_of(target, layer, what):
    """The sum of squares, which differences are divided by; ValueError where it is zero."""
    size = float(np.vdot(target, target))
    if not size > 0:
        raise ValueError(f"{layer} does not answer to the {what} image: all its maps are 0 there; name other layers")
    return size


def painted(losses, image, margin, optimizer, steps, callback, title, verbose, path):
    """The image at the end of a descent of the losses, in float32, written where a path is given."""
    from tqdm import tqdm

    count = 0
    with tqdm(total=steps, desc=title, unit=" steps", leave=False, disable=verbose != 1) as bar:
        def objective(x):
            result = losses(x)
            if callback and not count and not told:
                told.append(True)
                callback(0, losses.last)
            return result

        def on_step():
            nonlocal count
            count += 1
            bar.update()
            bar.set_postfix_str(f"loss {losses.last['loss']:.5f}")
            if callback:
                callback(count, losses.last)

        told = []
        image = np.clip(descend(objective, image, optimizer, steps, on_step), 0, 1)
    image = image[:, margin : image.shape[1] - margin, margin : image.shape[2] - margin].copy()
    write_image(path, image)
    return image


def first_image(start, content, rng):
    """The image that a transfer begins with."""
    if isinstance(start, str):
        if start not in STARTS:
            raise ValueError(f"start is one of {', '.join(STARTS)}, or an image; got {start!r}")
        return content if start == "content" else noise(content.shape, rng)
    image = in_channels(as_image(start, "start"), len(content))
    if image.shape != content.shape:
        raise ValueError(f"start has shape {image.shape}, the content {content.shape}")
    return image


def first_of_sizes(net):
    """The first convolution at each size of maps, named as what comes out behind its normalisation and activation.

    Raises
    ------
    ValueError
        When there is none.
    """
    found, readers = {}, {node: [] for node in net.graph.nodes}
    for node in net.graph.nodes:
        for source in node.inputs:
            readers[source].append(node)
    for node in net.graph.nodes:
        if isinstance(node.layer, Conv) and len(node.shape) == 3 and node.shape[1:] not in found:
            while len(readers[node]) == 1 and isinstance(readers[node][0].layer, (Activation, BatchNorm)):
                node = readers[node][0]
            found[node.shape[1:]] = node
    if not found:
        raise ValueError("the network has no convolutions of images")
    largest = sorted(found.values(), key=lambda node: -node.shape[1] * node.shape[2])[:MOST_LAYERS]
    return [net.graph.name_of(node) for node in largest]
