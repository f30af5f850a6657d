"""What an export finds out about missing sensors, and that a stream keeps what it promises."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmedge_export.quantize.missing import score_missing
from mmedge_export.quantize.windows import Windows
from mmedge_export.spec import read_spec

import mmedge
from mmedge.branches import shares
from mmedge.bundle import open_bundle
from mmedge.errors import SpecError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest
from mmedge.model import Model, load
from mmedge.policies import PortPolicy
from mmedge.types import NS, Prediction

SCENES = 40
CAMERA_HZ = 15


@pytest.fixture(scope="module")
def model(reference_bundle: Path) -> Model:
    return load(reference_bundle)


@pytest.fixture(scope="module")
def scenes() -> list[dict[str, np.ndarray]]:
    """Labelled scenes that the bundle's statistics are not from."""
    pytest.importorskip("cv2")
    from mmedge_export.reference.samples import samples

    return samples(SCENES, 5000)


def decide(model: Model, scene, *, image=True, audio=True, **options) -> Prediction:
    """The last decision of a stream that is given what there is of a scene."""
    with model.stream("audio" if audio else "camera", **options) as stream:
        for i, pixels in enumerate(scene["image"] if image else ()):
            stream.push_frame(pixels, NS + (i - 7) * NS // CAMERA_HZ)
        if audio:
            stream.push_audio(scene["audio"], 0)
        return stream.poll()[-1]


def share_right(model: Model, scenes, **options) -> float:
    labels = model.manifest.outputs["event"].labels
    return float(
        np.mean([decide(model, s, **options).labels["event"] == labels[int(s["label/event"])] for s in scenes])
    )


def test_an_export_knows_how_many_windows_its_statistics_are_from(model):
    baseline = model.read_baseline()
    assert (baseline.windows, baseline.real) == (64, True)
    assert {port: set(names) for port, names in baseline.shares.items()} == {
        port: set(baseline.mean(port)) for port in ("image", "audio")
    }


@pytest.mark.parametrize("port", ["image", "audio"])
def test_a_policy_reproduces_its_score_on_replay(model, scenes, port):
    (promised,) = [s for s in model.manifest.scores if (s.port, s.output) == (port, "event")]
    assert (promised.step, promised.metric, promised.windows, promised.truth) == ("mean", "accuracy", 64, True)
    kept = share_right(model, scenes, **{port: False}, policies={port: ["mean"]})
    noise = np.sqrt(promised.score * (1 - promised.score) * (1 / SCENES + 1 / promised.windows))
    assert abs(kept - promised.score) <= 2.5 * noise
    assert promised.whole - promised.score > 0.3  # one sensor of two cannot tell four events apart


def test_attribution_points_at_the_only_sensor_that_carries_the_event(model, scenes):
    alone = [scene for scene in scenes if int(scene["label/event"]) in {1, 2}]
    pointed = []
    for scene in alone:
        contributions = decide(model, scene, attribution=1).attribution["event"]
        right = "audio" if int(scene["label/event"]) == 1 else "image"
        pointed.append(max(contributions, key=contributions.get) == right)
    assert np.mean(pointed) >= 0.9


SPEC = """
[model]
name = "two"
factory = "somewhere:build"

[inputs.image]
modality = "tensor"
shape = [2]

[inputs.audio]
modality = "tensor"
shape = [2]

[outputs.event]
task = "classification"
labels = ["no", "yes"]
"""


def test_a_spec_declares_what_to_do_without_a_sensor():
    text = SPEC + '[policies.audio]\nmax_age_ms = 300\nmissing = ["hold", "mean", "abstain"]\n'
    spec = read_spec(text, "SPEC.toml")
    assert spec.policies == {"audio": PortPolicy(max_age_ms=300.0, missing=("hold", "mean", "abstain"))}
    assert read_spec(SPEC, "SPEC.toml").policies == {}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[policies.smell]", "policies.smell is for no sensor of the model; expected one of image, audio"),
        ('[policies.audio]\nmissing = ["pray"]', "expected one of 'hold', 'reweight', 'mean', 'abstain'"),
        ('[policies.audio]\nmissing = ["abstain", "hold"]', "in this order"),
        ("[policies.audio]\nmax_age_ms = -1", "max_age_ms is -1.0; expected milliseconds above 0"),
        ("[policies.audio]\nmax_age = 1", "policies.audio.max_age is not known; expected max_age_ms, missing"),
        ("policies = 3", "policies is int"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(table, told):
    text = f"{table}\n{SPEC}" if table.startswith("policies =") else SPEC + table
    with pytest.raises(SpecError, match=told.replace("[", r"\[")):
        read_spec(text, "SPEC.toml")


def test_what_a_bundle_declares_is_done_by_its_streams(bundle_copy, scenes):
    path = bundle_copy / "manifest.json"
    document = json.loads(path.read_text())
    document["policies"] = {"image": {"max_age_ms": 100, "missing": ["hold", "mean"]}}
    path.write_text(json.dumps(document))
    with load(bundle_copy) as model:
        assert model.manifest.policies["image"].missing == ("hold", "mean")
        prediction = decide(model, scenes[0], image=False)
        assert prediction.degraded == ("image: nothing came yet; its mean stands in",)
        assert not prediction.abstained
        assert decide(model, scenes[0], image=False, policies={"image": ["abstain"]}).abstained
    document["policies"] = {"smell": {}}
    path.write_text(json.dumps(document))
    with pytest.raises(mmedge.BundleError, match="a policy for 'smell', which is no sensor"):
        open_bundle(bundle_copy)


def test_inspect_shows_what_is_left_without_each_sensor(reference_bundle):
    from click.testing import CliRunner

    from mmedge.commands.inspect import inspect_command

    shown = CliRunner().invoke(inspect_command, [str(reference_bundle)]).output
    score = next(s for s in load(reference_bundle).manifest.scores if (s.port, s.output) == ("audio", "event"))
    line = next(line for line in shown.splitlines() if line.startswith("audio") and "accuracy" in line)
    assert f"{score.whole:.1%}" in line
    assert f"{score.score:.1%}" in line
    assert (reference_bundle / "reports" / "missing-sensors.md").read_text().count("| audio |") == 2


def test_a_score_is_what_the_streams_of_the_same_windows_give(reference_bundle, model, scenes):
    """The score by arrays and the score by streams, on the same windows."""
    manifest: Manifest = model.manifest
    graphs = {name: (reference_bundle / file).read_bytes() for name, file in manifest.variants["fp32"].files.items()}
    some = scenes[:12]
    rows = []
    for scene in some:
        graph = model.new_graph()
        for name in ("image", "audio"):
            graph.load_window(name, front_end(manifest.ports[name]).window(scene[name]))
        graph.run()
        rows.append({name: values.copy() for name, values in graph.tensors.items()})
    tensors = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    labels = {"event": np.array([int(scene["label/event"]) for scene in some])}
    windows = Windows(
        ports={name: tensors[name] for name in manifest.ports},
        labels=labels,
        begins=np.ones(len(some), bool),
        fed=frozenset(),
        sources={"scenes": len(some)},
        real=True,
    )
    baseline = model.read_baseline()
    means = {name: baseline.moments[name].mean for names in shares(manifest).values() for name in names}
    scores = {(s.port, s.output): s for s in score_missing(manifest, graphs, windows, tensors, means)}
    assert scores["image", "event"].score == share_right(model, some, image=False, policies={"image": ["mean"]})
    assert scores["audio", "event"].score == share_right(model, some, audio=False, policies={"audio": ["mean"]})
    assert not scores["image", "distance"].truth
    assert scores["image", "distance"].metric == "1 - relative error against every sensor"
