"""Guesses at what a tensor is made of, from its name and its shape: the lines of a first SPEC.toml."""

import json
import re
from collections.abc import Sequence
from typing import Literal

from mmedge.features.settings import mel_settings
from mmedge_export.signature import Shape, Tensor

__all__ = ["Line", "guess_input", "guess_modality", "guess_output", "guess_state", "is_sensor"]

Modality = Literal["camera", "audio", "text", "tensor", "state"]
Line = tuple[str, str, str]  # key, TOML value, comment
CAMERA = re.compile(r"image|img|frame|video|face|pixel|picture|camera|rgb|visual|lip|mouth", re.IGNORECASE)
AUDIO = re.compile(
    r"audio|sound|wave|wav|mel|speech|mfcc|spectro|voice|acoustic|mic|^input_(values|features)$", re.IGNORECASE
)
TEXT = re.compile(r"input_ids|token|text|sentence|prompt|command|caption|question|words", re.IGNORECASE)
# What forward() takes beside the values of a sensor: how to read them, or what to give back.
BESIDE = re.compile(
    r"mask|position|type|label|embed|past|cache|lens|length|attention|hidden|loss|longer", re.IGNORECASE
)
NEXT = (
    "{}_out",
    "{}_next",
    "{}_new",
    "{}N",
    "{}n",
    "new_{}",
    "next_{}",
    "out_{}",
)  # how a state is called that comes out
CHANNELS = (3, 1)
MEL_BINS = (13, 20, 23, 24, 26, 40, 64, 80, 96, 128, 256)
RATE_HZ = 16000
SHORTEST_WAVE = 400
EDIT = "EDIT: "
CONVENTION, WINDOW_MS, HOP_MS = "kaldi", 25, 10  # of the spectrogram that is guessed


def is_sensor(name: str) -> bool:
    """Whether an argument that may be left out is called as if a sensor fed it."""
    return not BESIDE.search(name) and guess_modality(Tensor(name=name)) != "tensor"


def guess_state(tensor: Tensor, outputs: Sequence[Tensor]) -> str:
    """The output that an input is fed with at the next tick, from their names; "" if there is none."""
    made = {output.name for output in outputs}
    return next((name for name in (form.format(tensor.name) for form in NEXT) if name in made), "")


def guess_modality(tensor: Tensor) -> Modality:
    """What kind of sensor feeds an input, from its name and then from its shape."""
    integers = tensor.shape is None or (len(tensor.shape) == 2 and "int" in tensor.dtype)
    if TEXT.search(tensor.name) and integers and not BESIDE.search(tensor.name):
        return "text"
    if CAMERA.search(tensor.name):
        return "camera"
    if AUDIO.search(tensor.name):
        return "audio"
    shape = (tensor.shape or ())[1:]
    if len(shape) >= 3 and 3 in shape and camera_layout(shape):
        return "camera"
    return "audio" if shape and _wave_layout(shape) and tensor.dtype == "float32" else "tensor"


def guess_input(tensor: Tensor, source: str = "") -> list[Line]:
    """The lines of ``[inputs.NAME]``: a valid port of exactly the tensor's shape, where that is known and possible.

    Args:
        tensor: The input.
        source: The output that it is fed with, if it is a state.
    """
    modality = guess_modality(tensor)
    shape = tensor.shape[1:] if tensor.shape else None
    if source:
        batched = tensor.shape is not None and tensor.shape[:1] == (1,)
        return [
            ("modality", '"state"', "zeros at first, then what the model made at the tick before"),
            (
                "shape",
                str(list((shape if batched else tensor.shape) or ())),
                "" if tensor.shape else EDIT + "its shape",
            ),
            ("dtype", f'"{tensor.dtype}"', ""),
            ("from", json.dumps(source), EDIT + "the output that is fed back"),
        ]
    if modality == "text":
        return [
            ("modality", '"text"', "camera, audio, text, tensor or state"),
            ("tokenizer", '"tokenizer.json"', EDIT + "of the tokenizers library, relative to this file"),
            ("length", str(shape[0] if shape else 32), ("" if shape else EDIT) + "token ids"),
            ("pad_id", "0", EDIT + "what follows a shorter text"),
        ]
    if modality == "camera" and (shape is None or camera_layout(shape)):
        return _camera(shape)
    if modality == "audio" and (shape is None or _wave_layout(shape) or _mel_layout(shape)):
        return _audio(shape)
    return [
        ("modality", '"tensor"', EDIT + "camera, audio, text, tensor or state; its name and shape do not say"),
        ("shape", str(list(shape or ())), "without the batch axis" if shape else EDIT + "without the batch axis"),
        ("dtype", f'"{tensor.dtype}"', ""),
        ("rate_hz", "10", EDIT + "how often the sensor gives one"),
    ]


