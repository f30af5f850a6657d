"""The feature rows inside the newest window of a stream, each computed once."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmedge.features.buffer import SampleBuffer
from mmedge.features.frames import frame_plan
from mmedge.features.spectral import FrameFeatures

__all__ = ["FrameRows"]

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

AHEAD = 8  # frames that may wait until a window is asked for; more would make it wait


class FrameRows:
    """Rows of the frames inside the newest window, and the window put together from them.

    Frames are numbered on a grid that begins with the stream: frame j of the stream is frame j - m of the window that
    starts at sample m * hop_length. Only frames at the edges, which padding completes, are new in every window: they
    are computed together with the newest one, and lie where older rows were and newer rows will be.

    Args:
        features: What computes the rows.
        window_samples: Samples of a window.
        columns: Frames from one window to the next.
        normalise: What is done to every finished value, in place; done once for a row wherever that can be.
        order: "F" where the values of a bin lie side by side in the tensor, "C" where those of a frame do.
    """

    def __init__(
        self,
        features: FrameFeatures,
        window_samples: int,
        columns: int,
        normalise: Callable[[Array], None],
        order: Literal["C", "F"],
    ) -> None:
        self._samples = window_samples
        self._columns = columns
        self._hop = features.settings.hop_length
        self._step = columns * self._hop
        self._plan = plan = frame_plan(features.settings, window_samples)
        self._features = features
        self._normalise = normalise
        self._rows = SampleBuffer(plan.frames, shape=(self._features.width,), order=order)
        self._done = plan.first  # frames before it are computed, or never will be
        self._inner, self._edges = plan.last - plan.first, len(plan.edges)
        most = AHEAD + self._edges  # the newest frames, then those at the edges
        self._frames = np.empty((most, plan.width))
        self._made = np.empty((most, self._features.width), np.float32)
        self._inside = None if plan.inside is None else np.ones((most, plan.width))
        if self._inside is not None:
            self._inside[AHEAD:] = plan.inside

    def update(self, buffer: SampleBuffer) -> None:
        """Compute the frames that the newest complete window of the buffer needs, if many are not there yet.

        To be called whenever samples came in.
        """
        end = (buffer.seen - self._samples) // self._step * self._columns + self._plan.last
        if end - self._done < AHEAD:
            return
        new = min(end - self._done, self._inner)
        if new:
            rows = self._rows.room(end - new, end)
            self._features.rows(self._newest(buffer, new, end), rows)
            self._finish(rows)
        self._done = end

    def write(self, buffer: SampleBuffer, window_end: int, out: Array) -> None:
        """Write the features of the newest window to [T, values] float32."""
        plan, start = self._plan, window_end - self._samples
        number = start // self._hop
        end = number + plan.last
        new = min(end - self._done, self._inner)
        window = self._rows.room(number, number + plan.frames)
        if self._edges:
            made = self._with_edges(buffer, start, new)
            behind = len(made) - plan.first
            window[plan.last - new :] = made[:behind]
            if plan.first:
                window[: plan.first] = made[behind:]
        elif new:
            rows = window[plan.last - new :]
            self._features.rows(self._newest(buffer, new, end), rows)
            self._finish(rows)
        self._done = end
        self._features.finish(window, out)
        if self._features.per_window:
            self._normalise(out)

    def _newest(self, buffer: SampleBuffer, new: int, end: int) -> Floats:
        """[new, width] samples of the frames before a number, a view."""
        plan = self._plan
        stop = plan.origin + (end - 1) * self._hop + plan.width
        return plan.inner_frames(buffer.between(stop - plan.width - (new - 1) * self._hop, stop), self._hop)

    def _with_edges(self, buffer: SampleBuffer, start: int, new: int) -> Array:
        """Rows of the newest frames, then those at the edges of the window that starts at a sample."""
        plan, frames, rows = self._plan, self._frames[: new + self._edges], self._made[: new + self._edges]
        if new:
            frames[:new] = self._newest(buffer, new, start // self._hop + plan.last)
        buffer.between(start, start + self._samples).take(plan.positions, None, frames[new:], "clip")
        inside = self._inside
        if inside is not None:
            inside = inside[AHEAD - new :]
            np.multiply(frames, inside, out=frames)
        self._features.rows(frames, rows, inside)
        self._finish(rows)
        return rows

    def _finish(self, rows: Array) -> None:
        if not self._features.per_window:
            self._normalise(rows)
