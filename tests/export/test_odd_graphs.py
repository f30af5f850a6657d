"""Graphs that tools leave behind: quantised, with loops, with names that repeat, of every opset."""

import logging

import numpy as np
import onnx
import pytest
import streaming_graphs
from fusion_models import spec_text
from mmedge_export.graph import count_macs, tensor_specs
from mmedge_export.pipeline import ExportOptions, export
from onnx import TensorProto, helper
from onnx_models import late_graph
from onnxruntime import quantization as quant
from streaming_graphs import numbers, value, weights

import mmedge

RANDOM = ExportOptions(random_samples=True)
LATE_MACS = {"image": 10592, "audio": 7680, "head": 48}


class Calibration(quant.CalibrationDataReader):
    def __init__(self):
        random = np.random.default_rng(2)
        draw = {"image": random.random((1, 3, 16, 16)), "audio": random.standard_normal((1, 48, 20))}
        self.samples = iter([{name: array.astype(np.float32) for name, array in draw.items()}])

    def get_next(self):
        return next(self.samples, None)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    onnx.save(late_graph(), tmp_path / "late.onnx")
    return tmp_path


def exported(project, name):
    return export(project / name, project / "out.mmedge", RANDOM).manifest


@pytest.mark.parametrize("activations", [quant.QuantType.QUInt8, quant.QuantType.QInt8])
def test_a_graph_in_qdq_format_hands_on_quantised_values(project, activations):
    ways = {"activation_type": activations, "weight_type": quant.QuantType.QInt8}
    quant.quantize_static(project / "late.onnx", project / "q.onnx", Calibration(), **ways)
    manifest = exported(project, "q.onnx")
    assert manifest.macs == LATE_MACS
    head = next(stage for stage in manifest.stages if stage.name == "head")
    kind = "uint8" if activations == quant.QuantType.QUInt8 else "int8"
    assert {manifest.tensors[name].dtype for name in head.inputs} == {kind}


def test_a_graph_that_is_quantised_while_it_runs_is_split_by_the_same_costs(project):
    logging.disable(logging.WARNING)
    quant.quantize_dynamic(project / "late.onnx", project / "q.onnx", weight_type=quant.QuantType.QInt8)
    logging.disable(logging.NOTSET)
    kinds = {node.op_type for node in onnx.load(project / "q.onnx").graph.node}
    assert {"ConvInteger", "MatMulInteger"} <= kinds
    done = export(project / "q.onnx", project / "out.mmedge", RANDOM)
    assert done.manifest.macs == LATE_MACS
    assert any("ranges of the whole batch" in note for note in done.parity.notes)


def test_operators_of_quantisation_that_one_runtime_knows_are_refused_with_what_to_write(project):
    ways = {"quant_format": quant.QuantFormat.QOperator, "weight_type": quant.QuantType.QInt8}
    quant.quantize_static(project / "late.onnx", project / "q.onnx", Calibration(), **ways)
    with pytest.raises(mmedge.CheckpointError, match=r"com\.microsoft\.QGemm.*QDQ format"):
        exported(project, "q.onnx")


@pytest.mark.parametrize(
    ("equation", "left", "right", "macs"),
    [
        ("bqd,bkd->bqk", (2, 3, 5), (2, 7, 5), 2 * 3 * 7 * 5),
        ("...pd,...qd->...pq", (2, 3, 5), (2, 7, 5), 2 * 3 * 7 * 5),
        ("ij,j", (3, 5), (5,), 3 * 5),
        ("i,j->ij", (3,), (5,), 3 * 5),
    ],
)
def test_an_einsum_costs_what_its_loops_do(equation, left, right, macs):
    node = helper.make_node("Einsum", ["a", "b"], ["c"], equation=equation)
    inputs, weight = [value("a", left), value("b", right)], np.einsum(equation, np.ones(left), np.ones(right))
    graph = helper.make_graph([node], "g", inputs, [value("c", weight.shape)])
    model = streaming_graphs.model(graph, opset=17, ir=8)
    assert count_macs(model.graph.node[0], tensor_specs(model)) == macs


