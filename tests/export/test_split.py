import numpy as np
import onnx
import pytest
from mmedge_export.graph import count_macs, reads, tensor_specs
from mmedge_export.split import plan_split
from onnx import TensorProto, helper, numpy_helper

import mmedge


def weight(name, *shape):
    return numpy_helper.from_array(np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32), name)


def graph(nodes, inputs, outputs, weights=()):
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    made = helper.make_graph(
        nodes, "g", [value(*i) for i in inputs.items()], [value(*o) for o in outputs.items()], list(weights)
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def two_sensors(*extra, outputs=None, weights=()):
    nodes = [
        helper.make_node("MatMul", ["a", "wa"], ["ea"]),
        helper.make_node("MatMul", ["b", "wb"], ["eb"]),
        helper.make_node("Add", ["ea", "eb"], ["sum"]),
        *extra,
    ]
    inputs = {"a": [1, 4], "b": [1, 4]}
    return graph(nodes, inputs, outputs or {"sum": [1, 3]}, [weight("wa", 4, 3), weight("wb", 4, 3), *weights])


def by_name(plan):
    return {planned.stage.name: planned for planned in plan.stages}


def test_each_node_goes_to_the_stage_of_the_ports_it_depends_on():
    stages = by_name(plan_split(two_sensors()))
    assert {name: sorted(planned.nodes) for name, planned in stages.items()} == {"a": [0], "b": [1], "head": [2]}
    assert stages["head"].stage.inputs == ("ea", "eb")
    assert (stages["a"].macs, stages["head"].macs) == (12, 0)


def test_shared_weights_are_in_both_encoders():
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["ea"]),
        helper.make_node("MatMul", ["b", "w"], ["eb"]),
        helper.make_node("Add", ["ea", "eb"], ["sum"]),
    ]
    plan = plan_split(graph(nodes, {"a": [1, 4], "b": [1, 4]}, {"sum": [1, 3]}, [weight("w", 4, 3)]))
    assert set(by_name(plan)) == {"a", "b", "head"}


def test_constant_nodes_are_repeated_where_they_are_read():
    constant = helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32([2])))
    nodes = [
        constant,
        helper.make_node("Exp", ["two"], ["e2"]),
        helper.make_node("MatMul", ["a", "wa"], ["xa"]),
        helper.make_node("Mul", ["xa", "e2"], ["ea"]),
        helper.make_node("MatMul", ["b", "wb"], ["xb"]),
        helper.make_node("Mul", ["xb", "e2"], ["eb"]),
        helper.make_node("Add", ["ea", "eb"], ["sum"]),
    ]
    model = graph(nodes, {"a": [1, 4], "b": [1, 4]}, {"sum": [1, 3]}, [weight("wa", 4, 3), weight("wb", 4, 3)])
    stages = by_name(plan_split(model))
    assert {0, 1} <= stages["a"].nodes
    assert {0, 1} <= stages["b"].nodes
    assert stages["head"].stage.inputs == ("ea", "eb")


def test_a_port_that_is_only_reshaped_on_its_own_gets_no_stage():
    nodes = [
        helper.make_node("MatMul", ["a", "wa"], ["ea"]),
        helper.make_node("Neg", ["b"], ["nb"]),
        helper.make_node("Add", ["ea", "nb"], ["sum"]),
    ]
    plan = plan_split(graph(nodes, {"a": [1, 4], "b": [1, 3]}, {"sum": [1, 3]}, [weight("wa", 4, 3)]))
    assert set(by_name(plan)) == {"a", "head"}
    assert by_name(plan)["head"].stage.inputs == ("b", "ea")


def recurrent(*extra, outputs=None):
    """Two sensors; the first one's encoder mixes in a state."""
    nodes = [
        helper.make_node("MatMul", ["a", "wa"], ["xa"]),
        helper.make_node("MatMul", ["h", "wh"], ["xh"]),
        helper.make_node("Add", ["xa", "xh"], ["mixed"]),
        helper.make_node("MatMul", ["mixed", "wm"], ["h_next"]),
        helper.make_node("MatMul", ["b", "wb"], ["eb"]),
        helper.make_node("Add", ["h_next", "eb"], ["sum"]),
        *extra,
    ]
    weights = [weight("wa", 4, 3), weight("wh", 3, 3), weight("wm", 3, 3), weight("wb", 4, 3)]
    inputs = {"a": [1, 4], "h": [1, 3], "b": [1, 4]}
    return graph(nodes, inputs, outputs or {"sum": [1, 3], "h_next": [1, 3]}, weights)


