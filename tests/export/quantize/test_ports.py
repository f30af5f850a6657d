"""Items of a window, states, texts: what runs differently from one window after the other."""

import numpy as np
import port_models
import pytest
import torch
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.quantize.data import golden_windows, read_windows
from mmedge_export.quantize.make import QuantizeOptions, quantize
from mmedge_export.quantize.produce import Choice
from mmedge_export.quantize.runner import run_windows
from mmedge_export.quantize.score import Budget

import mmedge
from mmedge.bundle import open_bundle
from mmedge.commands.check import replay_golden

HOP = 320  # samples


def exported(folder, name):
    torch.manual_seed(5)
    save_checkpoint(folder / f"{name}.safetensors", getattr(port_models, name)().eval(), port_models.spec_text(name))
    export(folder / f"{name}.safetensors", folder / f"{name}.mmedge", ExportOptions(random_samples=True))
    return folder / f"{name}.mmedge"


def fp32(bundle):
    return {name: bundle.read(file) for name, file in bundle.manifest.variants["fp32"].files.items()}


def quantized(path, clips, variant):
    choice = Choice(budget=Budget(drop=1, error=1), ship_slower=True)
    quantize(path, QuantizeOptions(calibration=clips, variants=(variant,), choice=choice), lambda _: None)


def test_item_stages_give_what_the_recorded_windows_hold(reference_bundle):
    bundle = open_bundle(reference_bundle)
    assert any(stage.per_item for stage in bundle.manifest.stages)
    golden = bundle.read_golden()
    tensors = run_windows(bundle.manifest, fp32(bundle), golden_windows(bundle))
    for key, expected in golden.items():
        if key.startswith("tensor/"):
            scale = np.abs(expected).max()
            made = tensors[key.removeprefix("tensor/")]
            np.testing.assert_allclose(made, expected, atol=1e-5 * scale)  # one picture at a time, or eight


def test_a_recurrent_model_is_measured_with_its_own_states_as_in_a_stream(tmp_path):
    path = exported(tmp_path, "Listener")
    sound = (0.1 * np.random.default_rng(1).standard_normal(8000 + 9 * HOP)).astype(np.float32)
    clip = tmp_path / "clip.npz"
    np.savez(clip, audio=np.stack([sound[i * HOP : i * HOP + 8000] for i in range(10)]))
    bundle = open_bundle(path)
    windows = read_windows(clip, bundle, 10)
    assert windows.begins.tolist() == [True] + [False] * 9
    logits = run_windows(bundle.manifest, fp32(bundle), windows)[bundle.manifest.outputs["event"].tensor][:, 0]
    with mmedge.load(path) as model, model.stream() as stream:
        stream.push_audio(sound, 0)
        predictions = [prediction.outputs["event"] for prediction in stream.poll()]
    np.testing.assert_array_equal(logits, np.stack(predictions))  # the same graphs on the same windows
    quantized(path, clip, "int8-cpu")
    with mmedge.load(path, variant="int8-cpu") as model, model.stream() as stream:
        stream.push_audio(sound, 0)
        made = np.stack([prediction.outputs["event"] for prediction in stream.poll()])
    assert 0 < np.abs(made - logits).max() < 0.1 * np.abs(logits).max()


@pytest.mark.parametrize("variant", ["int8-trt", "int8-cpu"])
def test_a_model_that_reads_is_calibrated_with_texts(tmp_path, variant):
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[UNK]", "turn", "left", "right", "stop", "go", "now", "slowly", "[PAD]"]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "words.json"))
    path = exported(tmp_path, "Pilot")
    image = np.random.default_rng(2).integers(0, 256, (8, 20, 24, 3), dtype=np.uint8)
    np.savez(tmp_path / "clip.npz", image=image, command=np.array(["turn left now", "stop", "go", "go slowly"] * 2))
    quantized(path, tmp_path / "clip.npz", variant)
    assert all(row.holds for row in replay_golden(open_bundle(path), variant=variant))
