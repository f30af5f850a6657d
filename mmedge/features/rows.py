"""The feature rows inside the newest window of a stream, each computed once."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mmedge.features.buffer import SampleBuffer
from mmedge.features.frames import frame_plan
from mmedge.features.mel import MelSettings
from mmedge.features.spectral import BLOCK, frame_features

__all__ = ["FrameRows"]

Array = npt.NDArray[np.float32]


class FrameRows:
    """Rows of the frames inside the newest window, and the window put together from them.

    Frames are numbered on a grid that begins with the stream: frame j of the stream is frame j - m of the window that
    starts at sample m * hop_length. Only frames at the edges, which padding completes, are new in every window.

    Args:
        settings: Of the features.
        window_samples: Samples of a window.
        columns: Frames from one window to the next.
        normalise: What is done to every finished value, in place; done once for a row wherever that can be.
    """

    def __init__(
        self, settings: MelSettings, window_samples: int, columns: int, normalise: Callable[[Array], None]
    ) -> None:
        self._samples = window_samples
        self._columns = columns
        self._hop = settings.hop_length
        self._step = columns * settings.hop_length
        self._plan = frame_plan(settings, window_samples)
        self._features = frame_features(settings)
        self._normalise = normalise
        self._inner = self._plan.last - self._plan.first
        self._rows = SampleBuffer(max(1, self._inner), shape=(self._features.width,))
        self._rows.seen = self._plan.first
        wider = self._features.width != settings.values  # log-mel values that become fewer cepstra
        self._scratch = np.zeros((self._plan.frames, self._features.width), np.float32) if wider else None

    def update(self, buffer: SampleBuffer, at_least: int = 1) -> None:
        """Compute the frames that the newest complete window of the buffer needs and that are not there yet.

        Args:
            buffer: The newest samples.
            at_least: Do nothing for fewer frames; two at once cost little more than one.
        """
        plan, rows, hop = self._plan, self._rows, self._hop
        end = (buffer.seen - self._samples) // self._step * self._columns + plan.last
        if end - rows.seen < at_least:
            return
        rows.seen = max(rows.seen, end - self._inner)
        while (start := rows.seen) < end:
            stop = min(end, start + BLOCK)
            first, last = plan.origin + start * hop, plan.origin + (stop - 1) * hop
            frames = plan.inner_frames(buffer.between(first, last + plan.width), hop)
            rows.push(self._computed(frames))

    def write(self, buffer: SampleBuffer, window_end: int, out: Array) -> None:
        """Write the features of the newest window to [T, values] float32."""
        self.update(buffer)
        plan, start = self._plan, window_end - self._samples
        target = out if self._scratch is None else self._scratch
        if self._inner:
            oldest = start // self._hop + plan.first
            target[plan.first : plan.last] = self._rows.between(oldest, oldest + self._inner)
        if len(plan.edges):
            edges = plan.edge_frames(buffer.between(start, window_end))
            target[plan.edges] = self._computed(edges, plan.inside)
        if self._features.per_window:
            finished = self._features.finish(target)
            if finished is not out:
                out[...] = finished
            self._normalise(out)

    def _computed(self, frames: Array, inside: Array | None = None) -> Array:
        rows = self._features.rows(frames, inside)
        if not self._features.per_window:
            self._normalise(rows)
        return rows