def guess_output(tensor: Tensor) -> list[Line]:
    """The lines of ``[outputs.NAME]``: the bare tensor, and what it may mean."""
    values = (tensor.shape or (1, 0))[-1] if len(tensor.shape or (1, 0)) == 2 else 0
    lines = [("task", '"raw"', EDIT + "classification, multilabel, regression, embedding or raw")]
    if values > 1:
        lines += [
            ("# labels", json.dumps([f"class {i}" for i in range(min(values, 3))]), f"{values} of them, in order")
        ]
        lines += [("# activation", '"softmax"', "softmax or sigmoid, if the model ends before it")]
    elif values == 1:
        lines += [("# unit", '"m"', "of a regression")]
    return lines


def camera_layout(shape: Shape) -> str:
    """Axes of pictures with this shape, without the batch axis; "" if they cannot be pictures."""
    layouts = {2: ("HW",), 3: ("CHW", "HWC", "THW"), 4: ("TCHW", "CTHW", "THWC")}.get(len(shape), ())
    return next((each for each in layouts if "C" not in each or shape[each.index("C")] in CHANNELS), "")


def _camera(shape: Shape | None) -> list[Line]:
    layout = camera_layout(shape) if shape else "CHW"
    sizes = dict(zip(layout, shape or (3, 224, 224), strict=True))
    unsure = "" if shape else EDIT
    lines = [
        ("modality", '"camera"', "camera, audio, text, tensor or state"),
        ("size", f"[{sizes['W']}, {sizes['H']}]", unsure + "width, height in pixels"),
    ]
    if "T" in sizes:
        lines += [("frames", str(sizes["T"]), "pictures in a window")]
    elif not shape:
        lines += [("# frames", "8", "EDIT: pictures in a window, if it takes several; layout is then TCHW or CTHW")]
    gray = sizes.get("C", 1) == 1
    return [
        *lines,
        ("rate_hz", "15", EDIT + "pictures per second in training"),
        ("layout", f'"{layout}"', unsure + "axes after the batch axis, out of T, C, H and W"),
        ("color", '"gray"' if gray else '"rgb"', EDIT + "rgb, bgr (cv2.imread) or gray"),
        ("fit", '"stretch"', EDIT + "stretch, letterbox or crop"),
        ("scale", "1", EDIT + "0..255 becomes 0..scale, and then (x - mean) / std"),
        ("mean", "[0.0]" if gray else "[0.0, 0.0, 0.0]", EDIT + "ImageNet's are [0.485, 0.456, 0.406]"),
        ("std", "[1.0]" if gray else "[1.0, 1.0, 1.0]", EDIT + "ImageNet's are [0.229, 0.224, 0.225]"),
    ]


def _audio(shape: Shape | None) -> list[Line]:
    wave = _wave_layout(shape) if shape else ""
    layout = wave or (_mel_layout(shape) if shape else "TM")
    sizes = dict(zip(layout, shape or (98, 64), strict=True))
    window = sizes["N"] * 1000 / RATE_HZ if wave else WINDOW_MS + HOP_MS * (sizes["T"] - 1)
    lines = [
        ("modality", '"audio"', "camera, audio, text, tensor or state"),
        ("rate_hz", str(RATE_HZ), EDIT + "samples per second in training"),
        ("window_ms", f"{window:.12g}", ("" if shape else EDIT) + "sound in one window, at this rate_hz"),
        ("hop_ms", "20", "from one window to the next"),
    ]
    clear = shape is not None and max(shape) > max(MEL_BINS)  # else either axis may be the bins
    if wave:
        return [*lines, ("features", '"waveform"', "-1..1"), ("layout", f'"{wave}"', "N samples, C an axis of 1")]
    return [
        *lines,
        ("features", '"log-mel"', EDIT + "waveform, log-mel or mfcc"),
        ("convention", f'"{CONVENTION}"', EDIT + "torchaudio, librosa, kaldi, htk, whisper, python_speech_features"),
        ("mels", str(sizes["M"]), ("" if shape else EDIT) + "bins"),
        ("layout", f'"{layout}"', ("" if clear else EDIT) + "TM is time first, MT bins first, C an axis of 1"),
        ("mean", "[0.0]", EDIT + "(x - mean) / std, one value or one for each bin"),
        ("std", "[1.0]", EDIT + "as mean"),
    ]


def _wave_layout(shape: Shape) -> str:
    """Axes of a waveform."""
    if shape[-1] < SHORTEST_WAVE or len(shape) > 2:
        return ""
    return "N" if len(shape) == 1 else "CN" if shape[0] == 1 else ""


def _mel_layout(shape: Shape) -> str:
    """Axes of a spectrogram that the guessed convention can make."""
    layouts = {2: ("TM", "MT"), 3: ("CTM", "CMT")}.get(len(shape), ())
    fits = [each for each in layouts if len(each) == 2 or shape[0] == 1]
    known = [each for each in fits if shape[each.index("M")] in MEL_BINS]
    layout = next(iter(known or fits), "")
    if not layout:
        return ""
    frames, bins = shape[layout.index("T")], shape[layout.index("M")]
    samples = (WINDOW_MS + HOP_MS * (frames - 1)) * RATE_HZ // 1000
    return layout if mel_settings(CONVENTION, RATE_HZ, mels=bins).frames_in(samples) == frames else ""
