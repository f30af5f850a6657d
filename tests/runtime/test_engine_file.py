"""Engines that were damaged, belong elsewhere, or were made by someone else: never loaded, and told in one line."""

import json
import struct
from pathlib import Path

import pytest
import tensorrt_double
from engine_bundles import put_engines

import mmedge
from mmedge.bundle import open_bundle
from mmedge.engine_file import ENGINES, HEADER_BYTES, EngineKey, EngineRecord, read_header
from mmedge.manifest import FileRecord


def first(engines: Path, stage: str, suffix: str) -> Path:
    return next((engines / ENGINES).glob(f"{stage}-*{suffix}"))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def edit(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def reseal_as_stranger(path: Path) -> None:
    edit(path, lambda d: d.update(seal="0" * 64))


DAMAGE = {
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:1000]), "has 1000 bytes, .* were built"),
    "cut to nothing": (lambda p: p.write_bytes(b""), "has 0 bytes"),
    "a bit in the magic": (lambda p: flip(p, 0), "which no plan of TensorRT-RTX does|SHA-256 differs"),
    "a bit in the size": (lambda p: flip(p, 0x10), "says that it has .* bytes|SHA-256 differs"),
    "a bit in the version": (lambda p: flip(p, 0x18), "was written by tensorrt.* not (10.3.0|1.7.1.116)"),
    "a bit in the targets": (lambda p: flip(p, 0x20), "is for .*, not for sm86|SHA-256 differs"),
    "a bit in the body": (lambda p: flip(p, HEADER_BYTES + 100), "SHA-256 differs"),
    "missing": (lambda p: p.unlink(), "cannot be read .No such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "bytes"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_plan_is_refused_before_the_library_sees_it(engines, device, library, damage):
    change, text = DAMAGE[damage]
    change(first(engines, "head", ".plan"))
    with pytest.raises(mmedge.EngineError, match=text) as refused:
        mmedge.load(engines, backend=library)
    assert "\n" not in str(refused.value)
    assert "build it again with mmedge build" in str(refused.value)
    assert not device.runtimes
    with mmedge.load(engines) as model:
        assert model.report.backend == "onnxruntime-cpu"
        assert any("build it again" in reason for reason in model.report.rejected.values())


SIDECARS = {
    "of a stranger": (reseal_as_stranger, "someone else, and engines are programs"),
    "edited": (lambda p: edit(p, lambda d: d.update(weights_bytes=5)), "someone else"),
    "no JSON": (lambda p: p.write_bytes(b"\xff{"), "no sidecar of an engine"),
    "of other fields": (lambda p: edit(p, lambda d: d.update(surprise=1)), "surprise is not known"),
    "under another name": (lambda p: p.rename(p.with_name("head-0.json")), "belongs under the name"),
    "with a path for a hash": (
        lambda p: edit(p, lambda d: d["plan"].update(sha256="../../../../etc/passwd")), "no SHA-256 of a plan",
    ),
    "missing": (lambda p: p.unlink(), "has no tensorrt.* engine that may be loaded here; try"),
    "huge": (lambda p: p.write_bytes(b" " * (2 << 20)), "larger than 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SIDECARS)
def test_a_sidecar_that_cannot_be_believed_is_as_good_as_none(engines, device, library, kind):
    change, text = SIDECARS[kind]
    change(first(engines, "head", ".json"))
    with pytest.raises(mmedge.EngineError, match=text) as refused:
        mmedge.load(engines, backend=library)
    assert "\n" not in str(refused.value)
    assert f"try: mmedge build {engines} --target" in str(refused.value)
    assert not device.runtimes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": "9.9.9"}, "was built by tensorrt.* 9.9.9, here is .*, and it loads only its own"),
        ({"targets": ("sm89",)}, "was built for sm89, this device is sm86"),
        ({"device": "Another"}, "was built on Another, this device is Double RTX"),
        ({"recipe": 0}, "was built by another mmedge"),
    ],
)
def test_an_engine_for_elsewhere_is_refused_with_the_reason(bundle_copy, device, library, changes, text):
    put_engines(open_bundle(bundle_copy), library, **changes)
    with pytest.raises(mmedge.EngineError, match=text):
        mmedge.load(bundle_copy, backend=library)
    assert not device.runtimes


def test_an_engine_of_another_graph_is_refused(engines, device, library, put_listed):
    content = (engines / "onnx/fp32/head.onnx").read_bytes()
    put_listed(engines, "onnx/fp32/head.onnx", content + b"\x0a\x00")  # another producer name, another file
    with pytest.raises(mmedge.EngineError, match="one was built from another graph"):
        mmedge.load(engines, backend=library)


def test_engines_are_no_part_of_what_is_hashed(engines):
    open_bundle(engines)
    assert not any(name.startswith(ENGINES) for name in open_bundle(engines).manifest.files)


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1])
def test_a_header_that_is_cut_off_is_refused(size):
    with pytest.raises(mmedge.EngineError, match=f"x has {size} bytes, less than the header"):
        read_header(bytes(size), "tensorrt-rtx", "x")


def test_the_version_of_a_tensorrt_plan_is_read_where_it_can_be_told():
    assert read_header(tensorrt_double.make_plan(b"g" * 100), "tensorrt", "x").version == (10, 3, 0, 26)
    assert read_header(struct.pack("<4s60x", b"????"), "tensorrt", "x").version == ()


def test_a_folder_that_is_a_link_to_somewhere_else_is_not_touched(engines, device, library, tmp_path):
    folder = engines / ENGINES
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(elsewhere)
    with pytest.raises(mmedge.EngineError, match="is a link that leaves the bundle; do not trust it"):
        mmedge.load(engines, backend=library)
    assert not device.runtimes
    mmedge.load(engines).close()


@pytest.mark.parametrize("stage", ["../../etc/x", "a/b", "", ".hidden", "a\\b"])
def test_a_stage_whose_name_leaves_the_folder_gets_no_engine(stage):
    key = EngineKey(onnx_sha256="0" * 64, library="tensorrt", version="10.3.0", targets=("sm86",))
    with pytest.raises(mmedge.EngineError, match="cannot be part of a file's name") as refused:
        EngineRecord(stage=stage, key=key, plan=FileRecord(bytes=1, sha256="0" * 64))
    assert "\n" not in str(refused.value)
