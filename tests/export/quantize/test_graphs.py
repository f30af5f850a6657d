import numpy as np
import onnx
import onnxruntime
import pytest
from hostile_models import graph, tame, weights
from ml_dtypes import bfloat16, float8_e4m3fn
from mmedge_export.quantize.explicit import explicit, too_small
from mmedge_export.quantize.half import halved, overflowing
from mmedge_export.quantize.imitation import imitate_bfloat16, imitate_fp8
from mmedge_export.quantize.int4 import BLOCK, fitting, int4
from mmedge_export.quantize.int8_cpu import int8_cpu, weights_only
from mmedge_export.quantize.placement import followers, named, products, stem
from mmedge_export.quantize.reductions import faster_reductions
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mmedge.calibration import TensorRange


def run(model, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def inputs(seed=0):
    random = np.random.default_rng(seed)
    shapes = {"image": (1, 3, 16, 16), "audio": (1, 48, 20)}
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def model():
    return named(tame())


@pytest.fixture(scope="module")
def ranges(model):
    """Of every activation on the very data that the tests use."""
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name != "event"]
    observed.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    values = dict(zip(["event", *names], run(observed, inputs()), strict=True)) | inputs()
    found = {}
    for name, array in values.items():
        low, high = float(array.min()), float(array.max())
        limit = max(-low, high)
        found[name] = TensorRange(low=low, high=high, entropy=limit, percentile=limit, mse=limit)
    return found


def kinds(model):
    return [node.op_type for node in model.graph.node]


def maker(model, name):
    return next((node for node in model.graph.node if name in node.output), None)


def relative(made, expected):
    return float(np.abs(made - expected).max() / np.abs(expected).max())


