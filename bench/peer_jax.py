"""JAX: functions that XLA has compiled. It uses as many threads as the process has cores."""

from .graphs import operations

REQUIRES = ("jax",)


def conv(layer, which, x, w, dy, threads):
    """{name: call} of a pass, as the transpose of the convolution where it is a gradient."""
    import jax

    padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * len(layer.spatial)
    sizes = dict(stride=(layer.stride,) * len(layer.spatial), padding=padding,
                 dilation=(layer.dilation,) * len(layer.spatial), groups=layer.groups)
    if layer.transposed and layer.groups > 1:
        return {}
    one = conv_transpose if layer.transposed else convolve

    if which == "forward":
        function, arguments = (lambda x, w: one(x, w, **sizes)), (x, w)
    elif which == "backward_data":
        function, arguments = (lambda dy, w: jax.vjp(lambda x: one(x, w, **sizes), x0)[1](dy)[0]), (dy, w)
    else:
        function, arguments = (lambda dy, x: jax.vjp(lambda w: one(x, w, **sizes), w0)[1](dy)[0]), (dy, x)
    x0, w0 = jax.numpy.zeros(x.shape), jax.numpy.zeros(w.shape)
    compiled, arrays = jax.jit(function), [jax.device_put(a) for a in arguments]
    return {"jax": lambda: compiled(*arrays).block_until_ready()}


def convolve(x, w, stride, padding, dilation, groups):
    from jax import lax

    return lax.conv_general_dilated(x, w, stride, [(p, p) for p in padding], rhs_dilation=dilation, feature_group_count=groups)


def conv_transpose(x, w, stride, padding, dilation, groups):
    """The convolution of x, with zeros between its values, by the weights in reverse."""
    from jax import lax

    spatial = tuple(range(2, w.ndim))
    reach = [d * (r - 1) for d, r in zip(dilation, w.shape[2:])]
    return lax.conv_general_dilated(x, w[(slice(None), slice(None), *[slice(None, None, -1) for _ in spatial])].swapaxes(0, 1),
                                    (1,) * len(spatial), [(r - p, r - p) for r, p in zip(reach, padding)],
                                    lhs_dilation=stride, rhs_dilation=dilation)


def function_of(net):
    """(function of (weights, x), weights) of a network."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    steps = operations(net)
    weights = {step.name: {key: jax.device_put(value) for key, value in step.weights.items()} for step in steps}

    def pooled(x, a, start, function):
        return lax.reduce_window(x, start, function, (1, 1, *a["kernel"]), (1, 1, *a["stride"]),
                                 [(0, 0), (0, 0), *((p, p) for p in a["padding"])])

    def run(step, w, a, *inputs):
        x = inputs[0]
        bias = w["bias"].reshape(-1, *[1] * (x.ndim - 2)) if "bias" in w else 0
        sizes = {key: a[key] for key in ("stride", "padding", "dilation", "groups") if key in a}
        return {
            "conv": lambda: convolve(x, w["weight"], **sizes) + bias,
            "conv_transpose": lambda: conv_transpose(x, w["weight"], **sizes) + bias,
            "dense": lambda: x @ w["weight"].T + bias,
            "max_pool": lambda: pooled(x, a, -jnp.inf, lax.max),
            "avg_pool": lambda: pooled(x, a, 0.0, lax.add) / (a["kernel"][0] * a["kernel"][1]),
            "global_avg_pool": lambda: x.mean((2, 3)), "flatten": lambda: x.reshape(len(x), -1),
            "relu": lambda: jax.nn.relu(x), "sigmoid": lambda: jax.nn.sigmoid(x), "tanh": lambda: jnp.tanh(x),
            "add": lambda: inputs[0] + inputs[1],
        }[step.kind]()

    def function(weights, x):
        values = {steps[0].inputs[0]: x}
        for step in steps:
            values[step.output] = run(step, weights[step.name], step.attributes, *[values[name] for name in step.inputs])
        return values[steps[-1].output]

    return function, weights


def training(net, x, y, loss, threads):
    """{name: step} of training with SGD and momentum 0.9; a step returns the loss before it."""
    import jax
    from jax import numpy as jnp

    if any(step.kind == "batch_norm" for step in operations(net)):
        return {}
    function, weights = function_of(net)

    def loss_of(weights, x, y):
        out = function(weights, x)
        if loss == "mse":
            return jnp.mean((out - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1))

    def update(weights, velocity, x, y):
        value, gradient = jax.value_and_grad(loss_of)(weights, x, y)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        return jax.tree.map(lambda w, v: w - 0.01 * v, weights, velocity), velocity, value

    compiled = jax.jit(update, donate_argnums=(0, 1))
    state, arrays = [weights, jax.tree.map(jnp.zeros_like, weights)], (jax.device_put(x), jax.device_put(y))

    def step():
        *state[:], value = compiled(*state, *arrays)
        return value.block_until_ready()
    return {"jax": step}


def inference(net, x, threads):
    """{name: call} of one prediction."""
    import jax

    if any(step.kind == "batch_norm" for step in operations(net)):
        return {}
    function, weights = function_of(net)
    compiled, x = jax.jit(function), jax.device_put(x)
    return {"jax": lambda: compiled(weights, x).block_until_ready()}
