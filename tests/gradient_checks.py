"""What every network must fulfil: it computes what pycnn.reference computes, and its gradients are the slopes of its loss.

Gradients are compared in float64 with central differences along random directions. With steps of 1e-6 the truncation
is of the order of 1e-12 and the rounding of 1e-10, so they must agree to 1e-7 of the gradient's length.
"""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import strategies as st

import pycnn
from pycnn import _kernels as K
from pycnn import config, plan, reference
from pycnn import layers as L
from pycnn.layers.base import InputLayer
from pycnn.reference.subsampling import connected_weights

LAYERS = [name for name in L.__all__
          if isinstance(getattr(L, name), type) and issubclass(getattr(L, name), L.Layer) and name != "Layer"]
LANES = config.kernels("float64").lanes
ACTIVATIONS = [name for name in K.ACTIVATIONS if name != "identity"]
LAYOUTS = {"samples": K.SAMPLES, "channels": K.CHANNELS}
BATCHES = sorted({1, LANES - 1, LANES, 2 * LANES + 3})


@contextlib.contextmanager
def maps_in(layout):
    """Plans made inside keep maps in that layout, whatever would be the faster one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "choose_spatial_layout", lambda *_: layout)
        yield


# ---- the reference, walking over the graph ---------------------------------------------------------------------------


def reference_conv(layer, x):
    y = reference.conv_forward(
        x,
        layer.weight if layer.connections is None else connected_weights(layer.weight, layer.connections),
        layer._parameters["bias"].value if layer._parameters.get("bias") else None,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return reference.activation_forward(y, layer.activation or "identity")


def reference_conv_transpose(layer, x):
    y = reference.conv_transpose_forward(
        x,
        layer.weight,
        layer.bias if layer.has_bias else None,
        stride=layer.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return reference.activation_forward(y, layer.activation or "identity")


def reference_local(layer, x):
    y = reference.local_conv_forward(x, layer.weight, layer.bias if layer.has_bias else None, stride=layer.stride,
                                     padding=layer.padding, dilation=layer.dilation)
    return reference.activation_forward(y, layer.activation or "identity")


def reference_dense(layer, x):
    y = reference.dense_forward(
        x, layer.weight, layer._parameters["bias"].value if layer._parameters.get("bias") else None
    )
    return reference.activation_forward(y, layer.activation or "identity")


def reference_max_pool(layer, x):
    return reference.max_pool_forward(
        x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
    )[0]


def reference_avg_pool(layer, x):
    return reference.avg_pool_forward(x, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode,
                                      layer.count_include_pad)


def reference_reduce(layer, x):
    y = getattr(x, layer.kind)(axis=tuple(axis + 1 for axis in layer.axes), keepdims=layer.keepdims)
    return y if y.ndim > 1 else y[:, None]


def reference_slice(layer, x):
    return np.moveaxis(np.moveaxis(x, layer.axis + 1, 0)[layer.start : layer.stop : layer.step], 0, layer.axis + 1)


def reference_binary(layer, a, b):
    names = {"sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power", "max": "maximum", "min": "minimum"}
    return getattr(np, names.get(layer.kind, layer.kind))(a, b)


def reference_places(layer, x):
    found = reference.max_pool_forward(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)[1]
    offsets = np.arange(x.shape[1]).reshape(1, -1, *[1] * (x.ndim - 2)) * math.prod(x.shape[2:])
    return offsets + (found if not layer.columns_first else
                      np.ravel_multi_index(np.unravel_index(found, x.shape[2:]), x.shape[2:], order="F"))


def reference_resize(layer, x):
    """By the matrices along each axis, which tests/test_resize.py compares with ONNX's own."""
    inside = np.ones_like(x[:1, :1])
    for axis, matrix in enumerate(layer.axes(x.shape[2:]), 2):
        dense = np.zeros((matrix.outputs, matrix.inputs))
        for o in range(matrix.outputs):
            for t in range(matrix.begin[o], matrix.begin[o + 1]):
                dense[o, matrix.index[t]] += matrix.weight[t]
        x = np.moveaxis(np.tensordot(dense, x, (1, axis)), 0, axis)
        inside = np.moveaxis(np.tensordot(dense.any(axis=1)[:, None], inside.take([0], axis), (1, axis)), 0, axis)
    return np.where(inside > 0, x, layer.value)


