"""What int8-cpu writes with fewer operators computes what the model computes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from mmedge_export.quantize.flatten import flattened
from mmedge_export.quantize.int8_cpu import int8_cpu, weights_only
from mmedge_export.quantize.placement import followers, products, quantized_inputs
from mmedge_export.quantize.reductions import faster_reductions
from onnx import TensorProto, helper, numpy_helper

from mmedge.calibration import TensorRange

STEPS, WIDTH = 6, 16


def weight(*shape, seed):
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def model_of(nodes, weights, results, source=(1, STEPS, WIDTH)):
    made = helper.make_graph(
        nodes,
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, source)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], name=f"{kind}.{output}", **attributes)


@pytest.fixture
def transformer():
    """A layer that looks, adds, normalises and feeds forward, as torch exports it."""
    sizes = {"heads": (1, STEPS, 2, WIDTH // 2), "joined": (1, STEPS, WIDTH)}
    weights = {f"w{i}": weight(WIDTH, WIDTH, seed=i) for i in range(4)}
    weights |= {f"b{i}": weight(WIDTH, seed=10 + i) for i in range(4)}
    weights |= {name: np.array(value, np.int64) for name, value in sizes.items()}
    weights |= {"place": weight(1, STEPS, WIDTH, seed=20), "gain": weight(WIDTH, seed=21)}
    weights |= {"token": weight(1, 2, WIDTH, seed=22), "axis": np.array([1], np.int64)}
    nodes = [
        node("Add", ["x", "place"], "placed"),
        node("MatMul", ["placed", "w0"], "p0"), node("Add", ["p0", "b0"], "query"),
        node("MatMul", ["placed", "w1"], "p1"), node("Add", ["b1", "p1"], "key"),
        node("Reshape", ["query", "heads"], "query4"), node("Transpose", ["query4"], "q", perm=[0, 2, 1, 3]),
        node("Reshape", ["key", "heads"], "key4"), node("Transpose", ["key4"], "k", perm=[0, 2, 3, 1]),
        node("MatMul", ["q", "k"], "scores"), node("Softmax", ["scores"], "share", axis=-1),
        node("MatMul", ["share", "q"], "seen"), node("Transpose", ["seen"], "seen4", perm=[0, 2, 1, 3]),
        node("Reshape", ["seen4", "joined"], "seen3"),
        node("MatMul", ["seen3", "w2"], "p2"), node("Add", ["p2", "b2"], "out"),
        node("Add", ["placed", "out"], "sum"),
        node("LayerNormalization", ["sum", "gain", "b3"], "normal", axis=2),
        node("MatMul", ["normal", "w3"], "p3"), node("Add", ["p3", "b3"], "fed"), node("Relu", ["fed"], "y"),
        node("Concat", ["y", "token"], "more", axis=1),
        node("ReduceMean", ["y", "axis"], "mean", keepdims=0),
    ]  # fmt: skip
    results = {"mean": [1, WIDTH], "more": [1, STEPS + 2, WIDTH], "fed": [1, STEPS, WIDTH]}
    return model_of(nodes, weights, results)


def session(model, saved=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if saved is not None:
        options.optimized_model_filepath = str(saved)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def drawn(model, seed=0):
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def ranges_of(model):
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    results = {value.name for value in model.graph.output}
    names = [name for each in model.graph.node for name in each.output if name not in results]
    observed.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names)
    found = session(observed)
    values = dict(zip([o.name for o in found.get_outputs()], found.run(None, drawn(model)), strict=True)) | drawn(model)
    return {
        name: TensorRange(low=float(v.min()), high=float(v.max()), entropy=9, percentile=9, mse=9)
        for name, v in values.items()
    }


def run_by(model, saved):
    """The kinds of operators that ONNX Runtime runs, which shows where it found 8-bit kernels."""
    session(model, saved)
    return [each.op_type for each in onnx.load(saved).graph.node]


def test_a_sequence_written_as_matrices_gives_the_same_numbers(transformer):
    made = flattened(faster_reductions(transformer))
    onnx.checker.check_model(made, full_check=True)
    for given, expected in zip(
        session(made).run(None, drawn(made)), session(transformer).run(None, drawn(made)), strict=True
    ):
        assert given.shape == expected.shape
        np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-6)


def test_linear_layers_become_one_operator_each_and_keep_their_names(transformer):
    made = flattened(transformer)
    layers = [each.name for each in made.graph.node if each.op_type == "Gemm"]
    assert layers == ["MatMul.p0", "MatMul.p1", "MatMul.p2", "MatMul.p3"]
    assert set(products(made)) == set(products(transformer))


def test_onnxruntime_needs_fewer_operators_for_it(transformer, tmp_path):
    before = run_by(transformer, tmp_path / "before.onnx")
    after = run_by(flattened(faster_reductions(transformer)), tmp_path / "after.onnx")
    assert after.count("Reshape") < before.count("Reshape")
    assert len(after) < len(before)


@pytest.mark.parametrize("shape", [(2, STEPS, WIDTH), (STEPS, WIDTH), (1, 1, STEPS, WIDTH)])
def test_what_is_no_single_sequence_stays_as_it_was(shape):
    nodes = [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y")]
    model = model_of(nodes, {"w": weight(WIDTH, 4, seed=1), "b": weight(4, seed=2)}, {"y": [*shape[:-1], 4]}, shape)
    assert flattened(model).graph.node == model.graph.node


def test_a_product_without_a_bias_stays_a_product():
    weights = {"w": weight(WIDTH, 4, seed=1), "shape": np.array([1, STEPS, WIDTH], np.int64)}
    nodes = [node("Relu", ["x"], "r"), node("Reshape", ["r", "shape"], "s"), node("MatMul", ["s", "w"], "y")]
    model = model_of(nodes, weights, {"y": [1, STEPS, 4]}, (1, WIDTH, STEPS))
    assert flattened(model).graph.node == model.graph.node


def test_what_a_branch_reads_is_there_for_it(transformer):
    """A tensor of the graph around an If is read by its branches, which name it as it was."""
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["key"], [f"{kind}.out"])],
            kind,
            [],
            [helper.make_tensor_value_info(f"{kind}.out", TensorProto.FLOAT, [1, STEPS, WIDTH])],
        )
        for kind in ("Relu", "Neg")
    ]
    chosen = helper.make_node("If", ["yes"], ["branch"], name="If", then_branch=branches[0], else_branch=branches[1])
    transformer.graph.node.append(chosen)
    transformer.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    transformer.graph.output.append(helper.make_tensor_value_info("branch", TensorProto.FLOAT, [1, STEPS, WIDTH]))
    made = flattened(transformer)
    given, expected = (session(each).run(["branch"], drawn(each))[0] for each in (made, transformer))
    np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-6)


def test_a_product_that_others_read_before_its_bias_stays_a_product():
    nodes = [node("MatMul", ["x", "w"], "p"), node("Add", ["p", "b"], "y"), node("Relu", ["p"], "z")]
    shape = [1, STEPS, 4]
    model = model_of(nodes, {"w": weight(WIDTH, 4, seed=1), "b": weight(4, seed=2)}, {"y": shape, "z": shape})
    assert flattened(model).graph.node == model.graph.node


def test_eight_bit_layers_take_their_bias_along_and_write_floats(transformer, tmp_path):
    chosen = {"MatMul.p0", "MatMul.p3"}
    wide = set(products(transformer)) - chosen
    made = int8_cpu(transformer, ranges_of(transformer), "minmax", wide=wide)
    run_as = run_by(made, tmp_path / "made.onnx")
    assert run_as.count("QGemm") == 2
    assert "QLinearAdd" not in run_as
    assert run_as.count("QuantizeLinear") == 2  # what the two layers read, and nothing that they write
    for given, expected in zip(
        session(made).run(None, drawn(made)), session(transformer).run(None, drawn(made)), strict=True
    ):
        assert 0 < np.abs(given - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_in_eight_bits_leave_the_rest_as_it_is_computed(transformer):
    given = session(weights_only(transformer)).run(None, drawn(transformer))
    for value, expected in zip(given, session(transformer).run(None, drawn(transformer)), strict=True):
        assert np.abs(value - expected).max() < 0.05 * np.abs(expected).max()


def test_a_sum_that_only_float_operators_read_is_a_float_sum(transformer):
    assert "Add.sum" not in followers(transformer, products(transformer))
    assert "Add.query" in followers(transformer, products(transformer))


def test_eight_bit_matrices_are_not_moved_as_bytes_for_operators_on_floats(transformer):
    made = flattened(transformer)
    assert {"Reshape.query4", "Transpose.q"} <= set(followers(made, products(made)))
    assert set(followers(made, {"MatMul.p0", "MatMul.p3"})) == {"placed.flat"}  # before the first one


def test_the_maximum_of_a_window_that_is_convolved_in_eight_bits_is_a_pool_of_bytes(tmp_path):
    """The pool sees what the convolution sees, so it is exact to half a step of the quantization."""
    window = (1, 8, 32, 6, 8)
    weights = {
        "axis": np.array([1], np.int64),
        "stacked": np.array([1, 256, 6, 8], np.int64),
        "w": weight(16, 256, 1, 1, seed=3),
    }
    nodes = [
        node("ReduceMax", ["x", "axis"], "highest", keepdims=0),
        node("Reshape", ["x", "stacked"], "all"),
        node("Conv", ["all", "w"], "rhythm"),
    ]
    model = model_of(nodes, weights, {"highest": [1, 32, 6, 8], "rhythm": [1, 16, 6, 8]}, window)
    assert quantized_inputs(model, {"Conv.rhythm"}) == {"all": "all", "x": "all"}
    ranges = ranges_of(model)
    made = int8_cpu(model, ranges, "minmax")
    run_as = run_by(made, tmp_path / "made.onnx")
    assert "NhwcMaxPool" in run_as
    assert run_as.count("QuantizeLinear") == 1
    given, _ = session(made).run(None, drawn(model))
    step = (ranges["x"].high - ranges["x"].low) / 255
    np.testing.assert_allclose(given, drawn(model)["x"].max(1), atol=0.51 * step)


def test_the_same_sequence_gives_the_same_bytes(transformer):
    assert flattened(transformer).SerializeToString() == flattened(transformer).SerializeToString()
