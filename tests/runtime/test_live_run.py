"""A model on live sensors: it decides whatever they do, and what was recorded decides the same again."""

import json
import signal
import subprocess
import sys
import threading
from threading import Event, Thread
from time import monotonic, monotonic_ns

import numpy as np
import pytest
from duo import PATIENCE_S, until

import mmedge
from mmedge.errors import InputError, SourceError
from mmedge.live import LiveRun
from mmedge.running import open_run
from mmedge.sources import (
    LiveSource,
    TapeReader,
    TapeWriter,
    Track,
    live_from_packets,
    paced,
    synthetic_camera,
    synthetic_sound,
)
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


class Scene:
    """The synthetic scene in real time: for so long, and on until a slow machine has decided often enough."""

    def __init__(self, seconds):
        self.seconds, self.enough, self.given = seconds, Event(), {"image": 0, "audio": 0}
        self.sources = {
            "image": paced(Part(self, "image", synthetic_camera(seconds=PATIENCE_S)), "camera"),
            "audio": paced(Part(self, "audio", synthetic_sound(seconds=PATIENCE_S)), "audio"),
        }

    def decide(self, run, count):
        """All predictions until the sensors end."""
        made = []
        for prediction in run:
            made.append(prediction)
            if len(made) == count:
                self.enough.set()
        return made


class Part:
    def __init__(self, scene, port, source):
        self.scene, self.port, self.source = scene, port, source
        self.name, self.notes, self.close = source.name, source.notes, source.close

    def __iter__(self):
        for packet in self.source:
            if packet.available_ns > self.scene.seconds * NS and self.scene.enough.is_set():
                return
            self.scene.given[self.port] += 1
            yield packet


def test_live_sensors_are_decided_on_as_they_come(model):
    scene = Scene(1.6)
    with open_run(model, camera=scene.sources["image"], audio=scene.sources["audio"], tick="50hz") as run:
        predictions = scene.decide(run, 20)
    assert isinstance(run, LiveRun)
    assert len(predictions) >= 20
    steps, rest = np.divmod(np.diff([now.t_ns for now in predictions]), NS // 50)
    assert not rest.any()
    assert (steps >= 1).all()
    assert (steps - 1).sum() == run.stream.totals["passed_over"]
    assert {status.state for status in run.status.values()} == {"ended"}
    assert {port: counts["packets"] for port, counts in run.counters.items()} == scene.given
    assert scene.given["image"] >= 24
    assert scene.given["audio"] >= 80
    assert names() == set()


@pytest.mark.parametrize("tick", ["audio", "camera", "50hz"])
def test_a_recording_gives_the_same_predictions_bit_for_bit(model, tmp_path, tick):
    """What a stream in the order of the pushes has decided, it decides again."""
    scene = Scene(1.4)
    live = scene.sources
    tape = TapeWriter(tmp_path / "tape", {p: Track(modality=s.modality, source=s.name) for p, s in live.items()})
    with LiveRun(model, model.stream(tick), live, tape=tape) as run:
        decided = scene.decide(run, 4)
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
    assert {event.source: event.state for event in reversed(tape.events)} == {
        "the synthetic scene": "ok", "the synthetic sound": "ok",
    }  # fmt: skip
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
        sources = {"image": synthetic_camera(seconds=1.4), "audio": synthetic_sound(seconds=1.4)}
        tracks = {"image": Track(modality="camera", source="x"), "audio": Track(modality="audio", source="y")}
        folder = tmp_path / f"tape-{compress}"
        with TapeWriter(folder, tracks, compress=compress) as tape:
            for port, source in sources.items():
                for packet in source:
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

    scene = Scene(1.2)
    tape = Full(tmp_path / "tape", {"image": Track(modality="camera", source="x")})
    with LiveRun(model, model.stream("50hz"), scene.sources, tape=tape) as run:
        assert len(scene.decide(run, 4)) > 3
    assert any("the recording ended" in note and "No space left" in note for note in run.notes)


def test_a_bad_packet_is_refused_and_counted_and_the_next_one_is_taken(model):
    good = [(np.zeros(160, np.float32), n * 10_000_000) for n in range(150)]
    good[40] = (np.full(160, np.nan, np.float32), good[40][1])
    pictures = [(np.zeros((48, 64, 3), np.uint8), n * NS // 15) for n in range(22)]
    stream = model.stream("audio")
    seen = stream.branches["image"].feed

    def one_by_one():  # or the oldest make room
        for number, picture in enumerate(pictures):
            until(lambda number=number: seen.accepted == number)
            yield picture

    def after_the_pictures():
        until(lambda: seen.accepted == len(pictures))
        yield from good

    camera = live_from_packets(one_by_one(), "camera")
    audio = live_from_packets(after_the_pictures(), "audio", rate_hz=16000)
    with LiveRun(model, stream, {"image": camera, "audio": audio}) as run:
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

        def stop():
            until(lambda: run.status["image"].state == "lost")
            run.stop()

        stopping = Thread(target=stop)
        stopping.start()
        assert list(run) == []
        stopping.join()
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
        scene, begun = SCENE.format(60), monotonic()
        ended = mmedge_cli("record", "--camera", scene, "-o", tmp_path / "tape", "--seconds", 0.5, "--compress")
        took_s = monotonic() - begun
        assert ended.status == 0, ended.err
        assert 0.5 <= took_s < 50
        with TapeReader(tmp_path / "tape") as tape:
            assert 0 < len(list(tape)) <= 15 * took_s + 1

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
        until(lambda: out.exists() and len(out.read_text().splitlines()) > 5)
        process.send_signal(number)
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert started == {"the synthetic scene: ok\n", "the synthetic sound: ok\n"}
        assert "image: " in told
        assert " packets" in told
        assert len(out.read_text().splitlines()) > 5
