"""Engines that TensorRT-RTX really builds, here and without a GPU."""

import json
import re
import shutil
import struct
from collections import defaultdict
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from mmedge_export.engines.build import BuildOptions, build_engines, trust_engines
from mmedge_export.engines.cli import build_command
from mmedge_export.engines.target import RTX_CAPABILITIES, parse_target
from onnx import TensorProto, helper, numpy_helper
from plan_types import products, stored_bytes

import mmedge
from mmedge.backends.cuda import find_device
from mmedge.bundle import MANIFEST, Bundle, file_record, open_bundle
from mmedge.calibration import TensorRange
from mmedge.commands.check import replay_golden
from mmedge.engine_file import ENGINES, EngineRecord, read_header, read_plan, read_records
from mmedge.manifest import StagePlan, Variant

pytestmark = pytest.mark.trt
PRECISIONS = {"int8-trt": "int8", "fp16": "fp16", "fp8": "fp8"}


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


def add_variant(bundle: Path, name: str, graphs: dict[str, bytes]) -> None:
    manifest = open_bundle(bundle).manifest
    files = {stage: f"onnx/{name}/{stage}.onnx" for stage in graphs}
    (bundle / "onnx" / name).mkdir()
    for stage, path in files.items():
        (bundle / path).write_bytes(graphs[stage])
    variants = {**manifest.variants, name: Variant(files=files, backends=("tensorrt", "tensorrt-rtx"))}
    listed = manifest.files | {path: file_record(bundle / path) for path in files.values()}
    (bundle / MANIFEST).write_text(replace(manifest, variants=variants, files=listed).to_json())


@pytest.fixture(scope="module")
def bundle(reference_bundle, tmp_path_factory):
    """The reference model in four precisions, with ranges that are made up, and its engines."""
    from mmedge_export.quantize.variants import made_stage, prepared

    path = Path(shutil.copytree(reference_bundle, tmp_path_factory.mktemp("engines") / "model.mmedge"))
    opened = open_bundle(path)
    ranges = defaultdict(lambda: TensorRange(low=-4, high=4, entropy=4, percentile=4, mse=4))
    fp32 = {name: prepared(opened.read(file)) for name, file in opened.manifest.variants["fp32"].files.items()}
    for variant, precision in PRECISIONS.items():
        plan = StagePlan(precision=precision)
        graphs = {stage: made_stage(model, ranges, plan, variant) for stage, model in fp32.items()}
        add_variant(path, variant, {stage: graph.SerializeToString() for stage, graph in graphs.items()})
    return open_bundle(path)


@pytest.fixture(scope="module")
def built(bundle):
    target = parse_target("rtx:sm86,sm89")
    return list(build_engines(bundle, target, ["fp32", *PRECISIONS], BuildOptions(), lambda _: None))


def plans(bundle: Bundle, variant: str) -> dict[str, tuple[EngineRecord, bytes]]:
    hashes = {bundle.manifest.files[file].sha256 for file in bundle.manifest.variants[variant].files.values()}
    records = [each for each in read_records(bundle) if each.key.onnx_sha256 in hashes]
    return {each.stage: (each, read_plan(bundle, each)) for each in records}


def test_all_stages_in_all_precisions_become_engines(bundle, built):
    assert {(row.variant, row.stage) for row in built} == {
        (variant, stage.name) for variant in ("fp32", *PRECISIONS) for stage in bundle.manifest.stages
    }
    assert {row.how for row in built} == {"built"}, [row.text for row in built]


@pytest.mark.parametrize(
    ("variant", "operands", "targets"),
    [
        ("fp32", "float,float", ("sm86", "sm89")),
        ("fp16", "half,half", ("sm86", "sm89")),
        ("int8-trt", "int8,int8", ("sm86", "sm89")),
        ("fp8", "fp8_e4m3,fp8_e4m3", ("sm89",)),
    ],
)
def test_an_engine_computes_in_the_precision_of_its_variant_on_its_targets(bundle, built, variant, operands, targets):
    found = plans(bundle, variant)
    assert found.keys() == {stage.name for stage in bundle.manifest.stages}
    for stage, (record, plan) in found.items():
        header = read_header(plan, "tensorrt-rtx", stage)
        assert header.targets == record.key.targets == targets
        assert header.version == (1, 7, 1, 116) == tuple(map(int, record.key.version.split(".")))
        assert header.bytes == len(plan)
        counts = products(plan)
        assert counts[operands] >= 0.8 * counts.total() > 0, (stage, counts)


def test_int8_weights_are_a_quarter(bundle, built):
    def weights(variant):
        return sum(record.weights_bytes for record, _ in plans(bundle, variant).values())

    assert weights("int8-trt") < 0.32 * weights("fp32")
    assert 0.45 < weights("fp16") / weights("fp32") < 0.55
    for _, plan in plans(bundle, "int8-trt").values():
        stored = stored_bytes(plan)
        assert stored["int8"] > 0.8 * stored.total()


def test_fp8_is_left_out_where_there_is_none_and_that_is_said(built):
    rows = [row for row in built if row.variant == "fp8"]
    assert {row.capabilities for row in rows} == {("sm89",)}
    assert all(row.text.startswith("not for sm86: ") and "fp8 needs sm89 or newer" in row.text for row in rows)


