import pytest
from fusion_models import spec_text
from mmedge_export.spec import read_spec

import mmedge

TALKING = """
[model]
name = "asd"
factory = "speakers.model:build"
[model.arguments]
width = 3

[inputs.face]
modality = "camera"
size = [112, 112]
frames = 50
rate_hz = 25
color = "gray"
layout = "THW"
fit = "stretch"
scale = 255
mean = [0.0]
std = [1.0]

[inputs.sound]
modality = "audio"
rate_hz = 16000
window_ms = 2000
features = "mfcc"
convention = "python_speech_features"
coefficients = 13
layout = "TM"

[outputs.score]
task = "classification"
labels = ["silent", "speaking"]
activation = "softmax"
"""


def test_the_spec_of_the_design_page_is_read():
    spec = read_spec(TALKING, "SPEC.toml")
    face, sound = spec.ports["face"].camera, spec.ports["sound"].audio
    assert (spec.name, spec.factory, spec.arguments) == ("asd", "speakers.model:build", {"width": 3})
    assert face is not None
    assert (face.shape, face.scale, face.rate_hz) == ((50, 112, 112), 255, 25)
    assert sound is not None
    assert (sound.window_samples, sound.hop_samples, sound.mel.convention) == (32000, 320, "python_speech_features")
    assert spec.outputs["score"].labels == ("silent", "speaking")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("[model]", "[modle]", "modle is not known"),
        ('name = "late"', "", "model.name is missing"),
        ('name = "late"', "name = 3", "model.name is 3, expected str"),
        ('modality = "camera"', 'modality = "sonar"', "sonar.*expected camera, audio, text, tensor, state"),
        ('modality = "camera"', "", "inputs.image.modality is missing"),
        ("size = [16, 16]", "size = [16]", r"\[width, height\]"),
        ("size = [16, 16]", "", "inputs.image.size is missing"),
        ("size = [16, 16]", 'size = [16, "x"]', "inputs.image.height_px"),
        ("size = [16, 16]", "size = [0, 16]", "inputs.image.*positive|size must be positive"),
        ("rate_hz = 15", "rate_hz = 15\nfps = 3", "inputs.image.fps is not known"),
        ('layout = "CHW"', 'layout = "CHH"', "layout"),
        ("rate_hz = 16000", "rate_hz = 16000.5", "rate_hz is 16000.5, expected int"),
        ("window_ms = 500", "", "window_ms is missing"),
        ("window_ms = 500", "window_ms = 0.03", "whole number"),
        ("window_ms = 500", "window_ms = 5", "shorter than one frame|window"),
        ('convention = "kaldi"', 'convention = "mine"', "mine"),
        ('convention = "kaldi"', "", "convention is missing"),
        ("mels = 20", "mels = 20\nmel_bins = 3", "mel_bins"),
        ("mels = 20", "mels = -1", "mels|positive"),
        ('features = "log-mel"', 'features = "chroma"', "chroma"),
        ('task = "classification"', 'task = "guess"', "outputs.event.task"),
        ("[outputs.level]", "[outputs.level]\ncolour = 3", "outputs.level.colour"),
        ('task = "regression"', "", ""),
    ],
)
def test_a_mistake_is_named_by_its_key(old, new, text):
    document = spec_text("late")
    assert old in document
    changed = document.replace(old, new)
    if not text:  # the task of an output may be left out
        assert read_spec(changed, "SPEC.toml").outputs["level"].task == "raw"
        return
    with pytest.raises(mmedge.SpecError, match=text) as refused:
        read_spec(changed, "SPEC.toml")
    assert str(refused.value).startswith("SPEC.toml")
    assert "\n" not in str(refused.value)
