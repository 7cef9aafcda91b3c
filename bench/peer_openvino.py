"""OpenVINO: reads the models of peer_onnxruntime.py. It infers only."""

import numpy as np

from .peer_onnxruntime import conv_model, network_model

REQUIRES = ("openvino", "onnx")


def conv(layer, which, x, w, dy, threads):
    """{name: call} of a forward pass."""
    if which != "forward":
        return {}
    return {"openvino": bound(conv_model(layer, x, w), x, threads)}


def training(net, x, y, loss, threads):
    return {}


def inference(net, x, threads):
    """{name: call} of one prediction."""
    shape = (len(x), *next(iter(net.graph.outputs.values())).shape)
    return {"openvino": bound(network_model(net, len(x)), x, threads)}


def bound(model, x, threads):
    """A call on an array that is in the request already."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(x), shared_memory=True))

    def call():
        request.infer()
        return request.get_output_tensor().data
    return call
