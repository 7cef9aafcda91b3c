"""ONNX Runtime: models in memory, weights as constants, arrays bound, threads on cores of their own. It infers only."""

import numpy as np

from . import machine

REQUIRES = ("onnx", "onnxruntime")
OPSET = 17


def conv(layer, which, x, w, dy, threads):
    """{name: call} of a forward pass."""
    if which != "forward":
        return {}
    return {"onnxruntime": bound(session(conv_model(layer, x, w), threads), x, layer.y_shape)}


def conv_model(layer, x, w):
    """The bytes of a model of one convolution."""
    from onnx import helper, numpy_helper

    rank = x.ndim - 2
    padding = list(layer.padding) if isinstance(layer.padding, tuple) else [layer.padding] * rank
    kind = "ConvTranspose" if layer.transposed else "Conv"
    node = helper.make_node(kind, ["x", "w"], ["y"], strides=[layer.stride] * rank, dilations=[layer.dilation] * rank,
                            pads=padding * 2, group=layer.groups)
    return model_bytes([node], [numpy_helper.from_array(w, "w")], x.shape, layer.y_shape)


def training(net, x, y, loss, threads):
    return {}


def inference(net, x, threads):
    """{name: call} of one prediction."""
    shape = (len(x), *next(iter(net.graph.outputs.values())).shape)
    return {"onnxruntime": bound(session(network_model(net, len(x)), threads), x, shape)}


def network_model(net, batch):
    """The bytes of a model of a whole network for so many samples."""
    from pycnn.onnx.save import as_model

    model = as_model(net, OPSET)
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = batch
    return model.SerializeToString()


def model_bytes(nodes, weights, x_shape, y_shape):
    import onnx
    from onnx import helper

    graph = helper.make_graph(nodes, "bench", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x_shape)],
                              [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, y_shape)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return model.SerializeToString()


def session(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    if threads > 1:     # processors are counted from one; the calling thread is not among them
        others = ";".join(str(core + 1) for core in machine.cores()[1:threads])
        options.add_session_config_entry("session.intra_op_thread_affinities", others)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bound(session, x, y_shape):
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
