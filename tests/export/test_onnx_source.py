"""What goes in: an ONNX graph, and no torch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from fusion_models import spec_text
from mmedge_export.onnx_source import open_onnx_source
from mmedge_export.parity.cases import Case
from mmedge_export.parity.comparison import noise_tolerance
from mmedge_export.pipeline import ExportOptions, export
from onnx import TensorProto, helper, numpy_helper
from onnx_models import late_graph

import mmedge
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden

RANDOM = ExportOptions(random_samples=True)
INPUTS = {"image": np.ones((1, 3, 16, 16), np.float32), "audio": np.ones((1, 48, 20), np.float32)}


@pytest.fixture
def project(tmp_path):
    """A graph and its spec; the factory is not needed, and may be there."""
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    onnx.save(late_graph(), tmp_path / "late.onnx")
    return tmp_path


def refused(project, error, text, model=None):
    if model is not None:
        onnx.save(model, project / "late.onnx")
    before = sorted(project.iterdir())
    with pytest.raises(error, match=text) as caught:
        export(project / "late.onnx", project / "late.mmedge", RANDOM)
    assert "\n" not in str(caught.value)
    assert sorted(project.iterdir()) == before


def outputs_of(source, folder):
    traced = source.write_graph(INPUTS, folder / "whole.onnx")
    return traced.references([Case(name="ones", feeds=(INPUTS, INPUTS))], (), folder).exact


def test_a_graph_is_split_proved_and_packed_where_torch_is_not_installed(project):
    blocked = "import sys; sys.modules.update(torch=None, safetensors=None, onnxscript=None); "
    program = blocked + "from mmedge_export.cli import export_command; export_command()"
    command = [sys.executable, "-c", program, "late.onnx", "-o", "late.mmedge", "--random-samples"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "3 stages: image, audio, head" in ended.stdout
    bundle = open_bundle(project / "late.mmedge")
    assert all(row.holds for row in replay_golden(bundle))
    assert "torch" not in bundle.manifest.made_with
    assert list(bundle.manifest.outputs) == ["event", "level"]  # the spec's order, not the graph's


def test_the_report_says_what_was_compared_with_what(project):
    parity = export(project / "late.onnx", project / "late.mmedge", RANDOM).parity
    assert parity.reference.startswith("onnxruntime ")
    assert "on the original file, which onnx" in parity.reference
    assert {row.what for row in parity.comparisons} == {
        "onnx's reference evaluator against ONNX Runtime",
        "the original file on one sample against a batch of 2",
        "the original file against the ONNX graph",
        "the ONNX graph against its stages",
    }
    report = json.loads((project / "late.mmedge/reports/parity.json").read_text())
    assert report["reference"] == parity.reference


def test_shape_arithmetic_and_constant_nodes_are_gone_from_the_stages(project):
    export(project / "late.onnx", project / "late.mmedge", RANDOM)
    stage = onnx.load(project / "late.mmedge/onnx/fp32/image.onnx")
    assert {"Shape", "Gather", "Constant"} & {node.op_type for node in stage.graph.node} == set()
    assert [[dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in stage.graph.input] == [[1, 3, 16, 16]]


def test_a_symbolic_axis_is_fixed_at_the_size_of_the_spec_and_the_bundle_says_so(project):
    onnx.save(late_graph(frames="time"), project / "late.onnx")
    manifest = export(project / "late.onnx", project / "late.mmedge", RANDOM).manifest
    assert manifest.notes[0] == "axis 1 of audio (time) is fixed at 48, as the spec says"
    report = json.loads((project / "late.mmedge/reports/parity.json").read_text())
    sizes = {row["case"] for row in report["comparisons"] if "=" in row["case"]}
    assert sizes == {"time = 24", "time = 49"}  # where the bundle is fixed, the file is not


def test_outputs_that_pair_the_samples_of_a_batch_are_told_and_not_refused(project):
    """As CLIP's similarities."""
    turned = [("Transpose", ["heard"], ["turned"], {}), ("MatMul", ["seen", "turned"], ["pairs"], {})]
    model = late_graph(also=turned)
    model.graph.output.append(helper.make_tensor_value_info("pairs", TensorProto.FLOAT, ["batch", "others"]))
    onnx.save(model, project / "late.onnx")
    (project / "SPEC.toml").write_text(spec_text("late") + '[outputs.pairs]\ntask = "regression"\n')
    notes = export(project / "late.onnx", project / "late.mmedge", RANDOM).parity.notes
    assert notes == (
        "the batch axis is open in name only: it cannot be 2 (pairs becomes [2, 2] then, expected [2, 1])",
    )


