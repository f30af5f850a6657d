"""What was recorded is read back bit for bit, up to where the writer was killed."""

import json
import subprocess
import sys
import threading
from time import monotonic

import numpy as np
import pytest

from mmedge.errors import ClosedError, InputError, ShortSourceError, SourceError
from mmedge.sources import Recorder, SourceEvent, TapeReader, TapeWriter, Track
from mmedge.sources.recorder import PICTURES_BYTES, SOUND_BYTES
from mmedge.types import AudioChunk, TextMessage, VideoFrame

TRACKS = {"image": Track(modality="camera", source="camera 0"), "audio": Track(modality="audio", source="mic")}


def packets(count=6, seed=1):
    """Pictures and sound of uneven sizes and times, in no order of time."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        t_ns = int(rng.integers(-(2**62), 2**62))
        if n % 2:
            samples = rng.standard_normal(int(rng.integers(0, 300))).astype(np.float32)
            yield "audio", AudioChunk(samples=samples, t_ns=t_ns, rate_hz=16000)
        else:
            height, width = rng.integers(1, 40, 2)
            yield "image", VideoFrame(pixels=rng.integers(0, 256, (height, width, 3), np.uint8), t_ns=t_ns)


def content(pairs):
    return [
        (port, packet.t_ns, (packet.pixels if isinstance(packet, VideoFrame) else packet.samples).tobytes())
        for port, packet in pairs
    ]


def write(folder, count=6, **options):
    with TapeWriter(folder, TRACKS, **options) as tape:
        for port, packet in packets(count):
            tape.write(port, packet)
    return tape


@pytest.mark.parametrize(("compress", "codec"), [(False, "raw"), (True, "png")])
def test_packets_come_back_bit_for_bit_in_the_order_of_arrival(tmp_path, compress, codec):
    if compress:
        pytest.importorskip("cv2")
    write(tmp_path / "tape", compress=compress)
    assert json.loads((tmp_path / "tape" / "recording.json").read_text())["pictures"] == codec
    with TapeReader(tmp_path / "tape") as tape:
        assert content(tape) == content(packets())
        assert tape.notes == []
        assert tape.tracks == TRACKS


def test_events_and_counts_are_kept(tmp_path):
    events = [SourceEvent(t_ns=n, source="camera 0", state="lost", detail="pulled out") for n in (5, 9)]
    tape = TapeWriter(tmp_path / "tape", TRACKS)
    tape.write_events(events[:1])
    tape.write_events(events)
    tape.close({"image": {"losses": 2}})
    tape.close()
    with TapeReader(tmp_path / "tape") as read:
        assert list(read) == []
    assert read.events == events
    assert read.counters == {"image": {"losses": 2}}


def test_what_was_written_before_a_kill_can_be_read(tmp_path):
    program = (
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_tape import TRACKS, packets\n"
        "from mmedge.sources import TapeWriter\n"
        "tape = TapeWriter(sys.argv[1], TRACKS)\n"
        "for port, packet in packets(5): tape.write(port, packet)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    folder = tmp_path / "tape"
    here = __file__.rpartition("/")[0]
    assert subprocess.run([sys.executable, "-c", program, str(folder), here], check=False).returncode == -9
    with TapeReader(folder) as tape:
        assert content(tape) == content(packets(5))
        assert tape.notes == ["tape was not closed (a crash?); it holds 5 whole packets"]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_record_that_was_cut_off_is_the_end(tmp_path, cut):
    write(tmp_path / "tape")
    file = tmp_path / "tape" / "packets.bin"
    file.write_bytes(file.read_bytes()[: -(cut + 40)])  # the end, and some of the last packet
    with TapeReader(tmp_path / "tape") as tape:
        found = content(tape)
    assert found == content(packets())[: len(found)]
    assert len(found) >= 4
    assert "was not closed" in tape.notes[0]


def test_damage_in_the_middle_is_not_passed_over(tmp_path):
    write(tmp_path / "tape")
    file = tmp_path / "tape" / "packets.bin"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with TapeReader(tmp_path / "tape") as tape, pytest.raises(ShortSourceError, match="damaged after . packets"):
        list(tape)
    with TapeReader(tmp_path / "tape", allow_short=True) as tape:
        found = content(tape)
    assert found == content(packets())[: len(found)]
    assert tape.notes[0].startswith("tape is damaged after")


def test_a_folder_that_exists_is_never_written_to(tmp_path):
    with pytest.raises(InputError, match="exists; choose another folder"):
        TapeWriter(tmp_path, TRACKS)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no recording; expected a folder that mmedge record has made"):
        TapeReader(tmp_path)
    write(tmp_path / "tape")
    (tmp_path / "tape" / "recording.json").write_text('{"version": 2, "tracks": {}}')
    with pytest.raises(SourceError, match="of version 2, this mmedge reads version 1"):
        TapeReader(tmp_path / "tape")
    (tmp_path / "tape" / "recording.json").write_text(
        '{"version": 1, "tracks": {"a": {"modality": "smell", "source": "nose"}}}'
    )
    with pytest.raises(SourceError, match="modality"):
        TapeReader(tmp_path / "tape")


def test_only_tracks_and_only_pictures_and_sound_are_written(tmp_path):
    with TapeWriter(tmp_path / "tape", TRACKS) as tape:
        with pytest.raises(InputError, match="no track"):
            tape.write("lidar", next(packets())[1])
        with pytest.raises(InputError, match="only pictures and sound"):
            tape.write("image", TextMessage(text="hello", t_ns=0))
    with pytest.raises(ClosedError):
        tape.write(*next(packets()))


class SlowDisk(TapeWriter):
    """One that stands still until it is told to go on."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.open = threading.Event()

    def write(self, *arguments):
        assert self.open.wait(10)
        super().write(*arguments)


