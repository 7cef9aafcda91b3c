"""Reading: bytes become a checked model, whose tensors are arrays. What is wrong with a file is said here, by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .foreign import need_onnx

LARGEST_RANK = 16
MOST_IN_ONE = 16    # values of two bits in an int32
STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Operation:
    """A node of an ONNX graph.

    Attributes
    ----------
    kind, domain : str
        Which operator it is.
    name : str
    inputs, outputs : tuple of str
        Names of tensors; empty for one that is left out.
    attributes : dict of str to int, float, str, list or ndarray
    """

    kind: str
    domain: str
    name: str
    inputs: tuple
    outputs: tuple
    attributes: dict

    @property
    def label(self):
        return f"{self.kind} {self.name!r}" if self.name else f"{self.kind} that makes {self.outputs[0]!r}"


@dataclass(frozen=True)
class TensorType:
    """What a model says of an input or output: its element type and its sizes, int, or str or None where unknown."""

    name: str
    dtype: np.dtype
    shape: tuple | None


@dataclass(frozen=True, eq=False)
class Model:
    """A model whose parts refer to each other as they should.

    Attributes
    ----------
    opset : int
        Version of the standard operators.
    inputs, outputs : dict of str to TensorType
        Inputs with an initialiser, which may be left out, among them.
    initialisers : dict of str to ndarray
    operations : list of Operation
        Each after those whose outputs it reads.
    """

    opset: int
    inputs: dict
    outputs: dict
    initialisers: dict
    operations: list


def read_model(source):
    """The model in a file, in bytes, or in an ``onnx.ModelProto``.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no model, or one with something wrong in it.
    """
    onnx = need_onnx()
    if isinstance(source, onnx.ModelProto):
        return checked_model(onnx, source, None)
    if isinstance(source, (bytes, bytearray)):
        return checked_model(onnx, parsed(onnx, bytes(source), "this"), None)
    path = Path(source)
    proto = parsed(onnx, path.read_bytes(), path)
    try:
        return checked_model(onnx, proto, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parsed(onnx, data, what):
    """Bytes as a ModelProto."""
    from google.protobuf.message import DecodeError

    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{what} is not an ONNX model: {error}") from None
    if not proto.HasField("graph"):
        raise ValueError(f"{what} is not an ONNX model: it has no graph")
    return proto


def checked_model(onnx, proto, folder):
    """The parts of a ModelProto, each checked. `folder` is where external data may lie, None where it cannot."""
    graph = proto.graph
    versions = {i.domain: i.version for i in proto.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 1 if proto.ir_version < 3 else 0))
    newest = onnx.defs.onnx_opset_version()
    if opset == 0:
        raise ValueError("the model does not say of which opset its operators are")
    if not 1 <= opset <= newest:
        raise ValueError(f"the model is of opset {opset}; the onnx package that is installed knows 1 to {newest}")
    if graph.sparse_initializer:
        raise ValueError("sparse initialisers are not supported")
    initialisers = {}
    for tensor in graph.initializer:
        if tensor.name in initialisers:
            raise ValueError(f"there are two initialisers {tensor.name!r}")
        initialisers[tensor.name] = array_of(onnx, tensor, f"initialiser {tensor.name!r}", folder)
    inputs, outputs = ({v.name: tensor_type(onnx, v, what) for v in values}
                       for values, what in ((graph.input, "input"), (graph.output, "output")))
    if len(inputs) < len(graph.input) or len(outputs) < len(graph.output):
        raise ValueError("two inputs or two outputs have the same name")
    if not outputs:
        raise ValueError("the model has no outputs")
    operations = [operation(onnx, node, folder) for node in graph.node]
    return Model(opset, inputs, outputs, initialisers, ordered(operations, {*inputs, *initialisers}, outputs))


def tensor_type(onnx, value, what):
    """What a ValueInfoProto says."""
    what = f"{what} {value.name!r}"
    if not value.name:
        raise ValueError(f"an {what.split()[0]} has no name")
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"{what} is not a tensor")
    of = value.type.tensor_type
    shape = None
    if of.HasField("shape"):
        shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in of.shape.dim)
        shape = tuple(None if size == -1 else size for size in shape)       # as some libraries write what may vary
        if any(isinstance(size, int) and size < 0 for size in shape):
            raise ValueError(f"{what} has a negative size: {shape}")
        if len(shape) > LARGEST_RANK:
            raise ValueError(f"{what} has {len(shape)} axes; at most {LARGEST_RANK} are supported")
    return TensorType(value.name, dtype_of(onnx, of.elem_type, what), shape)


def dtype_of(onnx, number, what):
    """NumPy's type for one of ONNX; object for strings."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{what} has the unknown element type {number}") from None


