"""Models that nobody here wrote: each is exported the user's way, proved, split, and run."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from architectures.page import PAGE, line
from architectures.table import ARCHITECTURES, PICTURE_AND_WORDS, Architecture, build, exported, write_tokenizer
from click.testing import CliRunner
from mmedge_export.checkpoint import call_factory
from mmedge_export.named import named_copy
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.spec import read_spec
from mmedge_export.spec_cli import spec_command

import mmedge

pytestmark = pytest.mark.architectures

RTOL = 2e-5  # float32, other kernels and another order of summation in some ten layers
SEED_OF_ANOTHER_SAMPLE = 2


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.key)
def test_a_third_party_architecture_is_exported_split_and_run_as_torch_runs_it(row, tmp_path):
    done = exported(row, tmp_path)
    assert all(comparison.holds for comparison in done.parity.comparisons)
    assert tuple(stage.name for stage in done.manifest.stages) == row.stages
    spec = read_spec(row.spec, "the spec", tmp_path)
    sample = draw_samples(spec, None, random=True)[SEED_OF_ANOTHER_SAMPLE]
    named = named_copy(build(row), spec.call, row.outputs)
    tensors = port_tensors(spec.ports, sample, spec.read)
    with torch.inference_mode():
        expected = named(**{name: torch.from_numpy(array) for name, array in tensors.items()})
    with mmedge.load(tmp_path / "out.mmedge") as model:
        given = model.infer(**{name: str(data) if data.dtype.kind == "U" else data for name, data in sample.items()})
    for name, tensor in zip(row.outputs, expected, strict=True):
        tolerance = RTOL * float(tensor.abs().max())
        np.testing.assert_allclose(given.outputs[name], tensor[0].numpy(), rtol=0, atol=tolerance)
    assert line(row, done) in PAGE.read_text(encoding="utf-8").splitlines(keepends=True)


def init(*arguments):
    told = CliRunner().invoke(spec_command, ["init", *arguments], catch_exceptions=False)
    assert told.exit_code == 0
    return read_spec(Path("SPEC.toml").read_text(), "SPEC.toml")


def test_a_first_spec_of_a_third_party_module_needs_only_a_tokenizer_to_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    factory = "architectures.reading:whisper"
    spec = init(factory, "--shape", "input_features=1,16,80", "--shape", "decoder_input_ids=1,8")
    assert {name: port.modality for name, port in spec.ports.items()} == {
        "input_features": "audio",
        "decoder_input_ids": "text",
    }
    assert list(spec.outputs) == ["logits", "encoder_last_hidden_state"]
    write_tokenizer(tmp_path / "tokenizer.json")
    torch.save(call_factory(factory, {}).state_dict(), tmp_path / "weights.pt")
    export(tmp_path / "weights.pt", tmp_path / "out.mmedge", ExportOptions(random_samples=True))


def test_a_first_spec_lists_the_outermost_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = init("architectures.reading:clip", "--shape", "input_ids=1,8", "--shape", "pixel_values=1,3,32,32")
    assert list(spec.outputs) == ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]


def test_without_shapes_the_names_and_annotations_of_a_forward_tell_its_sensors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = init("architectures.reading:clip")
    assert {name: port.modality for name, port in spec.ports.items()} == {"input_ids": "text", "pixel_values": "camera"}


def test_a_model_whose_sizes_depend_on_data_is_refused_by_the_line_where_they_do(tmp_path):
    row = Architecture(name="ViLT", factory="reading:vilt", inputs=PICTURE_AND_WORDS, outputs=("logits",))
    with pytest.raises(mmedge.ExportError, match=r"data-dependent.*modeling_vilt\.py:\d+.*torch\.where") as refused:
        exported(row, tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.mmedge").exists()
