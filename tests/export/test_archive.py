"""What goes in: a torch.export archive."""

import pytest
import torch
from fusion_models import late, spec_text
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.trace import reference_outputs
from trap_models import Takes

import mmedge
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden

TRUSTING = ExportOptions(random_samples=True, trust_pickle=True)
IMAGE, AUDIO = torch.zeros(1, 3, 16, 16), torch.zeros(1, 48, 20)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    return tmp_path


def save(project, model, *args, **kwargs):
    torch.manual_seed(3)
    torch.export.save(torch.export.export(model, args, kwargs), project / "late.pt2")
    return project / "late.pt2"


def test_an_archive_goes_all_the_way_without_the_users_code(project):
    path = save(project, late().eval(), image=IMAGE, audio=AUDIO)
    export(path, project / "late.mmedge", TRUSTING)
    bundle = open_bundle(project / "late.mmedge")
    assert {stage.name for stage in bundle.manifest.stages} == {"image", "audio", "head"}
    assert all(row.holds for row in replay_golden(bundle))


def test_an_archive_is_called_as_it_was_exported(project):
    table = '[model.call]\nstyle = "dict"\nconstants = { training = false }\n[inputs.image]'
    (project / "SPEC.toml").write_text(spec_text("late").replace("[inputs.image]", table))
    path = save(project, Takes("dict").eval(), {"image": IMAGE, "audio": AUDIO}, training=False)
    checkpoint = load_checkpoint(path, trust_pickle=True)
    sample = {"image": IMAGE.numpy() + 1, "audio": AUDIO.numpy() + 1}
    spec = checkpoint.spec
    given = reference_outputs(build_model(checkpoint), [sample], list(spec.outputs), torch.float32, spec.call)
    assert given["event"].shape == (1, 3)


def test_an_archive_runs_code_and_is_only_read_when_it_is_trusted(project):
    path = save(project, late().eval(), IMAGE, AUDIO)
    with pytest.raises(mmedge.CheckpointError, match=r"runs code in it.*--trust-pickle"):
        load_checkpoint(path)
    load_checkpoint(path, trust_pickle=True)


def test_an_archive_in_training_mode_is_refused(project):
    path = save(project, late().train(), IMAGE, AUDIO)
    with pytest.raises(mmedge.CheckpointError, match=r"training mode \(aten\.batch_norm.*call model\.eval\(\) before"):
        load_checkpoint(path, trust_pickle=True)


def test_other_names_and_shapes_are_refused(project):
    spec = spec_text("late")
    path = save(project, late().eval(), IMAGE, AUDIO)
    (project / "SPEC.toml").write_text(spec.replace("inputs.image", "inputs.picture"))
    with pytest.raises(mmedge.SpecError, match="takes image, audio, the spec gives picture, audio"):
        load_checkpoint(path, trust_pickle=True)
    (project / "SPEC.toml").write_text(spec.replace("size = [16, 16]", "size = [32, 16]"))
    with pytest.raises(
        mmedge.SpecError, match=r"image of the archive is \[1, 3, 16, 16\], the spec gives \[1, 3, 16, 32\]"
    ):
        load_checkpoint(path, trust_pickle=True)


@pytest.mark.parametrize("content", ["text", "truncated", "state dict"])
def test_something_else_is_refused_in_one_line(project, content):
    path = save(project, late().eval(), IMAGE, AUDIO)
    if content == "state dict":
        torch.save(late().state_dict(), path)
    else:
        path.write_bytes({"text": b"hello", "truncated": path.read_bytes()[:5000]}[content])
    with pytest.raises(mmedge.CheckpointError) as refused:
        load_checkpoint(path, trust_pickle=True)
    assert "\n" not in str(refused.value)
