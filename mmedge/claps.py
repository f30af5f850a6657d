"""The offset between a camera and a microphone, from claps or flashes that both have noticed.

A flash that picture k is the first to show came between picture k-1 and it; a clap's motion ends between two pictures
in the same way. The middle is taken, so single claps err by a third of a picture's period, and many by less.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.sync import Sync
from mmedge.types import NS, AudioChunk, Packet, VideoFrame

__all__ = ["measure_sync"]

Times = npt.NDArray[np.float64]

GRID = 24, 32  # cells of a picture, rows and columns
FLASH_CELLS, FLASH_LEVELS = 8, 20.0  # a lamp may be small, but not faint
MOTION_LEVELS = 0.5
FAST, FAST_SHARE = 0.99, 0.4  # quantile of motion that claps reach; what is this much of it from the median is fast
END_SHARE = 0.25  # of a burst's height; less than this is its end
CLEAR = 8.0  # times the usual deviation from the median
APART_S = 0.25
SOUND_RISE = 8.0  # times the level of the tenth of a second before
BACK_MS, SHORT_MS = 100, 5
MAX_S = 4 * 3600  # sound is kept as one number per millisecond
LEAST, LEAST_SHARE = 3, 0.6
AMBIGUOUS = 0.8  # of the claps matched by another offset as well
DRIFT_CLAPS, DRIFT_SPAN_S, MAX_DRIFT = 5, 20.0, 1000e-6
SEED = 1
MAX_LINES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Events in the pictures: each in the middle of two pictures, in seconds."""

    times: Times
    period_s: float


def measure_sync(pairs: Iterable[tuple[str, Packet]], *, within_ms: float = 1000) -> Sync:
    """Measure how far the sound of claps or flashes is from their pictures.

    Args:
        pairs: ``(name, packet)`` of one camera and one microphone; read to their end, not kept.
        within_ms: The largest offset that is looked for.

    Raises:
        InputError: There is no picture or no sound, or no clear claps, or they fit more than one offset.
    """
    eye, ear = _Eye(), _Ear()
    first_ns: int | None = None
    for _, packet in pairs:
        first_ns = packet.t_ns if first_ns is None else first_ns
        if isinstance(packet, VideoFrame):
            eye.see(packet, first_ns)
        elif isinstance(packet, AudioChunk):
            ear.hear(packet, first_ns)
    heard = ear.onsets()
    candidates = [eye.flashes(), eye.stops()]
    found = [match for seen in candidates if (match := _match(seen, heard, within_ms / 1e3)) is not None]
    if not found:
        counts = f"{len(candidates[0].times)} flashes, {len(candidates[1].times)} claps seen, {len(heard)} heard"
        raise InputError(
            f"no clear claps: {counts}; in view of the camera clap, or flash a lamp with a beep, "
            f"at least {LEAST} times, some seconds apart, nothing else moving or sounding"
        )
    return max(found, key=lambda sync: sync.claps)


