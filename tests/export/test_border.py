import numpy as np
import onnx
import pytest
from mmedge_export.cut import cut_graph
from mmedge_export.split import plan_split
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def model_of(tail, border, constants=()):
    """Sensor a through a matrix product and a tail, sensor b through a matrix product, then their product."""
    nodes = [
        helper.make_node("MatMul", ["a", "wa"], ["ea"]),
        *tail,
        helper.make_node("MatMul", ["b", "wb"], ["eb"]),
        helper.make_node("Mul", [border, "eb"], ["y"]),
    ]
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal((4, 3)).astype(np.float32), name) for name in ("wa", "wb")
    ]
    weights += [numpy_helper.from_array(value, name) for name, value in constants]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 20, 3])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


SHAPE = ("shape", np.array([1, 20, 3], np.int64))
PLACE = ("place", np.random.default_rng(1).standard_normal((1, 20, 3)).astype(np.float32))
EXPAND = helper.make_node("Expand", ["ea", "shape"], ["big"])


@pytest.mark.parametrize(
    ("tail", "border", "constants", "handed_on"),
    [
        ([EXPAND], "big", [SHAPE], "ea"),
        ([EXPAND, helper.make_node("Relu", ["big"], ["relu"])], "relu", [SHAPE], "ea"),
        ([helper.make_node("Add", ["ea", "place"], ["sum"])], "sum", [PLACE], "ea"),
        ([EXPAND, helper.make_node("Tanh", ["big"], ["tanh"])], "tanh", [SHAPE], "tanh"),  # that would be computing
        (
            [
                helper.make_node("Relu", ["ea"], ["one"]),
                helper.make_node("Neg", ["ea"], ["two"]),
                helper.make_node("Add", ["one", "two"], ["small"]),
                helper.make_node("Expand", ["small", "shape"], ["big"]),
            ],
            "big",
            [SHAPE],
            "small",
        ),
    ],
)
def test_what_only_enlarges_a_tensor_is_left_to_its_readers(tail, border, constants, handed_on, tmp_path):
    model = model_of(tail, border, constants)
    plan = {planned.stage.name: planned.stage for planned in plan_split(model).stages}
    assert plan["a"].outputs == (handed_on,)
    assert plan["head"].inputs == (handed_on, "eb")
    assert runs_as_stages(model, tmp_path)


def runs_as_stages(model, folder):
    random = np.random.default_rng(5)
    tensors = {name: random.standard_normal((1, 4)).astype(np.float32) for name in "ab"}
    expected = ReferenceEvaluator(model).run(["y"], tensors)[0]
    cut = cut_graph(model, {}, [], folder)
    for planned in cut.stages:
        given = {name: tensors[name] for name in planned.stage.inputs}
        made = ReferenceEvaluator(cut.graphs[planned.stage.name]).run(None, given)
        tensors |= dict(zip(planned.stage.outputs, made, strict=True))
    return np.array_equal(tensors["y"], expected)


def test_a_dequantized_tensor_is_handed_on_quantized():
    scale, zero = ("scale", np.float32(0.02)), ("zero", np.int8(0))
    tail = [
        helper.make_node("QuantizeLinear", ["ea", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        helper.make_node("Unsqueeze", ["dq", "first"], ["row"]),
        helper.make_node("Expand", ["row", "shape"], ["big"]),
    ]
    constants = [(name, np.array(value)) for name, value in (scale, zero)] + [("first", np.array([0])), SHAPE]
    plan = {planned.stage.name: planned.stage for planned in plan_split(model_of(tail, "big", constants)).stages}
    assert plan["a"].outputs == ("q",)


def test_an_output_of_the_model_is_made_by_its_own_stage():
    model = model_of([EXPAND], "big", [SHAPE])
    model.graph.output.append(helper.make_tensor_value_info("big", TensorProto.FLOAT, [1, 20, 3]))
    plan = {planned.stage.name: planned.stage for planned in plan_split(model).stages}
    assert plan["a"].outputs == ("big",)
