"""Who takes part: the bundle's own stages, and what people would use instead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge_bench.result import Contestant
from mmedge_bench.setup import peer

__all__ = ["Candidate", "candidates", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A contestant before it is known whether it can take part.

    Attributes:
        contestant: Who it is.
        library: What must be installed.
        needs_whole: It runs the unsplit graph.
        needs_checkpoint: It runs the original module.
    """

    contestant: Contestant
    library: str = "onnxruntime"
    needs_whole: bool = False
    needs_checkpoint: bool = False


def candidates(bundle: Bundle) -> list[Candidate]:
    """Everyone, the bundle's fp32 stages first: they are what the others are compared with."""
    manifest = bundle.manifest
    found = []
    for variant, files in manifest.variants.items():
        if "onnxruntime-cpu" not in files.backends:
            continue
        name = "mmedge" if variant == "fp32" else f"mmedge {variant}"
        what = "each stage at its own sensor's rate, ONNX Runtime"
        size = sum(manifest.files[file].bytes for file in files.files.values())
        contestant = Contestant(
            name=name, kind="staged", what=what, variant=variant, size_bytes=size, accuracy_drop=files.drop
        )
        found.append(Candidate(contestant=contestant))
    if any(port.audio for port in manifest.ports.values()):
        what = "the same stages, a thread for every sensor, decisions at every hop of sound; only where time is real"
        found.append(Candidate(contestant=Contestant(name="mmedge live", kind="live", what=what, variant="fp32")))
    whole = "the unsplit graph at every decision"
    front = "mmedge's own incremental front ends"
    return [
        *found,
        _peer("onnxruntime", "whole", f"{whole}, ONNX Runtime with bound buffers, {front}", "onnxruntime"),
        _peer("openvino", "openvino", f"{whole}, OpenVINO in float32 for latency, {front}", "openvino"),
        _peer("torch eager", "eager", f"the original module at every decision, {front}", "torch"),
        _peer("torch.compile", "compiled", f"the original module compiled, at every decision, {front}", "torch"),
        _peer("torch per window", "window", "front ends and the original module on whole windows, as written by hand",
              "torch"),
    ]  # fmt: skip


def prepare(
    everyone: Sequence[Candidate], bundle: Bundle, checkpoint: Path | None, spec: Path | None, whole: Path
) -> Iterator[tuple[Candidate, str]]:
    """Each candidate, and why it cannot take part.

    Args:
        everyone: Who asks.
        bundle: The bundle.
        checkpoint: The original, if it is at hand.
        spec: Of the checkpoint.
        whole: Where the unsplit graph is written.
    """
    failed = "the unsplit graph is not in a bundle; give --checkpoint"
    if checkpoint is not None and any(candidate.needs_whole for candidate in everyone):
        try:
            peer("whole")(checkpoint, spec, bundle, whole)
            failed = ""
        except MmedgeError as error:
            failed = str(error)
    for candidate in everyone:
        if not find_spec(candidate.library):
            yield candidate, f"{candidate.library} is not installed"
        elif candidate.needs_whole and failed:
            yield candidate, failed
        elif candidate.needs_checkpoint and checkpoint is None:
            yield candidate, "the original module is not in a bundle; give --checkpoint"
        else:
            yield candidate, ""


def _peer(name: str, kind: str, what: str, library: str) -> Candidate:
    return Candidate(
        contestant=Contestant(name=name, kind=kind, what=what),
        library=library,
        needs_whole=kind in {"whole", "openvino"},
        needs_checkpoint=library == "torch",
    )
