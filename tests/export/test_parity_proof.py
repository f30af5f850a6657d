"""Where one sensor's part is drowned by another's, an error in it must not be."""

import json
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
import torch
from fusion_models import spec_text
from mmedge_export.isolate import run_isolated
from mmedge_export.parity.cases import Case, baseline, plan_cases
from mmedge_export.parity.comparison import SAMPLES, Divergence, loose_tolerance, noise_tolerance
from mmedge_export.parity.origin import divergence_at, users_line
from mmedge_export.parity.prove import STAGES, references_of
from mmedge_export.pipeline import ExportOptions, export, export_source
from mmedge_export.samples import draw_samples, port_tensors
from mmedge_export.source import OWN_TRACE, References, open_source
from mmedge_export.trace import reference_outputs
from onnx import helper, numpy_helper
from onnx_models import late_graph

import mmedge
from mmedge.bundle import file_record
from mmedge.features.settings import StateSettings, TextSettings
from mmedge.manifest import Port, read_manifest
from mmedge.records import to_plain

RANDOM = ExportOptions(random_samples=True)


def perturb(path, weight, relative):
    """Noise on one weight, in proportion to how its values scatter."""
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if each.name == weight)
    values = numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values + relative * values.std() * noise, weight))
    onnx.save(model, path)


def reseal(bundle, file):
    """What a careful attacker would do: the hash fits what was changed."""
    manifest = read_manifest((bundle / "manifest.json").read_text(), "manifest.json")
    manifest = replace(manifest, files={**manifest.files, file: file_record(bundle / file)})
    (bundle / "manifest.json").write_text(manifest.to_json())


def draft_in(folder):
    (draft,) = folder.glob(".out.mmedge.*")
    return draft


def refusal(checkpoint, folder, *, stage="", trace=0.0, weight="model.sound.layers.0.weight"):
    """Why an export is refused when a weight of a stage, or of the traced graph, is disturbed on the way."""
    out, broken = folder / "out.mmedge", {}

    def disturb(step):
        if stage and step.startswith("proving"):
            perturb(draft_in(folder) / stage, weight, 1e-3)
            reseal(draft_in(folder), stage)
            broken["outputs"] = run_isolated(draft_in(folder), broken["feeds"])

    source = open_source(checkpoint, None, trust_pickle=False)
    samples = draw_samples(source.spec, None, random=True)
    broken["feeds"] = [port_tensors(source.spec.ports, sample) for sample in samples]
    with pytest.raises(mmedge.ParityError) as refused:
        export_source(Disturbed(source, trace, weight), out, RANDOM, disturb)
    assert [path.name for path in folder.iterdir()] == [checkpoint.name]
    assert "\n" not in str(refused.value)
    return str(refused.value), broken


class Disturbed:
    """A source whose exporter gets a weight a little wrong."""

    def __init__(self, source, relative, weight):
        self._source, self._relative, self._weight = source, relative, weight

    def __getattr__(self, name):
        return getattr(self._source, name)

    def write_graph(self, inputs, path):
        traced = self._source.write_graph(inputs, path)
        if self._relative:
            perturb(path, self._weight, self._relative)
        return traced


def cosine(a, b):
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def outputs(checkpoint, feeds):
    source = open_source(checkpoint, None, trust_pickle=False)
    return reference_outputs(source.model, feeds, source.spec.returns, torch.float64)


def test_a_branch_broken_after_the_export_is_refused_though_the_cosine_is_above_0999(save, tmp_path):
    checkpoint = save("late")
    why, broken = refusal(checkpoint, tmp_path, stage="onnx/fp32/audio.onnx")
    made = broken["outputs"]
    exact = outputs(checkpoint, broken["feeds"])
    assert all(cosine(made[name][:, 0], exact[name]) > 0.999 for name in exact)
    assert re.fullmatch(
        r"parity failed, the ONNX graph against its stages[^:]*: \w+ differs by \S+, allowed \S+ \(\d+ of \d+ "
        r"comparisons failed\); first at node Conv 'conv1d' of sound\.layers\.0 \(fusion_models\.py:\d+ in "
        r"Sound\.forward\); nothing was written",
        why,
    )


def test_a_branch_traced_wrongly_is_refused(save, tmp_path):
    why, _ = refusal(save("late"), tmp_path, trace=1e-4)
    assert why.startswith("parity failed, torch float64 against the ONNX graph")
    assert "first at node Conv 'conv1d' of sound.layers.0 (fusion_models.py:" in why


@pytest.mark.parametrize("how", [{"trace": 1e-4}, {"stage": "onnx/fp32/audio.onnx"}])
def test_a_broken_branch_is_refused_even_if_no_output_can_show_it(save, tmp_path, how):
    why, _ = refusal(save("drowned"), tmp_path, **how)
    assert "mean_1 differs by" in why  # the embedding of the sound
    assert re.search(r"\((\d+) of \d+ comparisons failed\)", why)[1] == "3"  # it alone, in each of the three cases


def test_the_graph_of_somebody_else_is_diagnosed_without_torch(tmp_path):
    onnx.save(late_graph(), tmp_path / "late.onnx")
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    source = open_source(tmp_path / "late.onnx", None, trust_pickle=False)
    with pytest.raises(mmedge.ParityError, match="first at node MatMul 'a'; nothing was written"):
        export_source(Disturbed(source, 1e-4, "wa"), tmp_path / "out.mmedge", RANDOM, lambda _: None)


