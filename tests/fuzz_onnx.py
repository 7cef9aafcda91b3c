"""Mutated ONNX files, loaded one after the other: each becomes a network or a ValueError, in little time and memory.

    python tests/fuzz_onnx.py [count] [seed]

Files of the onnx package are changed at random, as bytes (flipped, cut, inserted, repeated, numbers made huge) and as
what they mean (sizes, attributes, names, element types, operators). The process may not use more memory than `MEMORY`.
"""

import contextlib
import random
import resource
import sys
import time
import warnings
from pathlib import Path

import onnx

import pycnn

MEMORY = 6 * 2**30      # bytes of address space
SLOWEST = 20.0          # seconds that one file may take
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
OTHERS = ["ConvTranspose", "Expand", "Gather", "Pad", "Range", "Reshape", "Resize", "Slice", "Split", "Tile",
          "Transpose", "Upsample"]
HUGE = [-1, 0, 1, 2, 3, 7, 2**15, 2**27, 2**31 - 1, 2**31, 2**32 + 1, 2**62, -(2**31), -(2**63), 2**63 - 1]


def corpus():
    """The bytes of real files."""
    paths = [*DATA.glob("light/*.onnx"), *DATA.glob("pytorch-*/*/model.onnx"), *DATA.glob("simple/*/model.onnx")]
    return [path.read_bytes() for path in sorted(paths) if path.stat().st_size < 100_000]


def changed_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.choice([1, 2, 8, 100]))
        elif kind == 3:
            data[at : at + rng.randrange(1, 50)] = b""
        elif kind == 4:
            data[at:at] = data[at : at + rng.randrange(1, 200)]
        else:
            data[at : at + 9] = b"\xff" * 8 + b"\x7f"
    return bytes(data)


def changed_meaning(data, rng):
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    graph = proto.graph
    for _ in range(rng.choice([1, 1, 2, 4])):
        node = rng.choice(graph.node)
        kind = rng.randrange(9)
        with contextlib.suppress(IndexError, ValueError):
            if kind == 0:
                tensor = rng.choice(graph.initializer)
                tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(HUGE)
            elif kind == 1:
                dims = rng.choice(graph.input).type.tensor_type.shape.dim
                dims[rng.randrange(len(dims))].dim_value = rng.choice(HUGE)
            elif kind == 2:
                attribute = rng.choice(node.attribute)
                if attribute.ints:
                    attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(HUGE)
                else:
                    attribute.i, attribute.f = rng.choice(HUGE), rng.choice([0.0, -1.0, 1e30, float("nan")])
            elif kind == 3:
                names = node.input if rng.random() < 0.6 else node.output
                names[rng.randrange(len(names))] = rng.choice([*rng.choice(graph.node).output, "", "nothing"])
            elif kind == 4:
                del graph.initializer[rng.randrange(len(graph.initializer))]
            elif kind == 5:
                node.op_type = rng.choice([*sorted({n.op_type for n in graph.node}), *OTHERS])
            elif kind == 6:
                constants = [a.t for n in graph.node for a in n.attribute if a.HasField("t")]
                tensor = rng.choice([*graph.initializer, *constants])
                tensor.data_type = rng.randrange(30)
            elif kind == 7:
                vectors = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT64]
                tensor = rng.choice(vectors)
                values = onnx.numpy_helper.to_array(tensor).copy()
                values.flat[rng.randrange(values.size)] = rng.choice(HUGE)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
            else:
                proto.opset_import[0].version = rng.choice([*range(30), *HUGE[-3:]])
    return proto.SerializeToString()


def mutations(count, seed):
    """So many changed files: (number, bytes)."""
    rng, files = random.Random(seed), corpus()
    for number in range(count):
        data = rng.choice(files)
        yield number, (changed_meaning if rng.random() < 0.6 else changed_bytes)(data, rng)


def load(data):
    """Whether it is a network; anything but a ValueError goes through."""
    try:
        pycnn.onnx.load(data)
    except ValueError:
        return False
    return True


def main(count, seed):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    networks = slowest = 0
    for number, data in mutations(count, seed):
        begin = time.perf_counter()
        try:
            networks += load(data)
        except BaseException:
            Path(f"fuzz-{seed}-{number}.onnx").write_bytes(data)
            raise
        taken = time.perf_counter() - begin
        slowest = max(slowest, taken)
        if taken > SLOWEST:
            raise SystemExit(f"mutation {number} of seed {seed} took {taken:.0f} s")
        if number % 500 == 499:
            print(f"{number + 1} of {count}: {networks} networks, slowest {slowest:.1f} s", flush=True)
    print(f"{count} mutated files: {networks} became networks, {count - networks} a ValueError; "
          f"slowest {slowest:.1f} s")


if __name__ == "__main__":
    given = [int(number) for number in sys.argv[1:]]
    main(*given, *(10_000, 0)[len(given) :])
