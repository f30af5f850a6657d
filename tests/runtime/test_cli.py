import json
import subprocess
import sys
import wave
from importlib.util import find_spec

import numpy as np
import pytest

from mmedge import cli
from mmedge.backends.external_data import fields


def test_run_writes_one_json_line_a_decision(mmedge_cli, reference_bundle, clip, tmp_path):
    lines = []
    for name in ("a.jsonl", "b.jsonl"):
        ended = mmedge_cli(
            "run", reference_bundle, "--camera", clip.video, "--tick", "50hz", "--jsonl", tmp_path / name
        )
        assert ended.status == 0
        assert "model work" in ended.err
        lines.append([json.loads(line) for line in (tmp_path / name).read_text().splitlines()])
    assert len(lines[0]) == 101
    for line in [*lines[0], *lines[1]]:
        assert line.pop("latency_ns") > 0
    assert lines[0] == lines[1]
    first = lines[0][0]
    assert first["t_ns"] == 1_000_000_000
    assert sum(first["outputs"]["event"].values()) == pytest.approx(1)


def test_run_prints_a_line_when_the_decision_changes(mmedge_cli, reference_bundle, clip):
    ended = mmedge_cli("run", reference_bundle, "--camera", clip.video, "--audio", clip.sound)
    assert ended.status == 0
    assert "event: " in ended.out
    assert "age image" in ended.out


def test_inspect_predicts_the_saving_at_given_rates(mmedge_cli, reference_bundle):
    ended = mmedge_cli("inspect", reference_bundle, "--rates", "image=10,audio=50", "--json")
    report = json.loads(ended.out)
    costs = {row["name"]: row for row in report["costs"]}
    unsplit = 50 * sum(row["whole_ms"] for row in costs.values())
    staged = 10 * (costs["image.item"]["ms"] + costs["image"]["ms"]) + 50 * (costs["audio"]["ms"] + costs["head"]["ms"])
    assert report["saving"]["unsplit_ms"] == pytest.approx(unsplit)
    assert report["saving"]["staged_ms"] == pytest.approx(staged)
    assert costs["image.item"]["runs_unsplit"] == 8
    text = mmedge_cli("inspect", reference_bundle)
    assert "times less" in text.out


def test_check_says_whether_this_device_computes_the_same(mmedge_cli, reference_bundle):
    assert "computes here what it computed at export" in mmedge_cli("check", reference_bundle).out
    assert json.loads(mmedge_cli("check", reference_bundle, "--json").out)["passed"] is True


WEIGHTS = (7, 5, 9)  # field numbers: a model's graph, its initializers, their raw data


def largest_weight(message, numbers=WEIGHTS):
    """The view of the largest weight inside the bytes of a graph."""
    inside = [value for number, value in fields(message) if number == numbers[0]]
    if len(numbers) > 1:
        inside = [weight for value in inside if (weight := largest_weight(value, numbers[1:])) is not None]
    return max(inside, key=len, default=None)


def test_check_tells_a_perturbed_weight_and_ends_with_status_1(mmedge_cli, bundle_copy, put_listed):
    name = "onnx/fp32/head.onnx"
    graph = bytearray((bundle_copy / name).read_bytes())
    weight = np.frombuffer(largest_weight(memoryview(graph)), np.float32)
    weight[...] = weight * np.float32(1.001)
    put_listed(bundle_copy, name, bytes(graph))
    ended = mmedge_cli("check", bundle_copy)
    assert ended.status == 1
    rows = {line.split()[0]: line.split()[-1] for line in ended.out.splitlines() if line}
    assert rows["event"] == "DIFFERS"
    assert rows["cat_1"] == "ok"  # what the audio stage makes is as it was
    assert "does NOT compute the same" in ended.out
    told = mmedge_cli("check", bundle_copy, "--json")
    assert told.status == 1
    assert json.loads(told.out)["passed"] is False


def test_doctor_finds_this_environment_fit(mmedge_cli):
    ended = mmedge_cli("doctor")
    assert ended.status == 0
    assert "onnxruntime" in ended.out
    findings = json.loads(mmedge_cli("doctor", "--json").out)
    assert {"python", "numpy", "onnxruntime", "cv2"} <= {row["what"] for row in findings}


def mistakes():
    yield ["run", "nowhere.mmedge", "--camera", "x.mp4"], "nowhere.mmedge does not exist"
    yield ["run", "{bundle}"], "give camera"
    yield ["run", "{bundle}", "--camera", "nowhere.mp4"], "nowhere.mp4 does not exist"
    yield ["run", "{bundle}", "--camera", "{empty}"], "empty"
    yield ["run", "{bundle}", "--camera", "{text}", "--audio", "{sound}"], "text.mp4"
    yield ["run", "{bundle}", "--camera", "{video}", "--audio", "{empty}"], "empty"
    yield ["run", "{bundle}", "--camera", "{video}", "--tick", "sometimes"], "sometimes"
    yield ["run", "{bundle}", "--kamera", "{video}"], "No such option"
    yield ["run", "{bundle}", "--camera", "{video}", "--jsonl", "/nowhere/out.jsonl"], "/nowhere/out.jsonl"
    yield ["inspect", "{bundle}", "--rates", "lidar=3"], "lidar"
    yield ["inspect", "{bundle}", "--rates", "image=fast"], "image=fast"
    yield ["check", "{bundle}", "--backend", "abacus"], "abacus"
    yield ["fly"], "No such command"