def loop_graph():
    """Sound goes round a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["h", "w"], ["hw"]),
            helper.make_node("Add", ["hw", "audio_row"], ["s"]),
            helper.make_node("Tanh", ["s"], ["h_next"]),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("h", [1, 20])],
        [value("go_on", [], TensorProto.BOOL), value("h_next", [1, 20])],
    )
    nodes = [
        helper.make_node("ReduceMean", ["audio"], ["audio_row"], axes=[1], keepdims=0),
        helper.make_node("Loop", ["times", "", "audio_row"], ["heard"], body=body),
        helper.make_node("Reshape", ["image", "flat"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "wi"], ["seen"]),
        helper.make_node("Concat", ["heard", "seen"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "wo"], ["event"]),
        helper.make_node("MatMul", ["seen", "wl"], ["level"]),
    ]
    initial = [
        *weights(1, {"w": (20, 20), "wi": (768, 4), "wo": (24, 3), "wl": (4, 1)}),
        *numbers(times=5, flat=[1, -1]),
    ]
    inputs = [value("image", [1, 3, 16, 16]), value("audio", [1, 48, 20])]
    return streaming_graphs.model(
        helper.make_graph(nodes, "loop", inputs, [value("event", [1, 3]), value("level", [1, 1])], initial),
        opset=17,
        ir=8,
    )


def test_a_loop_that_may_change_the_size_of_what_it_carries_is_refused_by_name(project):
    onnx.save(loop_graph(), project / "loop.onnx")
    with pytest.raises(mmedge.ExportError, match="'event' has no static shape.*: Loop 'heard' makes a size"):
        exported(project, "loop.onnx")


def test_the_work_in_a_loop_is_counted_once():
    model = loop_graph()
    specs = tensor_specs(model)
    assert {node.op_type: count_macs(node, specs) for node in model.graph.node}["Loop"] == 20 * 20


def test_names_of_nodes_that_repeat_are_no_obstacle(project):
    model = late_graph()
    for node in model.graph.node:
        node.name = "node"
    onnx.save(model, project / "late.onnx")
    assert exported(project, "late.onnx").macs == LATE_MACS


@pytest.mark.parametrize("opset", [13, 18, 20, 21, 22])
def test_every_opset_is_taken(tmp_path, opset):
    onnx.save(streaming_graphs.recognizer(opset=opset), tmp_path / "a.onnx")
    (tmp_path / "SPEC.toml").write_text(streaming_graphs.RECOGNIZES)
    exported(tmp_path, "a.onnx")
    versions = {entry.version for path in tmp_path.rglob("onnx/*/*.onnx") for entry in onnx.load(path).opset_import}
    assert versions == {min(opset, 20)}


def test_an_output_that_is_only_an_input_is_left_out(tmp_path):
    model = streaming_graphs.recognizer()
    model.graph.output.append(model.graph.input[0])
    onnx.save(model, tmp_path / "a.onnx")
    (tmp_path / "SPEC.toml").write_text(streaming_graphs.RECOGNIZES)
    assert "x" not in {name for stage in exported(tmp_path, "a.onnx").stages for name in stage.outputs}


def test_a_default_of_an_input_is_replaced_by_the_constant_of_the_spec(project):
    gain = helper.make_tensor_value_info("gain", TensorProto.FLOAT, [])
    model = late_graph(extra=[gain], also=[("Mul", ["level", "gain"], ["louder"], {})])
    model.graph.output[0].name = "louder"
    model.graph.initializer.append(helper.make_tensor("gain", TensorProto.FLOAT, [], [1.0]))
    onnx.save(model, project / "late.onnx")
    text = spec_text("late").replace("outputs.level", "outputs.louder")
    levels = {}
    for given in ("", "[model.call]\nconstants = { gain = 3.0 }\n"):
        (project / "SPEC.toml").write_text(text.replace("[inputs.image]", f"{given}[inputs.image]"))
        export(project / "late.onnx", project / "out.mmedge", ExportOptions(random_samples=True, force=True))
        with np.load(project / "out.mmedge/golden.npz") as golden:
            levels[bool(given)] = golden["output/louder"]
    np.testing.assert_allclose(levels[True], 3 * levels[False], rtol=1e-6)  # one rounding more
