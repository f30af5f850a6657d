"""How one contestant is opened, in the process that is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from mmedge.backends.base import Session
from mmedge.backends.ort import PROVIDERS, OrtSession
from mmedge.bundle import Bundle, open_bundle
from mmedge.errors import InputError, MissingLibraryError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest
from mmedge.model import Model, load
from mmedge.stages import StageGraph
from mmedge.stream import Stream
from mmedge.ticks import parse_tick
from mmedge.types import Packet, Prediction
from mmedge.unsplit import WHOLE, unsplit
from mmedge_bench.injection import Injection, SlowedSession
from mmedge_bench.openvino_peer import OpenVinoSession
from mmedge_bench.window_loop import WindowLoop

__all__ = [
    "CPU",
    "Loop",
    "Setup",
    "open_graph",
    "open_live",
    "open_loop",
    "open_stages",
    "open_whole",
    "peer",
]

CPU = "onnxruntime-cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a process is told, as JSON.

    Attributes:
        kind: "staged", "live", "whole", "openvino", "eager", "compiled" or "window".
        bundle: The bundle; also for its ports and samples.
        variant: Of the bundle, for its own stages.
        whole: The unsplit ONNX graph; "" where no contestant needs it.
        checkpoint: What the bundle was made of; "" where it is not at hand.
        spec: Of the checkpoint; "" for the one inside or beside it.
        tick: When to decide.
        threads: Of one operator.
        rates_hz: Packets per second.
        injection: What is done to a stage of the bundle, to see whether the suite notices.
        backend: What computes the bundle's own stages, or the unsplit graph in ONNX Runtime.
    """

    kind: str
    bundle: str
    variant: str
    whole: str
    checkpoint: str
    spec: str
    tick: str
    threads: int
    rates_hz: dict[str, float]
    injection: Injection | None = None
    backend: str = CPU


class Loop(Protocol):
    """What is timed: packets in, predictions out."""

    @property
    def work_ns(self) -> Mapping[str, int]:
        """Time spent in each stage's session so far."""

    @property
    def runs(self) -> Mapping[str, int]:
        """How often each stage ran."""

    def push(self, packet: Packet, *, port: str | None = None) -> None:
        """Take a packet."""

    def poll(self) -> list[Prediction]:
        """Predictions that are ready."""

    def close(self) -> None:
        """End."""


def open_loop(setup: Setup) -> Loop:
    """Open a contestant.

    Raises:
        MmedgeError: It cannot be opened; the text says why it has to be skipped.
    """
    if setup.kind in {"staged", "live"} and not setup.injection:
        return _load(setup).stream(setup.tick)
    bundle, (manifest, sessions) = open_bundle(setup.bundle), _open(setup)
    fronts = {name: front_end(port, bundle.read) for name, port in manifest.ports.items()}
    if setup.kind == "window":
        return WindowLoop(manifest, StageGraph(manifest, sessions), setup.tick, fronts)
    return Stream(manifest, sessions, setup.tick, fronts)


def open_live(setup: Setup) -> Stream:
    """The bundle's stages with a thread for every port, deciding at every hop of sound.

    Raises:
        MmedgeError: It cannot be opened; the text says why it has to be skipped.
    """
    model = _load(setup)
    hops, asked = parse_tick("audio", model.manifest), parse_tick(setup.tick, model.manifest)
    if hops.rate_hz != asked.rate_hz:
        raise InputError(f"its live decisions follow the sound, {float(hops.rate_hz):g} per second, not {setup.tick}")
    return model.stream("audio", live=True)


def open_graph(setup: Setup) -> StageGraph:
    """The stages of a contestant, for timing them one by one.

    Raises:
        MmedgeError: It cannot be opened; the text says why it has to be skipped.
    """
    if setup.kind == "staged" and not setup.injection:
        return _load(setup).new_graph()
    return StageGraph(*_open(setup))


def open_stages(bundle: Bundle, variant: str, *, threads: int) -> dict[str, OrtSession]:
    """A session in ONNX Runtime on the CPU for each stage of a variant.

    Raises:
        BundleError: A graph cannot be loaded.
    """
    files = bundle.manifest.variants[variant].files
    return {
        name: OrtSession(bundle.read(file), threads=threads, name=name, weights=bundle.weights(file))
        for name, file in files.items()
    }


def open_whole(path: Path, *, threads: int, backend: str = CPU) -> OrtSession:
    """A session in ONNX Runtime for an unsplit graph, whose weights may be in ``PATH.data``.

    Raises:
        BackendError: The backend cannot compute here.
        BundleError: The graph cannot be loaded.
    """
    data = path.with_name(f"{path.name}.data")
    weights = (data,) if data.is_file() else ()
    return OrtSession(path.read_bytes(), threads=threads, name=WHOLE, weights=weights, provider=PROVIDERS[backend])


def _load(setup: Setup) -> Model:
    return load(setup.bundle, backend=setup.backend, variant=setup.variant, threads=setup.threads)


def _open(setup: Setup) -> tuple[Manifest, dict[str, Session]]:
    bundle = open_bundle(setup.bundle)
    if setup.kind not in {"staged", "live"}:
        return unsplit(bundle.manifest), {WHOLE: _session(setup, bundle)}
    sessions: dict[str, Session] = dict(open_stages(bundle, setup.variant, threads=setup.threads))
    if setup.injection:
        sessions[setup.injection.stage] = SlowedSession(sessions[setup.injection.stage], setup.injection)
    return bundle.manifest, sessions


def _session(setup: Setup, bundle: Bundle) -> Session:
    if setup.kind == "whole":
        return open_whole(Path(setup.whole), threads=setup.threads, backend=setup.backend)
    if setup.kind == "openvino":
        return OpenVinoSession(Path(setup.whole), bundle.manifest, threads=setup.threads)
    opener = peer("compiled" if setup.kind == "compiled" else "eager")
    spec = Path(setup.spec) if setup.spec else None
    session: Session = opener(Path(setup.checkpoint), spec, bundle, setup.threads)
    return session


def peer(name: str) -> Callable[..., Any]:
    """What another package offers for comparison.

    Raises:
        MissingLibraryError: It is not installed.
    """
    found: Mapping[str, Any] = {point.name: point for point in entry_points(group="mmedge.peers")}
    try:
        loaded: Callable[..., Any] = found[name].load()
    except (KeyError, ImportError) as error:
        raise MissingLibraryError("torch is not installed; try: pip install 'mmedge[export]'") from error
    return loaded
