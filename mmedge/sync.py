"""How far the microphone's times lie behind the camera's, as measured once, and how a run puts it right."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmedge.errors import InputError
from mmedge.records import RecordError, from_plain, to_plain
from mmedge.types import NS, AudioChunk, Packet

__all__ = ["SYNC_NAME", "Sync", "read_sync", "shifted", "write_sync"]

SYNC_NAME = "sync.json"  # in the folder of a recording, where a run finds it by itself
MAX_BYTES = 100_000
MAX_OFFSET_MS, MAX_DRIFT_PPM = 10_000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The offset and the drift between a camera and a microphone.

    Attributes:
        offset_ms: How much later than the picture of an event its sound is stamped, ``at_s`` after the first packet.
        offset_error_ms: Standard error of the offset, of twice this a twentieth of all measurements is wrong.
        claps: Events that were seen and heard.
        at_s: The middle of them, in seconds after the first packet.
        drift_ppm: By how many millionths the offset grows per time; None where the claps lie too close together.
        drift_error_ppm: Standard error of the drift.

    Raises:
        InputError: The numbers are no camera and microphone of one scene.
    """

    offset_ms: float
    offset_error_ms: float
    claps: int
    at_s: float
    drift_ppm: float | None = None
    drift_error_ppm: float | None = None
    version: int = 1

    def __post_init__(self) -> None:
        drift = self.drift_ppm or 0.0
        if not (abs(self.offset_ms) <= MAX_OFFSET_MS and abs(drift) <= MAX_DRIFT_PPM and self.version == 1):
            raise InputError(
                f"offset_ms = {self.offset_ms}, drift_ppm = {drift}, version = {self.version}; "
                f"expected at most {MAX_OFFSET_MS} ms, {MAX_DRIFT_PPM} ppm, and version 1"
            )

    def of_live_sensors(self) -> "Sync":
        """Without the drift, which a live microphone's own fitted clock takes out."""
        return replace(self, drift_ppm=None, drift_error_ppm=None)


def read_sync(path: Path | str) -> Sync:
    """What ``mmedge sync`` has written.

    Raises:
        InputError: It is something else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is too large for what mmedge sync writes")
        return from_plain(Sync, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; make it: mmedge sync RECORDING -o {path}") from error
    except (RecordError, ValueError) as error:
        raise InputError(f"{path} was not written by mmedge sync: {error}") from error


def write_sync(sync: Sync, path: Path | str) -> None:
    """Write it where a run reads it; the file appears whole or not at all."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(to_plain(sync), indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def shifted(pairs: Iterable[tuple[str, Packet]], sync: Sync | None) -> Iterator[tuple[str, Packet]]:
    """The same packets, with the sound at the times of the camera's clock.

    Args:
        pairs: ``(port, packet)`` in any order.
        sync: What was measured; None changes nothing.
    """
    if sync is None:
        yield from pairs
        return
    offset_ns, drift = round(sync.offset_ms * 1e6), (sync.drift_ppm or 0.0) * 1e-6
    first_ns: int | None = None
    for port, packet in pairs:
        first_ns = packet.t_ns if first_ns is None else first_ns
        if isinstance(packet, AudioChunk):
            since_ns = packet.t_ns - first_ns - round(sync.at_s * NS)
            t_ns = packet.t_ns - offset_ns - round(drift * since_ns)
            yield port, AudioChunk(samples=packet.samples, t_ns=t_ns, rate_hz=packet.rate_hz)
        else:
            yield port, packet
