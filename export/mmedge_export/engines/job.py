"""What the process that builds is told and tells: two JSON files, a plan, and a log that grows meanwhile."""

from dataclasses import dataclass, field

from mmedge.engine_file import Library, Profile

__all__ = ["BuildJob", "BuildOutcome", "FailedNode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """One engine to build; files are in the folder of the job.

    Attributes:
        library: What builds.
        capabilities: Devices of a TensorRT-RTX engine; for TensorRT the device is the one that is there.
        profiles: For each input with open axes.
        workspace_mib: Most scratch memory of a layer, 0 for all there is.
        level: Optimisation level, 0 to 5.
    """

    library: Library
    capabilities: tuple[str, ...]
    profiles: dict[str, Profile] = field(default_factory=dict)
    workspace_mib: int = 0
    level: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedNode:
    """A node that the parser refused.

    Attributes:
        name: Its name.
        operator: What it computes.
        known: Whether the library has this operator at all.
        text: What the parser says.
    """

    name: str
    operator: str
    known: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutcome:
    """How a build ended, when its process lived to tell.

    Attributes:
        built: Whether there is a plan.
        refused: What the parser would not take.
    """

    built: bool
    refused: tuple[FailedNode, ...] = ()
