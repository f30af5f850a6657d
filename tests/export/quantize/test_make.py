import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click.testing
import numpy as np
import onnx
import pytest
from hostile_models import raw
from mmedge_export.quantize.cli import quantize_command
from mmedge_export.quantize.make import QuantizeOptions, quantize
from mmedge_export.quantize.produce import Choice
from mmedge_export.quantize.score import Budget
from mmedge_export.quantize.store import alone, rewrite
from mmedge_export.swap import exchange

import mmedge
from mmedge.bundle import open_bundle
from mmedge.calibration import read_calibration, read_moments
from mmedge.commands.check import replay_golden
from mmedge.errors import BundleError, ExportError, InputError

LOOSE = Choice(budget=Budget(drop=1.0, error=1.0), ship_slower=True)
EVERY = ("int8-cpu", "int8-trt", "fp16", "bf16", "fp8")


def made_of(bundle, clips=None, variants=("int8-trt",), choice=LOOSE, **keys):
    options = QuantizeOptions(calibration=clips, variants=variants, choice=choice, **keys)
    return quantize(bundle, options, lambda _: None)


def graphs(bundle, variant):
    return {path.name: path.read_bytes() for path in (bundle / "onnx" / variant).iterdir()}


@pytest.fixture(scope="module")
def every(made, tmp_path_factory):
    """The tame bundle with all of its variants, and the report; read only."""
    folder = tmp_path_factory.mktemp("every")
    bundle = Path(shutil.copytree(made("tame"), folder / "tame.mmedge"))
    np.savez(folder / "clip.npz", **raw(24, seed=5))
    return bundle, made_of(bundle, folder / "clip.npz", EVERY)


def test_one_calibration_yields_every_variant_and_each_says_what_it_is_for(every):
    bundle, report = every
    manifest = open_bundle(bundle).manifest
    assert set(manifest.variants) == {"fp32", *EVERY}
    assert all(row.shipped for row in report.variants)
    assert manifest.variants["int8-cpu"].backends == ("onnxruntime-cpu",)
    assert "tensorrt" in manifest.variants["int8-trt"].backends
    assert {
        "calibration.json",
        "calibration.npz",
        "reports/quantize.json",
        "reports/quantize.md",
    } <= manifest.files.keys()
    assert "## int8-cpu" in (bundle / "reports/quantize.md").read_text()


@pytest.mark.parametrize("variant", ["int8-cpu", "int8-trt", "fp16"])
def test_a_variant_computes_on_its_device_what_it_computed_where_it_was_made(every, variant):
    bundle, _ = every
    assert all(row.holds for row in replay_golden(open_bundle(bundle), variant=variant))
    with mmedge.load(bundle, backend="onnxruntime-cpu", variant=variant) as model:
        sensors = {name: array[0] for name, array in raw(1).items()}
        assert model.infer(**sensors).labels["event"] in {"a", "b", "c"}
        assert model.report.variant == variant


def test_clips_say_anew_what_is_left_without_each_sensor(every):
    bundle, report = every
    scores = open_bundle(bundle).manifest.scores
    assert scores == report.missing
    assert [(score.port, score.step, score.windows, score.truth) for score in scores] == [
        ("image", "mean", 24, False),
        ("audio", "mean", 24, False),
    ]
    assert all(0 <= score.score <= score.whole == 1 for score in scores)  # it always says the same, whatever it sees
    assert "every sensor" in (bundle / "reports/quantize.md").read_text()


def test_noise_says_nothing_about_missing_sensors(made, tmp_path):
    bundle = Path(shutil.copytree(made("tame"), tmp_path / "noise.mmedge"))
    made_of(bundle, None, ("fp16",), random=True)
    manifest = open_bundle(bundle).manifest
    assert manifest.scores == ()
    with mmedge.load(bundle) as model, pytest.raises(InputError, match="statistics are of random data"):
        model.stream(policies={"image": ["mean"]})


