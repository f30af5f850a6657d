"""What the demo found out; the table on the terminal and the report page are drawn from this alone."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mmedge.cost import Saving, StageCost
from mmedge.manifest import Manifest

__all__ = ["Contestant", "Decisions", "DemoResult", "Picture", "Truth"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What was in the clip at each decision.

    Attributes:
        labels: [N] index of the true label.
        distance_m: [N] distance of the emergency vehicle, NaN where there is none.
        settled: [N] whether the model's whole window lies under one label; only those decisions are scored.
    """

    labels: npt.NDArray[np.int64]
    distance_m: Floats
    settled: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the staged model decided.

    Attributes:
        t_s: [N] seconds into the clip.
        probabilities: [N, L].
        distance_m: [N].
        age_ms: [N] for each port.
    """

    t_s: Floats
    probabilities: Floats
    distance_m: Floats
    age_ms: dict[str, Floats]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """[N] index of the winning label."""
        winners: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return winners


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One way of running the same model on the same clip, in a process of its own.

    Attributes:
        name: As in the table, e.g. "mmedge, each stage at its own rate".
        decisions: How many it made.
        work_ms_per_s: Time inside the model per second of stream.
        latency_ms: [N] from the arrival of the sound that completes a tick to its decision, when packets arrive at the
            sensors' own times and one core does the work: waiting for a camera encode that is running is counted.
        keeps_up: It needs less than a second per second; where not, latencies grow for as long as it runs.
        peak_mb: Largest resident memory of its process.
        first_decision_s: From the start of its process to its first decision.
        worst_difference: Largest absolute difference of its outputs from those of the staged model.
    """

    name: str
    decisions: int
    work_ms_per_s: float
    latency_ms: Floats
    keeps_up: bool
    peak_mb: float
    first_decision_s: float
    worst_difference: float

    def latency_percentile(self, percent: float) -> float:
        """Latency in ms that so many percent of the decisions did not exceed."""
        return float(np.percentile(self.latency_ms, percent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One frame of the clip.

    Attributes:
        t_s: Seconds into the clip.
        jpeg: The encoded picture, 320x240.
        caption: Truth and decision.
    """

    t_s: float
    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything that the report shows.

    Attributes:
        manifest: The bundle's.
        labels: Of the event output.
        duration_s: Of the clip.
        camera_hz: Pictures per second.
        decisions_hz: Decisions per second.
        spectrogram_db: [bands, steps], low frequencies first, over the whole clip.
        spectrogram_hz: [bands] centre frequencies.
        truth: At each decision.
        decided: Of the staged model.
        pictures: Some frames, in order.
        events: What happens in the clip, as (start_s, end_s, text).
        contestants: The slowest first, mmedge last.
        costs: Of each stage, measured here.
        saving: Predicted from them.
        parity_worst: Largest difference of the export from PyTorch, and what was allowed, by output.
        machine: Processor, cores, versions, by name.
    """

    manifest: Manifest
    labels: tuple[str, ...]
    duration_s: float
    camera_hz: float
    decisions_hz: float
    spectrogram_db: Floats
    spectrogram_hz: Floats
    truth: Truth
    decided: Decisions
    pictures: tuple[Picture, ...]
    events: tuple[tuple[float, float, str], ...]
    contestants: tuple[Contestant, ...]
    costs: tuple[StageCost, ...]
    saving: Saving
    parity_worst: dict[str, tuple[float, float]]
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of right decisions among those that are scored."""
        right = self.decided.labels == self.truth.labels
        return float(right[self.truth.settled].mean())
