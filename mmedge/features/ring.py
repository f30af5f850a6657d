"""The feature rows inside the newest window of a stream, each computed once."""

import numpy as np
import numpy.typing as npt

from mmedge.features.buffer import SampleBuffer
from mmedge.features.frames import frame_plan
from mmedge.features.mel import MelSettings
from mmedge.features.spectral import BLOCK, frame_features

__all__ = ["FrameRing"]

Array = npt.NDArray[np.float32]


class FrameRing:
    """Rows of the frames inside the newest window, and the window put together from them.

    Frames are numbered on a grid that begins with the stream: frame j of the stream is frame j - m of the window that
    starts at sample m * hop_length. Only frames at the edges, which padding completes, are new in every window.
    """

    def __init__(self, settings: MelSettings, window_samples: int, columns: int = 1) -> None:
        self._samples = window_samples
        self._columns = columns  # from one window to the next
        self._hop = settings.hop_length
        self._plan = frame_plan(settings, window_samples)
        self._features = frame_features(settings)
        self._inner = self._plan.last - self._plan.first
        self._rows = np.zeros((self._inner, self._features.width), np.float32)
        wider = self._features.width != settings.values  # log-mel values that become fewer cepstra
        self._scratch = np.zeros((self._plan.frames, self._features.width), np.float32) if wider else None
        self._next = self._plan.first

    def update(self, buffer: SampleBuffer, at_least: int = 1) -> None:
        """Compute the frames that the newest complete window of the buffer needs and that are not there yet.

        Args:
            buffer: The newest samples.
            at_least: Do nothing for fewer frames; two at once cost little more than one.
        """
        windows = (buffer.seen - self._samples) // (self._columns * self._hop)
        end = windows * self._columns + self._plan.last
        if end - self._next < at_least:
            return
        start = max(self._next, end - self._inner)
        while start < end:
            slot = start % self._inner
            stop = min(end, start + BLOCK, start + self._inner - slot)
            first, last = self._plan.origin + start * self._hop, self._plan.origin + (stop - 1) * self._hop
            frames = self._plan.inner_frames(buffer.between(first, last + self._plan.width), self._hop)
            self._rows[slot : slot + stop - start] = self._features.rows(frames)
            self._next = start = stop

    def write(self, buffer: SampleBuffer, window_end: int, out: Array) -> None:
        """Write the features of the newest window to [T, values] float32."""
        self.update(buffer)
        plan, start = self._plan, window_end - self._samples
        rows = out if self._scratch is None else self._scratch
        if self._inner:
            oldest = (start // self._hop + plan.first) % self._inner
            turn = plan.first + self._inner - oldest
            rows[plan.first : turn] = self._rows[oldest:]
            rows[turn : plan.last] = self._rows[:oldest]
        if len(plan.edges):
            edges = plan.edge_frames(buffer.between(start, window_end))
            rows[plan.edges] = self._features.rows(edges, plan.inside)
        finished = self._features.finish(rows)
        if finished is not out:
            out[...] = finished
