import numpy as np
import pytest
import torch
from mmedge_export.checkpoint import build_model, load_checkpoint, save_checkpoint
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.reference.digits.evaluate import DARK, evaluate, report
from mmedge_export.reference.digits.network import build
from mmedge_export.reference.digits.scenes import Scene, clips, noisy
from mmedge_export.reference.digits.train import Recipe, digits_spec, spec_text, tensors, train

import mmedge
from mmedge.types import NS

SCENE_NS = NS
CHUNK = 160
ROUNDING = 1e-5  # of probabilities; float32 in other orders


def made_up_scenes(count):
    random = np.random.default_rng(0)
    return [
        Scene(
            random.integers(0, 256, (8, 8, 3), dtype=np.uint8),
            random.normal(0, 0.1, 8000).astype(np.float32),
            i % 10,
        )
        for i in range(count)
    ]


def test_training_twice_gives_the_same_weights_and_leaves_random_numbers_alone():
    scenes, recipe = made_up_scenes(20), Recipe(epochs=2, batch=10)
    before = torch.get_rng_state()
    first, second = train(scenes, recipe).state_dict(), train(scenes, recipe).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())


def test_inputs_are_what_the_spec_says():
    image, audio, labels = tensors(made_up_scenes(3))
    ports = digits_spec().ports
    assert image.shape == (3, *ports["image"].shape)
    assert audio.shape == (3, *ports["audio"].shape)
    assert labels.tolist() == [0, 1, 2]


def test_importance_is_a_share():
    digit, importance = build().eval()(torch.randn(5, 1, 32, 32), torch.randn(5, 98, 40))
    assert digit.shape == (5, 10)
    torch.testing.assert_close(importance.sum(1), torch.ones(5))
    assert (importance > 0).all()


@pytest.mark.data
@pytest.mark.slow
def test_both_sensors_are_better_than_each_alone(digits):
    clean, dark = (
        evaluate(digits.network, digits.held_out),
        evaluate(digits.network, noisy(digits.held_out, sigma=DARK)),
    )
    accuracy = {name: scores.accuracy for name, scores in clean.items()}
    # measured: 1.00, 0.95, 0.98; of 300 clips, so two standard deviations are 0.025 at 0.95
    assert accuracy["all"] >= 0.98
    assert accuracy["image alone"] >= 0.92
    assert accuracy["audio alone"] >= 0.95
    # measured: 0.98 against 0.73
    assert dark["all"].accuracy >= 0.94
    assert dark["all"].accuracy >= dark["image alone"].accuracy + 0.15


@pytest.mark.data
@pytest.mark.slow
def test_the_report_prints_what_each_sensor_is_worth(digits):
    table = [line.rsplit(maxsplit=2) for line in report(digits.network, digits.held_out)]
    assert [row[0] for row in table[1:]] == ["all", "image alone", "audio alone"]
    accuracy = evaluate(digits.network, digits.held_out)
    assert [row[1] for row in table[1:]] == [f"{scores.accuracy:.1%}" for scores in accuracy.values()]


@pytest.mark.data
@pytest.mark.slow
def test_the_network_believes_the_microphone_more_in_the_dark(digits):
    def importance(scenes):
        image, audio, _ = tensors(scenes)
        with torch.inference_mode():
            return digits.network(image, audio)[1].mean(0)[1].item()

    assert importance(noisy(digits.held_out, sigma=DARK)) > importance(digits.held_out) + 0.01


@pytest.mark.data
@pytest.mark.slow
def test_streamed_clips_are_decided_as_torch_decides_them(digits, tmp_path):
    checkpoint, samples, out = (tmp_path / name for name in ("digits.safetensors", "clips.npz", "digits.mmedge"))
    save_checkpoint(checkpoint, digits.network, spec_text())
    np.savez(samples, **clips(digits.held_out[::60]))
    manifest = export(checkpoint, out, ExportOptions(samples=samples)).manifest
    assert [stage.name for stage in manifest.stages] == ["image", "audio", "head"]
    scenes = digits.held_out[7::30]
    expected, importance = expected_outputs(build_model(load_checkpoint(checkpoint)), scenes)
    with mmedge.load(out) as model, model.stream(tick="audio") as stream:
        push(stream, scenes)
        decided = {prediction.t_ns: prediction for prediction in stream.poll()}
    for i, scene in enumerate(scenes):
        now = decided[(i + 1) * SCENE_NS]
        assert now.labels["digit"] == str(expected[i].argmax()) == str(scene.label)
        np.testing.assert_allclose(now.outputs["digit"], expected[i], rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(now.outputs["importance"], importance[i], rtol=0, atol=ROUNDING)


def expected_outputs(network, scenes):
    image, audio, _ = tensors(scenes)
    with torch.inference_mode():
        digit, importance = network(image, audio)
    return torch.softmax(digit, 1).numpy(), importance.numpy()


def push(stream, scenes):
    """One scene a second, its picture first, its sound in chunks of 20 ms."""
    for i, scene in enumerate(scenes):
        stream.push_frame(scene.image, i * SCENE_NS)
        for start in range(0, len(scene.audio), CHUNK):
            stream.push_audio(scene.audio[start : start + CHUNK], i * SCENE_NS + start * NS // 8000)
