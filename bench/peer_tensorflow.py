"""TensorFlow: functions traced into graphs, images in NHWC, the order that its CPU kernels know."""

import numpy as np

from .graphs import operations

REQUIRES = ("tensorflow",)


def conv(layer, which, x, w, dy, threads):
    """{name: call} of a pass over images, without groups: TensorFlow's CPU kernels have no others in all passes."""
    import tensorflow as tf

    if x.ndim != 4 or layer.groups > 1 or layer.transposed or (layer.dilation > 1 and which != "forward"):
        return {}
    sizes = dict(strides=[1, layer.stride, layer.stride, 1], padding="EXPLICIT",
                 explicit_paddings=[0, 0, *[layer.padding] * 4, 0, 0])
    nhwc = [tf.constant(np.ascontiguousarray(a.transpose(0, 2, 3, 1))) for a in (x, dy)]
    hwio = tf.constant(np.ascontiguousarray(w.transpose(2, 3, 1, 0)))
    if which == "forward":
        operator, back = tf.raw_ops.Conv2D, (0, 3, 1, 2)
        arguments = dict(input=nhwc[0], filter=hwio, dilations=[1, layer.dilation, layer.dilation, 1])
    elif which == "backward_data":
        operator, back = tf.raw_ops.Conv2DBackpropInput, (0, 3, 1, 2)
        arguments = dict(input_sizes=nhwc[0].shape, filter=hwio, out_backprop=nhwc[1])
    else:
        operator, back = tf.raw_ops.Conv2DBackpropFilter, (3, 2, 0, 1)
        arguments = dict(input=nhwc[0], filter_sizes=hwio.shape, out_backprop=nhwc[1])
    return {"tensorflow": Transposed(lambda: operator(**arguments, **sizes), back)}


class Transposed:
    """A call whose result is an array in another order, for who looks at it."""

    def __init__(self, call, axes):
        self.call, self.axes = call, axes

    def __call__(self):
        return self.call()

    def result(self):
        return self.call().numpy().transpose(self.axes)


def function_of(net):
    """(function of (x in NHWC, whether it trains), variables that learn) of a network."""
    import tensorflow as tf

    steps = operations(net)
    weights = {step.name: {key: tf.Variable(in_order(step, key, value)) for key, value in step.weights.items()}
               for step in steps}

    def padded(x, padding, value=0.0):
        if not any(padding):
            return x
        return tf.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], constant_values=value)

    def pooled(x, a, function, value):
        return function(padded(x, a["padding"], value), a["kernel"], a["stride"], "VALID")

    def normalised(x, w, a, training):
        if not training:
            y, *_ = tf.compat.v1.nn.fused_batch_norm(x, w["weight"], w["bias"], w["running_mean"], w["running_var"],
                                                     a["epsilon"], is_training=False)
            return y
        y, *seen = tf.compat.v1.nn.fused_batch_norm(x, w["weight"], w["bias"], epsilon=a["epsilon"])
        for known, new in zip((w["running_mean"], w["running_var"]), seen):
            known.assign_add(a["momentum"] * (new - known))
        return y

    def transposed(x, w, a):
        (n, *size, _), rest = x.shape, zip(a["kernel"], a["stride"], a["padding"])
        out = [(h - 1) * s + r for h, (r, s, _) in zip(size, rest)]
        y = tf.nn.conv2d_transpose(x, w["weight"], (n, *out, w["weight"].shape[2]), a["stride"], "VALID")
        return y[:, a["padding"][0]:out[0] - a["padding"][0], a["padding"][1]:out[1] - a["padding"][1]]

    def run(step, w, a, training, *inputs):
        x = inputs[0]
        return {
            "batch_norm": lambda: normalised(x, w, a, training), "conv_transpose": lambda: transposed(x, w, a),
            "conv": lambda: tf.nn.conv2d(padded(x, a["padding"]), w["weight"], a["stride"], "VALID",
                                         dilations=a["dilation"]),
            "dense": lambda: tf.matmul(x, w["weight"]),
            "max_pool": lambda: pooled(x, a, tf.nn.max_pool2d, -np.inf),
            "avg_pool": lambda: pooled(x, a, tf.nn.avg_pool2d, 0.0),
            "global_avg_pool": lambda: tf.reduce_mean(x, (1, 2)),
            "flatten": lambda: tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (x.shape[0], -1)),
            "relu": lambda: tf.nn.relu(x), "sigmoid": lambda: tf.sigmoid(x), "tanh": lambda: tf.tanh(x),
            "add": lambda: inputs[0] + inputs[1],
        }[step.kind]()

    def function(x, training):
        values = {steps[0].inputs[0]: x}
        for step in steps:
            w = weights[step.name]
            y = run(step, w, step.attributes, training, *[values[name] for name in step.inputs])
            biased = "bias" in w and step.kind != "batch_norm"
            values[step.output] = tf.nn.bias_add(y, w["bias"]) if biased else y
        return values[steps[-1].output]

    return function, [variable for of_step in weights.values() for key, variable in of_step.items()
                      if not key.startswith("running")]


def in_order(step, key, value):
    """Weights in TensorFlow's order of axes."""
    if key != "weight" or step.kind == "batch_norm":
        return value
    return value.T if step.kind == "dense" else value.transpose(2, 3, 1, 0)


def follows(net):
    """Whether all of a network's operations are known here."""
    return all(step.attributes.get("groups", 1) == 1 for step in operations(net))


def training(net, x, y, loss, threads):
    """{name: step} of training with SGD and momentum 0.9; a step returns the loss before it."""
    import tensorflow as tf

    if not follows(net):
        return {}
    return {"tensorflow": tf.function(step_of(net, x, y, loss)),
            "tensorflow xla": tf.function(step_of(net, x, y, loss), jit_compile=True)}


def step_of(net, x, y, loss):
    """A training step on variables of its own."""
    import tensorflow as tf

    function, variables = function_of(net)
    velocity = [tf.Variable(tf.zeros_like(v)) for v in variables]
    x, y = tf.constant(x.transpose(0, 2, 3, 1)), tf.constant(y.transpose(0, 2, 3, 1) if y.ndim == 4 else y)

    def step():
        with tf.GradientTape() as tape:
            out = function(x, True)
            if loss == "mse":
                value = tf.reduce_mean((out - y) ** 2)
            else:
                value = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=out))
        for variable, v, gradient in zip(variables, velocity, tape.gradient(value, variables)):
            tf.raw_ops.ResourceApplyMomentum(var=variable.handle, accum=v.handle, lr=0.01, grad=gradient, momentum=0.9)
        return value
    return step


def inference(net, x, threads):
    """{name: call} of one prediction."""
    import tensorflow as tf

    if not follows(net):
        return {}
    function, _ = function_of(net)
    x = tf.constant(x.transpose(0, 2, 3, 1))
    call, images = tf.function(lambda: function(x, False)), len(next(iter(net.graph.outputs.values())).shape) == 3
    return {"tensorflow": Transposed(call, (0, 3, 1, 2)) if images else call}