def test_an_axis_that_is_open_in_name_only_is_told(project):
    flat = [("Constant", [], ["length"], {"value": numpy_helper.from_array(np.array([1, 960], np.int64))})]
    flat += [("Reshape", ["audio", "length"], ["flat_sound"], {})]
    flat += [("ReduceSum", ["flat_sound"], ["extra"], {"keepdims": 1})]
    model = late_graph(frames="time", also=flat)
    model.graph.output.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, [1, 1]))
    onnx.save(model, project / "late.onnx")
    spec = spec_text("late") + '[outputs.extra]\ntask = "regression"\n'
    (project / "SPEC.toml").write_text(spec)
    notes = export(project / "late.onnx", project / "late.mmedge", RANDOM).parity.notes
    assert any(note.startswith("the axis time is open in name only: it cannot be 24 and 49") for note in notes)
    assert any(note.startswith("the batch axis is open in name only: it cannot be 2") for note in notes)


def test_one_symbol_cannot_be_two_sizes(project):
    model = late_graph(frames="time")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "time"
    refused(project, mmedge.SpecError, "the axis 'time' of audio is 48, of another input it is 16", model)


@pytest.mark.parametrize(("opset", "kept"), [(11, 13), (13, 13), (17, 17)])
def test_old_opsets_are_converted_and_the_others_are_kept(project, opset, kept):
    model = late_graph(opset=17)
    if opset < 13:  # there, the axes of Unsqueeze were an attribute
        unsqueeze = next(node for node in model.graph.node if node.op_type == "Unsqueeze")
        del unsqueeze.input[1:]
        unsqueeze.attribute.append(helper.make_attribute("axes", [0]))
    model.opset_import[0].version = opset
    onnx.save(model, project / "late.onnx")
    export(project / "late.onnx", project / "late.mmedge", RANDOM)
    stage = onnx.load(project / "late.mmedge/onnx/fp32/head.onnx")
    assert {entry.domain: entry.version for entry in stage.opset_import} == {"": kept}


def test_weights_beside_the_file_come_along(project):
    onnx.save(late_graph(), project / "late.onnx", save_as_external_data=True, location="late.data", size_threshold=16)
    export(project / "late.onnx", project / "late.mmedge", RANDOM)
    assert not list((project / "late.mmedge").rglob("*.data"))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin"])
def test_weights_from_another_folder_are_refused(project, location):
    inner = project / "inner"
    inner.mkdir()
    (project / "secret.bin").write_bytes(bytes(8 * 3 * 3 * 3 * 4))
    (inner / "link.bin").symlink_to(project / "secret.bin")
    model = late_graph()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    (inner / "late.onnx").write_bytes(model.SerializeToString())
    (inner / "SPEC.toml").write_text(spec_text("late"))
    refused(inner, mmedge.CheckpointError, "lie outside its folder")


def test_weights_that_are_missing_are_named(project):
    onnx.save(late_graph(), project / "late.onnx", save_as_external_data=True, location="late.data", size_threshold=16)
    (project / "late.data").unlink()
    refused(project, mmedge.CheckpointError, "wc are missing; expected them in")


def test_weights_that_end_too_early_are_refused(project):
    onnx.save(late_graph(), project / "late.onnx", save_as_external_data=True, location="late.data", size_threshold=16)
    data = project / "late.data"
    data.write_bytes(data.read_bytes()[:-4])
    refused(project, mmedge.CheckpointError, r"the weights axis0 are \[1\], 8 bytes, expected in late.data")


@pytest.mark.parametrize("content", [b"hello, world", b"\x08\x08", b"cut"])
def test_a_damaged_file_is_refused(project, content):
    path = project / "late.onnx"
    path.write_bytes(path.read_bytes()[:700] if content == b"cut" else content)
    refused(project, mmedge.CheckpointError, r"late\.onnx is not a (whole|valid) ONNX")


