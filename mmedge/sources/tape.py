"""What sensors gave, written down as it came and read back bit for bit.

A tape is a folder: ``recording.json`` says what its tracks are, ``packets.bin`` is one record after the other in the
order of arrival. Every record is handed to the operating system at once and carries a checksum, so that whatever was
written before a crash can be read; memory is one packet. Records are little-endian:

    4 bytes "mme1", u32 length of the payload, u32 CRC-32 of what follows,
    u8 kind, u8 track, u16 zero, i64 t_ns, i64 arrival_ns, payload

The payload is, by kind: 1 a picture, u32 height, u32 width, RGB bytes; 2 a picture as PNG; 3 sound, u32 rate, float32
samples; 4 an event, JSON; 5 the end, JSON.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from time import monotonic_ns
from types import TracebackType
from typing import BinaryIO
from zlib import crc32

import numpy as np

from mmedge.errors import ClosedError, InputError, ShortSourceError, SourceError, needs
from mmedge.records import RecordError, from_plain, to_plain
from mmedge.sources.live import Modality, SourceEvent
from mmedge.types import AudioChunk, Packet, VideoFrame

__all__ = ["TapeReader", "TapeWriter", "Track", "is_tape"]

HEADER_NAME, PACKETS_NAME = "recording.json", "packets.bin"
MAGIC = b"mme1"
HEAD, FACTS = struct.Struct("<4sII"), struct.Struct("<BBHqq")
RAW, PNG, SOUND, EVENT, END = 1, 2, 3, 4, 5
CODECS = {False: "raw", True: "png"}
SIZE, RATE = struct.Struct("<II"), struct.Struct("<I")
MAX_PAYLOAD, MAX_HEADER = 1 << 29, 100_000
WAY_OUT = "; pass --allow-short to stop there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One sensor of a tape.

    Attributes:
        modality: What it gave.
        source: What it was called.
    """

    modality: Modality
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    version: int
    tracks: dict[str, Track]
    pictures: str = ""  # raw or png; in those of before, each record alone says it


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    counters: dict[str, dict[str, int]]


def is_tape(folder: Path | str) -> bool:
    """Whether a folder was written by `TapeWriter`."""
    return (Path(folder) / PACKETS_NAME).is_file()