def test_what_is_there_is_kept_and_what_is_damaged_is_built_again(bundle, built):
    def build(**options):
        rows = build_engines(bundle, parse_target("rtx:sm86,sm89"), ["fp16"], BuildOptions(**options), lambda _: None)
        return {row.stage: row.how for row in rows}

    names = [stage.name for stage in bundle.manifest.stages]
    assert build() == dict.fromkeys(names, "cached")
    record, plan = plans(bundle, "fp16")["head"]
    path = bundle.path / ENGINES / record.plan_name
    path.write_bytes(plan[:-1])
    assert build() == {**dict.fromkeys(names, "cached"), "head": "built"}
    assert build(level=2) == dict.fromkeys(names, "built")
    assert build() == dict.fromkeys(names, "cached")


def test_the_command_builds_lists_and_refuses(bundle, built):
    told = CliRunner().invoke(
        build_command, [str(bundle.path), "--target", "rtx:sm89,sm86", "--variant", "fp16", "--json"]
    )
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert {row["how"] for row in report["engines"]} == {"cached"}
    for arguments, text in [
        (["--target", "rtx:sm90"], "TensorRT-RTX does not build for 'sm90'.*sm120 Blackwell"),
        (["--target", "cuda"], "--target 'cuda' is not known; expected e.g. rtx:sm86"),
        (
            ["--target", "tensorrt:dla"],
            "tensorrt:dla: mmedge builds for the GPU only.*this machine is no Jetson",
        ),
        (["--target", "tensorrt", "--dla", "0"], "--dla 0: mmedge builds for the GPU only. DLA is on Jetson AGX Orin"),
        (["--target", "rtx:sm86", "--variant", "int9"], "no variant 'int9'; expected fp32"),
    ]:
        with pytest.raises(mmedge.InputError, match=text) as refused:
            build_command.main([str(bundle.path), *arguments], standalone_mode=False)
        assert "\n" not in str(refused.value)


def test_engines_of_someone_else_are_not_taken_until_one_vouches_for_them(bundle, built, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    records = list(read_records(bundle))
    assert records
    assert not any(each.is_ours for each in records)
    trusted = trust_engines(bundle)
    assert len(trusted) == len(records)
    assert all(each.is_ours for each in read_records(bundle))


def one_node(tmp_path, reference_bundle, node, shape, *, made=None, weights=(), opset=20, module="net.camera.stem"):
    """A bundle whose audio stage is one node."""
    path = Path(shutil.copytree(reference_bundle, tmp_path / "bad.mmedge"))
    node.metadata_props.add(key="module", value=module)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    value = helper.make_tensor_value_info(node.output[0], made or TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [value], list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx_bytes = model.SerializeToString()
    opened = open_bundle(path)
    graphs = {name: opened.read(file) for name, file in opened.manifest.variants["fp32"].files.items()}
    add_variant(path, "bad", {**graphs, "audio": onnx_bytes})
    return open_bundle(path)


def build_audio(bundle, target="rtx:sm86"):
    rows = build_engines(bundle, parse_target(target), ["bad"], BuildOptions(), lambda _: None)
    return next(row for row in rows if row.stage == "audio")


SIZES = numpy_helper.from_array(np.array([1, 1, 8, 8], np.int64), "sizes")


BAD_NODES = {
    "DFT": ([1, 8, 1], "no TensorRT has a Fourier transform"),
    "NonZero": ([1, 8], "use a mask instead of indices"),
    "Resize": ([1, 1, 16, 16], "resize without antialiasing"),
    "Det": ([3, 3], "tensorrt-rtx 1.7.1.116 has no such operator"),
}


@pytest.mark.parametrize("operator", BAD_NODES)
def test_a_failure_says_which_node_which_module_and_what_would_fit(tmp_path, reference_bundle, operator):
    shape, advice = BAD_NODES[operator]
    node = helper.make_node(operator, ["x"], ["y"], name="n")
    if operator == "Resize":
        node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], name="n", antialias=1, mode="linear")
    made = TensorProto.INT64 if operator == "NonZero" else None
    weights = [SIZES] if operator == "Resize" else []
    row = build_audio(one_node(tmp_path, reference_bundle, node, shape, made=made, weights=weights))
    text = f"refuses {operator} n of module net.camera.stem: .*; {advice}"
    assert row.how == "failed"
    assert re.search(text, row.text), row.text
    assert "\n" not in row.text
    assert not list((tmp_path / "bad.mmedge" / ENGINES).glob("audio-*"))


def scalar(name, value, kind):
    return numpy_helper.from_array(np.array(value, kind), name)