@pytest.mark.parametrize(("arguments", "text"), list(mistakes()))
def test_a_mistake_is_one_line_and_status_1(mmedge_cli, reference_bundle, clip, tmp_path, arguments, text):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is not a video")
    places = {
        "bundle": reference_bundle, "video": clip.video, "sound": clip.sound,
        "empty": tmp_path / "empty.mp4", "text": tmp_path / "text.mp4",
    }  # fmt: skip
    ended = mmedge_cli(*(argument.format(**places) for argument in arguments))
    assert ended.status == 1
    assert text in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.err.startswith("mmedge: ")


def test_sound_of_another_rate_is_resampled_and_told_or_refused(mmedge_cli, reference_bundle, clip, tmp_path):
    other = tmp_path / "other.wav"
    with wave.open(str(other), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(np.repeat((clip.samples * 32767).astype("<i2"), 3).tobytes())
    ended = mmedge_cli("run", reference_bundle, "--camera", clip.video, "--audio", other)
    if find_spec("soxr"):
        assert ended.status == 0
        assert "resampled from 48000 to 16000 Hz" in ended.err
    else:
        assert ended.status == 1
        assert len(ended.err.strip().splitlines()) == 1
        assert "mmedge[resample]" in ended.err


def test_sound_that_ends_early_is_told_after_the_decisions_up_to_there(mmedge_cli, reference_bundle, clip, tmp_path):
    short = tmp_path / "short.wav"
    short.write_bytes(_shortened(clip.sound.read_bytes(), seconds=2))
    arguments = ["run", reference_bundle, "--camera", clip.video, "--audio", short, "--jsonl", tmp_path / "out.jsonl"]
    ended = mmedge_cli(*arguments)
    assert ended.status == 1
    assert "short.wav (audio) ends at 2.00 s" in ended.err
    assert "--allow-short" in ended.err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 51
    assert mmedge_cli(*arguments, "--allow-short").status == 0


def _shortened(wav: bytes, seconds: int) -> bytes:
    size = seconds * 32000
    return wav[:4] + (36 + size).to_bytes(4, "little") + wav[8:40] + size.to_bytes(4, "little") + wav[44 : 44 + size]


def test_a_changed_byte_stops_every_command(mmedge_cli, bundle_copy, clip):
    path = bundle_copy / "onnx/fp32/head.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for command in (["inspect"], ["check"], ["run", "--camera", clip.video]):
        ended = mmedge_cli(command[0], bundle_copy, *command[1:])
        assert ended.status == 1
        assert "head.onnx is not the file that was exported" in ended.err


def test_help_lists_commands_without_importing_what_they_need():
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mmedge", "--version"], check=True, capture_output=True, text=True
    )
    assert "0.1.0" in told.stdout
    assert not [name for name in ("torch", "onnxruntime", "cv2") if f" {name}\n" in told.stderr]


def test_a_reader_that_leaves_is_no_error(reference_bundle, clip):
    command = [
        sys.executable,
        "-m",
        "mmedge",
        "run",
        str(reference_bundle),
        "--camera",
        str(clip.video),
        "--jsonl",
        "-",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 0


def test_the_command_alone_prints_its_help(mmedge_cli):
    ended = mmedge_cli()
    assert ended.status == 0
    assert ended.err == ""
    assert ended.out == mmedge_cli("--help").out
    assert len(ended.out.splitlines()) > 8


NEEDY = """
import click
@click.command()
@click.argument("module")
def command(module):
    __import__(module)
"""


def test_a_library_that_a_command_misses_is_one_line(mmedge_cli, monkeypatch, tmp_path):
    (tmp_path / "needy.py").write_text(NEEDY)
    (tmp_path / "needy-1.dist-info").mkdir()
    (tmp_path / "needy-1.dist-info" / "METADATA").write_text("Name: needy\nVersion: 1\n")
    points = "[mmedge.commands]\nneedy = needy:command\nlost = not_there:command\n"
    (tmp_path / "needy-1.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    for arguments in (["needy", "not_there"], ["lost"]):
        ended = mmedge_cli(*arguments)
        assert ended.status == 1
        assert ended.err == "mmedge: this command needs not_there; try: pip install 'mmedge[export]'\n"
    monkeypatch.setattr(sys, "argv", ["mmedge", "needy", "mmedge.not_there"])
    with pytest.raises(ImportError):  # a mistake of ours is no missing library
        cli.main()


def test_record_of_nothing_says_what_to_give(mmedge_cli, tmp_path):
    ended = mmedge_cli("record", "-o", tmp_path / "monday")
    assert ended.status == 1
    assert "nothing to record; give --camera, --audio or both" in ended.err
    assert not (tmp_path / "monday").exists()


def test_a_mistake_on_the_command_line_is_one_sentence_and_where_to_look(mmedge_cli):
    ended = mmedge_cli("run")
    assert ended.status == 1
    assert "Missing argument 'BUNDLE'; try: " in ended.err
    assert ended.err.endswith(" run --help\n")