def reference_unary(layer, x):
    return getattr(np, {"abs": "absolute", "neg": "negative"}.get(layer.kind, layer.kind))(x)


def reference_sum_pool(layer, x):
    ones, zeros = np.ones(x.shape[1]), np.zeros(x.shape[1])
    return reference.subsample_forward(x, ones, zeros, layer.kernel_size, layer.stride)


def reference_subsample(layer, x):
    bias = layer.bias if layer.has_bias else np.zeros(x.shape[1])
    y = reference.subsample_forward(x, layer.coefficient, bias, layer.kernel_size, layer.stride)
    return reference.activation_forward(y, layer.activation or "identity")


def reference_softmax_pool(layer, x):
    return reference.softmax_pool_forward(x, layer.sharpness, layer.kernel_size, layer.stride, layer.connections)


def reference_batch_norm(layer, x, training):
    if training:
        return reference.batch_norm_forward(x, layer.weight, layer.bias, layer.epsilon)[0]
    return reference.batch_norm_inference(x, layer.weight, layer.bias, layer.running_mean, layer.running_var, layer.epsilon)


def reference_affine_grid(layer, theta):
    *size, rank = layer.output_shape(theta.shape[1:])
    return reference.affine_grid_forward(theta.reshape(-1, rank, rank + 1), size, layer.align_corners)


def reference_grid_sample(layer, x, grid):
    return reference.grid_sample_forward(x, grid, layer.mode, layer.padding_mode, layer.align_corners)


def reference_pointwise(layer, x):
    names = {"hard_sigmoid": ("alpha", "beta"), "clip": ("min", "max")}.get(layer.kind, ())
    given = {name: getattr(layer, name) for name in names if getattr(layer, name) is not None}
    return reference.pointwise_forward(x, layer.kind, **given)


def reference_activation(layer, x):
    return reference.activation_forward(x, layer.kind, getattr(layer, "alpha", None))


def reference_lp_pool(layer, x):
    return reference.lp_pool_forward(x, layer.p, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)


def reference_max_unpool(layer, x, pooled):
    indices = reference.max_pool_forward(pooled, layer.kernel_size, layer.stride, layer.padding)[1]
    return reference.max_unpool_forward(x, indices, pooled.shape)


def reference_upsample(layer, x):
    return reference.upsample_forward(x, layer.scale, layer.size, layer.mode, layer.align_corners)
def reference_primary_capsules(layer, x):
    maps = reference.conv_forward(x, layer.weight, layer.bias if layer.has_bias else None, stride=layer.stride,
                                  padding=layer.padding, dilation=layer.dilation)
    return reference.primary_capsules_forward(maps, layer.dimension)


