"""Several live sensors as one stream of packets, in the order in which they arrive."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from threading import Condition, Lock
from time import monotonic_ns
from types import TracebackType

from mmedge.errors import InputError
from mmedge.sources.live import LiveSource, SourceEvent, SourceStatus
from mmedge.types import Packet

__all__ = ["Arrivals"]

LIMITS = {"camera": 4, "audio": 200}  # packets that may wait: pictures age fast, sound must have no holes
EVENTS = 1000
CHECK_S = 0.1


class Arrivals:
    """``(port, packet)`` pairs of live sources as they arrive: an iterator and a context manager, for one thread.

    Where the consumer is slower than a sensor, that sensor's oldest packet makes room and is counted as dropped. The
    end is reached when every source has ended, or after :meth:`close`, which any thread may call.

    Args:
        sources: One live source for every port; owned, and closed.

    Attributes:
        origin_ns: When the run began, on the monotonic clock.

    Raises:
        Exception: What a source raised that is no failure of its device, out of the iteration.
    """

    def __init__(self, sources: Mapping[str, LiveSource]) -> None:
        if not sources:
            raise InputError("no live source was given, e.g. {'camera': open_source('camera://0', ...)}")
        self._sources = dict(sources)
        self._waiting: dict[str, deque[tuple[int, Packet]]] = {port: deque() for port in sources}
        self._changed = Condition()
        self._arrived = 0
        self._failure: BaseException | None = None
        self._stopping = False
        self._listener: Callable[[SourceEvent], object] | None = None
        self._telling = Lock()
        self._events: deque[SourceEvent] = deque(maxlen=EVENTS)
        self.origin_ns = monotonic_ns()
        with ExitStack() as undo:
            undo.callback(self.close)
            for port, source in self._sources.items():
                source.start(self.origin_ns, partial(self._deliver, port), self._tell)
            undo.pop_all()

    @property
    def status(self) -> dict[str, SourceStatus]:
        """How each source is doing, by port; from any thread."""
        return {port: source.status for port, source in self._sources.items()}

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What happened to each source so far, by port; from any thread."""
        return {port: dict(status.counts) for port, status in self.status.items()}

    @property
    def events(self) -> list[SourceEvent]:
        """The last changes of state, oldest first; from any thread."""
        with self._telling:
            return list(self._events)

    @property
    def notes(self) -> list[str]:
        """Facts worth reporting, one line each; may grow."""
        return [note for source in self._sources.values() for note in source.notes]

    def __iter__(self) -> Iterator[tuple[str, Packet]]:
        return self

    def __next__(self) -> tuple[str, Packet]:
        while True:
            with self._changed:
                if self._failure is not None:
                    raise self._failure
                if self._stopping:
                    raise StopIteration
                port = min(
                    (port for port in self._waiting if self._waiting[port]),
                    key=lambda port: self._waiting[port][0][0],
                    default=None,
                )
                if port is not None:
                    return port, self._waiting[port].popleft()[1]
                ended = all(source.ended for source in self._sources.values())
                if not ended:
                    self._changed.wait(CHECK_S)
            if ended:
                raise StopIteration
            for source in self._sources.values():
                source.check()

    def __enter__(self) -> "Arrivals":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def listen(self, listener: Callable[[SourceEvent], object] | None) -> None:
        """Have every change of state told, first those of the past.

        Args:
            listener: Called from the thread that notices the change, one at a time; must not wait. None ends it.
        """
        with self._telling:
            self._listener = listener
            if listener is not None:
                for event in self._events:
                    listener(event)

    def stop(self) -> None:
        """End the iteration within a tenth of a second, without waiting for it; may be called by a signal handler."""
        self._stopping = True
        for source in self._sources.values():
            source.stop()

    def close(self) -> None:
        """Stop every source and wait for its thread; further calls do nothing."""
        self.stop()
        for source in self._sources.values():
            source.close()

    def _deliver(self, port: str, packet: Packet) -> None:
        source = self._sources[port]
        with self._changed:
            waiting = self._waiting[port]
            full = len(waiting) >= LIMITS[source.modality]
            if full:
                waiting.popleft()
            self._arrived += 1
            waiting.append((self._arrived, packet))
            self._changed.notify()
        if full:
            source.count("dropped")

    def _tell(self, event: SourceEvent | BaseException) -> None:
        if isinstance(event, BaseException):
            with self._changed:
                self._failure = self._failure or event
                self._changed.notify_all()
            return
        with self._telling:
            self._events.append(event)
            if self._listener is not None:
                self._listener(event)
        if event.state == "ended":
            with self._changed:
                self._changed.notify_all()
