"""A model on recordings, in their own time and as fast as they come."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from mmedge.model import Model
from mmedge.stream import Stream
from mmedge.sync import Sync, shifted
from mmedge.types import NS, AudioChunk, Packet, Prediction

__all__ = ["Recorded", "Run"]


class Recorded(Protocol):
    """What is asked of recordings that are read together."""

    @property
    def notes(self) -> list[str]:
        """Facts worth reporting, one line each."""

    def __iter__(self) -> Iterator[tuple[str, Packet]]:
        """``(port, packet)`` pairs, in the order in which they are pushed."""

    def close(self) -> None:
        """Release what they hold."""


class Run:
    """Predictions of a model on recordings; an iterator and a context manager.

    Args:
        model: The model.
        stream: Its stream; owned, and closed.
        recorded: The packets; owned, and closed.
        sync: What the camera and the microphone are apart.
        as_it_came: Push the packets as they are, as a live run has done, instead of cutting sound at the pictures.

    Attributes:
        model: The model.
        stream: Its stream, with counters and stage times.
        begin_ns: The time of the first packet; 0 before it came.
    """

    def __init__(
        self,
        model: Model,
        stream: Stream,
        recorded: Recorded,
        *,
        sync: Sync | None = None,
        as_it_came: bool = False,
    ) -> None:
        self.model = model
        self.stream = stream
        self.begin_ns = 0
        self._recorded = recorded
        hears = any(port.audio for port in model.manifest.ports.values())
        pairs = shifted(recorded, sync)
        self._pairs = cut_at_pictures(pairs) if hears and not as_it_came else pairs

    @property
    def notes(self) -> list[str]:
        """What was resampled, skipped or short; complete when the end is reached."""
        return self._recorded.notes

    def __iter__(self) -> Iterator[Prediction]:
        for number, (port, packet) in enumerate(self._pairs):
            if number == 0:
                self.begin_ns = packet.t_ns
            self.stream.push(packet, port=port)
            yield from self.stream.poll()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close stream and recordings."""
        self.stream.close()
        self._recorded.close()


def cut_at_pictures(pairs: Iterable[tuple[str, Packet]]) -> Iterator[tuple[str, Packet]]:
    """Cut chunks of sound where pictures come, so that no decision sees a picture from its future.

    Args:
        pairs: Packets of one microphone and any number of other sensors, ordered by ``available_ns``.
    """
    waiting: list[tuple[str, Packet]] = []
    for port, packet in pairs:
        if not isinstance(packet, AudioChunk):
            waiting.append((port, packet))
            continue
        samples, t_ns, rate_hz = packet.samples, packet.t_ns, packet.rate_hz
        done = 0
        for other in waiting:
            before = (other[1].available_ns - t_ns - 1) * rate_hz // NS  # a tick at its very time shall see it
            count = min(len(samples), max(done, before))
            if count > done:
                yield port, AudioChunk(samples=samples[done:count], t_ns=t_ns + done * NS // rate_hz, rate_hz=rate_hz)
            done = count
            yield other
        waiting.clear()
        if done < len(samples):
            yield port, AudioChunk(samples=samples[done:], t_ns=t_ns + done * NS // rate_hz, rate_hz=rate_hz)
    yield from waiting
