"""A backend as ONNX defines it (`onnx.backend.base`), by which its standard tests run pycnn.

``prepare(model).run(inputs)`` takes arrays of any shapes, as the model's inputs are, and makes a network for them:
inputs that an operator needs as weights or as numbers are put into it, the others flow through it. Networks are kept
for the next inputs like those.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from .flows import Flow
from .folding import FUNCTIONS
from .importer import Importer
from .model import read_model
from .operators import OPERATORS
from .reader import network_of
from .sizes import MixesSamples, Size

NETWORKS_KEPT = 8
WEIGHTS = {     # operator -> which of its inputs are weights or settings
    "BatchNormalization": (1, 2, 3, 4), "Clip": (1, 2), "Conv": (1, 2), "ConvTranspose": (1, 2), "Dropout": (1, 2),
    "Gemm": (1, 2), "GroupNormalization": (1, 2), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "PRelu": (1,), "Pad": (2,), "Resize": (1, 2), "Upsample": (1,),
}


class Rep(BackendRep):
    """A model that is ready to run.

    Parameters
    ----------
    model : onnx.ModelProto, or what else `pycnn.onnx.load` reads
    """

    def __init__(self, model):
        self.model = read_model(model)
        self._settings = {op.inputs[i] for op in self.model.operations for i in WEIGHTS.get(op.kind, ())
                          if i < len(op.inputs)}
        self._made = OrderedDict()

    def run(self, inputs, **kwargs):
        """The outputs, as a tuple of arrays.

        Parameters
        ----------
        inputs : list or tuple of array, or dict by name, or one array
            Those of the model in order; inputs with an initialiser may be left out.
        """
        given = self._by_name(inputs)
        flowing = {name: a for name, a in given.items() if self._flows(name, a)}
        bound = {name: a for name, a in given.items() if name not in flowing}
        key = (*((name, a.shape, a.dtype.str) for name, a in flowing.items()),
               *((name, a.shape, a.dtype.str, repr(a.tolist()) if a.dtype == object else a.tobytes())
                 for name, a in bound.items()))
        if key not in self._made:
            while len(self._made) >= NETWORKS_KEPT:
                self._made.popitem(last=False)
            self._made[key] = Specialised(self.model, flowing, bound)
        return self._made[key].run(flowing)

    def _by_name(self, inputs):
        if isinstance(inputs, dict):
            return {name: np.asarray(a) for name, a in inputs.items()}
        arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        names = list(self.model.inputs)
        if len(arrays) != len(names):
            names = [name for name in names if name not in self.model.initialisers]
        if len(arrays) != len(names):
            raise ValueError(f"got {len(arrays)} inputs, the model has {len(names)}: {', '.join(names)}")
        return {name: np.asarray(a) for name, a in zip(names, arrays)}

    def _flows(self, name, array):
        return array.dtype in (np.float32, np.float64) and array.size > 0 and name not in self._settings


class Specialised:
    """A model for inputs of some shapes, and what its settings hold.

    Where every input has the same size along axis 0 and the model works on that axis' entries one by one, they are the
    samples of a batch; else all of an input is one sample.
    """

    def __init__(self, model, flowing, bound):
        self.model = model
        dtype = "float64" if any(a.dtype == np.float64 for a in (*flowing.values(), *bound.values())) else "float32"
        sizes = {a.shape[:1] for a in flowing.values()}
        attempts = [True, False] if flowing and len(sizes) == 1 and () not in sizes else [False]
        for self.batched in attempts:
            shapes = {name: a.shape[self.batched :] for name, a in flowing.items()}
            self.batch = next(iter(sizes))[0] if self.batched else 1
            importer = Importer(model, shapes, bound, self.batch if self.batched else None, self.batched)
            try:
                self.values = importer.run()
                break
            except MixesSamples:
                if self.batched is attempts[-1]:
                    raise
        flows = {name: value for name, value in self.values.items() if isinstance(value, Flow)}
        self.net = network_of(importer, flows, dtype, listed=True) if flows else None

    def run(self, arrays):
        results, outputs = {}, []
        if self.net is not None:
            x = {}
            for name, shape in self.net.input_shapes.items():
                array = self._inputs().get(name, lambda _: np.zeros((1, *shape)))(arrays)
                x[name] = array.reshape(self.batch, *shape)
            flows = [name for name, value in self.values.items() if isinstance(value, Flow)]
            results = dict(zip(flows, self.net(x)))
        for name, value in self.values.items():
            of = self.model.outputs[name]
            if isinstance(value, Flow):
                shape = (self.batch, *value.sample) if value.batched else value.sample
                array = results[name].reshape(shape)
                outputs.append(array.astype(of.dtype, copy=False) if of.dtype != object else array)
            else:
                array = self._sizes_as_numbers(value)
                if self.batched and not array.size and array.shape[:1] == (1,):
                    array = np.empty((self.batch, *array.shape[1:]))
                outputs.append(array.astype(of.dtype, copy=False) if of.dtype != object else array)
        return tuple(outputs)

    def _inputs(self):
        """Names of the network's inputs -> functions that take their array from those of the model."""
        return {name.replace("/", "."): lambda arrays, name=name: arrays[name] for name in self.model.inputs}

    def _sizes_as_numbers(self, value):
        value = np.asarray(value)
        if value.dtype != object or not any(isinstance(n, Size) for n in value.flat):
            return value
        numbers = [n.times * self.batch + n.plus if isinstance(n, Size) else n for n in value.flat]
        return np.array(numbers, np.int64).reshape(value.shape)


class PycnnBackend(Backend):
    """ONNX models on pycnn, on the CPU."""

    @classmethod
    def supports_device(cls, device):
        return device.split(":")[0] == "CPU"

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        """Whether the model can be read and holds only operators that pycnn has."""
        try:
            operations = read_model(model).operations
        except ValueError:
            return False
        known = OPERATORS.keys() | FUNCTIONS.keys()
        return cls.supports_device(device) and all(not op.domain and op.kind in known for op in operations)

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        """A model made ready: call ``run`` on it."""
        if not cls.supports_device(device):
            raise ValueError(f"pycnn runs on the CPU, not on {device!r}")
        return Rep(model)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        """The outputs of a model for inputs."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """The outputs of a single node for inputs."""
        arrays = [np.asarray(a) for a in inputs]
        of = onnx.helper.np_dtype_to_tensor_dtype
        names = [name for name in node.input if name]
        types = [(of(np.dtype(info[0])), info[1]) for info in outputs_info] if outputs_info else (
            [(of(arrays[0].dtype) if arrays else onnx.TensorProto.FLOAT, None)] * len(node.output))
        graph = onnx.helper.make_graph(
            [node], "node",
            [onnx.helper.make_tensor_value_info(name, of(a.dtype), a.shape) for name, a in zip(names, arrays)],
            [onnx.helper.make_tensor_value_info(name, *t) for name, t in zip(node.output, types)])
        opset = onnx.helper.make_opsetid("", kwargs.get("opset_version", onnx.defs.onnx_opset_version()))
        return cls.run_model(onnx.helper.make_model(graph, opset_imports=[opset]), arrays, device)


is_compatible = PycnnBackend.is_compatible
prepare = PycnnBackend.prepare
run_model = PycnnBackend.run_model
run_node = PycnnBackend.run_node
supports_device = PycnnBackend.supports_device
