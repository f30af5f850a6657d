"""Sound becomes a model's input: a whole window at once, or a stream whose new frames only are computed."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmedge.errors import InputError
from mmedge.features.buffer import SampleBuffer
from mmedge.features.frames import frame_plan
from mmedge.features.mel import MelSettings
from mmedge.features.rows import FrameRows
from mmedge.features.settings import AudioSettings
from mmedge.features.spectral import FrameFeatures

__all__ = ["AudioFrontEnd", "log_mel"]

Array = npt.NDArray[np.float32]


def log_mel(samples: Array, settings: MelSettings) -> Array:
    """Log-mel values, or cepstral coefficients, of a whole recording or window.

    Args:
        samples: [N] float32 in -1..1.
        settings: Of :func:`~mmedge.features.conventions.mel_settings`.

    Returns:
        [T, values] float32, owned by the caller; T is ``settings.frames_in(N)`` and may be 0.

    Raises:
        InputError: The samples have another rank or dtype, or are too few to be reflected at their ends.
    """
    _check(samples)
    return _window_features(samples, FrameFeatures(settings))


class AudioFrontEnd:
    """The front end of one port, for whole windows and for a stream of samples.

    In a stream, windows end at ``window_samples`` and then at every hop of the features (for a waveform: at every
    sample), so that the frames inside one window are frames of the next. Where the graph computes the features, the
    tensor is the samples of the same windows. What :meth:`write` gives equals :meth:`window`
    of the same samples to the last bit, whatever the chunks were. Not thread-safe.

    Args:
        settings: Of the port.
        columns: How many hops of the features, or samples, windows are apart in a stream.
    """

    def __init__(self, settings: AudioSettings, columns: int = 1) -> None:
        self.settings = settings
        mel = settings.mel
        self._columns = columns
        self._step = columns * (1 if mel is None else mel.hop_length)
        self._window = settings.window_samples
        self._keep = self._window + self._step
        layout = settings.tensor_layout
        self._axes = tuple(layout.index(axis) for axis in "CNTM" if axis in layout)
        self._features = FrameFeatures(mel) if mel is not None and settings.front_end == "host" else None
        self._shape = settings.shape
        self._normalise = _normaliser(settings)
        self._written: Array | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all samples, as after a gap."""
        features, window = self._features, self.settings.window_samples
        self._rows: FrameRows | None = None
        if features is None:
            self._buffer = SampleBuffer(self._keep, np.float32)
            return
        # frames are computed in float64; kept so, they need not be converted one by one
        self._buffer = SampleBuffer(self._keep, np.float64)
        order: Literal["C", "F"] = "C" if self._axes[-1] > self._axes[-2] else "F"
        self._rows = FrameRows(features, window, self._columns, self._normalise, order)

    @property
    def seen(self) -> int:
        """Samples pushed so far."""
        return self._buffer.seen

    @property
    def step(self) -> int:
        """Samples from the end of one window to the end of the next."""
        return self._step

    @property
    def window_end(self) -> int:
        """The sample, counted from the first one, before which the newest window ends; 0 before there is one."""
        seen, window = self._buffer.seen, self._window
        return 0 if seen < window else seen - (seen - window) % self._step

    @property
    def ready(self) -> bool:
        """A whole window has been seen."""
        return self._buffer.seen >= self._window

    def push(self, samples: Array) -> None:
        """Take in the next samples; they are copied.

        Args:
            samples: [N] float32 in -1..1, N may be 0.

        Raises:
            InputError: The samples have another rank or dtype.
        """
        _check(samples)
        if len(samples) > self._keep:
            for start in range(0, len(samples), self._keep):
                self.push(samples[start : start + self._keep])
            return
        self._buffer.push(samples)
        if self._rows is not None:
            self._rows.update(self._buffer)

    def write(self, out: Array) -> None:
        """Write the tensor of the window that ends at :attr:`window_end`.

        Args:
            out: float32 of ``settings.shape``, strided or not; stays the caller's, and is
                remembered until another is given.

        Raises:
            InputError: No window is complete yet, or the array does not fit.
        """
        end = self.window_end
        if not end:
            raise InputError(f"{self.seen} samples are less than a window of {self.settings.window_samples}")
        if out is not self._written:  # most streams write to one place
            self._written, self._target = out, self._view(out)
        view = self._target
        if self._rows is None:
            view[...] = self._buffer.between(end - self.settings.window_samples, end)
            self._normalise(view)
        else:
            self._rows.write(self._buffer, end, view)

    def window(self, samples: Array) -> Array:
        """The tensor of one whole window.

        Args:
            samples: [window_samples] float32 in -1..1.

        Returns:
            float32 of ``settings.shape``, owned by the caller.

        Raises:
            InputError: The samples have another length, rank or dtype, or are not finite.
        """
        _check(samples)
        if len(samples) != self.settings.window_samples:
            raise InputError(f"a window has {self.settings.window_samples} samples, not {len(samples)}")
        if not np.isfinite(samples).all():
            raise InputError("NaN or infinity in the samples")
        out = np.empty(self._shape, np.float32)
        view = self._view(out)
        view[...] = samples if self._features is None else _window_features(samples, self._features)
        self._normalise(view)
        return out

    def _view(self, out: Array) -> Array:
        """The tensor as [N], or [T, values]."""
        if out.shape != self._shape or out.dtype != np.float32:
            raise InputError(f"the tensor is {list(self._shape)} float32, not {list(out.shape)} {out.dtype}")
        view = out.transpose(self._axes)
        return view[0] if "C" in self.settings.tensor_layout else view


def _normaliser(settings: AudioSettings) -> Callable[[Array], None]:
    """What is done to every finished value, in place."""
    mean, std = _constants(settings.mean), _constants(settings.std)
    plain = (not mean.any() and bool((std == 1).all())) or settings.front_end == "graph"

    def normalise(values: Array) -> None:
        if not plain:
            values -= mean
            values /= std

    return normalise


def _constants(values: tuple[float, ...]) -> Array:
    constants = np.array(values, np.float32)
    return constants if len(values) > 1 else constants.reshape(())  # numpy takes half the time for a single number


def _window_features(samples: Array, features: FrameFeatures) -> Array:
    settings, block = features.settings, features.block
    plan, hop = frame_plan(settings, len(samples)), settings.hop_length
    rows = np.empty((plan.frames, features.width), np.float32)
    for t in range(plan.first, plan.last, block):
        stop = min(t + block, plan.last)
        first, last = plan.origin + t * hop, plan.origin + (stop - 1) * hop
        span = samples[first : last + plan.width].astype(np.float64)
        features.rows(plan.inner_frames(span, hop), rows[t:stop])
    if len(plan.edges):
        made = np.empty((len(plan.edges), features.width), np.float32)
        features.rows(plan.edge_frames(samples), made, plan.inside)
        rows[plan.edges] = made
    if not features.per_window or not plan.frames:
        return rows
    out = np.empty((plan.frames, settings.values), np.float32)
    features.finish(rows, out)
    return out


def _check(samples: Array) -> None:
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise InputError(f"samples are [N] float32 in -1..1, not {list(samples.shape)} {samples.dtype}")
