"""A model on live sensors: it decides whatever they do, and what was recorded decides the same again."""

import json
import signal
import subprocess
import sys
import threading
from time import monotonic_ns, sleep

import numpy as np
import pytest

import mmedge
from mmedge.errors import InputError, SourceError
from mmedge.live import LiveRun
from mmedge.running import open_run
from mmedge.sources import LiveSource, TapeReader, TapeWriter, Track, live_from_packets, open_sources
from mmedge.types import AudioChunk

SCENE = "paced:synthetic://?seconds={}"
NS = 1_000_000_000


def names():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("mmedge")}


def plain(predictions):
    return [
        (now.t_ns, dict(now.age_ms), {name: value.tobytes() for name, value in now.outputs.items()})
        for now in predictions
    ]


def test_live_sensors_are_decided_on_as_they_come(model):
    with open_run(model, camera=SCENE.format(1.6), audio=SCENE.format(1.6), tick="50hz") as run:
        predictions = list(run)
    assert isinstance(run, LiveRun)
    assert len(predictions) >= 20
    assert set(np.diff([now.t_ns for now in predictions])) == {NS // 50}
    assert {status.state for status in run.status.values()} == {"ended"}
    assert run.counters["image"]["packets"] == 24
    assert run.counters["audio"]["packets"] == 160
    assert names() == set()


@pytest.mark.parametrize("tick", ["audio", "camera", "50hz"])
def test_a_recording_gives_the_same_predictions_bit_for_bit(model, tmp_path, tick):
    """What a stream in the order of the pushes has decided, it decides again."""
    sources = open_sources(SCENE.format(1.4), None, audio_rate_hz=16000)
    live = {"image": sources["camera"], "audio": sources["audio"]}
    tape = TapeWriter(tmp_path / "tape", {p: Track(modality=s.modality, source=s.name) for p, s in live.items()})
    with LiveRun(model, model.stream(tick), live, tape=tape) as run:
        decided = list(run)
    with open_run(model, recording=tmp_path / "tape", tick=tick) as again:
        replayed = list(again)
    assert len(decided) > 3
    assert plain(decided) == plain(replayed)
    assert again.notes == []


def test_record_writes_what_a_live_run_was_given(model, tmp_path):
    folder = tmp_path / "tape"
    options = {"camera": SCENE.format(1.2), "audio": SCENE.format(1.2), "record": folder}
    with open_run(model, **options) as run:
        list(run)
    with TapeReader(folder) as tape:
        pairs = list(tape)
    assert sum(isinstance(packet, AudioChunk) for _, packet in pairs) == 120
    assert [event.state for event in tape.events][:2] == ["ok", "ok"]
    assert tape.counters["image"]["packets"] == 18
    with pytest.raises(InputError, match="exists; choose another folder"):
        open_run(model, **options)
    with pytest.raises(InputError, match="tick"):
        open_run(model, **{**options, "tick": "noon", "record": tmp_path / "other"})
    assert not (tmp_path / "other").exists()
    assert names() == set()


def test_a_compressed_recording_decides_the_same_to_the_last_bit(model, tmp_path):
    decided = []
    for compress in (False, True):
        sources = open_sources("synthetic://?seconds=1.4", None, audio_rate_hz=16000)
        tracks = {"image": Track(modality="camera", source="x"), "audio": Track(modality="audio", source="y")}
        folder = tmp_path / f"tape-{compress}"
        with TapeWriter(folder, tracks, compress=compress) as tape:
            for port, kind in (("image", "camera"), ("audio", "audio")):
                for packet in sources[kind]:
                    tape.write(port, packet)
        with open_run(model, recording=folder) as run:
            decided.append(plain(run))
    assert len(decided[0]) > 10
    assert decided[0] == decided[1]
    raw, png = ((tmp_path / f"tape-{c}" / "packets.bin").stat().st_size for c in (False, True))
    assert png < raw / 2


def test_a_live_run_counts_what_its_recorder_left_out(model, tmp_path, monkeypatch):
    monkeypatch.setattr("mmedge.sources.recorder.PICTURES_BYTES", -1)  # no picture has room
    folder = tmp_path / "tape"
    with open_run(model, camera=SCENE.format(1.2), audio=SCENE.format(1.2), record=folder) as run:
        assert len(list(run)) > 3
    assert run.counters["image"]["unrecorded"] == 18
    assert any("18 packets are not in the recording" in note for note in run.notes)
    with TapeReader(folder) as tape:
        assert {port for port, _ in tape} == {"audio"}
    assert tape.notes == ["image: 18 packets are not in tape; its recorder was too slow"]


def test_a_disk_that_is_full_ends_the_recording_and_not_the_run(model, tmp_path):
    class Full(TapeWriter):
        def write(self, *_):
            raise OSError(28, "No space left on device")

    sources = open_sources(SCENE.format(1.2), None, audio_rate_hz=16000)
    tape = Full(tmp_path / "tape", {"image": Track(modality="camera", source="x")})
    with LiveRun(
        model, model.stream("50hz"), {"image": sources["camera"], "audio": sources["audio"]}, tape=tape
    ) as run:
        assert len(list(run)) > 3
    assert any("the recording ended" in note and "No space left" in note for note in run.notes)


def test_a_bad_packet_is_refused_and_counted_and_the_next_one_is_taken(model):
    good = [(np.zeros(160, np.float32), n * 10_000_000) for n in range(150)]
    good[40] = (np.full(160, np.nan, np.float32), good[40][1])
    pictures = [(np.zeros((48, 64, 3), np.uint8), n * NS // 15) for n in range(22)]

    def slowly(items):
        for item in items:
            yield item
            sleep(0.002)

    camera = live_from_packets(slowly(pictures), "camera")
    audio = live_from_packets(slowly(good), "audio", rate_hz=16000)
    with LiveRun(model, model.stream("audio"), {"image": camera, "audio": audio}) as run:
        assert len(list(run)) > 0
    assert run.counters["audio"]["refused"] == 1
    assert "audio: a packet was refused" in run.notes[0]
    assert "NaN" in run.notes[0]


def test_a_mistake_in_a_users_generator_is_raised_to_the_consumer(model):
    def broken():
        yield np.zeros((48, 64, 3), np.uint8), monotonic_ns()
        raise KeyError("mine")

    sources = {"camera": live_from_packets(broken(), "camera"), "audio": "paced:synthetic://?seconds=60"}
    with open_run(model, **sources) as run, pytest.raises(KeyError, match="mine"):
        list(run)
    assert names() == set()


def test_closing_in_the_middle_ends_every_thread(model):
    for _ in range(3):
        with open_run(model, camera=SCENE.format(60), audio=SCENE.format(60), tick="50hz") as run:
            next(iter(run))
        assert names() == set()


def test_a_sensor_that_never_comes_leaves_the_run_stoppable(model):
    def connect(origin_ns, counts):
        raise SourceError("not there")

    with open_run(model, camera=LiveSource("eye", "camera", connect), audio=SCENE.format(60)) as run:
        threading.Timer(0.5, run.stop).start()
        assert list(run) == []
        assert run.status["image"].state == "lost"


def test_python_and_the_command_line_take_the_same_names(reference_bundle, mmedge_cli, tmp_path):
    out = tmp_path / "out.jsonl"
    scene = "synthetic://?seconds=2"
    ended = mmedge_cli("run", reference_bundle, "--camera", scene, "--tick", "10hz", "--jsonl", out)
    assert ended.status == 0, ended.err
    written = [json.loads(line) for line in out.read_text().splitlines()]
    predictions = list(mmedge.run(reference_bundle, camera=scene, audio=scene, tick="10hz"))
    assert [now.t_ns for now in predictions] == [line["t_ns"] for line in written]
    assert [now.labels for now in predictions] == [line["labels"] for line in written]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"recording": "x", "camera": "y"}, "leave out camera, audio and record"),
        ({"camera": "synthetic://", "record": "x"}, "play it in real time to record it"),
        ({"camera": "synthetic://", "compress": True}, "none is made; give record"),
        ({"camera": "synthetic://", "sync": "no-such-file.json"}, "make it: mmedge sync RECORDING"),
        ({}, "the model sees .port image.; give camera"),
    ],
)
def test_options_that_do_not_fit_say_what_to_type(model, options, told):
    with pytest.raises(InputError, match=told):
        open_run(model, **options)


