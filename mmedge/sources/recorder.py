"""Recording beside a run that must not wait: for the disk, or for pictures to be compressed."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from threading import Condition, Thread
from time import monotonic_ns

from mmedge.errors import ClosedError
from mmedge.sources.live import SourceEvent
from mmedge.sources.tape import TapeWriter
from mmedge.types import AudioChunk, Packet, VideoFrame

__all__ = ["Recorder"]

PICTURES_BYTES = 64 << 20  # what may wait when a picture comes: 70 of 640 x 480
SOUND_BYTES = 2 * PICTURES_BYTES  # and when sound comes, which must have no holes for the sake of pictures


class Recorder:
    """Writes packets in a thread of its own. What comes while too much is waiting is left out, and counted.

    Args:
        tape: Where to; owned, and closed.

    Attributes:
        unrecorded: By port, packets that were left out.
    """

    def __init__(self, tape: TapeWriter) -> None:
        self.unrecorded: Counter[str] = Counter()
        self._tape = tape
        self._waiting: deque[tuple[str, Packet, int] | SourceEvent] = deque()
        self._bytes = 0
        self._told_ns = -1
        self._error: BaseException | None = None
        self._closing = False
        self._changed = Condition()
        self._thread = Thread(target=self._work, name="mmedge recorder", daemon=True)
        self._thread.start()

    def write(self, port: str, packet: Packet) -> None:
        """Take a packet, without waiting; it is kept until it is written.

        Raises:
            ClosedError: After close().
            OSError: The disk is full; what was written before stays readable.
            InputError: An earlier packet could not be recorded.
        """
        with self._changed:
            self._check()
            if self._bytes > (PICTURES_BYTES if isinstance(packet, VideoFrame) else SOUND_BYTES):
                self.unrecorded[port] += 1
                return
            self._bytes += _bytes(packet)
            self._waiting.append((port, packet, monotonic_ns()))
            self._changed.notify()

    def write_events(self, events: Iterable[SourceEvent]) -> None:
        """Take what happened to the sources since the last call.

        Args:
            events: All of them, oldest first; those that were taken are left out.
        """
        with self._changed:
            new = [event for event in events if event.t_ns > self._told_ns]
            if new and not self._closing:
                self._waiting.extend(new)
                self._told_ns = new[-1].t_ns
                self._changed.notify()

    def close(self, counters: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """Write what is waiting, and what was counted; further calls do nothing.

        Raises:
            OSError: The disk is full.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        told = {port: dict(counts) for port, counts in (counters or {}).items()}
        for port, count in self.unrecorded.items():
            told.setdefault(port, {})["unrecorded"] = count
        self._tape.close(told)
        self._raise()

    def _check(self) -> None:
        self._raise()
        if self._closing:
            raise ClosedError(f"the recording {self._tape.folder} is closed")

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                given = self._waiting[0]
            try:
                if isinstance(given, SourceEvent):
                    self._tape.write_events([given])
                else:
                    self._tape.write(*given)
            except Exception as error:  # noqa: BLE001 - not swallowed: the next write() or close() raises it
                with self._changed:
                    self._error, self._closing = error, True
                    self._waiting.clear()
                return
            with self._changed:
                self._waiting.popleft()
                self._bytes -= 0 if isinstance(given, SourceEvent) else _bytes(given[1])


def _bytes(packet: Packet) -> int:
    if isinstance(packet, VideoFrame):
        return packet.pixels.nbytes
    return packet.samples.nbytes if isinstance(packet, AudioChunk) else 0
