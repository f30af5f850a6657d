"""What the suite runs, as data."""

from dataclasses import dataclass

__all__ = ["SCENARIOS", "Rhythm", "Scenario"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How far sensors are from a metronome.

    Attributes:
        jitter_ms: Each packet is handed over up to this much later than it was taken.
        lost: Share of the packets that never come.
        burst_every_s: How often a sensor's packets are held back; 0 is never.
        burst_ms: For how long; they then come at once.
        idle_every_s: How often all sensors are silent; 0 is never.
        idle_ms: For how long.
    """

    jitter_ms: float = 0.0
    lost: float = 0.0
    burst_every_s: float = 0.0
    burst_ms: float = 0.0
    idle_every_s: float = 0.0
    idle_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way of putting load on a contestant.

    Attributes:
        name: As typed.
        what: One sentence for the report.
        seconds: Of stream in each round; 0 where no stream is run.
        rounds: How often; contestants take turns.
        real_time: Packets come at the clock's pace; otherwise as fast as they are taken.
        rhythm: Of the sensors.
        by_default: Part of a run that names no scenario.
    """

    name: str
    what: str
    seconds: float
    rounds: int
    real_time: bool = False
    rhythm: Rhythm = Rhythm()
    by_default: bool = True


SCENARIOS = (
    Scenario(
        name="stages",
        what="Each stage and each front end alone, warm, on fixed recorded data, in fresh processes.",
        seconds=0,
        rounds=8,
    ),
    Scenario(
        name="closed-loop",
        what="Packets as fast as they are taken, once all windows are full: work per second of stream, not latency.",
        seconds=4,
        rounds=6,
    ),
    Scenario(
        name="paced",
        what="Sensors at their true rates, with jitter, losses, bursts and idle gaps; latency counts from when the "
        "data should have been there, so that whoever stalls pays for everything that had to wait.",
        seconds=6,
        rounds=3,
        real_time=True,
        rhythm=Rhythm(jitter_ms=2, lost=0.003, burst_every_s=3.1, burst_ms=60, idle_every_s=5, idle_ms=400),
    ),
    Scenario(
        name="cold",
        what="From the start of a process to its first decision, and the memory it then has.",
        seconds=0,
        rounds=2,
    ),
    Scenario(
        name="soak",
        what="A long paced run: does memory or latency grow?",
        seconds=1800,
        rounds=1,
        real_time=True,
        rhythm=Rhythm(jitter_ms=2, lost=0.003, burst_every_s=3.1, burst_ms=60),
        by_default=False,
    ),
)
