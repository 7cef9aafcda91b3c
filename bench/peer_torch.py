"""PyTorch: eager in NCHW and channels_last, oneDNN with weights packed beforehand, torch.compile."""

from collections import Counter

from .graphs import operations

REQUIRES = ("torch",)


# ---- one convolution ------------------------------------------------------------------------------------------------


def conv(layer, which, x, w, dy, threads):
    """{name: call} of a pass in NCHW and, for images, in channels_last. A call returns the result."""
    import torch

    plain = [torch.from_numpy(a) for a in (x, w, dy)]
    formats = {"torch": plain}
    if x.ndim == 4:
        formats["torch channels_last"] = [t.contiguous(memory_format=torch.channels_last) for t in plain]
    calls = {}
    for name, (tx, tw, tdy) in formats.items():
        calls[name] = conv_pass(layer, which, tx, tw, tdy)
        if which == "forward" and x.ndim == 4 and torch.backends.mkldnn.is_available():
            calls[name.replace("torch", "torch prepacked")] = prepacked(layer, tx, plain[1])
    return calls


def conv_pass(layer, which, x, w, dy):
    import torch

    stride, padding, dilation = per_axis(layer)
    none = [0] * len(stride)
    if which == "forward":
        def forward():
            with torch.inference_mode():
                return torch.ops.aten.convolution(x, w, None, stride, padding, dilation, layer.transposed, none,
                                                  layer.groups)
        return forward
    mask = [which == "backward_data", which == "backward_weights", which == "backward_weights"]

    def backward():
        with torch.inference_mode():
            return torch.ops.aten.convolution_backward(dy, x, w, [layer.k], stride, padding, dilation, layer.transposed,
                                                       none, layer.groups, mask)[mask.index(True)]
    return backward


def prepacked(layer, x, w):
    """A forward pass as a frozen model runs it: oneDNN has the weights in the order that it likes best."""
    import torch

    (stride, padding, dilation), rest = per_axis(layer), ("none", [], "")
    if layer.transposed:
        packed = torch.ops.mkldnn._reorder_convolution_transpose_weight(
            w, padding, [0, 0], stride, dilation, layer.groups, list(x.shape))

        def call():
            with torch.inference_mode():
                return torch.ops.mkldnn._convolution_transpose_pointwise(
                    x, packed, None, padding, [0, 0], stride, dilation, layer.groups, *rest)
        return call
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
        w.to_mkldnn(), padding, stride, dilation, layer.groups, list(x.shape))

    def call():
        with torch.inference_mode():
            return torch.ops.mkldnn._convolution_pointwise(
                x, packed, None, padding, stride, dilation, layer.groups, *rest)
    return call


def per_axis(layer):
    """Stride, padding and dilation as lists."""
    rank = len(layer.spatial)
    padding = list(layer.padding) if isinstance(layer.padding, tuple) else [layer.padding] * rank
    return [layer.stride] * rank, padding, [layer.dilation] * rank


# ---- whole networks -------------------------------------------------------------------------------------------------


def attribute(step, key):
    return f"{step.name}_{key}".replace(".", "_")


def module_of(net):
    """A torch.nn.Module that computes what the pycnn network computes, with the same weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    steps = operations(net)
    readers = Counter(name for step in steps for name in step.inputs)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            for step in steps:
                for key, value in step.weights.items():
                    tensor = torch.from_numpy(value)
                    if key.startswith("running"):
                        self.register_buffer(attribute(step, key), tensor)
                    else:
                        self.register_parameter(attribute(step, key), nn.Parameter(tensor))

        def forward(self, x):
            values = {steps[0].inputs[0]: x}
            for step in steps:
                inputs = [values[name] for name in step.inputs]
                values[step.output] = self.run(step, step.attributes, *inputs)
            return values[steps[-1].output]

        def run(self, step, a, *inputs):
            x = inputs[0]
            w = {key: getattr(self, attribute(step, key)) for key in step.weights}
            if step.kind == "conv":
                return F.conv2d(x, w["weight"], w.get("bias"), a["stride"], a["padding"], a["dilation"], a["groups"])
            if step.kind == "conv_transpose":
                return F.conv_transpose2d(x, w["weight"], w.get("bias"), a["stride"], a["padding"], 0, a["groups"],
                                          a["dilation"])
            if step.kind == "batch_norm":
                return F.batch_norm(x, w["running_mean"], w["running_var"], w["weight"], w["bias"], self.training,
                                    a["momentum"], a["epsilon"])
            return {
                "dense": lambda: F.linear(x, w["weight"], w.get("bias")),
                "max_pool": lambda: F.max_pool2d(x, a["kernel"], a["stride"], a["padding"]),
                "avg_pool": lambda: F.avg_pool2d(x, a["kernel"], a["stride"], a["padding"]),
                "global_avg_pool": lambda: x.mean((2, 3)), "flatten": lambda: x.flatten(1),
                "relu": lambda: F.relu(x, inplace=readers[step.inputs[0]] == 1),
                "sigmoid": lambda: torch.sigmoid(x), "tanh": lambda: torch.tanh(x),
                "add": lambda: inputs[0] + inputs[1],
            }[step.kind]()

    return Model()


def variants(net, shape, options=None):
    """{name: (model, memory format)} in eager mode and compiled, the latter with options of Inductor."""
    import torch

    torch._dynamo.reset()       # what it compiled for the networks before
    found = {}
    for name, kept in (("torch", torch.contiguous_format), ("torch channels_last", torch.channels_last)):
        if kept == torch.channels_last and len(shape) != 4:
            continue
        found[name] = (module_of(net).to(memory_format=kept), kept)
        found[name.replace("torch", "torch compiled")] = (
            torch.compile(module_of(net).to(memory_format=kept), options=options), kept)
    return found


def training(net, x, y, loss, threads):
    """{name: step} of training with SGD and momentum 0.9; a step returns the loss before it."""
    return {name: training_step(*variant, x, y, loss) for name, variant in variants(net, x.shape).items()}


def training_step(model, kept, x, y, loss):
    """The usual step: zero_grad, forward, backward, update; `kept` is the memory format of model and images."""
    import torch

    loss_of = {"cross_entropy": torch.nn.CrossEntropyLoss, "mse": torch.nn.MSELoss}[loss]()
    images, targets = torch.from_numpy(x).contiguous(memory_format=kept), torch.from_numpy(y)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, foreach=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss_of(model(images), targets)
        value.backward()
        optimizer.step()
        return value.detach()
    return step


def inference(net, x, threads):
    """{name: call} of one prediction."""
    import torch

    def call_of(model, kept):
        model.eval()
        images = torch.from_numpy(x).contiguous(memory_format=kept)

        def infer():
            with torch.inference_mode():
                return model(images)
        return infer

    packed = {"freezing": True}     # weights become constants, in the order that oneDNN likes best
    return {name: call_of(*variant) for name, variant in variants(net, x.shape, packed).items()}
