"""The same work in other libraries; a library that is not installed is left out, with one line that says so."""

import os
import sys
import tempfile

import numpy as np

from . import descriptions

PEERS = ("torch", "onnxruntime")


def available(names):
    """Those of the peers that can be imported."""
    found = []
    for name in names:
        if name not in PEERS:
            raise SystemExit(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
        try:
            __import__(name)
            if name == "onnxruntime":
                __import__("onnx")
            found.append(name)
        except ImportError:
            print(f"{name} is left out: it is not installed (pip install pycnn[bench])", file=sys.stderr)
    return found


# ---- one convolution --------------------------------------------------------------------------------------------------


def torch_conv(layer, which, x, w, dy):
    """{name: call} of a pass in NCHW and, for images, in channels_last. A call returns the result as an array."""
    import torch

    tensors = [torch.from_numpy(a) for a in (x, w, dy)]
    calls = {"torch": torch_pass(layer, which, *tensors)}
    if x.ndim == 4:
        tensors = [t.contiguous(memory_format=torch.channels_last) for t in tensors]
        calls["torch channels_last"] = torch_pass(layer, which, *tensors)
    return calls


def torch_pass(layer, which, x, w, dy):
    import torch

    rank = x.ndim - 2
    stride, dilation = [layer.stride] * rank, [layer.dilation] * rank
    padding = list(layer.padding) if isinstance(layer.padding, tuple) else [layer.padding] * rank
    if which == "forward":
        def forward():
            with torch.inference_mode():
                return torch.ops.aten.convolution(x, w, None, stride, padding, dilation, layer.transposed, [0] * rank,
                                                  layer.groups)
        return forward
    mask = [which == "backward_data", which == "backward_weights", which == "backward_weights"]

    def backward():
        with torch.inference_mode():
            return torch.ops.aten.convolution_backward(dy, x, w, [layer.k], stride, padding, dilation, layer.transposed,
                                                       [0] * rank, layer.groups, mask)[mask.index(True)]
    return backward


def onnx_conv(layer, x, w, threads):
    """A forward pass in ONNX Runtime, its weights prepacked and its arrays bound."""
    import onnx
    from onnx import helper, numpy_helper

    rank = x.ndim - 2
    padding = list(layer.padding) if isinstance(layer.padding, tuple) else [layer.padding] * rank
    node = helper.make_node("ConvTranspose" if layer.transposed else "Conv", ["x", "w"], ["y"], strides=[layer.stride] * rank,
                            dilations=[layer.dilation] * rank, pads=padding * 2, group=layer.groups)
    graph = helper.make_graph(
        [node], layer.name, [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, layer.y_shape)], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx_call(onnx_session(model.SerializeToString(), threads), x, layer.y_shape)


def onnx_session(model, threads):
    """An inference session of a model (its bytes or its file's path)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_call(session, x, y_shape):
    import onnxruntime

    y = np.empty(y_shape, np.float32)
    binding = session.io_binding()
    value, result = (onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in (x, y))
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, result)

    def call():
        session.run_with_iobinding(binding)
        return result.numpy()
    return call


# ---- whole networks -----------------------------------------------------------------------------------------------------


def torch_network(description, values, channels_last):
    """The network in PyTorch, with the arrays of the one in pycnn (see `descriptions`)."""
    import torch

    model = descriptions.torch_module(description, values)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def torch_training_step(model, x, y, channels_last, loss="cross_entropy"):
    """The usual training step: zero_grad, forward, backward, SGD with momentum."""
    import torch

    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    loss_of = torch.nn.CrossEntropyLoss() if loss == "cross_entropy" else torch.nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, foreach=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    return step


def torch_inference(model, x, channels_last):
    import torch

    x = torch.from_numpy(x)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    model.eval()

    def infer():
        with torch.inference_mode():
            return model(x)
    return infer


def onnx_inference(description, values, x, y_shape, threads):
    """The network in ONNX Runtime, by way of a file that onnx's own helpers write."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        descriptions.onnx_file(description, values, len(x), path)
        return onnx_call(onnx_session(path, threads), x, y_shape)