def test_a_recording_without_a_needed_sensor_is_refused(model, tmp_path):
    TapeWriter(tmp_path / "tape", {"audio": Track(modality="audio", source="mic")}).close()
    with pytest.raises(InputError, match=r"the model needs camera \(port image\); .* holds audio"):
        open_run(model, recording=tmp_path / "tape")


class TestCommands:
    """``mmedge run`` and ``mmedge record`` on live sensors."""

    def test_record_then_run_the_recording(self, mmedge_cli, reference_bundle, tmp_path):
        folder = tmp_path / "tape"
        scene = SCENE.format(1.5)
        ended = mmedge_cli("record", reference_bundle, "--camera", scene, "--audio", scene, "-o", folder)
        assert ended.status == 0, ended.err
        assert "camera: 22 packets" in ended.err or "camera: 23 packets" in ended.err
        assert "audio: 150 packets" in ended.err
        ended = mmedge_cli("run", reference_bundle, "--recording", folder)
        assert ended.status == 0, ended.err
        assert "event:" in ended.out

    def test_a_recording_can_stop_by_itself(self, mmedge_cli, tmp_path):
        scene = SCENE.format(60)
        ended = mmedge_cli("record", "--camera", scene, "-o", tmp_path / "tape", "--seconds", 0.5, "--compress")
        assert ended.status == 0, ended.err
        with TapeReader(tmp_path / "tape") as tape:
            assert 4 <= len(list(tape)) <= 10

    def test_recordings_are_not_recorded(self, mmedge_cli, tmp_path):
        ended = mmedge_cli("record", "--camera", "synthetic://", "-o", tmp_path / "tape")
        assert ended.status == 1
        assert "paced:" in ended.err
        assert not (tmp_path / "tape").exists()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_a_live_run_cleanly_with_its_counts(self, reference_bundle, tmp_path, number):
        out = tmp_path / "out.jsonl"
        command = [sys.executable, "-m", "mmedge", "run", str(reference_bundle), "--jsonl", str(out), "--tick", "50hz"]
        process = subprocess.Popen(
            [*command, "--camera", SCENE.format(60), "--audio", SCENE.format(60)], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        started = {process.stderr.readline(), process.stderr.readline()}
        sleep(1.6)
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 0
        assert started == {"the synthetic scene: ok\n", "the synthetic sound: ok\n"}
        assert "image: " in told
        assert " packets" in told
        assert len(out.read_text().splitlines()) > 5
