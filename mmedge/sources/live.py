"""A live sensor that never raises: a thread reads it, reconnects with back-off, and its state can be asked.

What is special about a device is its `Connection`, an iterator that waits a little at a time. Everything that goes
wrong with it in the field is a `SourceError`, and becomes a state and a count here; any other exception is a mistake
in a program and is handed to whoever consumes the packets.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import monotonic_ns
from typing import Literal, Protocol

from mmedge.errors import ClosedError, SourceError
from mmedge.types import NS, Packet

__all__ = ["Backoff", "Connect", "Connection", "LiveSource", "Modality", "SourceEvent", "SourceState", "SourceStatus"]

Modality = Literal["camera", "audio"]
SourceState = Literal["connecting", "ok", "stalled", "lost", "ended"]

STALL_MS = {"camera": 1000, "audio": 500}
REOPEN_MS = 5000  # a device that is silent for so long is opened anew: some drivers never say that it was unplugged
SETTLED_NS = 2 * NS  # data for so long, and the next failure starts from the shortest wait again
JOIN_S = 3.0


class Connection(Protocol):
    """One connection to a device, for one thread."""

    def __iter__(self) -> Iterator[Packet | None]:
        """Packets as they come, None at least every 100 ms in between; ends where the data ends.

        Raises:
            SourceError: The device is gone.
        """

    def close(self) -> None:
        """Let go of the device."""


Connect = Callable[[int, Counter[str]], Connection]
"""Opens a device, given when the run began on the monotonic clock and the counts to add to; raises SourceError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvent:
    """A change of a live source's state.

    Attributes:
        t_ns: When, on the monotonic clock.
        source: The name of the source.
        state: What it became.
        detail: Why, in a line; may be "".
    """

    t_ns: int
    source: str
    state: SourceState
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """How a live source is doing.

    Attributes:
        state: connecting (no data yet), ok, stalled (connected, no data), lost (waiting to reconnect), or ended.
        since_ns: Since when, on the monotonic clock.
        detail: Why, in a line; may be "".
        counts: What has happened so far: packets, dropped, connections, losses, stalls, and what the device counts.
    """

    state: SourceState
    since_ns: int
    detail: str
    counts: Mapping[str, int]


class Backoff:
    """How long to wait before the next attempt: doubling up to a limit, each wait shortened by up to a half at random.

    Args:
        first_s: The first wait.
        most_s: The longest one.
    """

    def __init__(self, first_s: float = 0.25, most_s: float = 8.0) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        # By chance, so that sensors behind one hub do not come back at one moment; importing random takes 5 ms.
        return wait_s * (1 - int.from_bytes(os.urandom(2), "big") / (1 << 17))

    def reset(self) -> None:
        """Begin from the first wait again."""
        self._next_s = self._first_s


