"""Who takes part: the bundle's own stages, and what people would use instead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmedge.bundle import Bundle
from mmedge.errors import MmedgeError
from mmedge.sessions import BACKENDS, backend_problem, fits
from mmedge_bench.result import Contestant
from mmedge_bench.scores import Score, read_scores
from mmedge_bench.setup import CPU, peer

__all__ = ["Candidate", "candidates", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A contestant before it is known whether it can take part.

    Attributes:
        contestant: Who it is.
        library: What must be installed.
        needs_whole: It runs the unsplit graph.
        needs_checkpoint: It runs the original module.
        unfit: Why it cannot take part whatever is given.
    """

    contestant: Contestant
    library: str = "onnxruntime"
    needs_whole: bool = False
    needs_checkpoint: bool = False
    unfit: str = ""


def candidates(bundle: Bundle) -> list[Candidate]:
    """Everyone, the bundle's fp32 stages on the CPU first: they are what the others are compared with."""
    manifest = bundle.manifest
    pairs = [
        (variant, backend)
        for variant, files in manifest.variants.items()
        for backend in reversed(BACKENDS)
        if fits(backend, files.backends)
    ]
    pairs.sort(key=lambda pair: pair[1] != CPU)
    scores = read_scores(bundle)
    found = [_staged(bundle, *pair, scores.get(pair[0])) for pair in pairs]
    if any(port.audio for port in manifest.ports.values()):
        what = "the same stages, a thread for every sensor, decisions at every hop of sound; only where time is real"
        live = Contestant(name="mmedge live", kind="live", what=what, variant="fp32", backend=CPU)
        found.insert(sum(backend == CPU for _, backend in pairs), Candidate(contestant=live))
    whole = "the unsplit graph at every decision"
    front = "mmedge's own incremental front ends"
    return [
        *found,
        _peer("onnxruntime", "whole", f"{whole}, ONNX Runtime with bound buffers, {front}", "onnxruntime", CPU),
        _peer("onnxruntime-cuda", "whole", f"{whole}, ONNX Runtime with bound buffers on CUDA, {front}", "onnxruntime",
              "onnxruntime-cuda"),
        _peer("openvino", "openvino", f"{whole}, OpenVINO in float32 for latency, {front}", "openvino"),
        _peer("torch eager", "eager", f"the original module at every decision, {front}", "torch"),
        _peer("torch.compile", "compiled", f"the original module compiled, at every decision, {front}", "torch"),
        _peer("torch per window", "window", "front ends and the original module on whole windows, as written by hand",
              "torch"),
        _tensorrt(whole),
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
        if candidate.unfit:
            yield candidate, candidate.unfit
        elif not find_spec(candidate.library):
            yield candidate, f"{candidate.library} is not installed"
        elif candidate.needs_whole and failed:
            yield candidate, failed
        elif candidate.needs_checkpoint and checkpoint is None:
            yield candidate, "the original module is not in a bundle; give --checkpoint"
        else:
            yield candidate, ""


def _staged(bundle: Bundle, variant: str, backend: str, score: Score | None) -> Candidate:
    manifest = bundle.manifest
    files = manifest.variants[variant]
    name = ["mmedge", *([variant] if variant != "fp32" else []), *([backend] if backend != CPU else [])]
    contestant = Contestant(
        name=" ".join(name),
        kind="staged",
        what=f"each stage at its own sensor's rate, {variant}, {backend}",
        variant=variant,
        backend=backend,
        size_bytes=sum(manifest.files[file].bytes for file in files.files.values()),
        accuracy_drop=files.drop,
        score=score.value if score else None,
        scored_on=score.what if score else "",
    )
    return Candidate(contestant=contestant, unfit=backend_problem(backend))


def _peer(name: str, kind: str, what: str, library: str, backend: str = "") -> Candidate:
    return Candidate(
        contestant=Contestant(name=name, kind=kind, what=what, backend=backend),
        library=library,
        needs_whole=kind in {"whole", "openvino"},
        needs_checkpoint=library == "torch",
        unfit=backend_problem(backend) if backend and find_spec(library) else "",
    )


def _tensorrt(what: str) -> Candidate:
    """Named, so that nobody looks for it: nothing here builds an engine of the unsplit graph."""
    unfit = backend_problem("tensorrt") or "mmedge build makes engines of stages only, not of the unsplit graph"
    return Candidate(contestant=Contestant(name="tensorrt", kind="tensorrt", what=f"{what}, TensorRT"), unfit=unfit)
