"""A bundle whose head has gates: read and turned by hand and by policy, quantized, attributed, swapped."""

import json
import re
import shutil
import wave
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from time import sleep
from typing import NamedTuple

import gate_models
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.quantize.make import QuantizeOptions, quantize
from mmedge_export.quantize.produce import Choice
from mmedge_export.quantize.score import Budget
from mmedge_export.reference.fusion import model as fusion_models

import mmedge
from mmedge.bundle import open_bundle
from mmedge.cli import cli
from mmedge.commands.check import replay_golden
from mmedge.commands.inspect import inspect_command
from mmedge.errors import BundleError, ClosedError, InputError, SpecError
from mmedge.manifest import read_manifest
from mmedge.types import NS
from mmedge.unsplit import unsplit

PAGE = (Path(__file__).parents[2] / "docs/missing-sensors.md").read_text(encoding="utf-8")
WINDOWS = 24
LOOSE = Choice(budget=Budget(drop=1.0, error=1.0), ship_slower=True)
POLICY = '[policies.audio]\nmax_age_ms = 50\nmissing = ["reweight", "abstain"]\n'
Arrays = dict[str, np.ndarray]


class Gated(NamedTuple):
    """A bundle, the model that it was made from, and sensor data with labels."""

    path: Path
    model: torch.nn.Module
    data: Arrays

    def sample(self, number: int) -> Arrays:
        return {name: self.data[name][number] for name in ("image", "audio")}

    def torch(self, number: int, weights: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and gates in float64."""
        given = [torch.from_numpy(values)[None].double() for values in self.sample(number).values()]
        each = torch.tensor([weights.get(name, 1.0) for name in ("image", "audio")], dtype=torch.float64)
        scores, gates = self.model.gated(*given, weights=each)
        return torch.softmax(scores, 1)[0].detach().numpy(), gates[0].detach().numpy()


def made(folder: Path, form: str, more: str = "") -> Gated:
    torch.manual_seed(7)
    model, random = gate_models.two(form).eval(), np.random.default_rng(7)
    data = {
        name: random.normal(size=(WINDOWS, gate_models.SIZES[name])).astype(np.float32) for name in ("image", "audio")
    }
    with torch.inference_mode():
        scores, _ = model(torch.from_numpy(data["image"]), torch.from_numpy(data["audio"]))
    data["label/event"] = scores.argmax(1).numpy()
    np.savez(folder / "samples.npz", **data)
    save_checkpoint(folder / "gated.safetensors", model, gate_models.spec_text(form, more))
    export(folder / "gated.safetensors", folder / "gated.mmedge", ExportOptions(samples=folder / "samples.npz"))
    return Gated(folder / "gated.mmedge", model.double(), data)


@pytest.fixture(scope="module")
def gated(tmp_path_factory) -> Gated:
    return made(tmp_path_factory.mktemp("stacked"), "stacked", POLICY)


@pytest.fixture(scope="module")
def private(tmp_path_factory) -> Gated:
    """Each gate looks at its own sensor alone, and the spec says which they are."""
    spec = gate_models.spec_text
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        named = spec("own").replace("[outputs.gates]\n", '[outputs.gates]\ngates = ["image", "audio"]\n')
        patch.setattr(gate_models, "spec_text", lambda *_: named)
        return made(folder, "own")


def push(stream, gated: Gated, number: int, *, at: int, ports=("image", "audio")) -> mmedge.Prediction:
    """The decision on one sample, ``at`` twenty milliseconds each."""
    for port in ports:
        stream.push_tensor(gated.sample(number)[port], at * NS // 50, port=port)
    return stream.poll()[-1]


def test_a_bundle_says_what_its_head_has_and_its_golden_replay_holds(gated, private):
    for bundle, kind in ((gated, "softmax"), (private, "sigmoid")):
        manifest = open_bundle(bundle.path).manifest
        assert (manifest.gates.kind, manifest.gates.ports) == (kind, ("image", "audio"))
        assert {"image", "audio", "head"} == {stage.name for stage in manifest.stages}
        assert manifest.macs["head"] < 0.2 * sum(manifest.macs.values())
        assert all(row.holds for row in replay_golden(open_bundle(bundle.path)))


@pytest.mark.parametrize("weights", [{}, {"audio": 0.5}, {"image": 0.0}, {"image": 0.25, "audio": 2.0}])
@pytest.mark.parametrize("which", ["gated", "private"])
def test_inference_with_weights_is_what_torch_makes_of_its_weighed_gates(request, which, weights):
    bundle = request.getfixturevalue(which)
    with mmedge.load(bundle.path) as model:
        for number in range(3):
            told = model.infer(**bundle.sample(number), weights=weights)
            event, gates = bundle.torch(number, weights)
            np.testing.assert_allclose(told.outputs["event"], event, atol=2e-6)  # float32 of values of about one
            np.testing.assert_allclose(told.outputs["gates"], gates, atol=2e-6)
            np.testing.assert_allclose(list(told.gates.values()), gates, atol=2e-6)
            assert told.weights == ({"image": 1.0, "audio": 1.0} | weights if weights else None)
            assert model.infer(**bundle.sample(number)).weights is None


@pytest.mark.parametrize("which", ["gated", "private"])
def test_a_sensor_that_weighs_nothing_says_nothing(request, which):
    bundle = request.getfixturevalue(which)
    with mmedge.load(bundle.path) as model:
        first, second = (
            model.infer(image=bundle.sample(0)["image"], audio=bundle.sample(i)["audio"], weights={"audio": 0})
            for i in (0, 1)
        )
        other = model.infer(image=bundle.sample(1)["image"], audio=bundle.sample(0)["audio"], weights={"audio": 0})
    np.testing.assert_array_equal(first.outputs["event"], second.outputs["event"])
    assert (first.outputs["event"] != other.outputs["event"]).all()


def test_a_stream_weighs_sensors_anew_from_the_next_tick_on(gated):
    with mmedge.load(gated.path) as model, model.stream("any") as stream:
        before = push(stream, gated, 0, at=0)
        assert before.weights is None
        assert sum(before.gates.values()) == pytest.approx(1)
        turned = Thread(target=stream.reweight, args=({"audio": 0.5},))
        turned.start()
        turned.join()
        for at, weights in enumerate(({"audio": 0.5}, {"image": 0.125}, {}), 1):
            if at > 1:
                stream.reweight(weights)
            told = push(stream, gated, at, at=at)
            assert told.weights == ({"image": 1.0, "audio": 1.0} | weights if weights else None)
            np.testing.assert_allclose(told.outputs["event"], gated.torch(at, weights)[0], atol=2e-6)
    with pytest.raises(ClosedError, match="closed"):
        stream.reweight({"audio": 0.5})


def test_an_observer_weighs_sensors_anew_while_a_live_stream_decides(gated):
    with mmedge.load(gated.path) as model, model.stream("any", live=True, policies={"audio": []}) as stream:
        stream.observers.append(lambda told: stream.reweight({"audio": 0.5}) if told.weights is None else None)
        told = None
        for at in range(400):  # two seconds at most
            for port, values in gated.sample(0).items():
                stream.push_tensor(values, at * NS // 50, port=port)
            sleep(0.005)
            if told := next((each for each in stream.poll() if each.weights), None):
                break
    assert told.weights == {"image": 1.0, "audio": 0.5}
    np.testing.assert_allclose(told.outputs["event"], gated.torch(0, {"audio": 0.5})[0], atol=2e-6)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"sonar": 0.5}, "weights name 'sonar'; the head has gates of image, audio"),
        ({"audio": -0.5}, "the weight of audio is -0.5; expected 0, or a number from 0.001 to 1000"),
        ({"audio": float("nan")}, "the weight of audio is nan"),
        ({"audio": float("inf")}, "the weight of audio is inf"),
        ({"audio": True}, "the weight of audio is True"),
        ({"audio": 1e-30}, "expected 0, or a number from 0.001"),
        ({"image": 0, "audio": 0}, "the weights of image, audio are all 0"),
    ],
)
def test_weights_that_cannot_be_are_refused_and_change_nothing(gated, weights, told):
    with mmedge.load(gated.path) as model, model.stream("any") as stream:
        stream.reweight({"audio": 0.5})
        with pytest.raises(InputError, match=told):
            stream.reweight(weights)
        assert push(stream, gated, 0, at=0).weights == {"image": 1.0, "audio": 0.5}
        with pytest.raises(InputError, match=told):
            model.infer(**gated.sample(0), weights=weights)


def test_a_model_without_gates_refuses_weights(reference_bundle):
    with mmedge.load(reference_bundle) as model, model.stream() as stream:
        stream.reweight({})
        with pytest.raises(InputError, match="audio cannot be weighed: the model's head has no gates"):
            stream.reweight({"audio": 0.5})
        with pytest.raises(InputError, match="the policy of audio is to reweight, and the head has no gates"):
            model.stream(policies={"audio": ["reweight"]})


def test_quantized_variants_take_weights_too(gated, tmp_path):
    bundle = Path(shutil.copytree(gated.path, tmp_path / "gated.mmedge"))
    np.savez(tmp_path / "clips.npz", **gated.data)
    variants = ("int8-cpu", "int8-trt", "fp16")
    quantize(
        bundle, QuantizeOptions(calibration=tmp_path / "clips.npz", variants=variants, choice=LOOSE), lambda _: None
    )
    kept = open_bundle(bundle).manifest
    assert {score.step for score in kept.scores} == {"mean", "reweight"}
    assert set(variants) <= kept.variants.keys()
    for variant in variants:
        assert all(row.holds for row in replay_golden(open_bundle(bundle), "onnxruntime-cpu", variant))
        with mmedge.load(bundle, backend="onnxruntime-cpu", variant=variant) as model:
            for weights in ({"audio": 0.25}, {"image": 0.0}):
                told = model.infer(**gated.sample(0), weights=weights)
                event, gates = gated.torch(0, weights)
                np.testing.assert_allclose(told.outputs["event"], event, atol=0.05)  # of what eight bits leave
                np.testing.assert_allclose(list(told.gates.values()), gates, atol=0.05)


def test_the_policy_to_reweight_reproduces_its_score_on_replay(gated):
    manifest = open_bundle(gated.path).manifest
    (score,) = (s for s in manifest.scores if (s.port, s.step, s.output) == ("audio", "reweight", "event"))
    assert (score.truth, score.windows, score.whole) == (True, WINDOWS, 1.0)
    right = 0
    with mmedge.load(gated.path) as model:
        for i in range(WINDOWS):
            with model.stream("any") as stream:
                stream.push_tensor(gated.sample(i)["image"], 0, port="image")
                stream.push_tensor(gated.sample(i)["image"], NS, port="image")  # and nothing is heard for a second
                told = stream.poll()[-1]
            assert told.weights == {"image": 1.0, "audio": 0.0}
            assert told.degraded == ("audio: nothing came yet; its gate is shut",)
            np.testing.assert_allclose(told.outputs["event"], gated.torch(i, {"audio": 0.0})[0], atol=2e-6)
            right += told.outputs["event"].argmax() == gated.data["label/event"][i]
    assert right / WINDOWS == score.score


def test_with_every_gate_shut_there_is_no_answer(gated):
    with mmedge.load(gated.path) as model, model.stream("any", policies={"audio": ["reweight"]}) as stream:
        stream.reweight({"image": 0})
        told = push(stream, gated, 0, at=0, ports=["image"])
        assert told.abstained
        assert "gates: every sensor that is left weighs 0; no answer" in told.degraded
        assert told.gates is None
        healthy = push(stream, gated, 1, at=1)
        assert healthy.weights == {"image": 0.0, "audio": 1.0}
        assert not healthy.degraded


def test_attribution_is_of_the_decision_with_its_weights(gated):
    with mmedge.load(gated.path) as model, model.stream("any", attribution=1) as stream:
        plain = push(stream, gated, 0, at=0).attribution["event"]
        stream.reweight({"audio": 0})
        shut = push(stream, gated, 0, at=1).attribution["event"]
        stream.reweight({})
        again = push(stream, gated, 0, at=2).attribution["event"]
    assert plain["audio"] != 0
    assert shut["audio"] == 0
    assert shut["image"] != plain["image"]
    assert again == plain


def test_a_swap_keeps_weights_and_refuses_a_model_that_cannot(gated, tmp_path):
    torch.manual_seed(8)
    without = tmp_path / "experts.safetensors"
    save_checkpoint(without, gate_models.two("experts").eval(), gate_models.spec_text("experts"))
    export(without, tmp_path / "experts.mmedge", ExportOptions(random_samples=True))
    with (
        mmedge.load(gated.path) as model,
        mmedge.load(tmp_path / "experts.mmedge") as other,
        model.stream("50hz") as stream,
    ):
        stream.reweight({"audio": 0.5})
        with pytest.raises(InputError, match="audio cannot be weighed: the model's head has no gates"):
            mmedge.Swap(stream, other)
        with mmedge.Swap(stream, model) as swap:
            stream.reweight({"audio": 0.25})
            for at in range(3):  # the new one catches up
                heard = push(stream, gated, 0, at=at)
            swap.switch()
            switched = push(stream, gated, 0, at=3)
            assert heard.weights == switched.weights == {"image": 1.0, "audio": 0.25}
            np.testing.assert_allclose(switched.outputs["event"], gated.torch(0, {"audio": 0.25})[0], atol=2e-6)
        stream.reweight({})
        with mmedge.Swap(stream, other), pytest.raises(InputError, match="cannot be weighed"):
            stream.reweight({"audio": 0.5})


@pytest.fixture(scope="module")
def seeing_and_hearing(tmp_path_factory) -> Path:
    """A camera and a microphone that meet in gates."""
    folder = tmp_path_factory.mktemp("fused")
    torch.manual_seed(3)
    fused = fusion_models.build("gated sum", "cnn").eval()
    save_checkpoint(folder / "fused.safetensors", fused, fusion_models.spec_text("gated sum", "cnn"))
    export(folder / "fused.safetensors", folder / "gated.mmedge", ExportOptions(random_samples=True))
    return folder / "gated.mmedge"


@pytest.fixture
def second() -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
    """Ten pictures and sound."""
    random = np.random.default_rng(4)
    pictures = [(i * NS // 15, random.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for i in range(10)]
    return pictures, (0.05 * random.standard_normal(16000)).astype(np.float32)


def test_the_page_shows_how_to_turn_a_sensor_down(seeing_and_hearing, second, monkeypatch, capsys):
    monkeypatch.chdir(seeing_and_hearing.parent)
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[-1], {"pictures": second[0], "second_of_sound": second[1]})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert all(line.startswith("{'image': 1.0, 'audio': 0.2} {'image': 0.") for line in lines)


@pytest.fixture
def recording(second, tmp_path) -> Path:
    """The same as a video with a WAV beside it."""
    cv2, pictures, sound = pytest.importorskip("cv2"), *second
    (tmp_path / "clips").mkdir()
    video = tmp_path / "clips" / "clip.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 15, (64, 48))
    for _, pixels in pictures:
        writer.write(pixels)
    writer.release()
    with wave.open(str(video.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((sound[: 16000 * 10 // 15] * 32767).astype("<i2").tobytes())
    return video


def test_a_bundle_with_gates_is_calibrated_with_recordings(seeing_and_hearing, recording, tmp_path):
    bundle = Path(shutil.copytree(seeing_and_hearing, tmp_path / "gated.mmedge"))
    options = QuantizeOptions(calibration=recording.parent, variants=("fp16",), choice=LOOSE)
    assert quantize(bundle, options, lambda _: None).windows > 0
    assert {score.step for score in open_bundle(bundle).manifest.scores} == {"mean", "reweight"}


def test_a_policy_that_needs_gates_is_left_out_where_the_model_is_one_stage(gated):
    alone = unsplit(open_bundle(gated.path).manifest)
    assert alone.gates is None
    assert alone.policies["audio"].missing == ("abstain",)


def test_weights_can_be_typed(seeing_and_hearing, recording, tmp_path):
    out = tmp_path / "out.jsonl"
    call = ["run", seeing_and_hearing, "--camera", recording, "--allow-short", "--jsonl", out]
    ended = CliRunner().invoke(cli, [*map(str, call), "--weight", "audio=0", "--weight", "image=2"])
    assert ended.exit_code == 0, ended.output
    for line in out.read_text().splitlines():
        told = json.loads(line)
        assert told["weights"] == {"image": 2.0, "audio": 0.0}
        assert told["gates"] == {"image": 1.0, "audio": 0.0}
    for weight, error in (
        ("audio", "--weight audio: expected sound=0.5"),
        ("sonar=1", "the head has gates of image, audio"),
    ):
        ended = CliRunner().invoke(cli, [*map(str, call), "--weight", weight])
        assert isinstance(ended.exception, InputError)
        assert error in str(ended.exception)


def test_inspect_says_what_has_gates(gated):
    told = CliRunner().invoke(inspect_command, [str(gated.path)])
    assert told.exit_code == 0, told.output
    assert "head has gates of image, audio (softmax)" in told.output
    assert "reweight" in told.output


def test_a_policy_that_needs_gates_is_refused_where_there_are_none(tmp_path):
    path = tmp_path / "experts.safetensors"
    save_checkpoint(path, gate_models.two("experts").eval(), gate_models.spec_text("experts", POLICY))
    with pytest.raises(SpecError, match="the policy of audio is to reweight.*could not be proved"):
        export(path, tmp_path / "experts.mmedge", ExportOptions(random_samples=True))
    assert not (tmp_path / "experts.mmedge").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"gates": {"kind": "softmax", "ports": ["image"]}}, "gates are of several ports, each once"),
        ({"gates": {"kind": "softmax", "ports": ["image", "sonar"]}}, "sonar"),
        ({"gates": {"kind": "tanh", "ports": ["image", "audio"]}}, "gates.kind is 'tanh'"),
        ({"gates": None}, "reads 'modality_weights', which nothing before it makes"),
    ],
)
def test_a_manifest_whose_gates_do_not_fit_is_refused(gated, changed, told):
    document = json.loads((gated.path / "manifest.json").read_text()) | changed
    with pytest.raises(BundleError, match=told):
        read_manifest(json.dumps(document), "manifest.json")
