import json
from pathlib import Path

import numpy as np
import pytest
from mmedge_export.pipeline import ExportOptions, export

import mmedge
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden

RANDOM = ExportOptions(random_samples=True)


def stages(manifest):
    return {stage.name: stage for stage in manifest.stages}


def holds(bundle: Path) -> bool:
    return all(row.holds for row in replay_golden(open_bundle(bundle)))


def test_a_late_fusion_model_becomes_an_encoder_for_each_sensor_and_a_head(save, tmp_path):
    out = tmp_path / "late.mmedge"
    manifest = export(save("late"), out, RANDOM).manifest
    found = stages(manifest)
    assert set(found) == {"image", "audio", "head"}
    assert "level" in found["image"].outputs  # the output that only the picture decides needs no sound
    assert found["head"].outputs == ("event",)
    assert manifest.macs["image"] > 0 < manifest.macs["audio"]
    assert holds(out)
    assert not list(tmp_path.glob(".*"))


def test_an_early_fusion_model_is_kept_whole_with_the_reason(save, tmp_path):
    out = tmp_path / "early.mmedge"
    manifest = export(save("early", outputs="event"), out, RANDOM).manifest
    assert set(stages(manifest)) == {"whole"}
    assert "early fusion" in manifest.kept_whole
    assert holds(out)


def test_cameras_that_meet_before_the_sound_get_a_stage_of_their_own(save, tmp_path):
    out = tmp_path / "three.mmedge"
    manifest = export(save("three", cameras=("left", "right"), outputs="event"), out, RANDOM).manifest
    found = stages(manifest)
    assert set(found) == {"left", "right", "audio", "left+right", "head"}
    assert found["left+right"].ports == ("left", "right")
    assert holds(out)


@pytest.mark.parametrize("temporal", ["gru", "transformer"])
def test_pictures_are_encoded_one_by_one_in_front_of_what_mixes_them(save, tmp_path, temporal):
    out = tmp_path / "window.mmedge"
    manifest = export(save(f"window {temporal}", frames=6, outputs="event"), out, RANDOM).manifest
    found = stages(manifest)
    assert found["image.item"].per_item
    border = found["image.item"].outputs[0]
    spec = manifest.tensors[border]
    assert spec.window_axis is not None
    assert spec.shape[spec.window_axis] == 6
    assert found["image"].inputs == found["image.item"].outputs
    assert manifest.macs["image.item"] > manifest.macs["image"] / 6
    assert not [note for note in manifest.notes if note.startswith("image")]
    assert holds(out)


def test_pictures_that_mix_from_the_first_layer_on_are_encoded_a_window_at_a_time(save, tmp_path):
    out = tmp_path / "window.mmedge"
    manifest = export(save("window conv3d first", frames=6, outputs="event"), out, RANDOM).manifest
    assert set(stages(manifest)) == {"image", "audio", "head"}
    assert any(n.startswith("image") and "items mix from the first layers on" in n for n in manifest.notes)
    assert holds(out)


def test_a_loop_over_pictures_is_exported_faithfully(save, tmp_path):
    out = tmp_path / "window.mmedge"
    export(save("window loop", frames=4, outputs="event"), out, RANDOM)
    assert holds(out)


def test_a_streamed_window_model_equals_infer_on_the_same_pictures(save, tmp_path):
    out = tmp_path / "window.mmedge"
    export(save("window gru", frames=6, outputs="event"), out, RANDOM)
    random = np.random.default_rng(1)
    frames = random.integers(0, 256, (20, 24, 24, 3), dtype=np.uint8)
    samples = (0.1 * random.standard_normal(16000)).astype(np.float32)
    with mmedge.load(out) as model:
        stream = model.stream("camera")
        stream.push_audio(samples, 0)
        for i, pixels in enumerate(frames):
            stream.push_frame(pixels, (i + 20) * 66_666_667)
        for i, prediction in enumerate(stream.poll()):
            expected = model.infer(image=frames[i : i + 6], audio=samples[-8000:])
            np.testing.assert_allclose(prediction.outputs["event"], expected.outputs["event"], rtol=0, atol=1e-6)


