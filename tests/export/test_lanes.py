import numpy as np
import onnx
import pytest
from mmedge_export.graph import tensor_specs
from mmedge_export.lanes import Followed, Graph, Lane, Step, follow
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

T = 4
RANDOM = np.random.default_rng(0)


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


ROWS = [  # operator, shape of x with T once or more, axis of the items, constants, attributes, expected axis or reason
    ("Relu", [1, T, 3], 1, [], {}, 1),
    ("Add", [1, T, 3], 1, [floats(3)], {}, 1),
    ("Add", [T, 3], 0, [floats(1, 2, 1, 1)], {}, 2),
    ("Add", [1, T, 3], 1, [np.ones((T, 1), np.float32)], {}, 1),
    ("Add", [1, T, 3], 1, [floats(T, 1)], {}, "by its place"),
    ("Mul", [T, T], 0, [floats(T)], {}, 0),
    ("Mul", [T, T], 1, [floats(T)], {}, "by its place"),
    ("Transpose", [1, T, 3, T], 1, [], {"perm": [3, 0, 1, 2]}, 2),
    ("Reshape", [1, T, T, 2], 1, [ints(T, T * 2)], {}, 0),
    ("Reshape", [1, T, T, 2], 2, [ints(T, T, 2)], {}, 1),
    ("Reshape", [1, T, 6], 1, [ints(T, 2, 3)], {}, 0),
    ("Reshape", [3, T, 2], 1, [ints(6, T)], {}, "combines"),
    ("Squeeze", [1, T, 1], 1, [ints(0, 2)], {}, 0),
    ("Unsqueeze", [T, 3], 0, [ints(0, 1)], {}, 2),
    ("Flatten", [T, 3, 2], 0, [], {"axis": 1}, 0),
    ("Expand", [T, 1], 0, [ints(2, T, T)], {}, 1),
    ("ReduceMean", [1, T, 3, 2], 1, [ints(2, 3)], {"keepdims": 0}, 1),
    ("ReduceMean", [3, T, 2], 1, [ints(0)], {"keepdims": 0}, 0),
    ("ReduceMax", [1, T, 3], 1, [ints(1)], {}, "combines"),
    ("ReduceSum", [1, T, 3], 1, [], {}, "combines"),
    ("ArgMax", [1, T, 3], 1, [], {"axis": 2, "keepdims": 0}, 1),
    ("Softmax", [1, T, T], 1, [], {"axis": -1}, 1),
    ("Softmax", [1, T, T], 2, [], {"axis": -1}, "combines"),
    ("LayerNormalization", [1, T, 3], 1, [floats(3)], {"axis": -1}, 1),
    ("LayerNormalization", [1, T, 3], 1, [floats(T, 3)], {"axis": 1}, "combines"),
    ("InstanceNormalization", [T, 2, 5], 0, [floats(2), floats(2)], {}, 0),
    ("InstanceNormalization", [1, 2, T], 2, [floats(2), floats(2)], {}, "combines"),
    ("BatchNormalization", [T, 2, 3], 0, [floats(2), floats(2), floats(2), np.ones(2, np.float32)], {}, 0),
    ("BatchNormalization", [1, T, 3], 1, [floats(T)] * 3 + [np.ones(T, np.float32)], {}, "by its place"),
    ("Conv", [T, 2, 5, 5], 0, [floats(3, 2, 3, 3)], {}, 0),
    ("Conv", [1, 2, T, 5], 2, [floats(3, 2, 1, 3)], {"kernel_shape": [1, 3]}, 2),
    ("Conv", [1, T, 5, 5], 1, [floats(3, T, 1, 1)], {}, "combines"),
    ("Conv", [1, 2, T, 5], 2, [floats(3, 2, 3, 1)], {"pads": [1, 0, 1, 0]}, "with padding at the ends"),
    ("Conv", [1, 2, T, 5], 2, [floats(3, 2, 2, 1)], {"strides": [2, 1]}, "not in steps of one"),
    ("Conv", [1, 2, T, 5], 2, [floats(3, 2, 2, 1)], {}, 2),
    ("MaxPool", [1, T, 4, 4], 1, [], {"kernel_shape": [2, 2]}, 1),
    ("GlobalAveragePool", [T, 2, 3, 3], 0, [], {}, 0),
    ("MatMul", [1, T, 3], 1, [floats(3, T)], {}, 1),
    ("MatMul", [1, 3, T], 2, [floats(T, 5)], {}, "combines"),
    ("MatMul", [T, 2, 3], 0, [floats(T, 3, 2)], {}, "by its place"),
    ("Gemm", [T, 3], 0, [floats(3, T), floats(T)], {}, 0),
    ("Gemm", [T, T], 0, [floats(T, T), floats(T)], {"transA": 1}, "combines"),
    ("Gemm", [3, T], 1, [floats(3, 5)], {"transA": 1}, 0),
    ("Einsum", [1, T, 3], 1, [floats(3, T)], {"equation": "btc,cd->dtb"}, 1),
    ("Einsum", [1, T, 3], 1, [floats(T, 3)], {"equation": "btc,tc->bc"}, "combines"),
    ("Gather", [1, T, 3], 1, [np.array(1)], {"axis": 2}, 1),
    ("Gather", [3, T], 1, [ints(0, 1)[None]], {"axis": 0}, 2),
    ("Gather", [1, T, 3], 1, [np.array(1)], {"axis": 1}, "picks items"),
    ("Slice", [1, T, 3], 1, [ints(1), ints(T), ints(1)], {}, 1),
    ("Slice", [1, T, 3], 1, [ints(0), ints(-1), ints(1)], {}, 1),
    ("Slice", [1, T, 3], 1, [ints(0), ints(T), ints(1), ints(2)], {}, "picks items"),
    ("Split", [1, T, 4], 1, [], {"axis": 2, "num_outputs": 2}, 1),
    ("Tile", [1, T, 3], 1, [ints(2, 1, 2)], {}, 1),
    ("Tile", [1, T, 3], 1, [ints(1, 2, 1)], {}, "combines"),
    ("Pad", [1, T, 3], 1, [ints(0, 0, 1, 0, 0, 2)], {}, 1),
    ("Pad", [1, T, 3], 1, [ints(0, 1, 0, 0, 0, 0)], {}, "pads the ends"),
    ("Concat", [1, T, 3], 1, [floats(1, 1, 2).repeat(T, 1)], {"axis": 2}, 1),
    ("Concat", [1, T, 3], 1, [floats(1, T, 2)], {"axis": 2}, "by its place"),
    ("Concat", [1, T, 3], 1, [floats(1, 1, 3)], {"axis": 1}, "combines"),
    ("GRU", [5, T, 3], 1, [floats(1, 6, 3), floats(1, 6, 2)], {"hidden_size": 2}, 2),
    ("GRU", [T, 1, 3], 0, [floats(1, 6, 3), floats(1, 6, 2)], {"hidden_size": 2}, "carries a state"),
    ("CumSum", [1, T, 3], 1, [np.array(2)], {}, "not known"),
]