def test_what_mixes_a_sensor_with_a_state_is_a_stage_of_its_own():
    stages = by_name(plan_split(recurrent(), ["h"]))
    assert {name: sorted(planned.nodes) for name, planned in stages.items()} == {
        "a": [0],
        "b": [4],
        "a+h": [1, 2, 3],  # what only the state decides is new at every tick: no stage of its own
        "head": [5],
    }
    assert stages["a+h"].stage.inputs == ("h", "xa")
    assert stages["a+h"].stage.ports == ("a", "h")
    assert stages["a+h"].stage.outputs == ("h_next",)


def test_an_output_that_only_the_state_decides_is_made_all_the_same():
    extra = helper.make_node("MatMul", ["xh", "wm"], ["clock"])
    model = recurrent(extra, outputs={"sum": [1, 3], "h_next": [1, 3], "clock": [1, 3]})
    stages = by_name(plan_split(model, ["h"]))
    assert stages["h"].stage.outputs == ("xh", "clock")
    assert stages["a+h"].stage.inputs == ("xa", "xh")


def test_work_on_states_alone_is_no_reason_to_split():
    nodes = [helper.make_node("MatMul", ["h", "wh"], ["xh"]), helper.make_node("Add", ["xh", "a"], ["h_next"])]
    model = graph(nodes, {"a": [1, 3], "h": [1, 3]}, {"h_next": [1, 3]}, [weight("wh", 3, 3)])
    assert "early fusion" in plan_split(model, ["h"]).kept_whole


def test_an_output_of_one_sensor_is_made_by_its_encoder():
    extra = helper.make_node("Relu", ["ea"], ["level"])
    stages = by_name(plan_split(two_sensors(extra, outputs={"sum": [1, 3], "level": [1, 3]})))
    assert stages["a"].stage.outputs == ("ea", "level")
    assert stages["head"].stage.outputs == ("sum",)


def test_sub_graphs_count_what_they_take_from_outside():
    inner = helper.make_graph(
        [helper.make_node("Add", ["ea", "eb"], ["inner"])], "then", [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1, 3])],
    )  # fmt: skip
    node = helper.make_node("If", ["yes"], ["chosen"], then_branch=inner, else_branch=inner)
    assert reads(node) == {"yes", "ea", "eb"}
    yes = numpy_helper.from_array(np.array(True), "yes")
    stages = by_name(plan_split(two_sensors(node, outputs={"chosen": [1, 3]}, weights=[yes])))
    assert set(stages["head"].stage.inputs) == {"ea", "eb"}
    assert stages["head"].stage.outputs == ("chosen",)


def test_an_output_that_depends_on_nothing_is_refused():
    constant = helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32([2])))
    with pytest.raises(mmedge.ExportError, match="two does not depend on any input"):
        plan_split(two_sensors(constant, outputs={"sum": [1, 3], "two": [1]}))


def test_a_single_input_is_kept_whole():
    model = graph([helper.make_node("MatMul", ["a", "wa"], ["y"])], {"a": [1, 4]}, {"y": [1, 3]}, [weight("wa", 4, 3)])
    plan = plan_split(model)
    assert by_name(plan)["whole"].stage.outputs == ("y",)
    assert "single input" in plan.kept_whole


@pytest.mark.parametrize(
    ("node", "shapes", "expected"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), ([1, 3, 8, 8], [16, 3, 3, 3]), 16 * 64 * 27),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1] * 4), ([1, 4, 8, 8], [4, 1, 3, 3]), 4 * 64 * 9),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), ([1, 3, 4, 4], [3, 5, 2, 2]), 48 * 20),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), ([2, 7, 5], [5, 3]), 2 * 7 * 3 * 5),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), ([5, 7], [5, 3]), 7 * 3 * 5),
        (helper.make_node("Relu", ["x"], ["y"]), ([5, 7], [1]), 0),
    ],
)
def test_multiply_accumulates_follow_the_operator_s_definition(node, shapes, expected):
    made = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes[0])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight("w", *shapes[1])],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    assert count_macs(node, tensor_specs(model)) == expected
