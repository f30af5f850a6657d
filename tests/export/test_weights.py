"""Weights that stay on the disk, from what is read to what is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from fusion_models import spec_text
from mmedge_bench.memory import measure_memory
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.weights import (
    check_whole,
    move_outside,
    outside_bytes,
    read_graph,
    weight_values,
    write_beside,
    write_whole,
)
from onnx import TensorProto, helper, numpy_helper
from onnx_models import late_graph

import mmedge
from mmedge.backends.ort import OrtSession
from mmedge.bundle import file_record, open_bundle
from mmedge.records import to_plain

RANDOM = ExportOptions(random_samples=True)
MODELS = Path(__file__).parents[2] / "benchmarks/models"
WIDTH = 200  # 160 kB of weights, more than what stays inside


def wide_graph(*, constant: bool = False) -> onnx.ModelProto:
    """y = (x @ w) @ v: a large weight, and another one that may be a Constant node."""
    random = np.random.default_rng(3)
    w, v = (random.standard_normal((WIDTH, WIDTH)).astype(np.float32) for _ in "wv")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    weights = [numpy_helper.from_array(w, "w")]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(v)))
    else:
        weights.append(helper.make_tensor("v", TensorProto.FLOAT, v.shape, v.ravel().tolist()))  # not as raw bytes
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH]) for name in "xy"]
    graph = helper.make_graph(nodes, "wide", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def outputs(path: Path) -> np.ndarray:
    session = OrtSession(path.read_bytes(), threads=1, name="wide", weights=sorted(path.parent.glob("*.data")))
    return session.run({"x": np.linspace(-1, 1, WIDTH, dtype=np.float32)[None]})["y"]


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("inside_bytes", [0, 1 << 30])
def test_a_graph_computes_the_same_with_its_weights_inside_and_outside(tmp_path, constant, inside_bytes):
    model = wide_graph(constant=constant)
    onnx.save(model, tmp_path / "before.onnx")
    light = move_outside(model, tmp_path / "moved")
    assert light.ByteSize() < 2000
    assert outside_bytes(light) == 2 * 4 * WIDTH**2
    check_whole(light)
    values = {tensor.name: weight_values(tensor) for tensor in light.graph.initializer}
    expected = [*model.graph.initializer, *(a.t for node in model.graph.node for a in node.attribute)]
    for name, tensor in zip("wv", expected, strict=True):
        np.testing.assert_array_equal(values[name], numpy_helper.to_array(tensor))
    write_whole(light, tmp_path / "after.onnx", inside_bytes=inside_bytes)
    assert (tmp_path / "after.onnx.data").exists() == (inside_bytes == 0)
    np.testing.assert_array_equal(outputs(tmp_path / "after.onnx"), outputs(tmp_path / "before.onnx"))
    again = read_graph(tmp_path / "after.onnx")
    assert (again.ByteSize() < 2000) == (inside_bytes == 0)


def test_a_graph_beside_its_weights_refers_to_them(tmp_path):
    light = move_outside(wide_graph(), tmp_path / "w.data")
    write_beside(light, tmp_path / "part.onnx")
    write_whole(light, tmp_path / "whole.onnx")
    assert (tmp_path / "part.onnx").stat().st_size < 2000
    np.testing.assert_array_equal(outputs(tmp_path / "part.onnx"), outputs(tmp_path / "whole.onnx"))


def test_a_graph_that_is_not_valid_is_seen_although_its_weights_are_outside(tmp_path):
    model = wide_graph()
    model.graph.initializer[0].dims[0] = WIDTH // 2
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[: 2 * WIDTH**2]
    light = move_outside(model, tmp_path / "w.data")
    with pytest.raises(onnx.shape_inference.InferenceError):
        check_whole(light)


@pytest.fixture
def outside_bundle(tmp_path):
    """A bundle whose sound encoder keeps its weights in a file of their own."""
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    onnx.save(late_graph(), tmp_path / "late.onnx")
    manifest = export(tmp_path / "late.onnx", tmp_path / "late.mmedge", RANDOM).manifest
    with mmedge.load(tmp_path / "late.mmedge") as model:
        before = model.infer(image=PICTURE, audio=SOUND).outputs
    stage = tmp_path / "late.mmedge/onnx/fp32/audio.onnx"
    graph = onnx.load(stage)
    onnx.save(graph, stage, save_as_external_data=True, location="audio.onnx.data", size_threshold=64)
    document = to_plain(manifest)
    for path in (stage, stage.with_name("audio.onnx.data")):
        document["files"][path.relative_to(tmp_path / "late.mmedge").as_posix()] = to_plain(file_record(path))
    (tmp_path / "late.mmedge/manifest.json").write_text(json.dumps(document))
    return tmp_path / "late.mmedge", before


PICTURE = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
SOUND = np.random.default_rng(1).uniform(-0.5, 0.5, 8000).astype(np.float32)


def test_a_bundle_with_weights_beside_a_graph_loads_and_computes_the_same(outside_bundle):
    path, before = outside_bundle
    with mmedge.load(path) as model:
        after = model.infer(image=PICTURE, audio=SOUND).outputs
    for name, expected in before.items():
        np.testing.assert_array_equal(after[name], expected)


def test_weights_that_changed_on_the_disk_are_refused_before_they_are_used(outside_bundle):
    data = outside_bundle[0] / "onnx/fp32/audio.onnx.data"
    content = bytearray(data.read_bytes())
    content[0] ^= 1
    data.write_bytes(content)
    with pytest.raises(mmedge.BundleError, match=r"audio\.onnx\.data is not the file that was exported"):
        mmedge.load(outside_bundle[0])


def test_weights_that_the_manifest_does_not_list_are_refused(outside_bundle):
    manifest = outside_bundle[0] / "manifest.json"
    document = json.loads(manifest.read_text())
    del document["files"]["onnx/fp32/audio.onnx.data"]
    manifest.write_text(json.dumps(document))
    with pytest.raises(mmedge.BundleError, match="stage audio keeps weights outside its file, where no hash"):
        mmedge.load(outside_bundle[0])


def test_weights_of_another_stage_are_refused(outside_bundle):
    bundle = open_bundle(outside_bundle[0])
    assert bundle.weights("onnx/fp32/audio.onnx") == (outside_bundle[0] / "onnx/fp32/audio.onnx.data",)
    assert bundle.weights("onnx/fp32/image.onnx") == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("millions", "most_bytes", "weights_beside"), [(100, 3e9, False), (640, 11e9, True)], ids=["100M", "2.5 GB"]
)
def test_a_large_model_is_exported_in_little_memory_and_loads(tmp_path, millions, most_bytes, weights_beside):
    """The sum over all processes at one time, measured from outside; 1.8 and 8.2 GB were seen."""
    made = [sys.executable, str(MODELS / "large.py"), str(tmp_path), str(millions)]
    subprocess.run(made, cwd=MODELS, check=True)
    out = tmp_path / "large.mmedge"
    command = [sys.executable, "-m", "mmedge", "export", str(tmp_path / "large.safetensors"), "--random-samples"]
    result = measure_memory([*command, "-o", str(out)], cwd=MODELS)
    assert result.status == 0
    assert result.peak_bytes < most_bytes
    assert bool(list(out.rglob("*.data"))) == weights_beside
    with mmedge.load(out) as model:
        picture = np.zeros((64, 64, 3), np.uint8)
        assert np.isfinite(model.infer(image=picture, audio=SOUND).outputs["event"]).all()