class LiveSource:
    """One live sensor and the thread that reads it.

    Args:
        name: What to call it in messages.
        modality: What it gives.
        connect: Opens the device; called again whenever it was lost.
        stall_ms: Without data for so long it is stalled. 1000 for a camera, 500 for sound.
        backoff: Waits between attempts.
        notes: Facts worth reporting, which its connections may add to.
        release: Called by close(); for what is held before there is a connection.

    Attributes:
        name: What to call it in messages.
        modality: What it gives.
        notes: Facts worth reporting, one line each; may grow.
    """

    def __init__(  # noqa: PLR0913 - what a source is, and how it waits
        self,
        name: str,
        modality: Modality,
        connect: Connect,
        *,
        stall_ms: int | None = None,
        backoff: Backoff | None = None,
        notes: list[str] | None = None,
        release: Callable[[], object] | None = None,
    ) -> None:
        self.name, self.modality = name, modality
        self.notes: list[str] = [] if notes is None else notes
        self._connect, self._backoff, self._release = connect, backoff or Backoff(), release
        self._stall_ns = (stall_ms or STALL_MS[modality]) * 1_000_000
        self._counts: Counter[str] = Counter()
        self._state: SourceState = "connecting"
        self._since_ns = self._heard_ns = self._connected_ns = monotonic_ns()
        self._connected = False
        self._detail = ""
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None
        self._deliver: Callable[[Packet], object] = id
        self._tell: Callable[[SourceEvent | BaseException], object] = id

    @property
    def status(self) -> SourceStatus:
        """How it is doing now; from any thread."""
        self.check()
        with self._lock:
            return SourceStatus(
                state=self._state, since_ns=self._since_ns, detail=self._detail, counts=dict(self._counts)
            )

    def start(
        self,
        origin_ns: int,
        deliver: Callable[[Packet], object],
        tell: Callable[[SourceEvent | BaseException], object],
    ) -> None:
        """Begin to read.

        Args:
            origin_ns: When the run begins on the monotonic clock; what is played in real time begins then.
            deliver: Takes each packet, in the source's own thread; must not wait.
            tell: Takes each change of state, and an exception that ended the thread.

        Raises:
            ClosedError: It was started before, or closed.
        """
        if self._thread is not None or self._stop.is_set():
            raise ClosedError(f"{self.name} was used before; open it again")
        self._deliver, self._tell = deliver, tell
        self._thread = Thread(target=self._run, args=(origin_ns,), name=f"mmedge {self.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Notice that no data comes; whoever waits for packets calls this now and then, since a driver may hang."""
        now_ns = monotonic_ns()
        with self._lock:
            silent_ns = now_ns - self._heard_ns
            stalls = self._connected and self._state in {"connecting", "ok"} and silent_ns > self._stall_ns
            if stalls:
                self._counts["stalls"] += 1
        if stalls:
            self._become("stalled", f"no data for {silent_ns // 1_000_000} ms")

    def count(self, what: str, number: int = 1) -> None:
        """Add to the counts; from any thread."""
        with self._lock:
            self._counts[what] += number

    @property
    def ended(self) -> bool:
        """Whether there will be no more data; what a device loses is not its end."""
        return self._state == "ended"

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stop.set()

    def close(self) -> None:
        """Stop reading and let go of the device; waits for the thread, up to 3 s where a driver hangs."""
        self.stop()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(JOIN_S)
        if self._release is not None:
            self._release()

    def _run(self, origin_ns: int) -> None:
        try:
            while not self._stop.is_set():
                try:
                    ended = self._read(self._connect(origin_ns, self._counts))
                except OSError as error:  # a SourceError, or what the system says of a file or a socket
                    self._lose(error)
                    continue
                if ended:
                    self._become("ended", "")
                    return
        except BaseException as error:  # noqa: BLE001 - not swallowed: the consumer raises it
            self._become("lost", f"{type(error).__name__}: {error}")
            self._tell(error)

    def _read(self, connection: Connection) -> bool:
        """Read until the data ends; False when told to stop before."""
        try:
            with self._lock:
                self._counts["connections"] += 1
                self._connected, self._heard_ns = True, monotonic_ns()
            self._connected_ns = self._heard_ns
            for packet in connection:
                if self._stop.is_set():
                    return False
                if packet is None:
                    self._wait_for_data()
                else:
                    self._take(packet)
            return not self._stop.is_set()
        finally:
            self._connected = False
            connection.close()

    def _take(self, packet: Packet) -> None:
        with self._lock:
            self._heard_ns = monotonic_ns()
            self._counts["packets"] += 1
        if self._state != "ok":
            self._become("ok", "")
        if self._heard_ns - self._connected_ns > SETTLED_NS:
            self._backoff.reset()
        self._deliver(packet)

    def _wait_for_data(self) -> None:
        self.check()
        silent_ms = (monotonic_ns() - self._heard_ns) // 1_000_000
        if silent_ms > max(REOPEN_MS, 2 * self._stall_ns // 1_000_000):
            raise SourceError(f"{self.name} gives no data for {silent_ms} ms")

    def _lose(self, error: OSError) -> None:
        wait_s = self._backoff.next_s()
        self.count("losses")
        self._become("lost", f"{error}; trying again in {wait_s:.1f} s")
        self._stop.wait(wait_s)

    def _become(self, state: SourceState, detail: str) -> None:
        with self._lock:
            changed = (state, detail) != (self._state, self._detail)
            self._state, self._detail = state, detail
            if changed:
                self._since_ns = monotonic_ns()
        if changed:
            self._tell(SourceEvent(t_ns=self._since_ns, source=self.name, state=state, detail=detail))
