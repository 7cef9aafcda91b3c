"""Convolutions, dense layers, radial basis functions, embeddings and biases as nodes of ONNX."""

import numpy as np

from .. import layers as L
from ..shapes import sections_of, transposed_padding
from .windows import gathered, taps_of_windows
from .write_activations import activated


def conv(w, node, x):
    return activated(w, linear_conv(w, node, x), node.layer.activation)


def linear_conv(w, node, x):
    layer, shape = node.layer, node.inputs[0].shape
    kernel, stride, padding, dilation = layer._axes(shape)
    weight = w.parameter("weight", whole_weight(w, layer, shape[0]))
    return w.add("Conv", x, weight, *bias_of(w, layer), kernel_shape=kernel, strides=stride, pads=flat(padding),
                 dilations=dilation, group=layer.groups)


def whole_weight(w, layer, channels):
    """The weight of a convolution, with zeros for the connections that there are not."""
    weight = w.array("weight")
    if layer.connections is None:
        return weight
    whole = np.zeros((layer.filters, channels, *weight.shape[1:]), weight.dtype)
    whole[tuple(np.argwhere(layer.connections).T)] = weight
    return whole


def flat(padding):
    """Paddings as ONNX has them: all before, then all after."""
    return [pair[i] for i in (0, 1) for pair in padding]


def bias_of(w, layer):
    return [w.parameter("bias")] if layer.has_bias else []


def conv_transpose(w, node, x):
    layer, shape = node.layer, node.inputs[0].shape
    kernel, stride, dilation = layer._axes(shape)
    rank = len(kernel)
    extra = layer.output_padding if isinstance(layer.output_padding, (tuple, list)) else (layer.output_padding,) * rank
    padding = transposed_padding(layer.padding, shape[1:], kernel, stride, dilation, layer.output_padding)
    extra = [e + max(0, -after) for e, (_, after) in zip(extra, padding)]
    y = w.add("ConvTranspose", x, w.parameter("weight"), *bias_of(w, layer), kernel_shape=kernel, strides=stride,
              pads=flat([(before, max(0, after)) for before, after in padding]), dilations=dilation, group=layer.groups,
              output_padding=extra)
    return activated(w, y, layer.activation)


def dense(w, node, x):
    layer = node.layer
    bias = bias_of(w, layer)
    if not bias and w.opset < 11:
        bias = [w.constant(np.zeros(layer.units, w.dtype))]
    return activated(w, w.add("Gemm", x, w.parameter("weight"), *bias, transB=1), layer.activation)


def locally_connected(w, node, x):
    """A convolution with a group for each section, over the windows of its positions side by side."""
    layer, shape = node.layer, node.inputs[0].shape
    kernel, stride, padding, dilation = layer._axes(shape)
    out = node.shape[1:]
    cuts = sections_of(layer.sections, out)
    sections = int(np.prod(cuts))
    weight = w.array("weight").reshape(layer.filters, sections, -1).transpose(1, 0, 2)
    if any(map(any, padding)):
        x = w.pad(x, padding)
    padded = [n + before + after for n, (before, after) in zip(shape[1:], padding)]
    members, place = members_of_sections(out, cuts)
    taps = taps_of_windows(padded, out, kernel, stride, dilation)[:, members]               # taps, sections, members
    patches = gathered(w, x, shape[0], padded, taps.transpose(1, 0, 2))
    patches = w.reshape(w.transpose(patches, 1, 0, 2, 3), -1, members.shape[1])
    known = [w.parameter("weight", weight.reshape(sections * layer.filters, -1, 1))]
    if layer.has_bias:
        known.append(w.parameter("bias", w.array("bias").reshape(layer.filters, -1).T.reshape(-1)))
    y = w.add("Conv", patches, *known, kernel_shape=[1], group=sections)
    y = w.transpose(w.reshape(y, sections, layer.filters, -1), 1, 0, 2)
    y = w.gather(w.reshape(y, layer.filters, -1), place, axis=2)
    return activated(w, w.reshape(y, layer.filters, *out), layer.activation)


def members_of_sections(out, cuts):
    """The positions of each section, ``(sections, most)``, the last one repeated where there are fewer; and
    for each position where it stands there."""
    section = np.zeros(out, np.int64)
    for axis, (n, parts) in enumerate(zip(out, cuts)):
        begins = np.arange(1, parts) * n // parts
        along = np.searchsorted(begins, np.arange(n), side="right")
        section = section * parts + along.reshape(-1, *[1] * (len(out) - 1 - axis))
    section = section.ravel()
    order = np.argsort(section, kind="stable")
    counts = np.bincount(section)
    number = np.arange(len(section)) - np.repeat(np.cumsum(counts) - counts, counts)        # within its section
    most = int(counts.max())
    members = np.repeat(order[np.cumsum(counts) - 1], most).reshape(-1, most)
    members[section[order], number] = order
    place = np.empty_like(order)
    place[order] = section[order] * most + number
    return members, place


def rbf(w, node, x):
    distance = w.add("Sub", w.reshape(x, 1, -1), w.parameter("weight"))
    return w.reduce("ReduceSum", w.add("Mul", distance, distance), 2, keep=False)


def embedding(w, node, x):
    """Rows of the table by the numbers of words, which go to the place of the channels."""
    if node.inputs[0] not in w.words:
        x = w.add("Cast", x, to=w.onnx.TensorProto.INT64)
    rank = len(node.shape)
    return w.transpose(w.add("Gather", w.parameter("weight"), x, axis=0), rank - 1, *range(rank - 1))


def bias(w, node, x):
    return w.add("Add", x, w.parameter("bias"))


WRITERS = {
    L.Conv: conv, L.ConvTranspose: conv_transpose, L.Dense: dense, L.LocallyConnected: locally_connected, L.RBF: rbf,
    L.Embedding: embedding, L.Bias: bias,
}