class TapeWriter:
    """Writes packets as they come; a context manager, for any thread.

    Args:
        folder: A new one.
        tracks: What is written, by port.
        compress: Pictures as PNG, without loss: an eighth to a half of the bytes, for some milliseconds of work each.

    Attributes:
        folder: It.
        written: Bytes so far.

    Raises:
        InputError: The folder exists.
        OSError: The disk is full, or the folder cannot be made.
    """

    def __init__(self, folder: Path | str, tracks: Mapping[str, Track], *, compress: bool = False) -> None:
        self.folder = Path(folder)
        self.written = 0
        self._told_ns = -1
        self._tracks = list(tracks)
        self._cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'") if compress else None
        # at 640 x 480, of the bytes: a drawn scene 24 %, a video 15 %, a video with a sensor's noise 44 %; level 1 with
        # its own strategy takes as long for 23, 20 and 52 %, level 6 four times as long for 15, 16 and 49 %
        self._png: list[int] = []
        if self._cv2 is not None:
            rle = self._cv2.IMWRITE_PNG_STRATEGY_RLE
            self._png = [self._cv2.IMWRITE_PNG_COMPRESSION, 1, self._cv2.IMWRITE_PNG_STRATEGY, rle]
        self._lock = Lock()
        if self.folder.exists():
            raise InputError(f"{self.folder} exists; choose another folder for the recording")
        self.folder.mkdir(parents=True)
        header = to_plain(_Header(version=1, tracks=dict(tracks), pictures=CODECS[compress]))
        (self.folder / HEADER_NAME).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        self._file: int | None = os.open(self.folder / PACKETS_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def write(self, port: str, packet: Packet, arrival_ns: int | None = None) -> None:
        """Write down what came.

        Args:
            port: From where.
            packet: It.
            arrival_ns: When, on the monotonic clock; by default now.

        Raises:
            ClosedError: After close().
            InputError: It is neither a picture nor sound, or of no track.
            OSError: The disk is full; what was written before stays readable.
        """
        if port not in self._tracks:
            raise InputError(f"{port} is no track of this recording; expected {', '.join(self._tracks)}")
        track = self._tracks.index(port)
        if isinstance(packet, VideoFrame):
            kind, payload = self._picture(packet)
        elif isinstance(packet, AudioChunk):
            kind, payload = SOUND, RATE.pack(packet.rate_hz) + packet.samples.astype("<f4", copy=False).tobytes()
        else:
            raise InputError(f"{port} gave {type(packet).__name__}; only pictures and sound are recorded")
        self._append(kind, track, packet.t_ns, payload, arrival_ns)

    def write_events(self, events: Iterable[SourceEvent]) -> None:
        """Write down what happened to the sources since the last call.

        Args:
            events: All of them, oldest first; those that were written are left out.
        """
        for event in list(events):
            if event.t_ns > self._told_ns:
                self._append(EVENT, 0, event.t_ns, json.dumps(asdict(event)).encode())
                self._told_ns = event.t_ns

    def close(self, counters: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """Write that this is the end, and what was counted; further calls do nothing."""
        with self._lock:
            open_still = self._file is not None
        if open_still:
            try:
                self._append(END, 0, monotonic_ns(), json.dumps({"counters": counters or {}}).encode())
            finally:
                with self._lock:
                    if self._file is not None:
                        os.close(self._file)
                        self._file = None

    def __enter__(self) -> "TapeWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _picture(self, frame: VideoFrame) -> tuple[int, bytes]:
        if self._cv2 is None:
            return RAW, SIZE.pack(*frame.pixels.shape[:2]) + frame.pixels.tobytes()
        bgr = self._cv2.cvtColor(frame.pixels, self._cv2.COLOR_RGB2BGR)
        _, png = self._cv2.imencode(".png", bgr, self._png)
        return PNG, png.tobytes()

    def _append(self, kind: int, track: int, t_ns: int, payload: bytes, arrival_ns: int | None = None) -> None:
        facts = FACTS.pack(kind, track, 0, t_ns, monotonic_ns() if arrival_ns is None else arrival_ns)
        record = HEAD.pack(MAGIC, len(payload), crc32(payload, crc32(facts))) + facts + payload
        rest = memoryview(record)
        with self._lock:
            if self._file is None:
                raise ClosedError(f"the recording {self.folder} is closed")
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self.written += len(record)


class TapeReader:
    """``(port, packet)`` pairs in the order in which they were written: an iterator and a context manager.

    Args:
        folder: What `TapeWriter` made.
        allow_short: Stop where a record is damaged, and note it, instead of raising.

    Attributes:
        tracks: What is in it, by port.
        notes: Facts worth reporting; grows until the end is reached.
        events: What had happened to the sources, as far as was read.
        counters: What was counted, once the end was read.

    Raises:
        ClosedError: Iterated after close().
        ShortSourceError: Where a record in the middle is damaged, after the pairs before it.
        SourceError: It is no tape.
    """

    def __init__(self, folder: Path | str, *, allow_short: bool = False) -> None:
        self.folder = Path(folder)
        self.notes: list[str] = []
        self.events: list[SourceEvent] = []
        self.counters: dict[str, dict[str, int]] = {}
        header = _read_header(self.folder)
        self.tracks = header.tracks
        if header.pictures == CODECS[True]:
            needs("cv2", fix="pip install 'mmedge[cpu]'")
        self._allow_short = allow_short
        self._ports = list(self.tracks)
        self._file: BinaryIO = (self.folder / PACKETS_NAME).open("rb")
        self._pairs = self._read()

    def __iter__(self) -> Iterator[tuple[str, Packet]]:
        return self

    def __next__(self) -> tuple[str, Packet]:
        if self._file.closed:
            raise ClosedError(f"the recording {self.folder} is closed")
        return next(self._pairs)

    def __enter__(self) -> "TapeReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; further calls do nothing."""
        self._file.close()

    def _read(self) -> Iterator[tuple[str, Packet]]:
        count, ended = 0, False
        while (head := self._file.read(HEAD.size + FACTS.size)) and not ended:
            if len(head) < HEAD.size + FACTS.size:
                break
            magic, length, checksum = HEAD.unpack_from(head)
            if magic != MAGIC or length > MAX_PAYLOAD:
                self._refuse(f"{self.folder.name} is damaged after {count} packets")
                return
            payload = self._file.read(length)
            if len(payload) < length:
                break
            if crc32(payload, crc32(head[HEAD.size :])) != checksum:
                self._refuse(f"{self.folder.name} is damaged after {count} packets (checksum)")
                return
            kind, track, _, t_ns, _ = FACTS.unpack_from(head, HEAD.size)
            try:
                found = self._understand(kind, track, t_ns, payload)
            except (ValueError, TypeError, IndexError, struct.error) as error:
                raise SourceError(f"{self.folder.name}: record {count} was not written by mmedge ({error})") from error
            ended = kind == END
            if found is not None:
                count += 1
                yield found
        if not ended:
            self.notes.append(f"{self.folder.name} was not closed (a crash?); it holds {count} whole packets")

    def _understand(self, kind: int, track: int, t_ns: int, payload: bytes) -> tuple[str, Packet] | None:
        if kind == EVENT:
            self.events.append(from_plain(SourceEvent, json.loads(payload)))
        elif kind == END:
            self.counters = from_plain(_End, json.loads(payload)).counters
            for port, counts in self.counters.items():
                if missing := counts.get("unrecorded"):
                    self.notes.append(
                        f"{port}: {missing} packets are not in {self.folder.name}; its recorder was too slow"
                    )
        else:
            return self._ports[track], self._packet(kind, t_ns, payload)
        return None

    def _packet(self, kind: int, t_ns: int, payload: bytes) -> Packet:
        if kind == SOUND:
            (rate_hz,) = RATE.unpack_from(payload)
            samples = np.frombuffer(payload, "<f4", offset=RATE.size).astype(np.float32, copy=False)
            return AudioChunk(samples=samples, t_ns=t_ns, rate_hz=rate_hz)
        if kind == RAW:
            height, width = SIZE.unpack_from(payload)
            pixels = np.frombuffer(payload, np.uint8, offset=SIZE.size).reshape(height, width, 3)
            return VideoFrame(pixels=pixels, t_ns=t_ns)
        if kind == PNG:
            cv2 = needs("cv2", fix="pip install 'mmedge[cpu]'")
            bgr = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR)
            if bgr is not None:
                return VideoFrame(pixels=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), t_ns=t_ns)
        raise SourceError(f"{self.folder.name} holds a record of kind {kind} that cannot be read; update mmedge")

    def _refuse(self, text: str) -> None:
        if not self._allow_short:
            raise ShortSourceError(f"{text}{WAY_OUT}")
        self.notes.append(text)


def _read_header(folder: Path) -> _Header:
    path = folder / HEADER_NAME
    if not path.is_file() or not is_tape(folder):
        raise SourceError(f"{folder} is no recording; expected a folder that mmedge record has made")
    if path.stat().st_size > MAX_HEADER:
        raise SourceError(f"{path} is too large for what mmedge record writes")
    try:
        header = from_plain(_Header, json.loads(path.read_text(encoding="utf-8")))
    except (RecordError, ValueError) as error:
        raise SourceError(f"{path} was not written by mmedge record: {error}") from error
    if header.version != 1:
        raise SourceError(f"{path} is of version {header.version}, this mmedge reads version 1; update mmedge")
    return header
