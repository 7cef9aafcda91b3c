"""ONNX's conformance suite, by its own runner: all cases pass but those that onnx_left_out.txt names, which fail."""

import re
from pathlib import Path

import pytest

pytest.importorskip("onnx")

import onnx.backend.test

import pycnn.onnx.backend
from pycnn.onnx.backend import PycnnBackend

LEFT_OUT = Path(__file__).parent / "onnx_left_out.txt"
LISTED = set("""
    Conv ConvTranspose MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool MaxUnpool
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN Gemm MatMul
    Relu LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Gelu Mish ThresholdedRelu
    Clip Softmax LogSoftmax Add Sub Mul Div Sum Mean Max Min Pow Sqrt Exp Log Abs Neg
    Concat Split Slice Gather Reshape Flatten Transpose Squeeze Unsqueeze Expand Pad Resize Upsample DepthToSpace
    SpaceToDepth AffineGrid GridSample ReduceMean ReduceSum ReduceMax Dropout Identity Constant ConstantOfShape
    Shape Cast
""".split())      # the operators of convolutional networks


def rules():
    """(kind, words, reason) of each line of the file."""
    for line in LEFT_OUT.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            rule, reason = line.split(" | ")
            kind, *words = rule.split()
            assert kind in ("operators", "cases") and words and reason.strip()
            yield kind, words, reason


RULES = list(rules())
OPERATORS = {word for kind, words, _ in RULES if kind == "operators" for word in words}
CASES = [re.compile(word) for kind, words, _ in RULES if kind == "cases" for word in words]


def operators_by_case():
    """Name of a case -> its operators."""
    found = {}
    for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        for case in onnx.backend.test.loader.load_model_tests(kind=kind):
            model = case.model or onnx.load(Path(case.model_dir, "model.onnx"), load_external_data=False)
            found[f"{case.name}_cpu"] = {node.op_type for node in model.graph.node}
    return found


class Unexcused(PycnnBackend):
    """The backend, which has to run every case: the runner skips what a backend says it cannot run."""

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        return True


SUITE = onnx.backend.test.BackendTest(Unexcused, __name__)
USED = operators_by_case()
LEFT = {name for name, used in USED.items() if used & OPERATORS or any(case.search(name) for case in CASES)}
SUITE.xfail(f"^({'|'.join(map(re.escape, LEFT))})$")
CLASSES = SUITE.test_cases
for kind, case in CLASSES.items():
    for test in [test for test in vars(case) if test.endswith("_cuda")]:
        delattr(case, test)
    globals()[kind] = case


def test_every_line_of_what_is_left_out_has_a_case():
    assert not OPERATORS - set().union(*USED.values())
    assert not [case.pattern for case in CASES if not any(map(case.search, USED))]


def test_no_operator_of_convolutional_networks_is_left_out():
    """Neither as such, nor in cases but for types of few bits, random numbers, and what is no tensor."""
    assert not LISTED & OPERATORS
    few = r"^test_cast.*(FLOAT8|FLOAT4|INT4|INT2)|^test_training_dropout|^test_identity_(sequence|opt)_"
    assert not [name for name in LEFT if USED[name] <= LISTED and not re.search(few, name)]
    assert len([name for name, used in USED.items() if used <= LISTED and name not in LEFT]) > 700


def test_the_light_models_and_those_of_pytorch_are_all_there():
    counts = {kind: sum(name.startswith("test_") for name in vars(case)) for kind, case in CLASSES.items()}
    assert counts["OnnxBackendRealModelTest"] >= 9
    assert not {name for case in CLASSES.values() for name in vars(case) if name in LEFT and "Real" in case.__name__}
    assert not LEFT & {f"{case.name}_cpu" for kind in ("pytorch-converted", "pytorch-operator")
                       for case in onnx.backend.test.loader.load_model_tests(kind=kind)}


def test_the_backend_says_what_it_can_run():
    cases = {case.name: case.model for case in onnx.backend.test.loader.load_model_tests(kind="node")}
    assert pycnn.onnx.backend.is_compatible(cases["test_relu"])
    assert not pycnn.onnx.backend.is_compatible(cases["test_relu"], "CUDA")
    assert not pycnn.onnx.backend.is_compatible(cases["test_lstm_defaults"])


def test_a_device_that_is_no_cpu_is_not_supported():
    assert pycnn.onnx.backend.supports_device("CPU:0") and not pycnn.onnx.backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="on the CPU, not on 'CUDA'"):
        pycnn.onnx.backend.prepare(onnx.ModelProto(), "CUDA")