REFERENCE = {
    "AdaptiveAvgPool": lambda layer, x: reference.adaptive_avg_pool_forward(x, layer.output_size),
    "Add": lambda layer, *xs: reference.add(*xs),
    "AffineGrid": reference_affine_grid,
    "AvgPool": reference_avg_pool,
    "BatchNorm": reference_batch_norm,
    "Bias": lambda layer, x: reference.bias_forward(x, layer.bias),
    "Binary": reference_binary,
    "CELU": lambda layer, x: np.where(x > 0, x, layer.alpha * np.expm1(x / layer.alpha)),
    "Clip": reference_pointwise,
    "Capsules": lambda layer, u: reference.capsules_forward(u, layer.weight, layer.iterations),
    "Concat": lambda layer, *xs: reference.concat(xs, layer.axis + 1),
    "Constant": lambda layer, x: np.broadcast_to(layer.value, (len(x), *layer.shape)),
    "Conv": reference_conv,
    "ConvTranspose": reference_conv_transpose,
    "Crop": lambda layer, x: reference.crop_forward(x, layer.cropping),
    "Dense": reference_dense,
    "Dropout": lambda layer, x: x,          # in predictions
    "ELU": reference_activation,
    "Embedding": lambda layer, ids: reference.embedding_forward(ids.astype(int), layer.weight),
    "Expand": lambda layer, x: np.broadcast_to(x, (len(x), *layer.shape)),
    "Flatten": lambda layer, x: x.reshape(len(x), math.prod(x.shape[1:])),
    "GELU": reference_pointwise,
    "GaussianNoise": lambda layer, x: x,    # in predictions
    "GlobalAvgPool": lambda layer, x: reference.global_avg_pool_forward(x).reshape(x.shape[:2]),
    "GlobalMaxPool": lambda layer, x: reference.global_max_pool_forward(x)[0].reshape(x.shape[:2]),
    "GridSample": reference_grid_sample,
    "GroupNorm": lambda layer, x: reference.group_norm_forward(x, layer.weight, layer.bias, layer.groups, layer.epsilon),
    "HardSigmoid": reference_pointwise,
    "HardSwish": reference_pointwise,
    "InstanceNorm": lambda layer, x: reference.instance_norm_forward(x, layer.weight, layer.bias, layer.epsilon),
    "Lambda": lambda layer, *xs: layer.function(*xs),
    "LPPool": reference_lp_pool,
    "LayerNorm": lambda layer, x: reference.layer_norm_forward(x, layer.weight, layer.bias, layer.epsilon),
    "LeakyReLU": reference_activation,
    "LocallyConnected": reference_local,
    "LocalResponseNorm": lambda layer, x: reference.local_response_norm_forward(x, layer.size, layer.alpha, layer.beta,
                                                                               layer.k),
    "Length": lambda layer, x: reference.length_forward(x),
    "LogSoftmax": lambda layer, x: np.moveaxis(reference.log_softmax(np.moveaxis(x, layer.axis + 1, 1)), 1, layer.axis + 1),
    "Mask": lambda layer, *inputs: reference.mask_forward(*inputs)[0],
    "MatMul": lambda layer, a, b: a @ b,
    "MaxPool": reference_max_pool,
    "MaxPoolPlaces": reference_places,
    "Where": lambda layer, condition, a, b: np.where(condition, a, b),
    "MaxUnpool": reference_max_unpool,
    "Mish": reference_pointwise,
    "Multiply": lambda layer, a, b: reference.multiply(a, b),
    "PReLU": lambda layer, x: reference.prelu_forward(x, layer.weight),
    "Pad": lambda layer, x: reference.pad_forward(x, layer.padding, layer.mode, layer.value),
    "Permute": lambda layer, x: reference.permute_forward(x, layer.axes),
    "PrimaryCapsules": reference_primary_capsules,
    "RBF": lambda layer, x: reference.rbf_forward(x, layer.weight),
    "ReLU": reference_activation,
    "Reduce": reference_reduce,
    "Resize": reference_resize,
    "Reshape": lambda layer, x: x.reshape(len(x), *layer.output_shape(x.shape[1:])),
    "SELU": reference_activation,
    "ScaledTanh": reference_activation,
    "SiLU": reference_pointwise,
    "Sigmoid": reference_activation,
    "Slice": reference_slice,
    "SoftMaxPool": reference_softmax_pool,
    "Softmax": lambda layer, x: np.moveaxis(reference.softmax(np.moveaxis(x, layer.axis + 1, 1)), 1, layer.axis + 1),
    "Softplus": reference_activation,
    "Softsign": reference_pointwise,
    "Squash": lambda layer, x: reference.squash_forward(x),
    "Subsample": reference_subsample,
    "SumPool": reference_sum_pool,
    "Take": lambda layer, x: np.take(x, layer.indices, axis=layer.axis + 1),
    "Tanh": reference_activation,
    "ThresholdedReLU": lambda layer, x: np.where(x > layer.alpha, x, 0),
    "Unary": reference_unary,
    "Upsample": reference_upsample,
}

