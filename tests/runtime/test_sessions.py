"""What backend="auto" chooses, and what it says about it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from engine_bundles import put_engines

import mmedge
from mmedge.bundle import MANIFEST, open_bundle
from mmedge.measured import Measured, machine_name, read_measured, write_measured
from mmedge.sessions import variant_problem


@pytest.fixture
def two_variants(bundle_copy, monkeypatch, tmp_path):
    """The same graphs twice, the second for the CPU only."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = Path(bundle_copy)
    manifest = open_bundle(path).manifest
    shutil.copytree(path / "onnx/fp32", path / "onnx/other")
    old = manifest.variants["fp32"]
    files = {stage: name.replace("fp32", "other") for stage, name in old.files.items()}
    listed = manifest.files | {
        new: manifest.files[name] for name, new in zip(old.files.values(), files.values(), strict=True)
    }
    listed["onnx/other/head.onnx"] = other_head(path)
    other = replace(old, files=files, backends=("onnxruntime-cpu",))
    changed = replace(manifest, variants={"fp32": old, "other": other}, files=listed)
    (path / MANIFEST).write_text(changed.to_json())
    return path


def other_head(path: Path):
    """Not the same bytes, so that measurements of one are not those of the other."""
    from mmedge.bundle import file_record

    file = path / "onnx/other/head.onnx"
    file.write_bytes(file.read_bytes() + b"\x12\x01x")  # producer_name once more
    return file_record(file)


def measured(variant: str, ms: float, **changes) -> Measured:
    facts = {"backend": "onnxruntime-cpu", "threads": 1, "p99_ms": ms, "runs": 10, "library": "onnxruntime 1.x"}
    return Measured(variant=variant, ms=ms, **{**facts, **changes})


def chosen(path: Path, **options: object) -> tuple[str, str, str]:
    with mmedge.load(path, **options) as model:
        return model.report.backend, model.report.variant, model.report.reason


def test_what_nobody_measured_is_the_first_and_says_so(two_variants):
    backend, variant, reason = chosen(two_variants)
    assert (backend, variant) == ("onnxruntime-cpu", "fp32")
    assert reason == "the first of 2 that can compute here; mmedge bench has not measured it"


def test_the_fastest_that_was_measured_here_is_taken(two_variants):
    bundle = open_bundle(two_variants)
    write_measured(bundle, measured("fp32", 4.0))
    assert chosen(two_variants)[1] == "fp32"
    write_measured(bundle, measured("other", 5.0))
    assert chosen(two_variants)[1:] == ("fp32", "the fastest measured here: 4 ms with onnxruntime 1.x")
    write_measured(bundle, measured("other", 1.5))
    reason = "the fastest measured here: 1.5 ms with onnxruntime 1.x, onnxruntime-cpu with fp32 4 ms"
    assert chosen(two_variants)[1:] == ("other", reason)
    assert chosen(two_variants, variant="fp32")[1] == "fp32"
    assert chosen(two_variants, threads=2)[1] == "fp32"  # was measured with one


def test_measurements_of_another_machine_or_another_graph_do_not_count(two_variants, monkeypatch, tmp_path):
    bundle = open_bundle(two_variants)
    write_measured(bundle, measured("fp32", 4.0))
    write_measured(bundle, measured("other", 1.5))
    assert read_measured(bundle, "other", 1)["onnxruntime-cpu"].machine == machine_name()
    for page in (tmp_path / ".cache/mmedge/measured").iterdir():
        page.write_text(page.read_text().replace(machine_name(), "another"))
    assert read_measured(bundle, "other", 1) == {}
    assert chosen(two_variants)[1] == "fp32"


def test_a_damaged_measurement_is_none(two_variants, tmp_path):
    bundle = open_bundle(two_variants)
    write_measured(bundle, measured("fp32", 4.0))
    (page,) = (tmp_path / ".cache/mmedge/measured").iterdir()
    for content in (b"", b"[" * 10_000, b'{"measured": [1]}'):
        page.write_bytes(content)
        assert read_measured(bundle, "fp32", 1) == {}


def test_engines_that_fit_come_first_and_what_was_rejected_is_told(engines, library):
    with mmedge.load(engines) as model:
        assert (model.report.backend, model.report.variant) == (library, "fp32")
        other = ({"tensorrt", "tensorrt-rtx"} - {library}).pop()
        assert f"has no {other} engine" in model.report.rejected[f"{other} with fp32"]


def test_engines_that_were_measured_slower_are_not_taken(bundle_copy, device):
    bundle = open_bundle(bundle_copy)
    put_engines(bundle, "tensorrt")
    write_measured(bundle, measured("fp32", 4.0, backend="tensorrt"))
    write_measured(bundle, measured("fp32", 3.0))
    assert chosen(bundle_copy)[0] == "onnxruntime-cpu"
    assert chosen(bundle_copy, require="tensorrt")[0] == "tensorrt"


def test_what_cannot_be_opened_is_passed_over_with_its_reason(bundle_copy, device):
    put_engines(open_bundle(bundle_copy), "tensorrt-rtx")
    device.validity = (2, 2)
    with mmedge.load(bundle_copy) as model:
        assert model.report.backend == "onnxruntime-cpu"
        assert model.report.reason == "what comes before it cannot be opened"
        assert "unsupported cc" in model.report.rejected["tensorrt-rtx with fp32"]


def test_what_is_required_is_not_replaced(reference_bundle):
    with pytest.raises(mmedge.BackendError, match="tensorrt cannot compute here: the bundle has no engines") as told:
        mmedge.load(reference_bundle, require="tensorrt")
    assert "\n" not in str(told.value)
    with pytest.raises(mmedge.BackendError, match="onnxruntime-cuda.* cannot compute here|CUDAExecutionProvider"):
        mmedge.load(reference_bundle, require="onnxruntime-cuda")
    with pytest.raises(mmedge.InputError, match="require = 'openvino' fits none of tensorrt, "):
        mmedge.load(reference_bundle, require="openvino")
    with pytest.raises(mmedge.InputError, match="require = 'tensorrt' fits none of onnxruntime-cpu"):
        mmedge.load(reference_bundle, backend="onnxruntime-cpu", require="tensorrt")


def test_a_variant_that_is_asked_for_runs_where_it_is_not_made_for(two_variants):
    backend, variant, reason = chosen(two_variants, variant="other", backend="onnxruntime-cpu")
    assert (backend, variant, reason) == ("onnxruntime-cpu", "other", "asked for")


def test_each_backend_says_what_it_lacks_for_a_variant_before_anything_is_loaded(bundle_copy, device):
    bundle = open_bundle(bundle_copy)
    assert variant_problem(bundle, "onnxruntime-cpu", "fp32") == ""
    assert variant_problem(bundle, "tensorrt", "fp32") == "the bundle has no engines (mmedge build makes them)"
    put_engines(bundle, "tensorrt")
    assert variant_problem(bundle, "tensorrt", "fp32") == ""
    assert "has no tensorrt-rtx engine that may be loaded here" in variant_problem(bundle, "tensorrt-rtx", "fp32")
    device.cuda.devices = 0
    assert "no NVIDIA GPU" in variant_problem(bundle, "tensorrt", "fp32")
    assert not device.runtimes


def test_a_variant_for_other_backends_is_told_as_such(two_variants):
    bundle = open_bundle(two_variants)
    problem = variant_problem(bundle, "tensorrt", "other")
    assert problem == "variant other is made for onnxruntime-cpu, not for tensorrt"