def gemm(values, scale, kind, name="x"):
    """A single product, to be recomputed by hand."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    made = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(values)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, values.shape[1]])],
        [numpy_helper.from_array(values.astype(np.float32), "w")],
    )
    one = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    limit = float(scale)
    ranges = {"x": TensorRange(low=-limit, high=limit, entropy=limit, percentile=limit, mse=limit)}
    return one, ranges


def test_explicit_int8_computes_what_rounding_by_hand_gives():
    random = np.random.default_rng(4)
    weight, x = random.standard_normal((24, 6)).astype(np.float32), random.uniform(-2, 2, (1, 24)).astype(np.float32)
    one, ranges = gemm(weight, 2.0, "int8")
    (made,) = run(explicit(one, ranges, "minmax"), {"x": x})
    x_scale = np.float32(np.float16(2 / 127))
    w_scale = (np.abs(weight).max(0) / 127).astype(np.float16).astype(np.float32)
    rounded_x = np.clip(np.rint(x / x_scale), -128, 127) * x_scale
    rounded_w = np.clip(np.rint(weight / w_scale), -127, 127) * w_scale
    np.testing.assert_allclose(made, rounded_x @ rounded_w, rtol=1e-5, atol=1e-5)  # order of summation


def test_fp8_is_imitated_as_rounding_by_hand_gives():
    random = np.random.default_rng(5)
    weight, x = random.standard_normal((24, 6)).astype(np.float32), random.uniform(-2, 2, (1, 24)).astype(np.float32)
    one, ranges = gemm(weight, 2.0, "fp8")
    quantized = explicit(one, ranges, "minmax", (), "fp8")
    (made,) = run(imitate_fp8(quantized), {"x": x})
    x_scale = np.float32(np.float16(2 / 448))
    w_scale = (np.abs(weight).max(0) / 448).astype(np.float16).astype(np.float32)
    x8 = (x / x_scale).astype(float8_e4m3fn).astype(np.float32) * x_scale
    w8 = (weight / w_scale).astype(float8_e4m3fn).astype(np.float32) * w_scale
    np.testing.assert_allclose(made, x8 @ w8, rtol=1e-5, atol=1e-5)  # order of summation
    stored = {tensor.data_type for tensor in quantized.graph.initializer}
    assert TensorProto.FLOAT8E4M3FN in stored


def test_bfloat16_is_imitated_as_rounding_by_hand_gives():
    random = np.random.default_rng(6)
    weight, x = random.standard_normal((24, 6)).astype(np.float32), random.uniform(-2, 2, (1, 24)).astype(np.float32)
    one, _ = gemm(weight, 2.0, "bf16")
    (made,) = run(imitate_bfloat16(one), {"x": x})
    exact = x @ weight.astype(bfloat16).astype(np.float32)
    np.testing.assert_allclose(made, exact, rtol=2**-8)  # half a unit in the last place of 8 bits
    np.testing.assert_array_equal(made, made.astype(bfloat16).astype(np.float32))


def test_int4_blocks_are_read_back_as_they_were_meant():
    random = np.random.default_rng(7)
    weight = random.standard_normal((4 * BLOCK, 128)).astype(np.float32)
    one, _ = gemm(weight, 1, "int4")
    x = random.standard_normal((1, 4 * BLOCK)).astype(np.float32)
    (made,) = ReferenceEvaluator(int4(one)).run(None, {"x": x})
    blocks = weight.reshape(4, BLOCK, 128)
    scales = np.abs(blocks).max(1, keepdims=True) / 7
    expected = x @ (np.clip(np.rint(blocks / scales), -7, 7) * scales).reshape(weight.shape)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)  # order of summation
    (fast,) = run(int4(one), {"x": x})  # ONNX Runtime fuses it, and rounds activations to 8 bits besides
    assert relative(fast, expected) < 0.02
    assert fitting(named(tame())) == set()  # too small to be worth it


def test_nothing_stands_between_a_convolution_and_what_follows(model, ranges):
    made = explicit(model, ranges, "minmax")
    for node in made.graph.node:
        if node.op_type in {"Relu", "Add", "Concat"} and node.output[0] in {"r1", "r2", "r3", "hidden", "a2"}:
            assert maker(made, node.input[0]).op_type in {"Conv", "Gemm", "MatMul"}
    quantized = [node for node in made.graph.node if node.op_type in {"Conv", "Gemm", "MatMul"}]
    assert quantized
    for node in quantized:
        assert [maker(made, name).op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        assert all(maker(made, name) is None for name in node.input[2:])  # biases stay float
    add = next(node for node in made.graph.node if node.name == "Add.sum")
    assert maker(made, add.input[0]).op_type == "DequantizeLinear"  # the shortcut, as the convolution sees it
    assert maker(made, add.input[1]).op_type == "Relu"


def test_explicit_scales_are_positive_zero_points_zero_and_weights_small(model, ranges):
    made = halved(explicit(model, ranges, "minmax"))
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            assert (values[node.input[1]] > 0).all()
            assert values[node.input[1]].dtype == np.float16
            assert not values[node.input[2]].any()
    wide = [name for name, value in values.items() if value.dtype.kind == "f" and value.size > 64]
    assert wide == []
    assert [entry.version for entry in made.opset_import] == [20]


def test_a_scale_that_half_precision_cannot_hold_keeps_its_product_wide():
    one, ranges = gemm(np.ones((4, 2)), 1e-6, "int8")
    assert too_small(one, ranges, "minmax", "int8") == {"product"}
    one, ranges = gemm(np.ones((4, 2)), 1.0, "int8")
    assert too_small(one, ranges, "minmax", "int8") == set()


@pytest.mark.parametrize(
    ("make", "allowed"),
    [
        (lambda m, r: int8_cpu(m, r, "minmax"), 0.1),
        (lambda m, _: weights_only(m), 0.02),
        (lambda m, r: halved(explicit(m, r, "minmax")), 0.1),
        (lambda m, _: halved(m), 0.005),
        (lambda m, r: imitate_fp8(explicit(m, r, "minmax", (), "fp8")), 0.2),
        (lambda m, _: imitate_bfloat16(m), 0.05),
    ],
    ids=["int8-cpu", "int8-weights", "int8-trt", "fp16", "fp8", "bf16"],
)
def test_every_kind_of_graph_stays_near_fp32_and_is_not_fp32(model, ranges, make, allowed):
    (expected,) = run(model, inputs())
    (made,) = run(make(model, ranges), inputs())
    assert made.dtype == np.float32
    assert 0 < relative(made, expected) < allowed  # allowed: a few steps of that precision on a random model


def test_cpu_activations_are_asymmetric_bytes_and_weights_signed_by_channel(model, ranges):
    made = int8_cpu(model, ranges, "minmax")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    zeros = {values[node.input[2]].dtype.name for node in made.graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {"uint8"}
    conv = next(node for node in made.graph.node if node.name == "Conv.c2")
    weight = maker(made, conv.input[1])
    assert values[weight.input[0]].dtype == np.int8
    assert values[weight.input[1]].shape == (16,)


def test_layers_that_are_kept_stay_exact_to_the_bit(model, ranges):
    every = set(products(model))
    (expected,) = run(faster_reductions(model), inputs())
    for made in (int8_cpu(model, ranges, "minmax", every), explicit(model, ranges, "minmax", every)):
        (given,) = run(made, inputs())
        np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_what_only_moves_values_follows_the_products_around_it(model):
    assert set(followers(model, products(model))) >= {"Relu.r1", "Add.sum", "Relu.r2"}
    assert "Add.sum" not in followers(model, {"Gemm.event"})


def test_the_stem_is_the_convolution_of_few_channels(model):
    assert stem(model) == {"Conv.c1"}


def test_values_too_large_for_half_precision_stay_wide(model):
    made = weights()
    made["we"] *= 1e6
    large = named(graph(made, "large"))
    wide = overflowing(large, {})
    assert wide == {"Gemm.event"}
    (expected,) = run(large, inputs())
    (kept,) = run(halved(large, "float16", wide), inputs())
    (lost,) = run(halved(large, "float16"), inputs())
    assert relative(kept, expected) < 0.01
    assert not relative(lost, expected) < 0.01  # clipped weights or infinity


def test_bfloat16_graphs_are_valid_at_opset_22(model):
    made = halved(model, "bfloat16")
    assert [entry.version for entry in made.opset_import] == [22]
    stored = {tensor.data_type for tensor in made.graph.initializer}
    assert TensorProto.BFLOAT16 in stored
    assert TensorProto.FLOAT not in stored
    types = {value.type.tensor_type.elem_type for value in (*made.graph.input, *made.graph.output)}
    assert types == {TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("kind", "axis", "keepdims"), [("ReduceMean", 1, 0), ("ReduceMax", 1, 1), ("ReduceMean", -4, 0)]
)
def test_reductions_of_a_leading_axis_are_rewritten_and_give_the_same(kind, axis, keepdims):
    shape = (1, 6, 3, 16, 32)
    out = [1, 1, 3, 16, 32] if keepdims else [1, 3, 16, 32]
    made = helper.make_graph(
        [helper.make_node(kind, ["x", "axis"], ["y"], name="reduce", keepdims=keepdims)],
        "reduce",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.array([axis], np.int64), "axis")],
    )
    before = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    after = faster_reductions(before)
    assert kind not in kinds(after)
    x = np.random.default_rng(8).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(run(after, {"x": x})[0], run(before, {"x": x})[0], rtol=1e-6, atol=1e-6)


def test_graphs_of_older_opsets_are_brought_to_one_that_has_half_precision_scales(ranges):
    old = tame()
    old.opset_import[0].version = 17
    reduce = next(node for node in old.graph.node if node.op_type == "ReduceMean")
    del reduce.input[1:]
    reduce.attribute.append(helper.make_attribute("axes", [1]))
    made = halved(explicit(named(old), ranges, "minmax"))
    assert made.opset_import[0].version == 20
    np.testing.assert_allclose(
        run(made, inputs())[0], run(halved(explicit(named(tame()), ranges, "minmax")), inputs())[0]
    )


def test_the_same_input_gives_the_same_bytes(model, ranges):
    for make in (
        lambda: int8_cpu(model, ranges, "mse"),
        lambda: halved(explicit(model, ranges, "entropy")),
        lambda: halved(model, "bfloat16"),
    ):
        assert make().SerializeToString() == make().SerializeToString()