class _Eye:
    """Changes between consecutive pictures."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._rises: list[float] = []
        self._motions: list[float] = []
        self._cells: npt.NDArray[np.float32] | None = None

    def see(self, frame: VideoFrame, first_ns: int) -> None:
        cells = _cells(frame.pixels)
        change = np.zeros_like(cells) if self._cells is None else cells - self._cells
        self._times.append((frame.t_ns - first_ns) / NS)
        self._rises.append(float(np.sort(change, axis=None)[-FLASH_CELLS:].mean()))
        self._motions.append(float(np.abs(change).mean()))
        self._cells = cells

    def flashes(self) -> _Seen:
        """Where a part of the picture suddenly got bright."""
        rises = np.array(self._rises)
        threshold = max(FLASH_LEVELS, _clear(rises))
        return self._events(_bursts(rises, threshold))

    def stops(self) -> _Seen:
        """Where a fast motion suddenly came to an end."""
        motions = np.array(self._motions)
        usual, fast = np.quantile(motions, [0.5, FAST]) if len(motions) else (0.0, 0.0)
        threshold = max(MOTION_LEVELS, usual + FAST_SHARE * (fast - usual))
        ends = [_end_of_burst(motions, peak, usual) for peak in _bursts(motions, threshold)]
        seen = self._events(ends)  # a motion that ends in the first quarter of a period goes to the picture before
        return _Seen(times=seen.times + END_SHARE * seen.period_s, period_s=seen.period_s)

    def _events(self, frames: list[int]) -> _Seen:
        times = np.array(self._times)
        period_s = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        index = np.array([k for k in frames if k > 0], int)
        return _Seen(times=_apart((times[index] + times[index - 1]) / 2), period_s=period_s)


class _Ear:
    """The loudness of every millisecond, without low tones."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Times]] = []

    def hear(self, chunk: AudioChunk, first_ns: int) -> None:
        since_ns = chunk.t_ns - first_ns
        if len(chunk.samples) < 2 or since_ns < 0 or since_ns > MAX_S * NS:
            return
        bins = (since_ns + np.arange(1, len(chunk.samples)) * NS // chunk.rate_hz) // 1_000_000
        energy: Times = np.bincount(bins - bins[0], weights=np.diff(chunk.samples.astype(np.float64)) ** 2).astype(
            float
        )
        self._parts.append((int(bins[0]), energy))

    def onsets(self) -> Times:
        """Seconds at which it suddenly got loud."""
        if not self._parts:
            return np.zeros(0)
        level = np.zeros(max(start + len(part) for start, part in self._parts))
        for start, part in self._parts:
            level[start : start + len(part)] += part
        level = np.sqrt(level)
        before = _mean_before(level, BACK_MS)
        now = np.convolve(level, np.ones(SHORT_MS) / SHORT_MS)[SHORT_MS - 1 :]
        floor = max(float(np.median(level)), 1e-6)
        loud = np.flatnonzero(now > SOUND_RISE * np.maximum(before, floor))
        loud = loud[loud > BACK_MS]
        starts = loud[np.diff(loud, prepend=-BACK_MS) >= BACK_MS]
        return _apart(np.array([_first_loud(level, start, before[start]) for start in starts]) / 1e3)


def _cells(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """[H, W, 3] to the mean level of each cell, from at most 8 x 8 samples of each."""
    rows, columns = (min(cells, size) for cells, size in zip(GRID, pixels.shape, strict=False))
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    cut = pixels[: rows * height, : columns * width, 1]  # green carries most of the light
    blocks = cut.reshape(rows, height, columns, width)[:, :: max(1, height // 8), :, :: max(1, width // 8)]
    cells: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return cells


def _clear(values: Times) -> float:
    """A level that noise around the median does not reach."""
    if not len(values):
        return 0.0
    median = float(np.median(values))
    return median + CLEAR * 1.48 * float(np.median(np.abs(values - median)))


def _bursts(values: Times, threshold: float) -> list[int]:
    """The highest place of each run above the threshold."""
    above = np.flatnonzero(values > threshold)
    runs = np.split(above, np.flatnonzero(np.diff(above) > 1) + 1) if len(above) else []
    return [int(run[np.argmax(values[run])]) for run in runs]


def _end_of_burst(values: Times, peak: int, usual: float) -> int:
    """The last place after a peak that is clearly above what is usual."""
    over = values[peak:] > usual + END_SHARE * (values[peak] - usual)
    return peak + (int(np.argmin(over)) if not over.all() else len(over)) - 1


def _apart(times: Times) -> Times:
    """Without what follows another too closely to be an event of its own."""
    keep: list[float] = []
    for time in times:
        if not keep or time - keep[-1] > APART_S:
            keep.append(float(time))
    return np.array(keep)


def _mean_before(level: Times, length: int) -> Times:
    """For every place, the mean of the places just before it."""
    total = np.concatenate([np.zeros(1), np.cumsum(level)])
    start = np.maximum(np.arange(len(level)) - length, 0)
    mean: Times = (total[:-1] - total[start]) / np.maximum(np.arange(len(level)) - start, 1)
    return mean


def _first_loud(level: Times, start: int, before: float) -> float:
    """Where in the next milliseconds it reaches a fifth of their peak; the sound began in that millisecond."""
    part = level[start : start + 4 * SHORT_MS]
    return start + int(np.argmax(part > before + (part.max() - before) / 5)) + 0.5


def _match(seen: _Seen, heard: Times, within_s: float) -> Sync | None:
    """The line through offsets that most claps agree on; None where too few do."""
    if min(len(seen.times), len(heard)) < LEAST:
        return None
    offsets = heard[None, :] - seen.times[:, None]
    place, other = np.nonzero(np.abs(offsets) <= within_s)
    at, late = seen.times[place], offsets[place, other]
    if len(late) < LEAST:
        return None
    tolerance_s = seen.period_s / 2 + 0.005
    lines = _lines(at, late)
    votes = np.array([_votes(late - offset - slope * at, at, tolerance_s) for offset, slope in lines])
    offset, slope = lines[int(np.argmax(votes))]
    claps = int(votes.max())
    if claps < max(LEAST, LEAST_SHARE * min(len(seen.times), len(heard))):
        return None
    middle = float(np.median(at))
    elsewhere = np.abs(lines[:, 0] + lines[:, 1] * middle - offset - slope * middle) > 4 * tolerance_s
    if elsewhere.any() and votes[elsewhere].max() >= max(LEAST, AMBIGUOUS * claps):
        raise InputError(
            "the claps come too regularly: they fit more than one offset; clap at uneven intervals of some seconds"
        )
    agree = np.abs(late - offset - slope * at) <= tolerance_s
    return _fit(at[agree], late[agree], seen.period_s)


def _lines(at: Times, late: Times) -> npt.NDArray[np.float64]:
    """Offset and slope of the lines to try: level ones, and those through two claps that lie far apart."""
    first, second = np.triu_indices(len(at), 1)
    far = np.abs(at[second] - at[first]) > max(DRIFT_SPAN_S / 2, (at.max() - at.min()) / 2)
    first, second = first[far], second[far]
    if len(first) > MAX_LINES:
        chosen = np.random.default_rng(SEED).choice(len(first), MAX_LINES, replace=False)
        first, second = first[chosen], second[chosen]
    slopes = (late[second] - late[first]) / (at[second] - at[first])
    sane = np.abs(slopes) <= MAX_DRIFT
    sloped = np.stack([late[first] - slopes * at[first], slopes], axis=1)[sane]
    return np.concatenate([np.stack([late, np.zeros_like(late)], axis=1), sloped])


def _votes(residuals: Times, at: Times, tolerance_s: float) -> int:
    """How many claps lie on a line; what was heard twice counts once."""
    return len(np.unique(at[np.abs(residuals) <= tolerance_s]))


def _fit(at: Times, late: Times, period_s: float) -> Sync:
    middle = float(at.mean())
    drift = error_ppm = None
    slope = 0.0
    spread = float(((at - middle) ** 2).sum())
    drifts = len(at) >= DRIFT_CLAPS and at.max() - at.min() >= DRIFT_SPAN_S
    if drifts:
        slope = float(((at - middle) * late).sum() / spread)
    residuals = late - late.mean() - slope * (at - middle)
    single_s = max(float(residuals.std()), period_s / 12**0.5, 0.0005)
    if drifts:
        drift, error_ppm = round(slope * 1e6, 1), round(single_s / spread**0.5 * 1e6, 1)
    return Sync(
        offset_ms=round(float(late.mean()) * 1e3, 2),
        offset_error_ms=round(single_s / len(at) ** 0.5 * 1e3, 2),
        claps=len(at),
        at_s=round(middle, 3),
        drift_ppm=drift,
        drift_error_ppm=error_ppm,
    )
