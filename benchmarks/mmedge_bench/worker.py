"""The process that is measured: opens one contestant, then runs what it is told to, line by line.

Requests are JSON objects on standard input, answers JSON objects on standard output, so that contestants can take turns
while each stays warm in a process of its own.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from time import monotonic_ns, perf_counter_ns, process_time_ns, sleep, thread_time_ns
from typing import Any

import numpy as np

from mmedge.bundle import Bundle, open_bundle
from mmedge.cost import DEFAULT_CAMERA_HZ
from mmedge.errors import MmedgeError
from mmedge.feeds import front_end
from mmedge.manifest import Manifest
from mmedge.records import from_plain, to_plain
from mmedge.stages import StageGraph
from mmedge.stream import Stream
from mmedge.types import NS, Array, Prediction
from mmedge_bench.machine import Meter
from mmedge_bench.reference_work import reference_work_ns
from mmedge_bench.result import Segment, StageBlock, Start
from mmedge_bench.scenarios import Scenario
from mmedge_bench.setup import Loop, Setup, open_graph, open_live, open_loop
from mmedge_bench.workload import Arrival, Workload, make_workload, ticks_of

__all__ = ["Log", "Worker", "drive", "drive_live", "main"]

LEAD_NS = 50_000_000  # until the first packet
LINGER_S = 0.3
BLOCK = 40  # runs of a part in one block
SETTLE = 8  # of them not counted, while the caches fill


@dataclass(slots=True)
class Log:
    """Decisions as they came, with the clock of the process."""

    predictions: list[Prediction] = field(default_factory=list)
    done_ns: list[int] = field(default_factory=list)

    def take(self, predictions: list[Prediction]) -> None:
        """Write down that these came just now."""
        now = perf_counter_ns()
        self.predictions += predictions
        self.done_ns += [now] * len(predictions)


def drive(loop: Loop, arrivals: tuple[Arrival, ...], *, real_time: bool) -> tuple[Log, list[int]]:
    """Hand every packet over when it is due, or at once, and write down what comes back.

    Args:
        loop: The contestant.
        arrivals: In order.
        real_time: Wait until each is due; what is late by then is not waited for.

    Returns:
        The decisions, and the time at which each packet should have been there, on the same clock: when it was due, or
        when it was pushed where nobody waits.
    """
    log, should = Log(), []
    begin = perf_counter_ns()
    for arrival in arrivals:
        due = begin + arrival.due_ns
        if real_time:
            _sleep_until(due)
        should.append(due if real_time else perf_counter_ns())
        loop.push(arrival.packet, port=arrival.port)
        log.take(loop.poll())
    loop.close()
    return log, should


def drive_live(stream: Stream, arrivals: tuple[Arrival, ...]) -> tuple[Log, list[int]]:
    """The same for a stream that works in threads of its own and decides when it can; always in real time.

    Packets are stamped with the clock of the process, as live sensors do; the decisions are given back in stream time.
    """
    log, should = Log(), []
    watching = Thread(target=_watch, args=(stream, log), name="bench-watch")
    watching.start()
    begin = monotonic_ns() + LEAD_NS
    stamped = [(begin + a.due_ns, a.port, replace(a.packet, t_ns=begin + a.packet.t_ns)) for a in arrivals]
    for due, port, packet in stamped:
        _sleep_until(due)
        should.append(due)
        stream.push(packet, port=port)
    sleep(LINGER_S)  # until the last one is decided
    stream.close()
    watching.join()
    log.predictions = [prediction._replace(t_ns=prediction.t_ns - begin) for prediction in log.predictions]
    return log, should


def _watch(stream: Stream, log: Log) -> None:
    for prediction in stream:
        log.take([prediction])


def _sleep_until(due_ns: int) -> None:
    while (left := due_ns - perf_counter_ns()) > 0:
        sleep(left / NS)


class Worker:
    """Answers one request at a time; see the module.

    Args:
        setup: How the contestant is opened.
        name: Its name.
    """

    def __init__(self, setup: Setup, name: str) -> None:
        self._setup, self._name = setup, name
        self._bundle = open_bundle(setup.bundle)

    def verify(self, seconds: float, out: str) -> dict[str, Any]:
        """Outputs on a stream without any irregularity, for comparison."""
        log, _ = drive(open_loop(self._setup), self._regular(seconds).arrivals, real_time=False)
        columns: dict[str, Array] = {
            name: np.stack([p.outputs[name] for p in log.predictions]) for name in self._manifest.outputs
        }
        columns["t_ns"] = np.array([p.t_ns for p in log.predictions])
        np.savez(out, **columns)  # type: ignore[arg-type]  # numpy's annotation has a keyword of its own in the way
        return {}

    def segment(self, scenario: Mapping[str, Any], number: int) -> dict[str, Any]:
        """One stretch of stream."""
        told = from_plain(Scenario, dict(scenario))
        workload = self._workload(told, number)
        live = self._setup.kind == "live"
        loop = open_live(self._setup) if live else open_loop(self._setup)
        reference = [reference_work_ns() for _ in range(5)]
        meter, cpu, wall = Meter(), process_time_ns(), perf_counter_ns()
        if isinstance(loop, Stream) and live:
            log, should = drive_live(loop, workload.arrivals)
        else:
            log, should = drive(loop, workload.arrivals, real_time=told.real_time)
        wall, cpu = perf_counter_ns() - wall, process_time_ns() - cpu
        used = meter.read(own_cpu_ns=cpu)
        reference += [reference_work_ns() for _ in range(5)]
        t_ns = np.array([p.t_ns for p in log.predictions], np.int64)
        at = workload.first_that_reaches(t_ns, self._manifest, "audio" if live else self._setup.tick)
        made: dict[str, Any] = to_plain(
            Segment(
                scenario=told.name,
                contestant=self._name,
                round=number,
                t_ns=tuple(t_ns.tolist()),
                latency_ns=tuple((np.array(log.done_ns, np.int64) - np.array(should, np.int64)[at]).tolist()),
                age_ms=_by_port(log.predictions, "age_ms"),
                fresh=_by_port(log.predictions, "fresh"),
                expected=ticks_of(self._manifest, self._setup.tick, workload, int(t_ns[0])) if len(t_ns) else 0,
                stream_ns=workload.stream_ns,
                wall_ns=wall,
                cpu_ns=cpu,
                stage_ns=dict(loop.work_ns),
                stage_runs=dict(loop.runs),
                reference_ns=int(np.median(reference)),
                joules=used.joules,
                others=used.others,
                peak_kib=_peak_kib(),
            )
        )
        return made

    def parts(self, number: int, blocks: int) -> list[dict[str, Any]]:
        """Each stage and front end alone."""
        made = []
        for name, call in _parts(self._bundle, open_graph(self._setup)).items():
            rows = [_block(call) for _ in range(blocks)]
            wall, cpu, reference = ([value for row in rows for value in row[i]] for i in range(3))
            block = StageBlock(
                contestant=self._name, part=name, round=number, wall_ns=tuple(wall), cpu_ns=tuple(cpu),
                reference_ns=tuple(reference),
            )  # fmt: skip
            made.append(to_plain(block))
        return made

    def start(self, number: int, begin_ns: int) -> dict[str, Any]:
        """The first decision of a fresh process."""
        loop = open_loop(self._setup)
        seconds = 2 + _longest_window_s(self._manifest)
        for arrival in self._regular(seconds).arrivals:
            loop.push(arrival.packet, port=arrival.port)
            if loop.poll():
                break
        first_ns = monotonic_ns() - begin_ns
        loop.close()
        made: dict[str, Any] = to_plain(
            Start(contestant=self._name, round=number, first_ns=first_ns, peak_kib=_peak_kib())
        )
        return made

    @property
    def _manifest(self) -> Manifest:
        return self._bundle.manifest

    def _regular(self, seconds: float) -> Workload:
        return self._workload(Scenario(name="regular", what="", seconds=seconds, rounds=1), 0)

    def _workload(self, scenario: Scenario, number: int) -> Workload:
        return make_workload(self._bundle, self._setup.rates_hz, scenario.rhythm, scenario.seconds, number)


def _parts(bundle: Bundle, graph: StageGraph) -> dict[str, Callable[[], None]]:
    """What runs alone: every stage of the graph, and every front end, on the first recorded sample."""
    golden, manifest = bundle.read_golden(), bundle.manifest
    parts: dict[str, Callable[[], None]] = {}
    for name, port in manifest.ports.items():
        front, data = front_end(port, bundle.read), golden[f"sensor/{name}"][0]
        graph.load_window(name, front.window(data))
        if port.state is None:
            parts[f"front end: {name}"] = _bound(front.window, data)
    graph.run()
    return parts | {name: _bound(graph.run_stage, name) for name in graph.work_ns}


def _bound(call: Callable[[Any], Any], argument: Any) -> Callable[[], None]:
    def run() -> None:
        call(argument)

    return run


def _block(call: Callable[[], None]) -> tuple[list[int], list[int], list[int]]:
    wall, cpu, reference = [], [], []
    for i in range(SETTLE + BLOCK):
        begin, begin_cpu = perf_counter_ns(), thread_time_ns()
        call()
        end_cpu, end = thread_time_ns(), perf_counter_ns()
        if i >= SETTLE:
            wall.append(end - begin)
            cpu.append(end_cpu - begin_cpu)
            reference.append(reference_work_ns())
    return wall, cpu, reference


def _longest_window_s(manifest: Manifest) -> float:
    ports = manifest.ports.values()
    heard = [port.audio.window_samples / port.audio.rate_hz for port in ports if port.audio]
    seen = [port.camera.frames / (port.camera.rate_hz or DEFAULT_CAMERA_HZ) for port in ports if port.camera]
    return max([*heard, *seen, 0.0])


def _by_port(predictions: list[Prediction], field_name: str) -> dict[str, tuple[Any, ...]]:
    ports = getattr(predictions[0], field_name) if predictions else {}
    return {port: tuple(_plain(getattr(p, field_name)[port]) for p in predictions) for port in ports}


def _plain(value: object) -> Any:
    return value if isinstance(value, bool) else round(float(value), 4)  # type: ignore[arg-type]


def _peak_kib() -> int:
    with Path("/proc/self/status").open() as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def main() -> None:
    """Answer requests until standard input ends; a mistake of the user's is answered, not raised."""
    told = json.loads(sys.stdin.readline())
    answers = sys.stdout
    sys.stdout = sys.stderr  # a library that prints must not talk into the answers
    try:
        worker = Worker(from_plain(Setup, told["setup"]), told["name"])
        for line in _requests(told, worker):
            answers.write(json.dumps(line) + "\n")
            answers.flush()
    except MmedgeError as error:
        answers.write(json.dumps({"error": str(error)}) + "\n")


def _requests(told: Mapping[str, Any], worker: Worker) -> Iterator[Any]:
    del told
    for line in sys.stdin:
        request = json.loads(line)
        yield getattr(worker, request.pop("do"))(**request)


if __name__ == "__main__":
    main()
