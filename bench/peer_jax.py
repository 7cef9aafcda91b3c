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

    return lax.conv_general_dilated(x, w, stride, [(p, p) for p in padding], rhs_dilation=dilation,
                                    feature_group_count=groups)


def conv_transpose(x, w, stride, padding, dilation, groups):
    """The convolution of x, with zeros between its values, by the weights in reverse."""
    from jax import lax

    reach = [d * (r - 1) for d, r in zip(dilation, w.shape[2:])]
    reverse = w[(slice(None), slice(None), *[slice(None, None, -1)] * len(stride))].swapaxes(0, 1)
    return lax.conv_general_dilated(x, reverse, (1,) * len(stride), [(r - p, r - p) for r, p in zip(reach, padding)],
                                    lhs_dilation=stride, rhs_dilation=dilation)


def function_of(net, training):
    """(function of (weights, statistics, x) that returns its output and the next statistics, weights, statistics)."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    steps = operations(net)
    arrays = {step.name: {key: jax.device_put(value) for key, value in step.weights.items()} for step in steps}
    weights, statistics = ({name: {key: value for key, value in of_step.items() if key.startswith("running") == kept}
                            for name, of_step in arrays.items()} for kept in (False, True))

    def pooled(x, a, start, function):
        return lax.reduce_window(x, start, function, (1, 1, *a["kernel"]), (1, 1, *a["stride"]),
                                 [(0, 0), (0, 0), *((p, p) for p in a["padding"])])

    def normalised(x, w, known, a):
        """(y, the next statistics); these are averages over batches, the variance without bias."""
        mean, var = known["running_mean"], known["running_var"]
        if training:
            count = x.size // x.shape[1]
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            seen = {"running_mean": mean, "running_var": var * count / (count - 1)}
            known = jax.tree.map(lambda old, new: old + a["momentum"] * (new - old), known, seen)
        scale = w["weight"] * lax.rsqrt(var + a["epsilon"])
        return x * per_map(scale) + per_map(w["bias"] - mean * scale), known

    def per_map(v):
        return v.reshape(-1, 1, 1)

    def run(step, w, a, *inputs):
        x = inputs[0]
        bias = w.get("bias", 0)
        bias_of_maps = per_map(bias) if "bias" in w else 0
        sizes = {key: a[key] for key in ("stride", "padding", "dilation", "groups") if key in a}
        return {
            "conv": lambda: convolve(x, w["weight"], **sizes) + bias_of_maps,
            "conv_transpose": lambda: conv_transpose(x, w["weight"], **sizes) + bias_of_maps,
            "dense": lambda: x @ w["weight"].T + bias,
            "max_pool": lambda: pooled(x, a, -jnp.inf, lax.max),
            "avg_pool": lambda: pooled(x, a, 0.0, lax.add) / (a["kernel"][0] * a["kernel"][1]),
            "global_avg_pool": lambda: x.mean((2, 3)), "flatten": lambda: x.reshape(len(x), -1),
            "relu": lambda: jax.nn.relu(x), "sigmoid": lambda: jax.nn.sigmoid(x), "tanh": lambda: jnp.tanh(x),
            "add": lambda: inputs[0] + inputs[1],
        }[step.kind]()

    def function(weights, statistics, x):
        values, seen = {steps[0].inputs[0]: x}, dict(statistics)
        for step in steps:
            w, inputs = weights[step.name], [values[name] for name in step.inputs]
            if step.kind == "batch_norm":
                values[step.output], seen[step.name] = normalised(*inputs, w, statistics[step.name], step.attributes)
            else:
                values[step.output] = run(step, w, step.attributes, *inputs)
        return values[steps[-1].output], seen

    return function, weights, statistics


def training(net, x, y, loss, threads):
    """{name: step} of training with SGD and momentum 0.9; a step returns the loss before it."""
    import jax
    from jax import numpy as jnp

    function, weights, statistics = function_of(net, True)

    def loss_of(weights, statistics, x, y):
        out, seen = function(weights, statistics, x)
        if loss == "mse":
            return jnp.mean((out - y) ** 2), seen
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1)), seen

    def update(weights, velocity, statistics, x, y):
        (value, statistics), gradient = jax.value_and_grad(loss_of, has_aux=True)(weights, statistics, x, y)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        return jax.tree.map(lambda w, v: w - 0.01 * v, weights, velocity), velocity, statistics, value

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    state = [weights, jax.tree.map(jnp.zeros_like, weights), statistics]
    arrays = jax.device_put(x), jax.device_put(y)

    def step():
        *state[:], value = compiled(*state, *arrays)
        return value.block_until_ready()
    return {"jax": step}


def inference(net, x, threads):
    """{name: call} of one prediction."""
    import jax

    function, weights, statistics = function_of(net, False)
    compiled, x = jax.jit(lambda *arguments: function(*arguments)[0]), jax.device_put(x)
    return {"jax": lambda: compiled(weights, statistics, x).block_until_ready()}
