import json
import wave

import numpy as np
import pytest

from mmedge.commands.run import describe
from mmedge.console import table
from mmedge.manifest import Output

MANY = Output(tensor="y", task="multilabel", labels=("a", "b", "c"), activation="sigmoid")
ONE = Output(tensor="y", task="classification", labels=("a", "b", "c"), activation="softmax")
METRES = Output(tensor="y", task="regression", unit="m")
VECTOR = Output(tensor="y", task="embedding")


@pytest.mark.parametrize(
    ("values", "output", "label", "line"),
    [
        ([0.51, 0.2, 0.62], MANY, ("a", "c"), "y: a, c (0.51, 0.62)"),
        ([0.1, 0.2, 0.3], MANY, (), "y: none"),
        ([0.1, 0.7, 0.2], ONE, "b", "y: b (0.70)"),
        ([-0.0], METRES, None, "y: 0.0 m"),
        ([0.00123456], METRES, None, "y: 0.00123 m"),
        ([23.456], METRES, None, "y: 23.5 m"),
        ([1.5, -2.25], METRES, None, "y: 1.5 -2.25 m"),
        (np.full((2, 64), 0.125), VECTOR, None, "y: 0.125 0.125 0.125 ... (2x64)"),
    ],
)
def test_an_output_is_a_few_words_on_a_line(values, output, label, line):
    assert describe("y", np.array(values, np.float32), output, label) == line


def test_words_are_aligned_left_where_asked_and_numbers_right():
    assert table(["a", "b", "c"], [["x", "yes", "1"], ["long", "n", "20"]], left=(0, 1)).splitlines() == [
        "a     b     c",
        "----  ---  --",
        "x     yes   1",
        "long  n    20",
    ]


@pytest.fixture
def short_clip(clip, tmp_path):
    """Half a second of sound beside three of pictures, where a window is a second."""
    with wave.open(str(tmp_path / "short.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(16000))
    return ["--camera", clip.video, "--audio", tmp_path / "short.wav", "--allow-short"]


@pytest.mark.parametrize("out", [[], ["--jsonl", "-"], ["--jsonl", "{folder}/out.jsonl"]])
def test_a_clip_without_a_decision_says_why(mmedge_cli, reference_bundle, short_clip, tmp_path, out):
    ended = mmedge_cli("run", reference_bundle, *short_clip, *(part.format(folder=tmp_path) for part in out))
    assert ended.status == 1
    assert ended.out == ""
    assert len(ended.err.strip().splitlines()) == 1
    assert "no decision: camera until 2.93 s, audio until 0.50 s; the first one needs" in ended.err
    assert "8 picture(s) (image), 1.00 s of sound (audio) and then a tick" in ended.err


def test_a_tick_that_never_comes_says_so(mmedge_cli, reference_bundle, clip):
    ended = mmedge_cli("run", reference_bundle, "--camera", clip.video, "--tick", "0.1hz")
    assert ended.status == 1
    assert "no decision: camera until" in ended.err


@pytest.mark.parametrize("name", ["video", "sound"])
def test_a_recording_is_never_overwritten(mmedge_cli, reference_bundle, clip, tmp_path, name):
    source = getattr(clip, name)
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    before = source.read_bytes()
    for out in (source, link):
        ended = mmedge_cli("run", reference_bundle, "--camera", clip.video, "--jsonl", out)
        assert ended.status == 1
        assert "would overwrite a recording" in ended.err
    assert source.read_bytes() == before


def test_a_run_that_fails_leaves_the_old_file(mmedge_cli, reference_bundle, clip, short_clip, tmp_path):
    out = tmp_path / "out" / "a.jsonl"
    out.parent.mkdir()
    out.write_text("old")
    assert mmedge_cli("run", reference_bundle, *short_clip, "--jsonl", out).status == 1
    assert out.read_text() == "old"
    assert list(out.parent.iterdir()) == [out]
    assert mmedge_cli("run", reference_bundle, "--camera", clip.video, "--jsonl", out).status == 0
    assert all(json.loads(line)["labels"] for line in out.read_text().splitlines())
    assert list(out.parent.iterdir()) == [out]


def test_a_full_disk_is_told_with_the_name_of_the_file(mmedge_cli, reference_bundle, clip):
    ended = mmedge_cli("run", reference_bundle, "--camera", clip.video, "--jsonl", "/dev/full")
    assert ended.status == 1
    assert ended.err == "mmedge: /dev/full: No space left on device\n"