def test_names_that_differ_are_listed(project):
    model = late_graph()
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"
    refused(project, mmedge.SpecError, "the graph takes pixels, audio, the spec gives image, audio", model)
    model = late_graph()
    model.graph.output[0].name = model.graph.node[-1].output[0] = "loudness"
    refused(project, mmedge.SpecError, "no output level; it gives loudness, event", model)


def test_a_state_that_the_spec_does_not_name_is_refused(project):
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 3])
    refused(project, mmedge.SpecError, "takes image, audio, state, .*recurrent state", late_graph(extra=[state]))


def test_an_input_that_never_changes_is_a_constant_of_the_spec(project):
    gain = helper.make_tensor_value_info("gain", TensorProto.FLOAT, [])
    model = late_graph(extra=[gain], also=[("Mul", ["level", "gain"], ["louder"], {})])
    model.graph.output[0].name = "louder"
    onnx.save(model, project / "loud.onnx")
    spec = spec_text("late").replace("outputs.level", "outputs.louder")
    (project / "loud.toml").write_text(
        spec.replace("[inputs.image]", "[model.call]\nconstants = { gain = 3 }\n[inputs.image]")
    )
    level = outputs_of(open_onnx_source(project / "late.onnx", None), project)["level"]
    louder = outputs_of(open_onnx_source(project / "loud.onnx", project / "loud.toml"), project)["louder"]
    np.testing.assert_allclose(louder, 3 * level, rtol=1e-6)  # one rounding more


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"batch": 4}, mmedge.SpecError, r"image of the graph is \[4, 3, 16, 16\], the spec gives \[1, 3, 16, 16\]"),
        ({"frames": 50}, mmedge.SpecError, r"audio of the graph is \['batch', 50, 20\], the spec gives \[1, 48, 20\]"),
        ({"also": [("Relu", ["wc"], ["dead"], {})], "opset": 99}, mmedge.CheckpointError, "late.onnx"),
        ({"also": [("RandomNormal", [], ["noise"], {"shape": [1]})]}, mmedge.CheckpointError, "draws random numbers"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(project, change, error, text):
    refused(project, error, text, late_graph(**change))


def test_another_dtype_is_refused(project):
    model = late_graph()
    cast = helper.make_node("Cast", ["raw"], ["image"], to=TensorProto.FLOAT)
    model.graph.node.insert(0, cast)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 16, 16]))
    model.graph.input[0].name, model.graph.node[0].input[0] = "image", "image"
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "floats"
    refused(project, mmedge.SpecError, "input image of the graph is uint8, the port gives float32", model)


def test_operators_of_one_runtime_are_refused(project):
    model = late_graph()
    model.graph.node[1].domain = "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)
    refused(project, mmedge.CheckpointError, r"com\.microsoft\.Relu", model)


def test_an_output_whose_batch_axis_is_gone_is_refused(project):
    model = late_graph(also=[("Squeeze", ["level"], ["flat_level"], {})])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("flat_level", TensorProto.FLOAT, None))
    model.graph.output[0].type.tensor_type.shape.SetInParent()
    (project / "SPEC.toml").write_text(spec_text("late").replace("outputs.level", "outputs.flat_level"))
    refused(project, mmedge.ExportError, r"flat_level has the shape \[\], expected a batch axis", model)


def test_whatever_bytes_are_changed_a_graph_is_read_or_refused_in_one_line(project):
    whole, random = (project / "late.onnx").read_bytes(), np.random.default_rng(2)
    refusals = []
    for _ in range(150):
        changed = bytearray(whole)
        for place in random.integers(-300, 1100, 2):  # nodes are in front and ports are at the end, weights between
            changed[place] = random.integers(0, 256)
        (project / "late.onnx").write_bytes(changed)
        try:
            open_onnx_source(project / "late.onnx", None).write_graph(INPUTS, project / "whole.onnx")
        except mmedge.MmedgeError as refused:
            refusals.append(str(refused))
    assert len(refusals) > 50
    assert not any("\n" in each for each in refusals)


def test_a_wrong_conversion_is_seen(project):
    """The reference is the original file, so that nothing done to the graph can hide from it."""
    source = open_onnx_source(project / "late.onnx", None)
    expected = outputs_of(source, project)
    weight = source.model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.0001, weight.name))
    changed = outputs_of(source, project)
    assert abs(expected["event"] - changed["event"]).max() > 16 * noise_tolerance(expected, expected)["event"]
