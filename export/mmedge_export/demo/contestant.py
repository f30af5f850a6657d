"""One way of running a model on a clip, in a process of its own: the same packets, front ends and ticks for everyone.

Only what computes the graph differs: the stages of a bundle, the whole graph in ONNX Runtime, the torch module. As a
program, ``python -m mmedge_export.demo.contestant JOB.json``, it is the process that is measured.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic_ns, perf_counter_ns
from typing import Any, Literal

import numpy as np

from mmedge.backends.base import Session
from mmedge.backends.ort import OrtSession
from mmedge.bundle import open_bundle
from mmedge.errors import MmedgeError
from mmedge.manifest import Manifest
from mmedge.model import load
from mmedge.sources import Replay, open_file_sources
from mmedge.stream import Stream
from mmedge.types import Array, Prediction
from mmedge.unsplit import WHOLE, unsplit

__all__ = ["Job", "Log", "race"]

THREADS = 1
Kind = Literal["torch", "whole", "staged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a process is to run.

    Attributes:
        kind: The torch module, the whole ONNX graph, or the bundle's stages.
        bundle: The bundle; also for its manifest.
        whole: The unsplit ONNX graph.
        checkpoint: Of the torch module.
        camera: Video of the clip.
        audio: Sound of the clip.
        tick: When to decide.
        out: Where the log is written, .npz.
        begin_ns: Monotonic time at which the process was started.
    """

    kind: Kind
    bundle: str
    whole: str
    checkpoint: str
    camera: str
    audio: str
    tick: str
    out: str
    begin_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a process wrote down.

    Attributes:
        available_ns: [P] when each packet is there, in media time.
        cost_ns: [P] wall time of its push.
        packet: [N] the packet that completed each decision.
        latency_ns: [N] from that push to the decision.
        t_ns: [N] the tick of each decision.
        outputs: [N, ...] by name.
        age_ms: [N] by port.
        work_ns: Time inside the model.
        peak_kib: Largest resident memory.
        first_ns: From the start of the process to the first decision.
    """

    available_ns: Array
    cost_ns: Array
    packet: Array
    latency_ns: Array
    t_ns: Array
    outputs: dict[str, Array]
    age_ms: dict[str, Array]
    work_ns: int
    peak_kib: int
    first_ns: int

    def latency_on_one_core(self) -> Array:
        """[N] ms from each tick to its decision when packets come at their own times and one core does all the work.

        A packet waits until the one before it is done (Lindley's recursion for a single server), so that a sound that
        arrives while a picture is being encoded pays for it.
        """
        free, starts = 0, np.zeros(len(self.cost_ns), np.int64)
        for i, (available, cost) in enumerate(zip(self.available_ns, self.cost_ns, strict=True)):
            starts[i] = max(int(available), free)
            free = int(starts[i]) + int(cost)
        latency: Array = (starts[self.packet] + self.latency_ns - self.t_ns) / 1e6
        return latency


def race(job: Job) -> Log:
    """Run a job in a fresh process and read what it wrote down.

    Raises:
        MmedgeError: The process failed; the text is its last line.
    """
    path = Path(job.out).with_suffix(".json")
    path.write_text(json.dumps(asdict(replace(job, begin_ns=monotonic_ns()))), encoding="utf-8")
    command = [sys.executable, "-m", "mmedge_export.demo.contestant", str(path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise MmedgeError(f"{job.kind} failed: {(child.stderr.strip().splitlines() or ['no message'])[-1]}")
    with np.load(job.out, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    fields: dict[str, Any] = {"outputs": {}, "age_ms": {}}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        if name:
            fields[group][name] = array
        else:
            fields[key] = array if array.ndim else int(array)
    return Log(**fields)


def _open_stream(job: Job) -> Stream:
    if job.kind == "staged":
        return load(job.bundle, backend="onnxruntime-cpu", variant="fp32", threads=THREADS).stream(job.tick)
    bundle = open_bundle(job.bundle)
    manifest = unsplit(bundle.manifest)
    session: Session
    if job.kind == "torch":
        from mmedge_export.peers import open_eager

        session = open_eager(Path(job.checkpoint), None, bundle, THREADS)
    else:
        session = OrtSession(Path(job.whole).read_bytes(), threads=THREADS, name=WHOLE)
    return Stream(manifest, {WHOLE: session}, job.tick)


def _run(job: Job) -> dict[str, Array]:
    stream = _open_stream(job)
    manifest = open_bundle(job.bundle).manifest
    names: dict[str, str] = {port.modality: name for name, port in manifest.ports.items()}
    rate_hz = next(port.audio.rate_hz for port in manifest.ports.values() if port.audio)
    sources = open_file_sources(job.camera, job.audio, audio_rate_hz=rate_hz, chunk_ms=10)
    available: list[int] = []
    cost: list[int] = []
    decided: list[tuple[int, Prediction]] = []
    first_ns = 0
    with Replay({names[kind]: source for kind, source in sources.items()}, allow_short=True) as replay:
        for port, packet in replay:
            begin = perf_counter_ns()
            stream.push(packet, port=port)
            cost.append(perf_counter_ns() - begin)
            for prediction in stream.poll():
                first_ns = first_ns or monotonic_ns() - job.begin_ns
                decided.append((len(available), prediction))
            available.append(packet.available_ns)
    return {
        "available_ns": np.array(available),
        "cost_ns": np.array(cost),
        "packet": np.array([at for at, _ in decided]),
        **_columns([prediction for _, prediction in decided], manifest),
        "work_ns": np.array(sum(stream.work_ns.values())),
        "first_ns": np.array(first_ns),
        "peak_kib": np.array(_peak_kib()),
    }


def _columns(predictions: list[Prediction], manifest: Manifest) -> Mapping[str, Array]:
    columns = {name: np.array([getattr(p, name) for p in predictions]) for name in ("latency_ns", "t_ns")}
    columns |= {f"outputs/{name}": np.stack([p.outputs[name] for p in predictions]) for name in manifest.outputs}
    return columns | {f"age_ms/{name}": np.array([p.age_ms[name] for p in predictions]) for name in manifest.ports}


def _peak_kib() -> int:
    with Path("/proc/self/status").open() as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def main() -> None:
    """The process that is measured."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        arrays = _run(job)
    except MmedgeError as error:
        sys.exit(str(error))
    from mmedge_export.isolate import write_arrays  # after the run: it is not what is measured

    write_arrays(Path(job.out), arrays)


if __name__ == "__main__":
    main()
