"""Axes that a spec calls symbolic: they are, at every size that is tried, or the export is refused."""

import numpy as np
import onnx
import pytest
import symbolic_models
import torch
from fusion_models import spec_text
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.spec import read_spec
from onnx_models import late_graph
from safetensors.torch import save_file

import mmedge

RANDOM = ExportOptions(random_samples=True)


def text(symbolic, *, outputs="event", factory="symbolic_models:build", arguments=""):
    """The spec of picture and sound, with a line more for the sound."""
    spec = spec_text("late", outputs=outputs).replace("fusion_models:late", factory)
    spec = spec.replace("[inputs.image]", f"[model.arguments]\n{arguments}\n[inputs.image]") if arguments else spec
    return spec.replace("[inputs.audio]", f"[inputs.audio]\nsymbolic = {symbolic}")


@pytest.fixture
def checkpoint(tmp_path):
    def write(kind, symbolic="{T = [8, 90]}"):
        torch.manual_seed(3)
        save_file(symbolic_models.build(kind).state_dict(), tmp_path / "m.safetensors")
        (tmp_path / "SPEC.toml").write_text(text(symbolic, arguments=f'kind = "{kind}"'))
        return tmp_path / "m.safetensors"

    return write


@pytest.mark.slow
def test_an_axis_that_is_symbolic_is_tried_at_several_sizes_and_shipped_at_one(checkpoint, tmp_path):
    manifest = export(checkpoint("gru"), tmp_path / "out.mmedge", RANDOM).manifest
    assert manifest.notes[0] == "axis T of audio is symbolic, tried at 8, 49, 90; fixed at 48 here, as the spec says"
    stage = onnx.load(tmp_path / "out.mmedge/onnx/fp32/audio.onnx")
    assert [dim.dim_value for dim in stage.graph.input[0].type.tensor_type.shape.dim] == [1, 48, 20]


@pytest.mark.slow
def test_an_axis_that_the_exporter_froze_without_a_word_is_refused(checkpoint, tmp_path):
    with pytest.raises(mmedge.ExportError, match="has axis T of audio frozen at 48, .* Python loop over it") as refused:
        export(checkpoint("loop"), tmp_path / "out.mmedge", RANDOM)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.mmedge").exists()


def test_an_onnx_graph_is_tried_at_several_sizes_too(tmp_path):
    onnx.save(late_graph(frames="time"), tmp_path / "late.onnx")
    (tmp_path / "SPEC.toml").write_text(text("{T = [8, 90]}", outputs="event level"))
    manifest = export(tmp_path / "late.onnx", tmp_path / "out.mmedge", RANDOM).manifest
    assert manifest.notes[0] == "axis T of audio is symbolic, tried at 8, 49, 90; fixed at 48 here, as the spec says"


def test_an_onnx_graph_whose_axis_is_fixed_is_refused(tmp_path):
    onnx.save(late_graph(), tmp_path / "late.onnx")
    (tmp_path / "SPEC.toml").write_text(text("{T = [8, 90]}", outputs="event level"))
    with pytest.raises(mmedge.ExportError, match=r"late\.onnx has axis T of audio frozen at 48"):
        export(tmp_path / "late.onnx", tmp_path / "out.mmedge", RANDOM)


def test_an_onnx_graph_that_does_not_run_at_another_size_is_refused(tmp_path):
    more = [
        ("Reshape", ["a", "fixed"], ["row"], {}),
        ("ReduceMax", ["row"], ["peak"], {"axes": [1]}),
        ("Add", ["level", "peak"], ["peaked"], {}),
    ]
    graph = late_graph(frames="time", also=more)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 48 * 8], np.int64), "fixed"))
    graph.graph.output[0].name = "peaked"
    onnx.save(graph, tmp_path / "late.onnx")
    spec = text("{T = [8, 90]}", outputs="event level").replace("outputs.level", "outputs.peaked")
    (tmp_path / "SPEC.toml").write_text(spec)
    with pytest.raises(mmedge.ExportError, match="at T of audio = 8: running symbolic.onnx failed.*narrow the range"):
        export(tmp_path / "late.onnx", tmp_path / "out.mmedge", RANDOM)


@pytest.mark.parametrize(
    ("symbolic", "why"),
    [
        ("{Q = [8, 90]}", "names axis 'Q', which is not in layout"),
        ("{T = [60, 90]}", "with 48, the spec's, between them"),
        ("{T = [1, 90]}", "is not .least, most. above 1"),
        ("{T = 48}", "is not .least, most."),
        ("true", "symbolic is True, expected dict"),
    ],
)
def test_a_range_that_cannot_be_is_refused(symbolic, why):
    with pytest.raises(mmedge.SpecError, match=why):
        read_spec(text(symbolic), "SPEC.toml")
