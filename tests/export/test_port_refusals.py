import port_models
import pytest
import torch
from mmedge_export.pipeline import ExportOptions, export
from mmedge_export.spec import read_spec

import mmedge


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("Robot", "shape = [4, 40]", "", "inputs.lidar.shape is missing"),
        ("Robot", "shape = [4, 40]", "shape = [4, -40]", "shape must be positive"),
        ("Robot", "shape = [4, 40]", 'shape = "big"', "inputs.lidar.shape is str"),
        ("Robot", "rate_hz = 10", 'dtype = "float64"', "inputs.lidar.dtype is 'float64'"),
        ("Robot", "rate_hz = 10", "rate_hz = -1", "rate_hz = -1"),
        ("Robot", "rate_hz = 10", "frames = 3", "inputs.lidar.frames is not known"),
        ("Listener", 'from = "h_next"', "", "inputs.h.from is missing"),
        ("Listener", 'from = "h_next"', 'from = "audio"', "inputs.h.from = 'audio' is an input"),
        ("Listener", 'from = "h_next"', 'source = "h_next"', "inputs.h.source is not known"),
        ("Listener", port_models.AUDIO, "", "every input is a state"),
        ("Pilot", 'tokenizer = "words.json"', "", "inputs.command.tokenizer is missing"),
        ("Pilot", "length = 6", "length = 0", "length must be positive"),
        ("Pilot", "pad_id = 8", "pad_id = -1", "pad_id = -1 is negative"),
        ("Pilot", "pad_id = 8", "padding = 8", "inputs.command.padding is not known"),
    ],
)
def test_a_mistake_in_a_port_is_named_by_its_key(name, old, new, text):
    document = port_models.spec_text(name)
    assert old in document
    with pytest.raises(mmedge.SpecError, match=text) as refused:
        read_spec(document.replace(old, new), "SPEC.toml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("Listener", "shape = [16]", "shape = [8]", r"forward\(\) failed on audio .*, h \[1, 8\]"),
        ("Watcher", 'from = "h_next"', 'from = "h_new"', "the spec expects event, h_new"),
        ("Watcher", 'from = "h_next"', 'from = "event"', r"state h is \[1, 16\] float32, event is \[1, 3\] float32"),
        ("Pilot", "words.json", "nowhere.json", r"nowhere\.json does not exist"),
        ("Pilot", "words.json", "SPEC.toml", "is not a tokenizer.json"),
    ],
)
def test_a_port_that_does_not_fit_the_model_is_refused_in_one_line(tmp_path, name, old, new, text):
    if name == "Pilot":
        pytest.importorskip("tokenizers")
    torch.save(getattr(port_models, name)().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "SPEC.toml").write_text(port_models.spec_text(name).replace(old, new))
    with pytest.raises(mmedge.MmedgeError, match=text) as refused:
        export(tmp_path / "weights.pt", tmp_path / "out.mmedge", ExportOptions(random_samples=True))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out.mmedge").exists()