def test_stages_keep_float32_at_their_borders(every):
    bundle, _ = every
    for variant in EVERY:
        for path in (bundle / "onnx" / variant).iterdir():
            graph = onnx.load(path).graph
            assert {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


def test_ranges_and_embeddings_can_be_read_by_a_runtime(every):
    bundle = open_bundle(every[0])
    calibration = read_calibration(bundle.read(bundle.manifest.calibration), "calibration.json")
    assert calibration.windows == 24
    assert set(calibration.ranges) == {"image", "audio", "head"}
    shapes = {name: bundle.manifest.tensors[name].shape for name in calibration.embeddings}
    moments = read_moments(bundle.read("calibration.npz"), shapes, "calibration.npz")
    assert set(moments) == set(calibration.embeddings) != set()
    for name, moment in moments.items():
        distances = calibration.embeddings[name].distances
        assert distances["0.5"] <= distances["0.99"] <= distances["1"]
        assert moment.distance(moment.mean) == 0
        assert moment.distance(moment.mean + 100 * moment.std) > distances["1"]


def test_calibrating_again_with_the_same_data_gives_the_same_bytes(tame, clips):
    made_of(tame, clips)
    first = {name: (tame / name).read_bytes() for name in ("calibration.json", "calibration.npz")}
    graph = graphs(tame, "int8-trt")
    made_of(tame, clips)
    assert {name: (tame / name).read_bytes() for name in first} == first
    assert graphs(tame, "int8-trt") == graph


def test_variants_are_made_again_without_the_clips_and_are_the_same(tame, clips):
    made_of(tame, clips, ("int8-trt", "fp16"))
    before = {name: graphs(tame, name) for name in ("int8-trt", "fp16")}
    shutil.rmtree(clips)
    report = made_of(tame, None, ())
    assert {row.name for row in report.variants} == set(before)
    assert {name: graphs(tame, name) for name in before} == before
    other = made_of(tame, None, ("fp8",))  # a new one is measured on what the bundle recorded
    assert "4 recorded windows" in other.notes[0]
    assert "fp8" in open_bundle(tame).manifest.variants


def test_other_data_and_other_weights_are_noticed(tame, clips, made):
    made_of(tame, clips)
    np.savez(clips / "0.npz", **raw(12, seed=77))
    report = made_of(tame, clips)
    assert "before with other data" in report.notes[0]
    manifest = json.loads((tame / "manifest.json").read_text())
    stage = next(iter(manifest["variants"]["fp32"]["files"].values()))
    model = onnx.load(tame / stage)
    model.graph.doc_string = "other weights"
    onnx.save(model, tame / stage)
    manifest["files"][stage] = {"bytes": (tame / stage).stat().st_size, "sha256": sha256(tame / stage)}
    (tame / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="of other weights; calibrate again"):
        made_of(tame)


def test_weights_that_lie_beside_their_graph_are_quantized_and_stay_there(tame, clips):
    manifest = json.loads((tame / "manifest.json").read_text())
    stage = manifest["variants"]["fp32"]["files"]["image"]
    model, data = onnx.load(tame / stage), f"{Path(stage).name}.data"
    onnx.save(model, tame / stage, save_as_external_data=True, location=data, size_threshold=1024)
    for name in (stage, f"{stage}.data"):
        manifest["files"][name] = {"bytes": (tame / name).stat().st_size, "sha256": sha256(tame / name)}
    (tame / "manifest.json").write_text(json.dumps(manifest))
    made_of(tame, clips, ("int8-cpu",))
    bundle = open_bundle(tame)
    assert f"{stage}.data" in bundle.manifest.files
    assert all(row.holds for variant in ("fp32", "int8-cpu") for row in replay_golden(bundle, variant=variant))


def sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_precision_can_be_chosen_for_each_part(tame, clips):
    choice = Choice(budget=LOOSE.budget, precision=("camera=int8", "audio=fp16", "head=fp32"))
    made_of(tame, clips, (), choice)  # of the usual variants only one can have these
    manifest = open_bundle(tame).manifest
    assert set(manifest.variants) == {"fp32", "int8-trt"}
    stages = manifest.variants["int8-trt"].stages
    assert {name: plan.precision for name, plan in stages.items()} == {"image": "int8", "audio": "fp16", "head": "fp32"}
    assert graphs(tame, "int8-trt")["head.onnx"] == (tame / "onnx/fp32/head.onnx").read_bytes()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "was not calibrated; give --calibration"),
        ({"variants": ("int7",)}, "'int7' is not known; expected int8-cpu"),
        ({"random": True, "choice": Choice(budget=LOOSE.budget, precision=("nose=int8",))}, "'nose' is no part"),
        (
            {"random": True, "choice": Choice(budget=LOOSE.budget, precision=("head=int3",))},
            "a stage of int8-trt is int8",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tame, keys, message):
    before = (tame / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        made_of(tame, None, **keys)
    assert "\n" not in str(caught.value)
    assert (tame / "manifest.json").read_bytes() == before
    assert [path.name for path in tame.parent.iterdir()] == [tame.name]


def test_random_calibration_is_only_used_when_asked_for_and_said(tame):
    report = made_of(tame, None, random=True)
    assert not report.real
    assert "RANDOM" in report.notes[0]


def test_the_command_prints_a_row_for_each_variant_and_ends_with_one_when_one_is_missing(tame, clips):
    call = click.testing.CliRunner().invoke
    told = call(quantize_command, [str(tame), "--calibration", str(clips), "--variant", "fp16"], standalone_mode=False)
    assert told.return_value == 0
    assert "fp16" in told.output
    assert "2.0x smaller" in told.output or "1." in told.output
    told = call(
        quantize_command,
        [str(tame), "--calibration", str(clips), "--variant", "fp8", "--max-drop", "0", "--max-error", "0", "--json"],
        standalone_mode=False,
    )
    report = json.loads(told.stdout)
    assert told.return_value == 1 - report["variants"][0]["shipped"]


KILLED = """
import os, signal, sys
from pathlib import Path
from mmedge.bundle import open_bundle
from mmedge_export.quantize.store import alone, rewrite

class Deadly(dict):
    def items(self):
        for place, pair in enumerate(super().items()):
            if place == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            yield pair

path = Path(sys.argv[1])
with alone(path):
    bundle = open_bundle(path)
    new = Deadly({f"reports/{i}.txt": b"x" * 1000 for i in range(3)})
    rewrite(bundle, bundle.manifest.variants, "", new)
"""


@pytest.mark.parametrize("place", [0, 2])
def test_a_command_killed_while_it_writes_leaves_the_bundle_whole_and_the_next_one_tidies_up(tame, clips, place):
    before = (tame / "manifest.json").read_bytes()
    child = subprocess.run([sys.executable, "-c", KILLED, str(tame), str(place)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert (tame / "manifest.json").read_bytes() == before
    open_bundle(tame)
    assert len(list(tame.parent.glob(".tame.mmedge.quantize.*"))) == 1  # what it left
    made_of(tame, clips)
    assert "int8-trt" in open_bundle(tame).manifest.variants
    assert list(tame.parent.glob(".*")) == []


def test_a_command_killed_while_it_calibrates_leaves_the_bundle_and_the_next_one_finishes(tame, clips):
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mmedge_export.quantize.make import QuantizeOptions, quantize\n"
        "from mmedge_export.quantize.produce import Choice\n"
        "from mmedge_export.quantize.score import Budget\n"
        "def say(step):\n"
        "    if 'calibrating' in step: os.kill(os.getpid(), signal.SIGKILL)\n"
        "choice = Choice(budget=Budget(drop=1, error=1))\n"
        "options = QuantizeOptions(calibration=Path(sys.argv[2]), variants=('fp16',), choice=choice)\n"
        "quantize(Path(sys.argv[1]), options, say)\n"
    )
    child = subprocess.run([sys.executable, "-c", program, str(tame), str(clips)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert set(open_bundle(tame).manifest.variants) == {"fp32"}
    made_of(tame, clips, ("fp16",))
    assert "fp16" in open_bundle(tame).manifest.variants


def test_a_full_disk_is_one_line_and_the_bundle_stays_as_it_was(tame):
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from mmedge.bundle import open_bundle\n"
        "from mmedge.errors import ExportError\n"
        "from mmedge_export.quantize.store import alone, rewrite\n"
        "path = Path(sys.argv[1])\n"
        "with alone(path):\n"
        "    bundle = open_bundle(path)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"  # the nearest to a full disk without being root
        "    try: rewrite(bundle, bundle.manifest.variants, '', {'reports/large.txt': b'x' * 100_000})\n"
        "    except ExportError as error: sys.exit(str(error))\n"
    )
    before = (tame / "manifest.json").read_bytes()
    child = subprocess.run([sys.executable, "-c", program, str(tame)], capture_output=True, text=True, check=False)
    assert child.returncode == 1
    assert child.stderr.count("\n") == 1
    assert "it is as it was" in child.stderr
    assert (tame / "manifest.json").read_bytes() == before
    assert list(tame.parent.glob(".*")) == []


def test_only_one_command_changes_a_bundle_at_a_time(tame):
    with alone(tame), pytest.raises(ExportError, match="being changed by another command"), alone(tame):
        pytest.fail("two at once")


def test_a_bundle_that_lost_its_name_where_names_cannot_be_exchanged_gets_it_back(tame):
    tame.rename(tame.parent / ".tame.mmedge.quantize.abc.old")
    with alone(tame):
        open_bundle(tame)


def test_what_the_manifest_does_not_list_stays_in_the_folder(tame):
    (tame / "engines").mkdir()
    (tame / "engines" / "a.plan").write_bytes(b"plan")
    bundle = open_bundle(tame)
    with alone(tame):
        written = rewrite(bundle, bundle.manifest.variants, "", {"reports/new.txt": b"new"})
    assert (tame / "engines" / "a.plan").read_bytes() == b"plan"
    assert "reports/new.txt" in open_bundle(tame).manifest.files == written.files
    assert "engines/a.plan" not in written.files


def test_two_folders_change_places_in_one_step(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    if not exchange(one, other):
        pytest.skip("this file system cannot")
    assert ((one / "name").read_text(), (other / "name").read_text()) == ("other", "one")
    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path / "nothing", one)
    assert (one / "name").exists()