def test_outputs_by_name_may_be_in_any_order(save, tmp_path):
    manifest = export(save("named"), tmp_path / "named.mmedge", RANDOM).manifest
    assert list(manifest.outputs) == ["event", "level"]
    assert holds(tmp_path / "named.mmedge")


def test_a_model_without_float64_is_compared_in_float32_and_the_report_says_so(save, tmp_path):
    result = export(save("fixed"), tmp_path / "fixed.mmedge", RANDOM)
    assert result.parity.reference.endswith(" float32")
    assert holds(tmp_path / "fixed.mmedge")


def test_a_graph_that_computes_something_else_is_refused_and_nothing_is_left(save, tmp_path):
    line = r"first at node mul\S* 'mul' \(fusion_models\.py:\d+ in Unfaithful\.forward\)"
    with pytest.raises(mmedge.ParityError, match=f"parity failed, torch float64 against its own trace.*; {line}"):
        export(save("unfaithful"), tmp_path / "out.mmedge", RANDOM)
    assert [path.name for path in tmp_path.iterdir()] == ["unfaithful.safetensors"]


@pytest.mark.parametrize(
    ("factory", "error", "text"),
    [
        ("branching", mmedge.ExportError, r"data-dependent.*fusion_models\.py:\d+: if image\.sum\(\) > 0"),
        ("on_gpu", mmedge.SpecError, r"forward\(\) failed on image \[1, 3, 16, 16\].*CUDA"),
        ("noisy", mmedge.ParityError, "parity failed"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_in_one_line(save, tmp_path, capfd, factory, error, text):
    with pytest.raises(error, match=text) as refused:
        export(save(factory), tmp_path / "out.mmedge", RANDOM)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "out.mmedge").exists()


def test_an_interrupted_export_leaves_nothing(save, tmp_path):
    checkpoint = save("late")

    def stop_late(step: str) -> None:
        if step.startswith("proving"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(checkpoint, tmp_path / "out.mmedge", RANDOM, stop_late)
    assert [path.name for path in tmp_path.iterdir()] == ["late.safetensors"]


def test_a_bundle_is_replaced_only_when_told_to(save, tmp_path):
    checkpoint, out = save("late"), tmp_path / "out.mmedge"
    export(checkpoint, out, RANDOM)
    (out / "mine.txt").write_text("note")
    with pytest.raises(mmedge.ExportError, match="exists; give --force"):
        export(checkpoint, out, RANDOM)
    assert (out / "mine.txt").exists()
    export(checkpoint, out, ExportOptions(random_samples=True, force=True))
    assert not (out / "mine.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.safetensors", "out.mmedge"]


@pytest.mark.parametrize("what", ["thesis", "bundle"])
def test_what_took_the_name_meanwhile_is_not_replaced(save, tmp_path, what):
    checkpoint, out = save("late"), tmp_path / "out.mmedge"

    def appear(step: str) -> None:
        if step.startswith("proving"):
            out.mkdir()
            (out / ("manifest.json" if what == "bundle" else "chapter1.txt")).write_text("important")

    with pytest.raises(mmedge.ExportError, match="out.mmedge exists"):
        export(checkpoint, out, RANDOM, appear)
    assert [path.read_text() for path in out.iterdir()] == ["important"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.safetensors", "out.mmedge"]


def test_a_link_to_a_bundle_is_followed_when_it_is_replaced(save, tmp_path):
    checkpoint, link = save("late"), tmp_path / "link.mmedge"
    export(checkpoint, tmp_path / "real.mmedge", RANDOM)
    link.symlink_to(tmp_path / "real.mmedge")
    export(checkpoint, link, ExportOptions(random_samples=True, force=True))
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late.safetensors", "link.mmedge", "real.mmedge"]


def test_a_camera_called_head_keeps_its_name(save, tmp_path):
    manifest = export(save("three", cameras=("left", "right"), outputs="event"), tmp_path / "a.mmedge", RANDOM).manifest
    assert "head" in stages(manifest)
    checkpoint = save("headed", cameras=("head",), outputs="event")
    manifest = export(checkpoint, tmp_path / "b.mmedge", RANDOM).manifest
    assert set(stages(manifest)) == {"head", "audio", "fusion"}


def test_files_of_the_users_folder_are_not_taken_for_libraries(save, tmp_path, monkeypatch):
    (tmp_path / "select.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    export(save("late"), Path("out.mmedge"), RANDOM)
    assert holds(tmp_path / "out.mmedge")


def test_the_whole_graph_has_a_place_before_anything_is_done(save, tmp_path):
    with pytest.raises(mmedge.ExportError, match="is not a folder"):
        export(save("late"), tmp_path / "a.mmedge", ExportOptions(keep_whole=tmp_path / "no" / "whole.onnx"))
    assert not (tmp_path / "a.mmedge").exists()


def test_a_folder_that_is_no_bundle_is_never_replaced(save, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("important")
    with pytest.raises(mmedge.ExportError, match="is not a bundle"):
        export(save("late"), out, ExportOptions(random_samples=True, force=True))
    assert (out / "chapter1.txt").read_text() == "important"


def test_the_same_checkpoint_gives_the_same_bundle(save, tmp_path):
    checkpoint = save("late")
    first = export(checkpoint, tmp_path / "a.mmedge", RANDOM).manifest
    second = export(checkpoint, tmp_path / "b.mmedge", RANDOM).manifest
    assert first == second


def test_shipped_graphs_do_not_name_the_users_files(save, tmp_path):
    whole = tmp_path / "whole.onnx"
    export(save("late"), tmp_path / "late.mmedge", ExportOptions(random_samples=True, keep_whole=whole))
    shipped = [path for path in (tmp_path / "late.mmedge").rglob("*") if path.suffix in {".onnx", ".json", ".html"}]
    for path in (whole, *shipped):
        assert b"fusion_models" not in path.read_bytes()
        assert b".py" not in path.read_bytes()


def test_no_samples_is_refused_with_the_ways_to_give_them(save, tmp_path):
    with pytest.raises(mmedge.SpecError, match="--samples FILE.npz, or accept --random-samples"):
        export(save("late"), tmp_path / "out.mmedge", ExportOptions())


def test_real_samples_of_the_users_own_prove_the_export(save, tmp_path):
    random = np.random.default_rng(2)
    file = tmp_path / "samples.npz"
    images = random.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    np.savez(file, image=images, audio=(0.1 * random.standard_normal((3, 8000))).astype(np.float32))
    result = export(save("late"), tmp_path / "late.mmedge", ExportOptions(samples=file))
    assert (result.parity.samples, result.parity.real) == (3, True)
    report = json.loads((tmp_path / "late.mmedge/reports/parity.json").read_text())
    assert {row["tensor"] for row in report["comparisons"]} >= {"event", "level"}
    np.testing.assert_array_equal(open_bundle(tmp_path / "late.mmedge").read_golden()["sensor/image"], images)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"image": np.zeros((3, 16, 16, 3), np.uint8)}, "no array named audio"),
        ({"image": np.zeros((3, 16, 16), np.uint8), "audio": np.zeros((3, 8000), np.float32)}, "do not fit port image"),
        ({"image": np.zeros((3, 16, 16, 3), np.uint8), "audio": np.zeros((3, 7), np.float32)}, "do not fit port audio"),
        ({"image": np.zeros((1, 16, 16, 3), np.uint8), "audio": np.zeros((1, 8000), np.float32)}, "at least 2 samples"),
    ],
)
def test_samples_that_do_not_fit_are_refused(save, tmp_path, arrays, text):
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(mmedge.SpecError, match=text):
        export(save("late"), tmp_path / "out.mmedge", ExportOptions(samples=tmp_path / "samples.npz"))


@pytest.mark.parametrize(("kept", "text"), [(0, "does not exist"), (0.5, "write it again"), (0.99, "write it again")])
def test_a_file_of_samples_that_is_damaged_is_refused_in_one_line(save, tmp_path, kept, text):
    file = tmp_path / "samples.npz"
    np.savez(file, image=np.zeros((3, 16, 16, 3), np.uint8), audio=np.zeros((3, 8000), np.float32))
    content = file.read_bytes()
    file.unlink()
    if kept:
        file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(mmedge.SpecError, match=text):
        export(save("late"), tmp_path / "out.mmedge", ExportOptions(samples=file))
