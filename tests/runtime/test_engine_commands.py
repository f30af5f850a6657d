"""What the commands say of engines, with the doubles of GPU and libraries."""

import json
import re
import shutil
import sys

import cuda_double
import pytest

from mmedge.commands.doctor import examine
from mmedge.engine_file import ENGINES
from mmedge.jetson import jetson_model
from mmedge.local import cache_folder


def test_check_replays_the_recording_on_engines(mmedge_cli, engines, library, device):
    ended = mmedge_cli("check", engines, "--backend", library, "--json")
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["passed"] is True
    assert device.executions > 0


def test_check_on_a_backend_that_is_not_there_is_one_line(mmedge_cli, reference_bundle):
    ended = mmedge_cli("check", reference_bundle, "--backend", "tensorrt")
    assert ended.status == 1
    assert ended.err.startswith("mmedge: ")
    assert ended.err.count("\n") == 1


def test_inspect_lists_engines_and_whose_they_are(mmedge_cli, engines, library):
    version = {"tensorrt": "10.3.0", "tensorrt-rtx": "1.7.1.116"}[library]
    text = mmedge_cli("inspect", engines).out
    (line,) = [line for line in text.splitlines() if f"{library} {version}" in line]
    assert line.startswith("fp32 ")
    assert line.endswith("you")
    assert "4 of 4" in line
    (cache_folder() / "seal.key").unlink()
    assert any(line.endswith("someone else") for line in mmedge_cli("inspect", engines).out.splitlines())
    next((engines / ENGINES).glob("head-*.json")).write_text("{")
    told = mmedge_cli("inspect", engines).out
    assert "3 of 4" in told
    assert "no sidecar of an engine" in told
    assert len(json.loads(mmedge_cli("inspect", engines, "--json").out)["engines"]) == 3


def test_engines_of_a_stage_that_variants_have_in_common_are_not_listed_for_one_that_cannot_use_them(
    mmedge_cli, engines, tmp_path
):
    bundle = tmp_path / "two.mmedge"
    shutil.copytree(engines, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["variants"]["int8-cpu"] = {**manifest["variants"]["fp32"], "backends": ["onnxruntime-cpu"]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    listed = mmedge_cli("inspect", bundle).out.partition("engines of")[2]
    assert "fp32" in listed
    assert "int8-cpu" not in listed


def test_inspect_says_that_there_are_no_engines(mmedge_cli, reference_bundle):
    assert "no engines (mmedge build makes them)" in mmedge_cli("inspect", reference_bundle).out


@pytest.mark.parametrize("devices", [0, 1])
def test_doctor_says_what_can_compute_here(mmedge_cli, device, monkeypatch, devices):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_double.Cuda(devices).module)
    findings = {each["what"]: each for each in json.loads(mmedge_cli("doctor", "--json").out)}
    if devices:
        assert findings["GPU"]["detail"] == "Double RTX, sm86, 8 GiB, the driver brings CUDA 13.0"
        assert findings["backends"]["detail"].startswith("tensorrt, tensorrt-rtx, ")
    else:
        assert findings["GPU"]["state"] == "missing"
        assert findings["GPU"]["detail"] == "no NVIDIA GPU can be used here (cudaErrorInsufficientDriver)"
        assert findings["backends"]["detail"].startswith("onnxruntime-")
    assert findings["backends"]["state"] == "ok"
    assert "DLA" not in findings  # this is no Jetson


@pytest.mark.parametrize(
    ("cores", "model", "state", "detail"),
    [
        (
            0,
            "NVIDIA Jetson Orin Nano Developer Kit",
            "missing",
            "finds none; on this NVIDIA Jetson Orin Nano .* are none;",
        ),
        (
            0,
            "NVIDIA Jetson AGX Orin Developer Kit",
            "missing",
            "finds none; on this .* are two; .* TensorRT .* up to 10.7",
        ),
        (2, "NVIDIA Jetson AGX Orin Developer Kit", "ok", "2 cores, which mmedge leaves alone: it builds for the GPU"),
    ],
)
def test_doctor_on_a_jetson_says_how_many_dla_there_are(device, tmp_path, cores, model, state, detail):
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.0\n")
    device.dla_cores = cores
    findings = {each.what: each for each in examine(release, model)}
    assert findings["Jetson"].detail.startswith("R36")
    assert findings["DLA"].state == state
    assert re.search(detail, findings["DLA"].detail)


def test_where_tensorrt_cannot_be_asked_the_module_tells_how_many_dla_there_are(device, tmp_path):
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36\n")
    device.cuda.devices = 0
    findings = {
        each.what: each for each in examine(release, "NVIDIA Jetson Orin NX Engineering Reference Developer Kit")
    }
    assert (
        "there are two (the module with 8 GB: one); TensorRT cannot be asked: no NVIDIA GPU" in findings["DLA"].detail
    )


@pytest.mark.parametrize(
    ("content", "model"),
    [(b"NVIDIA Jetson AGX Thor Developer Kit\0", "NVIDIA Jetson AGX Thor Developer Kit"), (b"Raspberry Pi 5\0", "")],
)
def test_a_jetson_says_what_it_is(tmp_path, content, model):
    path = tmp_path / "model"
    path.write_bytes(content)
    assert jetson_model(path) == model
    assert jetson_model(tmp_path / "nothing") == ""
