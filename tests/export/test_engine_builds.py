"""Building against a library that runs out of memory, crashes, or is killed, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import cuda_double
import numpy as np
import pytest
import tensorrt_double
from duo import until
from mmedge_export.engines.build import BuildOptions, build_engines, sweep
from mmedge_export.engines.cli import build_command
from mmedge_export.engines.target import parse_target

import mmedge
from mmedge.bundle import open_bundle
from mmedge.engine_file import ENGINES, EngineRecord, read_plan, read_records

DOUBLES = Path(__file__).parents[1] / "doubles"
CALLED = (  # a user's command line, where TensorRT is the double and the GPU, too
    "import sys, cuda_double\n"
    "sys.modules['cuda.bindings.runtime'] = cuda_double.Cuda().module\n"
    "from mmedge_export.engines.cli import build_command\n"
    "sys.exit(build_command.main(sys.argv[1:], standalone_mode=False))\n"
)


@pytest.fixture
def library(monkeypatch, tmp_path):
    """TensorRT 10.3 and a GPU; returns what says how the builder is to fail."""
    device = cuda_double.Cuda()
    double = tensorrt_double.RuntimeDouble(device)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", device.module)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_double.as_tensorrt(double))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = os.pathsep.join([str(DOUBLES / "installed"), str(DOUBLES), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("MMEDGE_DOUBLE", str(tmp_path / "double.json"))

    def fail(**how: object) -> None:
        (tmp_path / "double.json").write_text(json.dumps({"log": str(tmp_path / "builds.jsonl"), **how}))

    fail()
    return fail


@pytest.fixture
def seen(tmp_path):
    def read() -> list[dict]:
        path = tmp_path / "builds.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


def build(path, **options):
    target = parse_target("tensorrt")
    rows = list(build_engines(open_bundle(path), target, ["fp32"], BuildOptions(**options), lambda _: None))
    assert all("\n" not in row.text for row in rows)
    return rows


def test_tensorrt_builds_on_the_device_and_the_runtime_takes_what_it_built(
    bundle_copy, library, seen, reference_bundle
):
    rows = build(bundle_copy)
    assert {row.how for row in rows} == {"built"}, [row.text for row in rows]
    assert {row.weights_bytes for row in rows} == {1234}
    with mmedge.load(bundle_copy) as on_device, mmedge.load(reference_bundle, backend="onnxruntime-cpu") as on_cpu:
        assert on_device.report.backend == "tensorrt"
        graphs = [each.new_graph() for each in (on_device, on_cpu)]
        for graph in graphs:
            graph.tensors["audio"][...] = 2
            graph.mark(["audio", "image"])
            graph.run()
        np.testing.assert_array_equal(graphs[0].tensors["event"], graphs[1].tensors["event"])
    records = list(read_records(open_bundle(bundle_copy)))
    assert {record.key.device for record in records} == {"Double RTX"}
    assert {record.key.targets for record in records} == {("sm86",)}


def test_what_one_build_measured_is_known_to_the_next(bundle_copy, library, seen):
    build(bundle_copy)
    assert [len(each["timings"]) for each in seen()] == [0, 1, 2, 3]
    build(bundle_copy, force=True)
    assert [len(each["timings"]) for each in seen()][4:] == [4, 5, 6, 7]


@pytest.mark.parametrize("how", ["killed_above", "memory"])
def test_where_memory_does_not_suffice_less_is_tried(bundle_copy, library, seen, how):
    library(**{how: 1 << 30})
    rows = build(bundle_copy)
    assert {row.how for row in rows} == {"built"}, [row.text for row in rows]
    assert {row.text for row in rows} == {"with 1024 MiB of scratch memory: more did not fit"}
    assert [each["workspace"] >> 20 for each in seen()][:3] == [0, 4096, 1024]
    assert {row.how for row in build(bundle_copy)} == {"cached"}


def test_a_builder_that_is_always_killed_does_no_harm(bundle_copy, library):
    library(killed_above=1)
    rows = build(bundle_copy)
    assert {row.how for row in rows} == {"failed"}
    expected = (
        "tensorrt 10.3.0 was killed while it built: the memory of this machine is too small, also with 64 MiB of "
        "scratch memory; build on a larger machine, or end other programs"
    )
    assert {row.text for row in rows} == {expected}
    mmedge.load(bundle_copy).close()


def test_a_builder_that_crashes_says_what_it_said_last_and_the_next_stage_has_a_new_one(bundle_copy, library, seen):
    library(crash=True, says=[["ERROR", "[x.cpp::f::1] Error Code 2: Internal Error (it is all too much)"]])
    rows = build(bundle_copy)
    assert len(seen()) == len(rows) == 4
    assert {row.text for row in rows} == {
        "tensorrt 10.3.0 crashed (signal 11) while it built: Internal Error (it is all too much)"
    }


def test_a_refused_node_and_a_failed_build_are_explained(bundle_copy, library):
    library(refuse=["node_unsqueeze", "Unheard", "whatever"])
    assert "refuses Unsqueeze node_unsqueeze of module audio: whatever" in build(bundle_copy)[2].text
    assert "tensorrt 10.3.0 has no such operator; replace it" in build(bundle_copy)[2].text
    library(
        fail=True, says=[["ERROR", "10: Could not find any implementation for node {ForeignNode[node_relu_10...]}."]]
    )
    rows = build(bundle_copy)
    assert {row.how for row in rows} == {"failed"}
    assert "cannot build it at Relu node_relu_10 of module audio" in rows[2].text
    assert rows[2].text.endswith("give --workspace more MiB, or another --level")


def test_a_build_that_takes_too_long_is_given_up(bundle_copy, library):
    library(sleep_s=30)
    with pytest.raises(mmedge.EngineError, match="a build took more than 2 s and was given up"):
        build(bundle_copy, timeout_s=2)
    mmedge.load(bundle_copy).close()


def test_killed_while_it_builds_the_bundle_stays_whole_and_the_next_run_ends_the_work(bundle_copy, library, seen):
    library(sleep_s=600, quick_builds=1)
    child = subprocess.Popen(
        [sys.executable, "-c", CALLED, str(bundle_copy), "--target", "tensorrt", "--variant", "fp32"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: len(seen()) == 2)  # the first is built, the second in the making
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert len(list(read_records(open_bundle(bundle_copy)))) == 1
    with mmedge.load(bundle_copy) as model:
        assert model.report.backend == "onnxruntime-cpu"
    library()
    rows = build(bundle_copy)
    assert sorted(row.how for row in rows) == ["built", "built", "built", "cached"]
    with mmedge.load(bundle_copy) as model:
        assert model.report.backend == "tensorrt"


def test_killed_while_it_writes_only_left_overs_remain_and_they_are_swept(bundle_copy, library):
    build(bundle_copy)
    folder = bundle_copy / ENGINES
    whole = {path.name for path in folder.iterdir()}
    for name in (".head-1.plan.abc.tmp", "head-0123456789abcdef.plan"):  # a draft, and a plan before its sidecar
        (folder / name).write_bytes(b"half")
    assert {row.how for row in build(bundle_copy)} == {"cached"}
    assert sweep(open_bundle(bundle_copy)) == []  # another builder may be writing them
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    sweep(open_bundle(bundle_copy))
    assert {path.name for path in folder.iterdir()} == whole


def test_engines_of_graphs_that_are_gone_are_swept(bundle_copy, library):
    build(bundle_copy)
    manifest = bundle_copy / "manifest.json"
    document = json.loads(manifest.read_text())
    path = bundle_copy / "onnx/fp32/head.onnx"
    path.write_bytes(path.read_bytes() + b"\x12\x01x")
    document["files"]["onnx/fp32/head.onnx"] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest.write_text(json.dumps(document))
    for each in (bundle_copy / ENGINES).iterdir():
        os.utime(each, (0, 0))
    assert {name.partition("-")[0] for name in sweep(open_bundle(bundle_copy))} == {"head"}


def sha256(path):
    from mmedge.bundle import file_record

    return file_record(path).sha256


def test_two_builders_at_once_do_no_harm(bundle_copy, library):
    rows: list[list] = []
    threads = [Thread(target=lambda: rows.append(build(bundle_copy, force=True))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [{row.how for row in each} for each in rows] == [{"built"}] * 2
    bundle = open_bundle(bundle_copy)
    for record in read_records(bundle):
        assert isinstance(record, EngineRecord)
        assert record.is_ours
        assert read_plan(bundle, record)


def test_where_nothing_can_be_written_the_bundle_is_as_it_was(bundle_copy, library):
    (bundle_copy / ENGINES).write_text("in the way")
    with pytest.raises(OSError, match="engines"):
        build(bundle_copy)
    mmedge.load(bundle_copy).close()


def test_a_full_disk_leaves_nothing_half_written(bundle_copy, library):
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n{CALLED}"
    command = [sys.executable, "-c", limited, str(bundle_copy), "--target", "tensorrt", "--variant", "fp32"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "File too large" in told.stdout + told.stderr
    folder = bundle_copy / ENGINES
    left = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert not [name for name in left if name.endswith(".tmp")]
    mmedge.load(bundle_copy).close()
    build(bundle_copy)
    with mmedge.load(bundle_copy) as model:
        assert model.report.backend == "tensorrt"


def test_without_a_gpu_tensorrt_is_refused_at_once(bundle_copy, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_double.Cuda(devices=0).module)
    for target, text in [
        ("tensorrt", "no NVIDIA GPU can be used here"),
        ("rtx", "--target rtx means the GPU of this machine: no NVIDIA GPU .*; or name devices, e.g. rtx:sm86"),
    ]:
        with pytest.raises(mmedge.BackendError, match=text) as told:
            build_command.main([str(bundle_copy), "--target", target], standalone_mode=False)
        assert "\n" not in str(told.value)


def test_a_link_for_engines_is_neither_filled_nor_swept(bundle_copy, library, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.json").write_text("{}")
    os.utime(elsewhere / "precious.json", (0, 0))
    (bundle_copy / ENGINES).symlink_to(elsewhere)
    with pytest.raises(mmedge.EngineError, match="is a link that leaves the bundle"):
        build(bundle_copy)
    with pytest.raises(mmedge.EngineError, match="is a link that leaves the bundle"):
        sweep(open_bundle(bundle_copy))
    assert [path.name for path in elsewhere.iterdir()] == ["precious.json"]
