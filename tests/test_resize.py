"""Resizing as ONNX has it, and the places of maxima: values, gradients, and what is refused."""

import numpy as np
import pytest
from gradient_checks import LANES, LAYOUTS, alone_or_inside, check, maps_in
from hypothesis import given, settings
from hypothesis import strategies as st

import pycnn
from pycnn import layers as L
from pycnn.resizing import COORDINATES, ROUNDINGS

SETTINGS = [
    *({"coordinates": c, "mode": m} for c in COORDINATES[:-1] for m in ("nearest", "linear", "cubic")),
    *({"rounding": r, "coordinates": "asymmetric"} for r in ROUNDINGS),
    {"mode": "linear", "antialias": True}, {"mode": "cubic", "antialias": True, "coefficient": -0.5},
    {"mode": "cubic", "exclude_outside": True}, {"mode": "linear", "antialias": True, "exclude_outside": True},
    {"mode": "linear", "coordinates": "tf_crop_and_resize", "roi": ((0.2, 0.7), (0.3, 1.4)), "value": 3.0},
    {"mode": "nearest", "coordinates": "tf_crop_and_resize", "roi": ((0.2, 0.7), (-0.3, 0.8)), "value": 3.0},
]


def reference_resize(x, options, **sizes):
    """What the onnx package's own evaluator makes of the operator."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    names = {"coordinates": "coordinate_transformation_mode", "rounding": "nearest_mode",
             "coefficient": "cubic_coeff_a", "value": "extrapolation_value"}
    attributes = {names.get(k, k): int(v) if isinstance(v, bool) else v for k, v in options.items() if k != "roi"}
    inputs = {"x": x, "roi": np.array([[0, 0, *(b for b, _ in options.get("roi", ()))],
                                       [1, 1, *(e for _, e in options.get("roi", ()))]], np.float32).ravel()}
    if "roi" not in options:
        inputs["roi"] = np.zeros(0, np.float32)
    scale, size = sizes.get("scale"), sizes.get("size")
    inputs["scales"] = np.array([] if scale is None else [1, 1, *scale], np.float32)
    inputs["sizes"] = np.array([] if size is None else [*x.shape[:2], *size], np.int64)
    names = ["x", "roi", "scales" if size is None else "", "sizes" if scale is None else ""]
    node = onnx.helper.make_node("Resize", names, ["y"], **attributes)
    of = onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        [node], "resize", [onnx.helper.make_tensor_value_info(k, of(v.dtype), v.shape) for k, v in inputs.items()],
        [onnx.helper.make_tensor_value_info("y", of(x.dtype), None)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    return ReferenceEvaluator(model).run(None, inputs)[0]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("sizes", [{"scale": (2.0, 0.5)}, {"scale": (0.75, 1.625)}, {"size": (7, 3)}], ids=str)
def test_resizing_gives_what_onnx_gives(options, sizes):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    image = pycnn.Input((3, 4, 6))
    y = pycnn.Network(image, L.Resize(**sizes, **options)(image), dtype="float64")(x)
    expected = reference_resize(x, options, **sizes)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=4e-6)      # ONNX's evaluator takes some steps in float32


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_resizing_and_its_gradients(options, layout):
    with maps_in(LAYOUTS[layout]):
        check(alone_or_inside(L.Resize((1.5, 0.6), **options), (3, 4, 6), True), LANES + 1)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.booleans(), st.booleans(), st.integers(1, 3))
def test_places_of_maxima_are_those_that_pooling_finds(kernel, stride, padding, ceil_mode, columns, rank):
    x = np.random.default_rng(kernel).standard_normal((3, 2, *(5, 4, 6)[:rank]))
    image = pycnn.Input(x.shape[1:])
    layer = L.MaxPoolPlaces(kernel, stride, min(padding, kernel - 1), 1, ceil_mode, columns)
    places = pycnn.Network(image, layer(image), dtype="float64")(x).astype(int)
    pooled = pycnn.Network(image := pycnn.Input(x.shape[1:]),
                           L.MaxPool(kernel, stride, min(padding, kernel - 1), 1, ceil_mode)(image), dtype="float64")(x)
    flat = np.stack([np.stack([m.ravel("F" if columns else "C") for m in sample]) for sample in x]).reshape(3, -1)
    np.testing.assert_array_equal(np.take_along_axis(flat, places.reshape(3, -1), 1).reshape(pooled.shape), pooled)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: L.Resize(), "give a scale or a size"),
    (lambda: L.Resize(2, mode="lanczos"), "mode must be one of nearest"),
    (lambda: L.Resize(2, coordinates="pixel"), "coordinates must be one of half_pixel"),
    (lambda: L.Resize(2, rounding="up"), "rounding must be one of round_prefer_floor"),
    (lambda: L.Resize(2, coordinates="tf_crop_and_resize"), "roi goes with"),
    (lambda: L.Resize(0.0), "a scale must be a finite number greater than 0"),
    (lambda: L.Resize((2, 2, 2)), "expected one number or 2"),
    (lambda: L.Resize(0.1), "leaves nothing of 4x6"),
])
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()(pycnn.Input((3, 4, 6)))
