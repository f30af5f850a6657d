"""The health of every sensor of a stream, seen where packets come in and asked where decisions are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from mmedge.health.ailment import Ailment, Alarm, History
from mmedge.health.audio import AudioHealth
from mmedge.health.camera import CameraHealth
from mmedge.manifest import Port
from mmedge.types import AudioChunk, Packet

__all__ = ["Health", "SensorHealth"]

PERIODS = 5  # without a packet: disconnected
SHORTEST_NS = 250_000_000  # but never before so long
FARTHER, NEAR = 2.0, 1.2  # of the largest distance in calibration: what is unusual, and what no longer is
JUMP_NS = 5_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorHealth:
    """How a sensor is.

    Attributes:
        state: "healthy", "waiting" for its first data, or the name of an :class:`Ailment`.
        since_ns: Since when; 0 if it was never otherwise.
        facts: What was measured last, by name.
    """

    state: str
    since_ns: int
    facts: Mapping[str, float]


class Facts(Protocol):
    """What looks at one kind of packet."""

    ailment: Ailment | None

    @property
    def facts(self) -> Mapping[str, float]:
        """What was measured last."""

    def see(self, packet: Any, /) -> list[tuple[int, Ailment | None]]:
        """Take in a packet; returns what is wrong from when on."""


class _Unseen:
    """Facts of a sensor of which nothing is known but that it gives something."""

    ailment: Ailment | None = None
    facts: Mapping[str, float] = {}

    def see(self, packet: Packet) -> list[tuple[int, Ailment | None]]:
        del packet
        return []


class _Sensor:
    """One port; packets come from one thread at a time, questions from any."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._lock = Lock()
        paced = port.camera or port.tensor
        rate_hz = paced.rate_hz if paced else 0.0
        self._silent_ns = 0 if port.text else max(SHORTEST_NS, int(PERIODS * 1e9 / rate_hz) if rate_hz else 0)
        if port.tensor and not rate_hz:
            self._silent_ns = 0  # it comes when it comes
        self._seen_ns = 0
        self._begin()

    def _begin(self) -> None:
        port = self._port
        self._facts: Facts = _Unseen()
        if port.camera is not None:
            self._facts = CameraHealth()
        elif port.audio is not None:
            self._facts = AudioHealth(port.audio.rate_hz)
        self._far = Alarm("unusual", enter_ms=1000, leave_ms=500, sick=False)
        self._history = History()
        self.last_ns: int | None = None
        self._distance: float | None = None

    def see(self, packet: Packet, now_ns: int) -> None:
        with self._lock:
            if self.last_ns is not None:
                if abs(packet.t_ns - self.last_ns) > JUMP_NS:
                    self._begin()
                elif packet.t_ns < self.last_ns and not isinstance(packet, AudioChunk):
                    return
            for t_ns, ailment in self._facts.see(packet):
                self._history.note(t_ns, ailment)
            self.last_ns = last_ns = packet.available_ns
            self._seen_ns = max(last_ns, now_ns)  # a sensor whose own clock was set back is not gone

    def see_distance(self, t_ns: int, distance: float) -> None:
        with self._lock:
            self._distance = distance
            self._far.update(t_ns, bad=distance > FARTHER, well=distance < NEAR)

    def at(self, t_ns: int) -> Ailment | None:
        with self._lock:
            if self.last_ns is None:
                return None
            if self._silent_ns and t_ns - self._seen_ns > self._silent_ns:
                return Ailment(name="disconnected", since_ns=self._seen_ns)
            return self._history.at(t_ns) or self._far.ailment

    def health(self, t_ns: int) -> SensorHealth:
        ailment = self.at(t_ns)
        facts = dict(self._facts.facts)
        if self._distance is not None:
            facts["distance"] = self._distance
        if self.last_ns is None:
            return SensorHealth(state="waiting", since_ns=0, facts=facts)
        if ailment is None:
            return SensorHealth(state="healthy", since_ns=self._history.changed_ns, facts=facts)
        return SensorHealth(state=ailment.name, since_ns=ailment.since_ns, facts=facts)


class Health:
    """All sensors of a stream.

    Args:
        ports: Of the model; states have no health.
    """

    def __init__(self, ports: Mapping[str, Port]) -> None:
        self._sensors = {name: _Sensor(port) for name, port in ports.items() if port.state is None}
        self._tick_ns = 0

    def see(self, port: str, packet: Packet) -> None:
        """Take in a packet where it comes in; costs less than 50 microseconds a picture."""
        self._sensors[port].see(packet, self._now_ns)

    def see_distance(self, port: str, t_ns: int, distance: float) -> None:
        """Take in how far the newest embedding is from the calibration data, 1 being the farthest that was there."""
        self._sensors[port].see_distance(t_ns, distance)

    def at(self, port: str, t_ns: int) -> Ailment | None:
        """What was known at a time to be wrong with a sensor; that nothing has come yet is no ailment."""
        self._tick_ns = t_ns
        return self._sensors[port].at(t_ns)

    @property
    def states(self) -> dict[str, SensorHealth]:
        """How every sensor is, at the latest time that any of them or the newest tick shows."""
        return {name: sensor.health(self._now_ns) for name, sensor in self._sensors.items()}

    @property
    def _now_ns(self) -> int:
        now_ns = self._tick_ns
        for sensor in self._sensors.values():
            if sensor.last_ns is not None and sensor.last_ns > now_ns:
                now_ns = sensor.last_ns
        return now_ns
