"""A set of graph files for all stages, and how each of them was made; part of the manifest."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["StagePlan", "Variant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """How one stage of a variant was made from the fp32 graph and the calibration.

    Attributes:
        precision: What it computes in: fp32, fp16, bf16, int8, fp8, or int8-weights and int4, which only store so.
        method: How the ranges of its activations were chosen.
        exact: Operators that stayed in float32, because of what they would have cost.
        wide: Products that compute in float32 with 8-bit weights, because they are faster so.
    """

    precision: str
    method: Literal["minmax", "entropy", "percentile", "mse"] = "minmax"
    exact: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One set of files for all stages, and the backends it is for.

    Attributes:
        files: The graph file of each stage.
        backends: The libraries that it was made for; others may run it, too, for comparison.
        stages: How each stage was made; empty for the fp32 graphs themselves.
        drop: Largest loss of an output's score against fp32, of 1; None if it was not measured.
        note: What one should know before using it, "" for nothing.
        tolerances: How far recorded tensors may be from fp32; twice what they were where the variant was made.
    """

    files: dict[str, str]
    backends: tuple[str, ...]
    stages: dict[str, StagePlan] = field(default_factory=dict)
    drop: float | None = None
    note: str = ""
    tolerances: dict[str, float] = field(default_factory=dict)