def operation(onnx, node, folder):
    """A NodeProto whose attributes are Python's."""
    kind = node.op_type
    domain = "" if node.domain in STANDARD else node.domain
    new = Operation(kind, domain, node.name, tuple(node.input), tuple(node.output), {})
    if not any(node.output):
        raise ValueError(f"{kind} {node.name!r} makes nothing")
    for attribute in node.attribute:
        what = f"{new.label}: attribute {attribute.name!r}"
        if attribute.ref_attr_name:
            raise ValueError(f"{what} refers to an attribute of a function")
        value = onnx.helper.get_attribute_value(attribute) if attribute.type else None
        if isinstance(value, onnx.TensorProto):
            value = array_of(onnx, value, what, folder)
        elif isinstance(value, bytes):
            value = text(value, what)
        elif attribute.type in (attribute.STRINGS, attribute.INTS, attribute.FLOATS):
            value = [text(v, what) if isinstance(v, bytes) else v for v in value]
        elif not isinstance(value, (int, float)):
            raise ValueError(f"{what} is of a kind that is not supported")
        new.attributes[attribute.name] = value
    if kind == "Split":
        count = new.attributes.setdefault("num_outputs", len(node.output))
        if count != len(node.output):
            raise ValueError(f"{new.label}: it has {len(node.output)} outputs, and says it makes {count}")
    return new


def text(value, what):
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{what} is not text") from None


def array_of(onnx, tensor, what, folder):
    """A TensorProto as an array. Its bytes are counted before anything is made of them."""
    shape = tuple(tensor.dims)
    dtype = dtype_of(onnx, tensor.data_type, what)
    if any(size < 0 for size in shape):
        raise ValueError(f"{what} has a negative size: {shape}")
    if len(shape) > LARGEST_RANK:
        raise ValueError(f"{what} has {len(shape)} axes; at most {LARGEST_RANK} are supported")
    count = 1
    for size in shape:
        count *= size
    if tensor.data_location == tensor.EXTERNAL:
        return external_array(tensor, shape, dtype, count, what, folder)
    fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
    bits = next((n for n in (2, 4) if dtype.name.startswith((f"int{n}", f"uint{n}", f"float{n}"))), 8 * dtype.itemsize)
    there = len(tensor.raw_data) or max(len(getattr(tensor, field)) for field in fields)
    if count * bits > 8 * there if tensor.raw_data else count > MOST_IN_ONE * there:
        raise ValueError(f"{what} has the shape {shape}, but the file holds only {there} "
                         f"{'bytes' if tensor.raw_data else 'values'} of it")
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:      # whatever the onnx package makes of a malformed tensor
        raise ValueError(f"{what} of shape {shape} cannot be read: {error}") from None
    return array


def external_array(tensor, shape, dtype, count, what, folder):
    """A tensor in a file beside the model."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ValueError(f"{what} lies in the file {location!r}; load the model by its path")
    base = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(base, location.replace("\0", "")))
    if not location or "\0" in location or os.path.commonpath([base, path]) != base or not os.path.isfile(path):
        raise ValueError(f"{what} lies in {location!r}, which is not a file in the folder of the model")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", count * dtype.itemsize))
    except ValueError:
        raise ValueError(f"{what}: offset and length of external data must be integers, got {entries}") from None
    if dtype == object or length != count * dtype.itemsize or offset < 0 or offset + length > os.path.getsize(path):
        raise ValueError(f"{what} of shape {shape} and type {dtype} does not fit {length} bytes at {offset} of "
                         f"{location!r}")
    little = dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype
    return np.fromfile(path, little, count, offset=offset).astype(dtype, copy=False).reshape(shape)


def ordered(operations, known, outputs):
    """The operations in an order in which each follows those whose outputs it reads."""
    maker = {}
    for op in operations:
        for name in filter(None, op.outputs):
            if name in maker or name in known:
                raise ValueError(f"{op.label}: {name!r} is made twice")
            maker[name] = op
    for op in operations:
        for name in filter(None, op.inputs):
            if name not in maker and name not in known:
                raise ValueError(f"{op.label} reads {name!r}, which is neither an input nor an initialiser nor made "
                                 f"by a node")
    for name in outputs:
        if name not in maker and name not in known:
            raise ValueError(f"output {name!r} is made by no node")
    waits = {op: len({maker[n] for n in op.inputs if n in maker}) for op in operations}
    readers = {op: [] for op in operations}
    for op in operations:
        for source in {maker[n] for n in op.inputs if n in maker}:
            readers[source].append(op)
    ready, order = [op for op in reversed(operations) if not waits[op]], []
    while ready:
        op = ready.pop()
        order.append(op)
        for reader in reversed(readers[op]):
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    if len(order) < len(operations):
        raise ValueError(f"the graph has a cycle through {next(op for op in operations if waits[op]).label}")
    return order
