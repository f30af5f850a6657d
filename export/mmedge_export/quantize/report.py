"""What ``mmedge quantize`` found out, as ``reports/quantize.json`` keeps it."""

from dataclasses import dataclass

from mmedge.manifest import StagePlan
from mmedge.policies import PolicyScore
from mmedge_export.quantize.guard import Guarded
from mmedge_export.quantize.score import Budget
from mmedge_export.quantize.speed import Speed

__all__ = ["QuantizeReport", "VariantReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """One variant.

    Attributes:
        name: Of VARIANTS.
        shipped: Whether it is in the bundle now.
        why: The reason.
        backends: What it is for.
        note: What one should know before using it.
        imitated: Accuracy was measured on float32 graphs that round as it does.
        stages: How each stage is made.
        bytes: Of its graphs.
        fp32_bytes: Of the fp32 graphs.
        guarded: What was measured and tried; None if it was made again as before.
        speed: On this machine; None if its backends are not here.
        before: The drop that was measured when it was made first.
    """

    name: str
    shipped: bool
    why: str
    backends: tuple[str, ...]
    note: str
    imitated: bool
    stages: dict[str, StagePlan]
    bytes: int
    fp32_bytes: int
    guarded: Guarded | None = None
    speed: Speed | None = None
    before: float | None = None

    @property
    def drop(self) -> float | None:
        """Largest loss of a score, where outputs are decisions or their truth is known."""
        if self.guarded is None:
            return self.before
        return max((loss.drop for loss in self.guarded.losses if not loss.relative), default=None)

    @property
    def error(self) -> float | None:
        """Largest relative error of the other outputs."""
        losses = self.guarded.losses if self.guarded else ()
        return max((loss.drop for loss in losses if loss.relative), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeReport:
    """One run of the command.

    Attributes:
        bundle: Name of the model.
        windows: How many windows accuracy was measured on.
        labelled: Outputs whose truth was given.
        real: Whether everything was real sensor data.
        sources: How many calibration windows came from each file.
        data_sha256: Of the calibration windows.
        budget: What a variant may lose.
        variants: Each that was asked for.
        notes: What else one should know.
        missing: What is left of each output in fp32 while one sensor is missing.
    """

    bundle: str
    windows: int
    labelled: tuple[str, ...]
    real: bool
    sources: dict[str, int]
    data_sha256: str
    budget: Budget
    variants: tuple[VariantReport, ...]
    notes: tuple[str, ...]
    missing: tuple[PolicyScore, ...] = ()
