"""A loaded bundle: one-shot inference, and streams."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from time import monotonic_ns, perf_counter_ns
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mmedge.backends.base import Session
from mmedge.baseline import Baseline, read_baseline
from mmedge.bundle import Bundle, open_bundle
from mmedge.decode import decode
from mmedge.errors import BundleError, ClosedError, InputError, SpecError
from mmedge.feeds import FrontEnd, front_end
from mmedge.gates import parse_weights
from mmedge.manifest import Manifest
from mmedge.sessions import open_sessions
from mmedge.stages import StageGraph, embeddings
from mmedge.stream import Stream, StreamOptions
from mmedge.types import Array, Prediction, whole_number
from mmedge.weighing import Weighing

__all__ = ["LoadReport", "Model", "load"]

DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What was chosen when a bundle was loaded, and why.

    Attributes:
        backend: What computes.
        variant: The set of graph files.
        threads: Threads of one operator.
        reason: Why this backend and variant.
        load_ms: Wall time it took, hashing included.
        library: The backend's library and its version.
        rejected: What else was looked at, and why it was not taken.
    """

    backend: str
    variant: str
    threads: int
    reason: str
    load_ms: float
    library: str = ""
    rejected: Mapping[str, str] = field(default_factory=dict)


class Model:
    """A bundle ready to run, made by :func:`load`.

    ``infer`` may be called from any thread and computes one call at a time; every stream has its own buffers.

    Attributes:
        manifest: What the bundle says of the model.
        report: What was chosen when it was loaded.
        id: Name, the first digits of the bundle's SHA-256, and variant: what its predictions say they are of.
    """

    def __init__(self, bundle: Bundle, sessions: Mapping[str, Session], report: LoadReport) -> None:
        self.manifest: Manifest = bundle.manifest
        self.report = report
        self.id = f"{bundle.manifest.name}@{bundle.sha256[:DIGITS]}/{report.variant}"
        self._sessions: Mapping[str, Session] | None = sessions
        self._fronts: Mapping[str, FrontEnd] = _front_ends(bundle)
        self._bundle = bundle
        self._baseline: Baseline | None = None
        self._once: StageGraph | None = None
        self._weighing: Weighing | None = None
        self._one_at_a_time = Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as fast as it could be, and why; known when the first stream or inference has begun."""
        sessions = (self._sessions or {}).values()
        return tuple(dict.fromkeys(note for session in sessions for note in getattr(session, "notes", ())))

    def infer(self, **sensors: npt.NDArray[Any] | str | Mapping[str, float]) -> Prediction:
        """One decision on one window of raw sensor data per port; nothing is remembered from call to call.

        Args:
            **sensors: For each camera port [T, H, W, 3] (or [H, W, 3] if its window is one picture) uint8 RGB of any
                size; for each audio port [N] float32 in -1..1, as many samples as its window has, at its rate; for each
                tensor port an array of its shape and dtype; for each text port a string. A state port may be given
                like a tensor; left out, it is zeros, as at the first decision of a stream. Unless a port is called so,
                ``weights`` are those of the sensors in a head that has gates, see :meth:`mmedge.Stream.reweight`.

        Raises:
            InputError: A port is missing, unknown, or its data does not fit; or the weights do not.
            ClosedError: The model was closed.
        """
        begin = perf_counter_ns()
        ports, gates = self.manifest.ports, self.manifest.gates
        weights = {} if "weights" in ports else sensors.pop("weights", {})
        parsed = parse_weights(weights, gates)
        needed = [name for name, port in ports.items() if port.state is None]
        if not set(needed) <= sensors.keys() <= ports.keys():
            raise InputError(f"infer() was given {', '.join(sensors) or 'nothing'}; expected {', '.join(needed)}")
        zeros = {name: np.zeros(port.shape, port.dtype) for name, port in ports.items() if port.state}
        with self._one_at_a_time:
            windows = {name: self._window(name, data) for name, data in (zeros | sensors).items()}
            if self._once is None:
                self._once = self.new_graph(resident=True)
                self._weighing = Weighing(gates, self._once) if gates else None
            weighing = self._weighing
            if weighing is not None:
                weighing.wanted = parsed
                weighing.apply()
            for name, window in windows.items():
                self._once.load_window(name, window)
            self._once.run()
            outputs, labels = decode(self._once.tensors, self.manifest.outputs)
            let_through, in_force = (None, None) if weighing is None else (weighing.read(), weighing.in_force)
        return Prediction(
            t_ns=0,
            outputs=outputs,
            labels=labels,
            age_ms=dict.fromkeys(needed, 0.0),
            fresh=dict.fromkeys(needed, True),
            latency_ns=perf_counter_ns() - begin,
            model=self.id,
            gates=let_through,
            weights=in_force,
        )

    def _window(self, name: str, data: object) -> Array:
        wanted, what = (str, "a string") if self.manifest.ports[name].text else (np.ndarray, "an array")
        if not isinstance(data, wanted):
            raise InputError(f"{name}: expected {what}, not {type(data).__name__}")
        try:
            return self._fronts[name].window(data)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error

    def stream(  # noqa: PLR0913 - one parameter for each option
        self,
        tick: str | None = None,
        *,
        live: bool = False,
        deadline_ms: float | None = None,
        max_age_ms: Mapping[str, float] | float | None = None,
        policies: Mapping[str, Sequence[str]] | None = None,
        attribution: int | None = None,
        clock: Callable[[], int] = monotonic_ns,
    ) -> Stream:
        """Decisions on sensor data as it comes.

        Args:
            tick: "audio": at every hop of the audio window; "camera": at every picture; "tensor": at every tensor;
                "50hz": at that rate; "any": at every packet. By default the first of these that the model has a port
                for. A recurrent model advances once per tick: choose the rate that it was trained at.
            live: False: all work is done in the thread that pushes, and the same pushes give the same predictions, as
                recordings need it. True: a thread for every port, and no decision waits for another sensor, as a robot
                needs it.
            deadline_ms: Only live: a tick whose own data is not encoded so long after it was pushed is decided on what
                was encoded before.
            max_age_ms: By port, or for all ports, instead of what the bundle declares: an older port is missing, which
                ``prediction.degraded`` says.
            policies: By port, what to do while it is missing, instead of what the bundle declares: a list of "hold",
                "mean" and "abstain", see :class:`mmedge.policies.PortPolicy`.
            attribution: Say of every n-th decision how much each port contributed; 0 for only those that
                ``stream.attribute_next()`` asks for. See :class:`mmedge.attribution.Attribution`.
            clock: Only live, for a rate such as "50hz": what the times of pushes are read from, in nanoseconds.

        Raises:
            InputError: The model has no such port, tick is none of these, or the options do not fit.
            BundleError: A policy needs the statistics of the bundle, which cannot be read.
            ClosedError: The model was closed.
        """
        options = StreamOptions(
            live=live,
            deadline_ms=deadline_ms,
            max_age_ms=max_age_ms,
            policies=policies or {},
            attribution=attribution,
            clock=clock,
            model=self.id,
        )
        return Stream(self.manifest, self._open_sessions(), tick, self._fronts, options, self.read_baseline)

    def stream_like(self, stream: Stream) -> Stream:
        """A stream that decides when and as another one does, which may be of another model.

        Raises:
            InputError: This model has no port for its ticks.
            BundleError: A policy needs the statistics of the bundle, which cannot be read.
            ClosedError: The model was closed.
        """
        sessions, tick = self._open_sessions(), stream.tick.text
        options = replace(stream.options, model=self.id)
        return Stream(self.manifest, sessions, tick, self._fronts, options, self.read_baseline)

    def read_baseline(self) -> Baseline:
        """Calibration statistics of what the sensors share with the rest of the model; read once.

        Raises:
            BundleError: They cannot be read, or do not fit the model.
        """
        if self._baseline is None:
            self._baseline = read_baseline(self._bundle)
        return self._baseline

    def new_graph(self, clock: Callable[[], int] = perf_counter_ns, *, resident: bool = False) -> StageGraph:
        """Stages with buffers of their own, for code that measures or checks them one by one.

        Args:
            clock: See :class:`mmedge.stages.StageGraph`.
            resident: Let embeddings stay on the device that computes; they cannot be read or written then.

        Raises:
            ClosedError: The model was closed.
        """
        kept = embeddings(self.manifest) if resident else ()
        return StageGraph(self.manifest, self._open_sessions(), clock=clock, resident=kept)

    def _open_sessions(self) -> Mapping[str, Session]:
        if self._sessions is None:
            raise ClosedError(f"model {self.manifest.name} was closed; load the bundle again")
        return self._sessions

    def close(self) -> None:
        """Let go of the sessions; streams that are open keep theirs until they are closed."""
        self._sessions = None
        self._once = self._weighing = None

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(
    path: str | Path, *, backend: str = "auto", variant: str = "auto", require: str = "", threads: int = 1
) -> Model:
    """Open a bundle, check every hash, and make it ready to run.

    Args:
        path: The folder that ``mmedge export`` made.
        backend: "tensorrt", "tensorrt-rtx" (both with engines of ``mmedge build``), "onnxruntime-cuda",
            "onnxruntime-rtx" or "onnxruntime-cpu"; "auto" takes the first of these that can compute here, or what
            ``mmedge bench`` measured to be faster. ``model.report`` says what was chosen and why.
        variant: Which set of graph files; "auto" takes the first that is for the backend, or what was measured to be
            faster.
        require: What the backend's name must begin with, e.g. "tensorrt": raise instead of taking another.
        threads: Threads of one operator on the CPU. One is the steadiest beside other work; more help large models.

    Raises:
        BundleError: It is damaged, incomplete, not to be trusted, or of a newer version.
        InputError: There is no such backend or variant.
        BackendError: What was asked for or required cannot compute here.
        MissingLibraryError: The backend's library is not installed, or tokenizers for a model that reads.
    """
    begin = perf_counter_ns()
    threads = whole_number(threads, "threads", 1)
    for option, given in (("backend", backend), ("variant", variant), ("require", require)):
        if not isinstance(given, str):
            raise InputError(f"{option} is {given!r}; expected a name")
    bundle = open_bundle(path)
    opened = open_sessions(bundle, backend=backend, variant=variant, require=require, threads=threads)
    report = LoadReport(
        backend=opened.choice.backend,
        variant=opened.choice.variant,
        threads=threads,
        reason=opened.choice.reason,
        load_ms=(perf_counter_ns() - begin) / 1e6,
        library=opened.library,
        rejected=opened.rejected,
    )
    return Model(bundle, opened.sessions, report)


def _front_ends(bundle: Bundle) -> dict[str, FrontEnd]:
    try:
        return {name: front_end(port, bundle.read) for name, port in bundle.manifest.ports.items()}
    except SpecError as error:
        raise BundleError(f"{bundle.path}: {error}; export the bundle again") from error
