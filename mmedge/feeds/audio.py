"""Sound: put together from chunks by their times, its own time the count of samples."""

from collections import deque
from math import isfinite
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.features.audio import AudioFrontEnd
from mmedge.manifest import Port
from mmedge.pace import JUMP_NS
from mmedge.stages import StageGraph
from mmedge.types import NS, AudioChunk

__all__ = ["AudioFeed"]

GAP_TOLERANCE_NS = 5_000_000  # a chunk this far from where the count of samples says is still the next one
FOLLOW = 16  # a sixteenth of such a deviation is believed, so that the count follows a sound card that drifts

Samples = npt.NDArray[np.float32]


class _Epoch(NamedTuple):
    """A run of samples without a hole: number and time of its first one."""

    start: int
    t_ns: int


class AudioFeed:
    """Sound of one port; see :class:`~mmedge.feeds.feed.Feed`.

    Numbers count samples since the stream began, those that were lost on the way too. At most a window of sound waits,
    or a second where that is longer.
    """

    def __init__(self, name: str, port: Port, graph: StageGraph, *, live: bool = False) -> None:
        assert port.audio is not None  # the caller chose this feed for an audio port
        self.name = name
        self.accepted = 0
        self.newest_ns = 0
        self.waits = max(port.audio.window_samples, port.audio.rate_hz)  # bounds what is in it, too
        self._settings = port.audio
        self._graph = graph
        spec = graph.specs[name]
        self._by_item = name in graph.items
        self._front = AudioFrontEnd(port.audio, columns=spec.item_size if self._by_item else 1)
        self._items = spec.items
        self._window = np.zeros(port.shape, np.float32) if self._by_item else graph.tensors[name][0]
        self._live = live
        self._lock = Lock()
        self._epoch = _Epoch(0, 0)  # of what is accepted
        self._begun = False
        self._waiting: deque[tuple[int, _Epoch, Samples]] = deque()  # each with the number after its last sample
        self._waiting_samples = 0
        self._ingested = self._epoch
        self._base = 0  # number of the front end's first sample
        self._filled = -1  # number at which the window in the graph ends
        self._filled_since = 0  # :attr:`_base` when that was written
        self._lost = self._late = self._jumps = self._dropped = self._invalid = 0

    @property
    def ready(self) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        return self._front.ready

    @property
    def ingested(self) -> int:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        return self._base + self._front.seen

    @property
    def step(self) -> int:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        with self._lock:
            return self.accepted - (self.accepted - self._epoch.start) % self._settings.hop_samples

    @property
    def counts(self) -> dict[str, int]:
        """Samples taken as silence because they did not come, those that came too late, and how often it began anew."""
        live = {"dropped": self._dropped, "invalid": self._invalid} if self._live else {}
        return {"lost_samples": self._lost, "late_samples": self._late, "jumps": self._jumps} | live

    def time_of(self, number: int) -> int:
        """When a sample of the newest run was taken, or will be."""
        return self._epoch.t_ns + (number - self._epoch.start) * NS // self._settings.rate_hz

    def number_at(self, t_ns: int) -> int:
        """How many samples of the newest run were complete at a time: the last n with ``time_of(n) <= t_ns``."""
        return self._epoch.start + ((t_ns - self._epoch.t_ns + 1) * self._settings.rate_hz - 1) // NS

    def hops(self, after: int) -> range:
        """The ends of hops, by number, among the samples that were accepted after a number."""
        start, hop = self._epoch.start, self._settings.hop_samples
        return range(start + (max(0, after - start) // hop + 1) * hop, self.accepted + 1, hop)

    def accept(self, packet: AudioChunk) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        if packet.rate_hz != self._settings.rate_hz:
            raise InputError(
                f"{self.name}: sound at {packet.rate_hz} Hz, expected {self._settings.rate_hz} Hz; resample it first"
            )
        if not _is_finite(packet.samples):
            if not self._live:
                raise InputError(f"{self.name}: NaN or infinity in the samples at {packet.t_ns / NS:.3f} s")
            self._invalid += 1
            return False
        with self._lock:
            samples = self._aligned(packet.samples, packet.t_ns)
            self.accepted += len(samples)
            self._waiting.append((self.accepted, self._epoch, samples.copy() if self._live else samples))
            self._waiting_samples += len(samples)
            if self._live:
                self._make_room()
        return len(samples) > 0

    def continue_from(self, other: "AudioFeed") -> None:
        """Count samples and time as another feed of the same microphone does, before the first packet.

        Two models then have their hops at the same samples and their ticks at the same nanosecond, whenever the second
        one began to listen.
        """
        with other._lock:
            begun, accepted, epoch = other._begun, other.accepted, other._epoch
        with self._lock:
            self._begun, self.accepted, self._epoch = begun, accepted, epoch

    def ingest(self, until: int | None = None) -> None:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        while self._waiting:  # what makes room leaves one
            with self._lock:
                end, epoch, samples = self._waiting[0]
                first = end - len(samples)
                if until is not None and first >= until:
                    return
                if until is None or end <= until:
                    self._waiting.popleft()
                else:
                    self._waiting[0] = end, epoch, samples[until - first :]
                    samples = samples[: until - first]
                self._waiting_samples -= len(samples)
            if first != self._base + self._front.seen or epoch.start != self._ingested.start:
                self._front.reset()
                self._base = first + (epoch.start - first) % self._front.step  # windows end where they ended before
            self._ingested = epoch
            self._front.push(samples[self.ingested - first :])

    def fill(self) -> bool:
        """See :class:`~mmedge.feeds.feed.Feed`."""
        window_end = self._front.window_end
        end = self._base + window_end
        if not window_end or end == self._filled:
            return False
        self._front.write(self._window)
        if self._by_item:
            same_run = self._filled >= 0 and self._filled_since == self._base
            new = (end - self._filled) // self._front.step if same_run else self._items
            self._graph.push_items(self.name, self._window, min(new, self._items))
        else:
            self._graph.mark([self.name])
        self._filled, self._filled_since = end, self._base
        self.newest_ns = self._ingested.t_ns + (end - self._ingested.start) * NS // self._settings.rate_hz
        return True

    def _aligned(self, samples: Samples, t_ns: int) -> Samples:
        """Samples as the next ones: silence put where some were lost, cut where some had been seen before."""
        if not self._begun:
            self._begun, self._epoch = True, _Epoch(self.accepted, t_ns)
        offset_ns = t_ns - self.time_of(self.accepted)
        if abs(offset_ns) <= GAP_TOLERANCE_NS:
            if step_ns := int(offset_ns / FOLLOW):
                self._epoch = _Epoch(self._epoch.start, self._epoch.t_ns + step_ns)
            return samples
        offset = (offset_ns * self._settings.rate_hz + NS // 2) // NS  # rounded, as times are whole nanoseconds
        if offset >= self._settings.window_samples or offset_ns < -JUMP_NS:  # nothing of the old window is left
            self._jumps += 1
            self._epoch = _Epoch(self.accepted, t_ns)
            return samples
        if offset < 0:
            self._late += min(-offset, len(samples))
            return samples[-offset:]
        self._lost += offset
        return np.concatenate([np.zeros(offset, np.float32), samples])

    def _make_room(self) -> None:
        while self._waiting_samples > self.waits and len(self._waiting) > 1:
            self._waiting_samples -= len(self._waiting.popleft()[2])
            self._dropped += 1


def _is_finite(samples: Samples) -> bool:
    # a finite sum of squares has finite parts; if it is not, each is looked at, as large ones may add up to infinity
    return isfinite(samples.dot(samples)) or bool(np.isfinite(samples).all())