QUANTIZED_FOR_OTHERS = {
    "int32 bias": (
        helper.make_node("DequantizeLinear", ["b", "s"], ["y"], name="n", axis=0),
        [scalar("b", [1, 2, 3, 4], np.int32), scalar("s", [0.1] * 4, np.float32)],
        TensorProto.FLOAT,
        "biases must stay float; .* take the variant int8-trt",
    ),
    "zero point": (
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="n"),
        [scalar("s", 0.1, np.float32), scalar("z", 3, np.uint8)],
        TensorProto.UINT8,
        "zero points must be 0; .* take the variant int8-trt",
    ),
    "16 bits": (
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="n"),
        [scalar("s", 0.1, np.float32), scalar("z", 0, np.int16)],
        TensorProto.INT16,
        "TensorRT does not read this type of weights; .* take the variant int8-trt",
    ),
}


@pytest.mark.parametrize("what", QUANTIZED_FOR_OTHERS)
def test_graphs_that_were_quantized_for_others_are_told_what_would_fit(tmp_path, reference_bundle, what):
    node, weights, made, advice = QUANTIZED_FOR_OTHERS[what]
    row = build_audio(one_node(tmp_path, reference_bundle, node, [4], made=made, weights=weights, opset=21))
    assert row.how == "failed"
    assert re.search(advice, row.text), row.text
    assert not re.search(r"\n|cudaError|DLA|\.cpp", row.text), row.text


def test_the_module_of_a_failing_product_is_the_user_s(bundle, built):
    rows = build_engines(bundle, parse_target("rtx:sm75"), ["fp32"], BuildOptions(), lambda _: None)
    failed = {row.stage: row.text for row in rows if row.how == "failed"}
    assert "head" in failed
    assert "sm75 has no fp32 matrix product here, take the variant fp16" in failed["head"]
    assert re.search(r"at MatMul node_\w+ of module head(\.\w+)*: ", failed["head"]), failed["head"]


def test_weights_outside_the_file_are_refused_before_anything_is_built(tmp_path, reference_bundle):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../secret.bin")
    bad = one_node(
        tmp_path, reference_bundle, helper.make_node("Add", ["x", "w"], ["y"], name="n"), [4], weights=[weight]
    )
    with pytest.raises(mmedge.BundleError, match="stage audio keeps weights outside its file"):
        build_audio(bad)


def test_weights_in_a_listed_file_beside_the_graph_are_built_in_and_count_for_the_cache(tmp_path, reference_bundle):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
    bad = one_node(tmp_path, reference_bundle, node, [1, 64])
    file = bad.path / "onnx/bad/audio.onnx"

    def put_weights(seed: int) -> Bundle:
        weight = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)
        model = onnx.load(file, load_external_data=False)
        del model.graph.initializer[:]
        model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
        file.with_name("audio.onnx.data").unlink(missing_ok=True)
        onnx.save(model, file, save_as_external_data=True, location="audio.onnx.data", size_threshold=0)
        names = ("onnx/bad/audio.onnx", "onnx/bad/audio.onnx.data")
        files = bad.manifest.files | {name: file_record(bad.path / name) for name in names}
        (bad.path / MANIFEST).write_text(replace(bad.manifest, files=files).to_json())
        return open_bundle(bad.path)

    assert (build_audio(put_weights(1)).how, build_audio(put_weights(1)).how) == ("built", "cached")
    row = build_audio(put_weights(2))
    assert row.how == "built"
    assert row.weights_bytes >= 64 * 64 * 4


def test_an_engine_with_open_axes_gets_the_shapes_of_the_stage(tmp_path, reference_bundle):
    bad = one_node(tmp_path, reference_bundle, helper.make_node("Relu", ["audio"], ["y"], name="n"), [1])
    path = bad.path / bad.manifest.variants["bad"].files["audio"]
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", 98, "mel"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 98, "mel"]))
    onnx.save(model, path)
    manifest = bad.manifest
    files = {**manifest.files, "onnx/bad/audio.onnx": file_record(path)}
    (bad.path / MANIFEST).write_text(replace(manifest, files=files).to_json())
    bad = open_bundle(bad.path)
    assert build_audio(bad).how == "built"
    record, _ = plans(bad, "bad")["audio"]
    assert record.key.profiles["audio"].usual == (1, 98, 64)


def test_the_header_of_a_plan_is_what_was_found_out():
    plan = struct.pack("<4s4xQQ4B4sI28x", b"vtrt", 2, 64, 1, 7, 1, 116, b"vtrt", 0b101100)
    assert read_header(plan, "tensorrt-rtx", "x").targets == ("sm86", "sm89", "sm121")


@pytest.mark.cuda
def test_engines_built_here_compute_what_was_recorded(bundle_copy):
    device = find_device()
    able = device.capability in RTX_CAPABILITIES
    if not able and not find_spec("tensorrt"):
        pytest.skip(f"TensorRT-RTX does not know {device.capability}, and tensorrt is not installed")
    target = parse_target("rtx" if able else "tensorrt")
    bundle = open_bundle(bundle_copy)
    rows = list(build_engines(bundle, target, ["fp32"], BuildOptions(), lambda _: None))
    assert {row.how for row in rows} == {"built"}, [row.text for row in rows]
    replayed = replay_golden(bundle, target.library)
    assert all(row.holds for row in replayed), replayed
    with mmedge.load(bundle.path, require="tensorrt") as model:
        model.new_graph()
        assert not any("without a CUDA graph" in note for note in model.notes)
