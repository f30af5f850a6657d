import json
import wave

import numpy as np
import pytest

from mmedge.commands.decision_lines import to_json_line
from mmedge.commands.run import describe
from mmedge.console import table
from mmedge.manifest import Output
from mmedge.running import open_run
from mmedge.sources import TapeReader, TapeWriter, Track
from mmedge.types import AudioChunk, Prediction, VideoFrame

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


HOURS = 5 * 3600 * 1_000_000_000  # what a monotonic clock says some time after the machine was started


@pytest.fixture
def recording(tmp_path):
    """Two seconds of pictures and sound in real time, of a machine that had been running for hours."""
    folder = tmp_path / "monday"
    tracks = {"image": Track(modality="camera", source="eye"), "audio": Track(modality="audio", source="ear")}
    random = np.random.default_rng(1)
    with TapeWriter(folder, tracks) as tape:
        for i in range(200):
            t_ns = HOURS + i * 10_000_000
            if i % 7 == 0:
                pixels = random.integers(0, 256, (24, 32, 3), np.uint8)
                tape.write("image", VideoFrame(pixels=pixels, t_ns=t_ns))
            samples = (0.1 * random.standard_normal(160)).astype(np.float32)
            tape.write("audio", AudioChunk(samples=samples, t_ns=t_ns, rate_hz=16000))
    return folder


def test_people_read_times_from_the_beginning_of_a_recording_and_programs_its_own(
    mmedge_cli, reference_bundle, recording, tmp_path
):
    told = mmedge_cli("run", reference_bundle, "--recording", recording).out.splitlines()
    times = [float(line.split(" s ")[0]) for line in told]
    assert times[0] == pytest.approx(1.0, abs=0.05)  # a window of sound
    assert times == sorted(times)
    assert times[-1] <= 2
    out = tmp_path / "out.jsonl"
    assert mmedge_cli("run", reference_bundle, "--recording", recording, "--jsonl", out).status == 0
    first = json.loads(out.read_text().splitlines()[0])
    assert first["t_ns"] == HOURS + 1_000_000_000


def test_a_json_line_says_all_that_its_prediction_says(mmedge_cli, reference_bundle, model, recording, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ["--tick", "50hz", "--attribution", 10, "--policy", "image=mean", "--max-age", "image=60"]
    assert mmedge_cli("run", reference_bundle, "--recording", recording, "--jsonl", out, *options).status == 0
    stream = {"attribution": 10, "policies": {"image": ["mean"]}, "max_age_ms": {"image": 60}}
    with open_run(model, recording=recording, tick="50hz", stream=stream) as run:
        expected = list(run)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == len(expected) > 20
    labels = {name: output.labels for name, output in model.manifest.outputs.items()}
    for line, prediction in zip(lines, expected, strict=True):
        outputs = {
            name: np.array([value[label] for label in labels[name]] if labels[name] else [value], np.float32)
            for name, value in line["outputs"].items()
        }
        read = Prediction(
            t_ns=line["t_ns"],
            outputs=outputs,
            labels=line["labels"],
            age_ms={port: float("inf") if age is None else age for port, age in line["age_ms"].items()},
            fresh=line["fresh"],
            latency_ns=line["latency_ns"],
            degraded=tuple(line["degraded"]),
            attribution=line["attribution"],
            model=line["model"],
        )
        assert line["abstained"] == prediction.abstained
        for name, values in outputs.items():
            np.testing.assert_array_equal(values, prediction.outputs[name].reshape(-1))
        for field in ("t_ns", "labels", "age_ms", "fresh", "degraded", "attribution", "model"):
            assert getattr(read, field) == getattr(prediction, field)
        assert line.keys() == {*Prediction._fields, "abstained"}
    assert any(line["degraded"] for line in lines)
    assert any(line["age_ms"]["image"] is None for line in lines)
    assert [line["attribution"] is not None for line in lines[:11]] == [True] + [False] * 9 + [True]


def test_an_abstention_is_a_line_without_outputs(mmedge_cli, reference_bundle, recording, tmp_path):
    out = tmp_path / "out.jsonl"
    options = ["--policy", "image=abstain", "--max-age", "image=60"]
    assert mmedge_cli("run", reference_bundle, "--recording", recording, "--jsonl", out, *options).status == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    abstained = [line for line in lines if line["abstained"]]
    assert 0 < len(abstained) < len(lines)
    assert all(line["outputs"] == {} == line["labels"] for line in abstained)
    assert all("no answer" in line["degraded"][0] for line in abstained)


def test_what_is_not_a_number_is_null_and_the_line_is_json():
    values = {"y": np.array([[np.nan, 1.0]], np.float32), "z": np.array([np.inf], np.float32)}
    prediction = Prediction(t_ns=0, outputs=values, labels={}, age_ms={}, fresh={}, latency_ns=1)
    assert json.loads(to_json_line(prediction, {"y": VECTOR, "z": METRES}))["outputs"] == {
        "y": [[None, 1.0]],
        "z": None,
    }


def test_decisions_on_live_sensors_can_be_read_at_once_and_are_continued(mmedge_cli, reference_bundle, tmp_path):
    out = tmp_path / "out.jsonl"
    live = ["run", reference_bundle, "--camera", "paced:synthetic://?seconds=1.4", "--jsonl", out]
    counts = []
    for _ in range(2):
        assert mmedge_cli(*live).status == 0
        assert list(tmp_path.iterdir()) == [out]
        counts.append(len([json.loads(line) for line in out.read_text().splitlines()]))
    assert counts[1] > counts[0] > 5
    out.write_text("my notes")
    ended = mmedge_cli(*live)
    assert ended.status == 1
    assert "holds something else than decisions" in ended.err
    assert out.read_text() == "my notes"


def test_a_recording_made_by_a_run_begins_where_the_run_began(model, tmp_path):
    scene = "paced:synthetic://?seconds=1.2"
    with open_run(model, camera=scene, audio=scene, record=tmp_path / "tape") as run:
        list(run)
    with TapeReader(tmp_path / "tape") as tape:
        assert next(tape)[1].t_ns == run.begin_ns
