"""Networks described once, for pycnn, for PyTorch and as an ONNX file.

A description is a list of operations. Each names its inputs, and is a layer of that name in pycnn; with the arrays that it
learns or has seen, as pycnn has them, the same network can be made elsewhere.
"""

from dataclasses import dataclass, field

import pycnn
from pycnn import layers as L


@dataclass(frozen=True)
class Operation:
    """One layer: ``kind`` is a key of LAYERS, ``sizes`` its arguments there, ``inputs`` names of operations, or "image"."""

    name: str
    kind: str
    inputs: tuple
    sizes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """``shape`` is that of the image, without the batch; the last operation is the output."""

    name: str
    shape: tuple
    operations: tuple
    loss: str = "cross_entropy"         # or "mse", with the image as target

    @property
    def classes(self):
        return self.operations[-1].sizes.get("units")


LAYERS = {
    "conv": lambda k, r, **options: L.Conv(k, r, **options),
    "conv_transpose": lambda k, r, **options: L.ConvTranspose(k, r, **options),
    "dense": lambda units: L.Dense(units),
    "batch_norm": L.BatchNorm,
    "relu": L.ReLU,
    "sigmoid": L.Sigmoid,
    "max_pool": lambda r, **options: L.MaxPool(r, **options),
    "global_avg_pool": L.GlobalAvgPool,
    "flatten": L.Flatten,
    "add": L.Add,
}


class Writer:
    """Writes a description, operation by operation."""

    def __init__(self):
        self.operations = []

    def __call__(self, name, kind, *inputs, **sizes):
        """Appends an operation, on the last one where no input is named; returns its name."""
        last = self.operations[-1].name if self.operations else "image"
        self.operations.append(Operation(name, kind, inputs or (last,), sizes))
        return name

    def plain(self, *rows):
        """Appends operations one behind the other: (kind, sizes), named by their place."""
        for i, (kind, sizes) in enumerate(rows):
            self(f"{kind}{i}", kind, **sizes)
        return tuple(self.operations)


def lenet5():
    relu, pool = ("relu", {}), ("max_pool", {"r": 2})
    return Description("lenet5", (1, 28, 28), Writer().plain(
        ("conv", {"k": 6, "r": 5, "padding": 2}), relu, pool, ("conv", {"k": 16, "r": 5}), relu, pool, ("flatten", {}),
        ("dense", {"units": 120}), relu, ("dense", {"units": 84}), relu, ("dense", {"units": 10})))


def cifar():
    relu, pool = ("relu", {}), ("max_pool", {"r": 2})
    rows = []
    for k in (32, 64):
        rows += [("conv", {"k": k, "r": 3, "padding": 1}), relu, ("conv", {"k": k, "r": 3, "padding": 1}), relu, pool]
    return Description("cifar", (3, 32, 32), Writer().plain(
        *rows, ("flatten", {}), ("dense", {"units": 128}), relu, ("dense", {"units": 10})))


def autoencoder():
    """As `pycnn.models.autoencoder`."""
    w = Writer()
    for i, k in enumerate((16, 4), 1):
        w(f"encode{i}", "conv", k=k, r=3, padding=1)
        w(f"relu{i}", "relu")
        w(f"pool{i}", "max_pool", r=2)
    w("decode1", "conv_transpose", k=16, r=2, stride=2)
    w("relu3", "relu")
    w("decode2", "conv_transpose", k=1, r=2, stride=2)
    w("sigmoid", "sigmoid")
    return Description("autoencoder", (1, 28, 28), tuple(w.operations), loss="mse")


def resnet18(classes=1000, shape=(3, 224, 224)):
    """As `pycnn.models.resnet18`, with its names."""
    w = Writer()

    def normalised(x, k, r, stride, padding, name):
        w(name, "conv", x, k=k, r=r, stride=stride, padding=padding, bias=False)
        return w(f"{name}.norm", "batch_norm")

    normalised("image", 64, 7, 2, 3, "stem")
    w("stem.relu", "relu")
    x, channels = w("pool", "max_pool", r=3, stride=2, padding=1), 64
    for stage, k in enumerate((64, 128, 256, 512), 1):
        for number in (1, 2):
            name, stride = f"stage{stage}.block{number}", 2 if stage > 1 and number == 1 else 1
            shortcut = x if stride == 1 and channels == k else normalised(x, k, 1, stride, 0, f"{name}.downsample")
            normalised(x, k, 3, stride, 1, f"{name}.conv1")
            h = normalised(w(f"{name}.relu1", "relu"), k, 3, 1, 1, f"{name}.conv2")
            w(f"{name}.add", "add", shortcut, h)
            x, channels = w(f"{name}.relu2", "relu"), k
    w("average", "global_avg_pool")
    w("output", "dense", units=classes)
    return Description("resnet18", shape, tuple(w.operations))


