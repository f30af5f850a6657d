"""Several recordings as one stream of packets, in the order in which a robot would have had them."""

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from types import TracebackType
from typing import Protocol

from mmedge.errors import ClosedError, InputError, ShortSourceError
from mmedge.types import NS, AudioChunk, Packet, VideoFrame

__all__ = ["Replay", "Source"]

_WAY_OUT = "; pass --allow-short to stop there"


class Source(Protocol):
    """Anything that yields one sensor's packets in the order of their times, each ready when it is asked for.

    A file that holds less than it declares raises `ShortSourceError` after its last packet.
    """

    @property
    def name(self) -> str:
        """What to call it in a message."""

    @property
    def notes(self) -> list[str]:
        """Facts worth reporting, one line each; may grow until the end is reached."""

    def __iter__(self) -> Iterator[Packet]:
        """One pass over the packets."""

    def close(self) -> None:
        """Release what it holds; further calls do nothing."""


class Replay:
    """Merges recordings into ``(port, packet)`` pairs ordered by ``available_ns``, frames before sound on a tie.

    The same files give the same pairs at any speed. One packet per source is held, nothing more is read ahead. An
    iterator and a context manager, for one thread; it owns the sources and closes them.

    Args:
        sources: One source for every port.
        tolerance_ms: How much earlier than the others a source may end or later it may start.
        allow_short: Stop where the first source ends, and note it, instead of raising.

    Raises:
        ClosedError: Iterated after close().
        InputError: There is no source.
        ShortSourceError: After the last pair, when one source ends before the others or was cut off.
    """

    def __init__(self, sources: Mapping[str, Source], *, tolerance_ms: int = 250, allow_short: bool = False) -> None:
        if not sources:
            raise InputError("a replay needs at least one source, e.g. {'camera': open_video('clip.mp4')}")
        self._tracks = [_Track(port, source) for port, source in sources.items()]
        self._tolerance_ns, self._allow_short = tolerance_ms * 1_000_000, allow_short
        self._notes: list[str] = []
        self._pairs = self._merge()
        self._closed = False

    @property
    def notes(self) -> list[str]:
        """Facts worth reporting, of the sources and of their fit; complete when the end is reached."""
        return [*(note for track in self._tracks for note in track.source.notes), *self._notes]

    def __iter__(self) -> Iterator[tuple[str, Packet]]:
        return self

    def __next__(self) -> tuple[str, Packet]:
        if self._closed:
            raise ClosedError("the replay is closed")
        return next(self._pairs)

    def __enter__(self) -> "Replay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every source; further calls do nothing."""
        self._closed = True
        for track in self._tracks:
            track.source.close()

    def _merge(self) -> Iterator[tuple[str, Packet]]:
        heads: list[tuple[int, bool, int, Packet]] = []
        for place in range(len(self._tracks)):
            self._fetch(heads, place)
        self._note_late_starts(heads)
        while heads:
            _, _, place, packet = heappop(heads)
            track, short = self._tracks[place], self._first_ended()
            if short is not None and packet.available_ns > short.end_ns + self._tolerance_ns:
                ends = f"{short.source.name} ({short.port}) ends at {short.end_ns / NS:.2f} s"
                text = f"{ends} while {track.source.name} ({track.port}) goes on"
                self._refuse(ShortSourceError(f"{text}{_WAY_OUT}"))
                return
            yield track.port, packet
            self._fetch(heads, place)

    def _fetch(self, heads: list[tuple[int, bool, int, Packet]], place: int) -> None:
        """Put the track's next packet among the heads, where it has one."""
        try:
            packet = self._tracks[place].advance()
        except ShortSourceError as error:
            self._refuse(error)
            return
        if packet is not None:
            heappush(heads, (packet.available_ns, isinstance(packet, AudioChunk), place, packet))

    def _refuse(self, error: ShortSourceError) -> None:
        if not self._allow_short:
            raise error
        self._notes.append(str(error).removesuffix(_WAY_OUT))

    def _first_ended(self) -> "_Track | None":
        return min((track for track in self._tracks if track.ended), key=lambda track: track.end_ns, default=None)

    def _note_late_starts(self, heads: list[tuple[int, bool, int, Packet]]) -> None:
        first_ns = min((packet.t_ns for *_, packet in heads), default=0)
        for *_, place, packet in sorted(heads, key=lambda head: head[2]):
            if packet.t_ns - first_ns > self._tolerance_ns:
                track = self._tracks[place]
                late_s = (packet.t_ns - first_ns) / NS
                self._notes.append(f"{track.source.name} ({track.port}) starts {late_s:.2f} s after the first sensor")


class _Track:
    """One source of a replay, and how far it has got."""

    def __init__(self, port: str, source: Source) -> None:
        self.port, self.source = port, source
        self.end_ns = 0  # where its latest packet ends; a frame is taken to last as long as the one before it did
        self.ended = False
        self._packets = iter(source)
        self._frame_ns: int | None = None

    def advance(self) -> Packet | None:
        """The next packet, None at the end; raises what the source raises."""
        self.ended = True
        packet = next(self._packets, None)
        if packet is not None:
            self.ended = False
            step_ns = 0
            if isinstance(packet, VideoFrame):
                step_ns = 0 if self._frame_ns is None else packet.t_ns - self._frame_ns
                self._frame_ns = packet.t_ns
            self.end_ns = packet.available_ns + step_ns
        return packet
