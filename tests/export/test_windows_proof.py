import numpy as np
import onnx
from mmedge_export.graph import tensor_specs
from mmedge_export.lanes import Lane
from mmedge_export.proof import Proof
from mmedge_export.regions import Trail, follow_window
from mmedge_export.unrolled import Loop
from onnx import TensorProto, helper, numpy_helper

T = 4


def mixing_model():
    """What the mean over time leaves of each item."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "time"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, T, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, T, 3])],
        [numpy_helper.from_array(np.array([1], np.int64), "time")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_mix_of_items_is_found_although_the_camera_sees_a_still_scene(tmp_path):
    model, lane = mixing_model(), Lane(axis=1, count=T)
    wrong = Trail(  # as if a rule had said that nothing mixes
        model=model,
        port="x",
        specs=tensor_specs(model),
        items=T,
        lanes={"x": lane, "y": lane},
        steps={},
        loop=Loop(copies=(), nodes=frozenset(), joints=frozenset()),
        mixing={},
    )
    still = np.ones((1, T, 3), np.float32)
    proof = Proof(samples=[still, 2 * still], folder=tmp_path)
    assert proof.disproved(wrong, {0, 1}, ["y"]) == {"y"}


def test_items_are_not_followed_where_they_mix():
    trail = follow_window(mixing_model(), {0, 1}, "x", 1)
    assert set(trail.lanes) == {"x"}
    assert trail.mixing == {0: "combines items with one another"}


def test_weights_of_a_loop_are_compared_by_their_values():
    """The exporter may write the same weights twice, under two names."""
    nodes, weights = [], []
    for t in range(3):
        weights.append(numpy_helper.from_array(np.array(t, np.int64), f"t{t}"))
        weights.append(numpy_helper.from_array(np.ones((2, 2), np.float32), f"w{t}"))
        nodes.append(helper.make_node("Gather", ["x", f"t{t}"], [f"x{t}"], axis=1))
        nodes.append(helper.make_node("MatMul", [f"x{t}", f"w{t}"], [f"y{t}"]))
    nodes.append(helper.make_node("Sum", ["y0", "y1", "y2"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    loop = follow_window(model, range(7), "x", 1).loop
    assert ("y0", "y1", "y2") in loop.copies
    graph.initializer[3].CopyFrom(numpy_helper.from_array(np.zeros((2, 2), np.float32), "w1"))
    changed = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    loop = follow_window(changed, range(7), "x", 1).loop
    assert ("y0", "y1", "y2") not in loop.copies