def large(n):
    pixels = np.full((1024, 1024, 3), n % 256, np.uint8)
    return VideoFrame(pixels=pixels, t_ns=n)


def test_a_recorder_that_cannot_keep_up_leaves_out_and_counts_and_never_waits(tmp_path):
    disk = SlowDisk(tmp_path / "tape", TRACKS)
    recorder = Recorder(disk)
    fit = PICTURES_BYTES // large(0).pixels.nbytes + 1
    begin = monotonic()
    for n in range(fit + 5):
        recorder.write("image", large(n))
    chunk = AudioChunk(samples=np.zeros(160, np.float32), t_ns=7, rate_hz=16000)
    recorder.write("audio", chunk)  # sound has room of its own
    assert monotonic() - begin < 5  # the disk would have held it up for ten
    assert recorder.unrecorded == {"image": 5}
    disk.open.set()
    recorder.close({"image": {"packets": fit + 5}, "audio": {"packets": 1}})
    with TapeReader(tmp_path / "tape") as tape:
        found = [(port, packet.t_ns) for port, packet in tape]
    assert found == [("image", n) for n in range(fit)] + [("audio", 7)]
    assert tape.counters["image"] == {"packets": fit + 5, "unrecorded": 5}
    assert tape.notes == ["image: 5 packets are not in tape; its recorder was too slow"]


def test_a_recorder_holds_no_more_than_it_says(tmp_path):
    disk = SlowDisk(tmp_path / "tape", TRACKS)
    recorder = Recorder(disk)
    second = AudioChunk(samples=np.zeros(1 << 20, np.float32), t_ns=0, rate_hz=16000)
    for _ in range(SOUND_BYTES // second.samples.nbytes + 4):
        recorder.write("audio", second)
    assert recorder.unrecorded == {"audio": 3}
    disk.open.set()
    recorder.close()


def test_a_recorder_writes_the_same_as_its_tape_in_the_same_order(tmp_path):
    events = [SourceEvent(t_ns=n, source="camera 0", state="lost", detail="pulled out") for n in (5, 9)]
    recorder = Recorder(TapeWriter(tmp_path / "tape", TRACKS))
    for n, (port, packet) in enumerate(packets()):
        recorder.write_events(events[: n + 1])
        recorder.write(port, packet)
    recorder.close()
    recorder.close()
    with TapeReader(tmp_path / "tape") as tape:
        assert content(tape) == content(packets())
    assert tape.events == events
    assert not [thread for thread in threading.enumerate() if thread.name == "mmedge recorder"]
    with pytest.raises(ClosedError):
        recorder.write(*next(packets()))


def test_a_disk_that_fills_up_is_told_once_by_the_recorder(tmp_path):
    class Full(TapeWriter):
        def write(self, *_):
            raise OSError(28, "No space left on device")

    recorder = Recorder(Full(tmp_path / "tape", TRACKS))
    recorder.write(*next(packets()))
    with pytest.raises(OSError, match="No space left"):
        recorder.close()
    recorder.close()