def test_every_port_is_tried_with_the_others_held_still(save):
    source = open_source(save("late"), None, trust_pickle=False)
    samples = [port_tensors(source.spec.ports, s) for s in draw_samples(source.spec, None, random=True)]
    whole, *alone = plan_cases(source.spec.ports, samples)
    assert [case.name for case in alone] == ["image alone", "audio alone"]
    assert len(whole.feeds) == len(samples)
    mean = np.mean([sample["audio"] for sample in samples], axis=0)
    for feed, sample in zip(alone[0].feeds, samples, strict=False):
        np.testing.assert_array_equal(feed["image"], sample["image"])
        np.testing.assert_allclose(feed["audio"], mean, rtol=0, atol=1e-6)


def test_texts_and_states_are_held_at_zero():
    ports = {
        "words": Port(text=TextSettings(tokenizer="t.json", length=3)),
        "h": Port(state=StateSettings(shape=(2,), source="next")),
    }
    samples = [{"words": np.ones((1, 3), np.int64), "h": np.ones((1, 2), np.float32)}] * 2
    assert not any(array.any() for array in baseline(ports, samples).values())


def test_a_case_on_which_the_model_itself_fails_proves_nothing_and_the_report_says_so(save, tmp_path):
    report = export(save("picky"), tmp_path / "out.mmedge", RANDOM).parity
    assert report.cases == (SAMPLES, "image alone")
    assert report.notes[0].startswith(
        "audio alone: not compared, the model itself fails there (index 3 is out of bounds"
    )
    assert not any(b".py" in path.read_bytes() for path in (tmp_path / "out.mmedge/reports").iterdir())


def test_what_was_compared_is_in_the_report(save, tmp_path):
    report = export(save("late"), tmp_path / "out.mmedge", RANDOM).parity
    found = {(row.tensor, row.what, row.case) for row in report.comparisons}
    for case in (SAMPLES, "image alone", "audio alone"):
        for tensor in ("event", "level", "mean", "mean_1"):
            assert (tensor, "torch float64 against the ONNX graph", case) in found
            assert (tensor, STAGES, case) in found
        assert ("event", OWN_TRACE, case) in found
    assert json.loads((tmp_path / "out.mmedge/reports/parity.json").read_text()) == to_plain(report)


def test_a_case_that_gives_nan_is_left_out_and_the_report_says_so(tmp_path):
    cases = [Case(name=name, feeds=({"x": np.zeros((1, 1))},)) for name in (SAMPLES, "x alone", "y alone")]
    kept, _, notes = references_of(NanOn("x alone"), cases, (), tmp_path)
    assert [case.name for case in kept] == [SAMPLES, "y alone"]
    assert notes == ["x alone: not compared, the model itself gives NaN or infinity there"]


class NanOn:
    """An original that is not finite on one case."""

    def __init__(self, name):
        self._name = name

    def references(self, cases, names, folder):
        del names, folder
        exact = {"out": np.array([[np.nan if case.name == self._name else 1.0] for case in cases])}
        return References(
            name="fake", computed_by="fake", exact=exact, rounded=exact, noisy=exact, inside={}, inside_noisy={}
        )


def test_the_noise_of_a_lucky_case_is_at_least_that_of_all_in_proportion():
    exact = {"y": np.array([[100.0], [10.0]])}
    noisy = {"y": np.array([[100.01], [10.0]])}
    assert noise_tolerance(exact, noisy, slice(1, 2))["y"] == pytest.approx(16 * 0.001)
    assert noise_tolerance(exact, noisy)["y"] == pytest.approx(16 * 0.01)


def test_a_small_tensor_is_not_judged_by_a_large_one():
    exact = {"large": np.array([1e6]), "small": np.array([1e-6])}
    noisy = {"large": np.array([1e6 + 0.5]), "small": np.array([1e-6])}
    allowed = noise_tolerance(exact, noisy)
    assert allowed["small"] < 1e-11 < 1 < allowed["large"]


def test_a_dtype_in_forward_does_not_hide_the_noise(save):
    """Its trace runs in float64 although the module does not."""
    source = open_source(save("fixed"), None, trust_pickle=False)
    samples = [port_tensors(source.spec.ports, s) for s in draw_samples(source.spec, None, random=True)]
    with TemporaryDirectory() as folder:
        traced = source.write_graph(samples[0], Path(folder) / "whole.onnx")
        found = traced.references([Case(name=SAMPLES, feeds=tuple(samples))], ("mean_1",), Path(folder))
    assert found.name == "torch float32"
    allowed, loose = found.allowed(), loose_tolerance(found.exact)
    assert all(allowed[name] < loose[name] / 10 for name in allowed)
    assert "mean_1" in found.inside


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ('File "/home/me/model.py", line 41, in forward\n  x\nFile "TORCH/nn/conv.py", line 5, in forward\n  y', "41"),
        ("nonsense of another version", ""),
        ("", ""),
    ],
)
def test_the_line_is_the_innermost_that_the_user_wrote(trace, expected):
    line = users_line(trace.replace("TORCH", str(Path(torch.__file__).parent)), ["model.Fusion", "torch.nn.Conv2d"])
    assert line == (f"model.py:{expected} in Fusion.forward" if expected else "")


def test_notes_of_another_exporter_are_no_error():
    node = helper.make_node("Conv", ["x"], ["y"])
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value="not a list (")
    assert divergence_at(node, "y") == Divergence(operator="Conv", tensor="y")


def test_a_broken_stage_of_single_pictures_is_refused_with_the_tensor_that_it_makes(save, tmp_path):
    checkpoint = save("window gru", frames=3, outputs="event")
    why, _ = refusal(checkpoint, tmp_path, stage="onnx/fp32/image.item.onnx", weight="model.camera.layers.3.weight")
    assert "the ONNX graph against its stages" in why
    assert re.search(r"first at node \w+ '\w+'.*\(fusion_models\.py:\d+ in \w+\.forward\)", why)
