"""From the callbacks of a sound card to chunks of sound with the times at which their samples were taken."""

from collections import Counter

from mmedge.clock import SampleClock
from mmedge.sources.chunks import Samples
from mmedge.types import AudioChunk

__all__ = ["ChunkClock"]

WARM_NS = 100_000_000  # the first arrivals are waited for until the least delayed of them can stand for the others
SUSPECT_NS = 100_000_000  # this late, a chunk was either held up, and the ones behind it come at once, or sound is lost
DECIDE_NS = 100_000_000
EARLY_NS = 20_000_000  # sound from the future: the fit began with arrivals that were held up


class ChunkClock:
    """Times the blocks of one microphone by counting their samples; none is dropped, and none is made up.

    A block that comes much too late is held back for a tenth of a second. If those behind it come at once, it was held
    up somewhere and nothing is lost. If not, the microphone was away: the count goes on at the new time, and
    ``gaps`` and ``lost_ms`` say so. For one thread.

    Args:
        rate_hz: Of the samples.
        counts: Where to count.
    """

    def __init__(self, rate_hz: int, counts: Counter[str]) -> None:
        self._rate_hz, self._counts = rate_hz, counts
        self._clock = SampleClock(rate_hz)
        self._given = self._arrived = 0
        self._held: list[tuple[Samples, int]] = []
        self._settled = False

    @property
    def ppm(self) -> float:
        """How much faster than declared the card counts, in millionths."""
        return self._clock.ppm

    def push(self, samples: Samples, arrival_ns: int) -> list[AudioChunk]:
        """Take in a block; the chunks that can be given now, of the same sizes, oldest first.

        Args:
            samples: [N] float32, kept.
            arrival_ns: When it came, on the monotonic clock.
        """
        self._arrived += len(samples)
        self._held.append((samples, arrival_ns))
        waited_ns = arrival_ns - self._held[0][1]
        if not self._settled:
            self._clock.observe(self._arrived, arrival_ns)
            if waited_ns < WARM_NS:
                return []
            self._settled = True
            return self._give()
        late_ns = arrival_ns - self._clock.time_of(self._arrived)
        if late_ns < -EARLY_NS:
            self._begin_anew()
        elif late_ns < SUSPECT_NS:
            self._clock.observe(self._arrived, arrival_ns)
        elif waited_ns < DECIDE_NS:
            return []
        else:
            self._counts["gaps"] += 1
            self._counts["lost_ms"] += late_ns // 1_000_000
            self._begin_anew()
        return self._give()

    def _begin_anew(self) -> None:
        """Fit a new line through what is held."""
        self._clock = SampleClock(self._rate_hz)
        arrived = self._given
        for samples, arrival_ns in self._held:
            arrived += len(samples)
            self._clock.observe(arrived, arrival_ns)

    def _give(self) -> list[AudioChunk]:
        chunks = []
        for samples, _ in self._held:
            t_ns = self._clock.time_of(self._given)
            chunks.append(AudioChunk(samples=samples, t_ns=t_ns, rate_hz=self._rate_hz))
            self._given += len(samples)
        self._held = []
        return chunks