def pycnn_network(description):
    nodes = {"image": pycnn.Input(description.shape, name="image")}
    for o in description.operations:
        layer = LAYERS[o.kind](**o.sizes)
        layer.name = o.name
        nodes[o.name] = layer(*(nodes[i] for i in o.inputs))
    return pycnn.Network(nodes["image"], nodes[description.operations[-1].name])


def arrays(net):
    """All arrays of a network, by names such as ``"stem/weight"``."""
    return {**net.parameters, **net.statistics}


def torch_module(description, values):
    """The network in PyTorch, with the arrays of the one in pycnn."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict()
            for o in description.operations:
                self.layers[o.name.replace(".", "_")] = torch_layer(nn, o, values)

        def forward(self, image):
            found = {"image": image}
            for o in description.operations:
                found[o.name] = self.layers[o.name.replace(".", "_")](*(found[i] for i in o.inputs))
            return found[o.name]

    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    def torch_layer(nn, o, values):
        shape = values[f"{o.name}/weight"].shape if f"{o.name}/weight" in values else None
        sizes = {key: value for key, value in o.sizes.items() if key not in ("k", "r", "units")}
        layer = {
            "conv": lambda: nn.Conv2d(shape[1], shape[0], shape[2:], **sizes),
            "conv_transpose": lambda: nn.ConvTranspose2d(shape[0], shape[1], shape[2:], **sizes),
            "dense": lambda: nn.Linear(shape[1], shape[0]),
            "batch_norm": lambda: nn.BatchNorm2d(shape[0]),
            "relu": lambda: nn.ReLU(inplace=True),
            "sigmoid": nn.Sigmoid,
            "max_pool": lambda: nn.MaxPool2d(o.sizes["r"], **sizes),
            "global_avg_pool": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            "flatten": nn.Flatten,
            "add": Sum,
        }[o.kind]()
        with torch.no_grad():
            for name, tensor in layer.state_dict().items():
                if f"{o.name}/{name}" in values:
                    tensor.copy_(torch.from_numpy(values[f"{o.name}/{name}"]))
        return layer

    return Model()


def onnx_file(description, values, batch, path):
    """Writes the network, for predictions of so many images."""
    import onnx
    from onnx import helper, numpy_helper

    nodes, weights, float32 = [], [], onnx.TensorProto.FLOAT
    last = description.operations[-1].name

    def node(kind, o, names=(), inputs=None, output=None, **attributes):
        weights.extend(numpy_helper.from_array(values[f"{o.name}/{n}"], f"{o.name}/{n}") for n in names)
        ends = [*(inputs or o.inputs), *(f"{o.name}/{n}" for n in names)]
        nodes.append(helper.make_node(kind, ends, [output or o.name], **attributes))

    for o in description.operations:
        learned = [n for n in ("weight", "bias") if f"{o.name}/{n}" in values]
        stride, pads = [o.sizes.get("stride", 1)] * 2, [o.sizes.get("padding", 0)] * 4
        if o.kind in ("conv", "conv_transpose"):
            node("Conv" if o.kind == "conv" else "ConvTranspose", o, learned, strides=stride, pads=pads)
        elif o.kind == "dense":
            node("Gemm", o, learned, transB=1)
        elif o.kind == "batch_norm":
            node("BatchNormalization", o, [*learned, "running_mean", "running_var"], epsilon=1e-5)
        elif o.kind == "max_pool":
            r = o.sizes["r"]
            node("MaxPool", o, kernel_shape=[r, r], strides=[o.sizes.get("stride", r)] * 2, pads=pads)
        elif o.kind == "global_avg_pool":
            node("GlobalAveragePool", o, output=f"{o.name}/maps")
            node("Flatten", o, inputs=[f"{o.name}/maps"])
        else:
            node({"relu": "Relu", "sigmoid": "Sigmoid", "flatten": "Flatten", "add": "Add"}[o.kind], o)
    graph = helper.make_graph(
        nodes, description.name, [helper.make_tensor_value_info("image", float32, (batch, *description.shape))],
        [helper.make_tensor_value_info(last, float32, None)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