@pytest.mark.parametrize(
    ("kind", "shape", "axis", "constants", "attributes", "expected"),
    ROWS,
    ids=[f"{i} {row[0]}" for i, row in enumerate(ROWS)],
)
def test_a_rule_says_where_items_go_and_a_change_of_one_item_shows_there_alone(
    kind, shape, axis, constants, attributes, expected
):
    model = model_of(kind, shape, constants, attributes)
    node, lane = model.graph.node[0], Lane(axis=axis, count=T)
    found = follow(Step(node=node, lanes={0: lane}, graph=Graph(model=model, specs=tensor_specs(model))))
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
        return
    assert isinstance(found, Followed)
    made = found.lanes[node.output[0]]
    assert made.axis == expected
    assert depends_only_on_its_items(model, shape, axis, made)


def model_of(kind, shape, constants, attributes):
    names = [f"c{i}" for i in range(len(constants))]
    outputs = ["y", "z"] if kind == "Split" else ["y"]
    node = helper.make_node(kind, ["x", *names], outputs, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def depends_only_on_its_items(model, shape, axis, lane):
    """Each slice changes when one of its items does, and at no other time."""
    evaluator = ReferenceEvaluator(model)
    x = floats(*shape)
    y = evaluator.run(["y"], {"x": x})[0]
    for item in range(T):
        other = x.copy()
        np.moveaxis(other, axis, 0)[item] = 3 * floats(*np.moveaxis(x, axis, 0)[item].shape)
        changed = evaluator.run(["y"], {"x": other})[0] != y
        parts = changed.reshape(*y.shape[: lane.axis], -1, lane.count, lane.inner, *y.shape[lane.axis + 1 :])
        seen = np.moveaxis(parts, lane.axis + 1, 0).reshape(lane.count, -1).any(1)
        allowed = [j + lane.first <= item < j + lane.first + lane.span for j in range(lane.count)]
        if any(seen & ~np.array(allowed)):
            return False
    return True