LOSSES = {
    "cross_entropy": reference.softmax_cross_entropy,
    "mse": reference.mean_squared_error,
    "binary_cross_entropy": reference.binary_cross_entropy,
    "binary_cross_entropy_with_logits": reference.binary_cross_entropy_with_logits,
    "distance": reference.distance_loss,
    "margin": reference.margin_loss,
}


def reference_values(net, xs, training=False):
    """The value of every node for inputs by name."""
    values = {}
    for node in net.graph.nodes:
        if isinstance(node.layer, InputLayer):
            values[node] = xs[node.layer.name]
        else:
            mode = [training] if isinstance(node.layer, L.BatchNorm) else []
            values[node] = REFERENCE[type(node.layer).__name__](node.layer, *(values[i] for i in node.inputs), *mode)
    return values


def reference_loss(net, xs, ys, losses):
    """The sum of the losses of the outputs that have one."""
    values, total = reference_values(net, xs, training=True), 0.0
    for name, loss in losses.items():
        node = net.graph.outputs[name]
        if loss == "cross_entropy" and type(node.layer) is L.Softmax:
            node = node.inputs[0]
        total += LOSSES[loss](values[node], ys[name])[0]
    return total


# ---- what every network must fulfil ----------------------------------------------------------------------------------


def assert_close(actual, expected, tolerance):
    """Equal to `tolerance` of the greatest of the expected numbers."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1e-3, np.abs(expected).max(initial=0)))


def vocabularies(net):
    """How many words there are, by the names of the inputs that hold their numbers."""
    return {node.inputs[0].layer.name: node.layer.vocabulary for node in net.graph.nodes
            if isinstance(node.layer, L.Embedding)}


def drawn(net, batch, losses, rng):
    xs = {name: rng.uniform(-1, 1, (batch, *shape)) for name, shape in net.input_shapes.items()}
    for name, vocabulary in vocabularies(net).items():
        xs[name] = rng.integers(0, vocabulary, xs[name].shape).astype(np.float64)
    ys = {}
    for name, loss in losses.items():
        shape = net.output_shapes[name]
        if pycnn.losses.get_loss(loss).labels:
            ys[name] = rng.integers(0, shape[0], (batch, *shape[1:]))
        else:
            ys[name] = rng.uniform(0.1, 0.9, (batch, *shape))
    return xs, ys


def slope(value, array, direction, step=1e-6):
    """(central difference of `value()` along `direction` of `array`, how far the one-sided differences are apart)"""
    start = array.copy()
    here = value()
    array[...] = start + step * direction
    ahead = value()
    array[...] = start - step * direction
    behind = value()
    array[...] = start
    return (ahead - behind) / (2 * step), abs(ahead - 2 * here + behind) / step


def assert_slopes(net, xs, ys, losses, rng):
    """The gradient of every parameter and input is the slope of the loss. False where a kink of a relu or a maximum
    lies between the points compared, which would say nothing."""
    loss, gradients = net.gradients(xs, ys, loss=losses)
    variables = {**net.parameters, **{f"inputs/{name}": x for name, x in xs.items()}}
    assert gradients.keys() == variables.keys()
    total = math.sqrt(sum(np.vdot(g, g) for g in gradients.values()))
    ids = [f"inputs/{name}" for name in vocabularies(net)]
    for name, array in variables.items():
        assert gradients[name].shape == array.shape
        if name in ids:
            assert not gradients[name].any()
            continue
        direction = rng.standard_normal(array.shape)
        direction /= np.abs(direction).max()
        measured, bend = slope(lambda: net.gradients(xs, ys, loss=losses)[0], array, direction)
        length = np.linalg.norm(gradients[name]) * np.linalg.norm(direction)
        if bend > 1e-3 * (length + total):
            return False
        assert abs(measured - np.vdot(gradients[name], direction)) <= 1e-7 * length + 1e-9 * max(total, abs(loss)), name
    return True


def check(net, batch, losses="mse", seed=0):
    """Outputs and loss agree with the reference, gradients with the slopes of the loss."""
    if isinstance(losses, str):
        losses = dict.fromkeys(net.output_names, losses)
    rng = np.random.default_rng(seed)
    for name, parameter in net.parameters.items():
        if name.endswith("bias"):
            parameter[...] = rng.uniform(-0.5, 0.5, parameter.shape)
    for statistic in net.statistics.values():
        statistic[...] = rng.uniform(0.5, 1.5, statistic.shape)
    xs, ys = drawn(net, batch, losses, rng)
    outputs, expected = net.predict(xs, batch_size=None), reference_values(net, xs)
    outputs = {net.output_names[0]: outputs} if isinstance(outputs, np.ndarray) else outputs
    outputs = dict(zip(net.output_names, outputs)) if isinstance(outputs, list) else outputs
    for name, node in net.graph.outputs.items():
        assert_close(outputs[name], expected[node], 1e-12)
    assert net.gradients(xs, ys, loss=losses)[0] == pytest.approx(reference_loss(net, xs, ys, losses), rel=1e-12)
    for _ in range(5):
        if assert_slopes(net, xs, ys, losses, rng):
            return
        xs = drawn(net, batch, losses, rng)[0]
    raise AssertionError("five draws, and each time a kink next to the point")


# ---- one layer -------------------------------------------------------------------------------------------------------

each_layout = st.sampled_from([K.SAMPLES, K.CHANNELS])
batches = st.one_of(st.sampled_from(BATCHES), st.integers(1, 2 * LANES + 3))
LARGEST = {1: 12, 2: 7, 3: 4}


def alone_or_inside(layer, shape, inside):
    """A network of the layer, on its input, or between two that hand it maps and take them up."""
    x = pycnn.Input(shape, name="x")
    if not inside:
        return pycnn.Network(x, layer(x), dtype="float64", seed=1)
    h = layer(L.Conv(shape[0], 1, activation="tanh", name="before")(x))
    h = L.Conv(3, 1, name="behind")(h) if len(h.shape) > 1 else L.Dense(3, name="behind")(h)
    return pycnn.Network(x, h, dtype="float64", seed=1)


@st.composite
def windows(draw, most=3, dilations=(1, 1, 2), padding_below_kernel=False):
    """(spatial shape, dict of kernel_size, stride, dilation and padding, in any of their forms)"""
    rank = draw(st.integers(1, 3))
    most = most if rank < 3 else 2

    def each(strategy):
        return draw(st.one_of(strategy, st.tuples(*[strategy] * rank)))

    def along(value, axis):
        return value[axis] if isinstance(value, tuple) else value

    kernel, stride, dilation = each(st.integers(1, most)), each(st.integers(1, 3)), each(st.sampled_from(dilations))
    limits = [along(kernel, a) - 1 if padding_below_kernel else 3 for a in range(rank)]
    pairs = tuple((draw(st.integers(0, limit)), draw(st.integers(0, limit))) for limit in limits)
    padding = draw(st.sampled_from(["same", "valid", min(limits), tuple(limits), pairs]))
    spatial = []
    for axis in range(rank):
        span = (along(kernel, axis) - 1) * along(dilation, axis) + 1
        spatial.append(draw(st.integers(span, max(span, LARGEST[rank]))))
    return tuple(spatial), {"kernel_size": kernel, "stride": stride, "dilation": dilation, "padding": padding}


@st.composite
def groupings(draw):
    """(channels, filters, groups): dense, in groups, depthwise; with few channels, and as many as lanes and more."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, LANES, LANES + 1]))
    few = st.integers(1, 2 if groups > 3 else 5)
    if groups == 1:
        few = st.one_of(few, st.sampled_from([LANES - 1, LANES, LANES + 1, 2 * LANES]))
    return draw(few) * groups, draw(few) * groups, groups


any_shape = st.one_of(
    st.tuples(st.integers(1, 2 * LANES)),
    st.tuples(st.integers(1, 2 * LANES), st.integers(1, 6)),
    st.tuples(st.integers(1, LANES + 1), st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, LANES + 1), st.integers(1, 2), st.integers(1, 3), st.integers(1, 2)),
)
maps_shape = any_shape.filter(lambda shape: len(shape) > 1)
