"""A live run with real audio capture, and sensors that fail.

``python -m mmedge_bench.sensors BUNDLE`` decides at 50 Hz on a virtual microphone and a paced camera, for a minute
without faults, then while the camera is unplugged and its clock is set by an hour, the microphone hangs for two
seconds, and a video ends. It checks what must hold and ends with status 1 if something does not.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread
from time import monotonic_ns, sleep
from typing import Any

import click
import numpy as np

from mmedge.live import LiveRun
from mmedge.model import Model, load
from mmedge.running import open_run
from mmedge.sources import TapeReader, open_camera, synthetic_camera
from mmedge.types import AudioChunk, Prediction
from mmedge_bench.virtual_microphone import VirtualMicrophone, missing_for_microphone

__all__ = ["Check", "FakeCapture", "main"]

NS = 1_000_000_000
TICK_NS = NS // 50
CAMERA_HZ = 15
HOUR_NS = 3600 * NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: It, in words.
        found: What was measured.
        holds: Whether it does.
    """

    what: str
    found: str
    holds: bool


@dataclass(slots=True, kw_only=True)
class FakeCapture:
    """A camera as OpenCV would give it, which can be pulled out and whose clock can be set.

    Attributes:
        plugged: It gives pictures.
        offset_ns: What its stamps are ahead of the monotonic clock.
        stamps: When its pictures were truly taken.
    """

    plugged: bool = True
    offset_ns: int = 0
    stamps: list[int] = field(default_factory=list)
    _frames: Iterator[Any] = field(default_factory=lambda: iter(synthetic_camera(seconds=1e6, rate_hz=CAMERA_HZ)))
    _due_ns: int = 0

    def open(self, number: int) -> "FakeCapture":
        """What opens device ``number``."""
        del number
        return self

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether it gives pictures."""
        return self.plugged

    def read(self) -> tuple[bool, Any]:
        """The next picture, at its time."""
        self._due_ns = max(self._due_ns + NS // CAMERA_HZ, monotonic_ns())
        sleep(max(0, self._due_ns - monotonic_ns()) / NS)
        if not self.plugged:
            return False, None
        self.stamps.append(monotonic_ns())
        return True, next(self._frames).pixels[..., ::-1]

    def get(self, prop: int) -> float:
        """The stamp of the picture that was read last, in milliseconds, whatever is asked for."""
        del prop
        return (self.stamps[-1] + self.offset_ns) / 1e6 if self.stamps else 0.0

    def set(self, prop: int, value: float) -> bool:
        """Nothing can be set."""
        del prop, value
        return False

    def release(self) -> None:
        """Nothing is held."""


def steady(model: Model, microphone: VirtualMicrophone, seconds: float) -> list[Check]:
    """What must hold while every sensor is well."""
    capture = FakeCapture()
    with tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "tape"
        camera = open_camera(0, capture=capture.open)
        run = _opened(model, camera, "mic://pulse", record=tape)
        predictions = _run(run, seconds)
        counters, chunks = run.counters, _sound(tape)
    numbers = np.concatenate([microphone.numbers_of(chunk.samples) for chunk in chunks])
    lost = int(np.count_nonzero(np.diff(numbers) % 30_000 != 1))
    firsts = [(int(microphone.numbers_of(chunk.samples[:1])[0]), chunk.t_ns) for chunk in chunks]
    error_ms = max(abs(t_ns - microphone.time_of(number, t_ns)) for number, t_ns in firsts) / 1e6
    ticks = np.diff([now.t_ns for now in predictions])
    due = round((predictions[-1].t_ns - predictions[0].t_ns) / TICK_NS) + 1
    return [
        Check(what="samples lost", found=f"{lost} of {len(numbers)}", holds=lost == 0),
        Check(what="audio time, largest error", found=f"{error_ms:.2f} ms", holds=error_ms < 2),
        Check(what="ticks", found=f"{len(predictions)} of {due}", holds=bool((ticks == TICK_NS).all())),
        _ages(model, predictions, capture.stamps),
        Check(
            what="drops, losses, stalls, holes in the sound ...",
            found=str(_bad(counters)),
            holds=not _bad(counters),
        ),
    ]  # fmt: skip


def faults(model: Model, microphone: VirtualMicrophone) -> list[Check]:
    """What must hold while sensors fail, one after the other."""
    capture = FakeCapture()
    camera = open_camera(0, capture=capture.open)
    run = _opened(model, camera, "mic://pulse")
    predictions: list[Prediction] = []
    consumer = Thread(target=lambda: predictions.extend(run), name="consumer")
    consumer.start()
    sleep(2.5)
    ports = {source: name for name, source in _names(model).items()}
    image, sound = ports["camera"], ports["audio"]
    states = {"before": _states(run)}
    capture.plugged = False
    sleep(1.0)
    states["unplugged"] = _states(run)
    capture.plugged = True
    _wait_until(lambda: _states(run)[image] == "ok")
    states["plugged in"] = _states(run)
    capture.offset_ns = HOUR_NS
    sleep(1.0)
    states["clock set"] = _states(run)
    hanging = Thread(target=microphone.mute, args=(2.0,))
    hanging.start()
    sleep(1.5)
    states["hanging"] = _states(run)
    hanging.join()
    sleep(1.5)
    states["after"] = _states(run)
    run.close()
    consumer.join()
    counts = run.counters
    times = np.array([now.t_ns for now in predictions])
    pauses = np.diff(times)[np.diff(times) != TICK_NS]
    expected = {
        "before": {image: "ok", sound: "ok"},
        "unplugged": {image: "lost", sound: "ok"},
        "plugged in": {image: "ok", sound: "ok"},
        "clock set": {image: "ok", sound: "ok"},
        "hanging": {image: "ok", sound: "stalled"},
        "after": {image: "ok", sound: "ok"},
    }
    return [
        *(Check(what=f"states, {at}", found=str(states[at]), holds=states[at] == now) for at, now in expected.items()),
        _counted(counts, image, "losses", 1, 9),
        _counted(counts, image, "connections", 2, 2),
        _counted(counts, image, "clock_steps", 1, 1),
        _counted(counts, sound, "stalls", 1, 1),
        _counted(counts, sound, "gaps", 1, 1),
        _counted(counts, sound, "lost_ms", 1980, 2100),
        Check(
            what="ticks through all of it",
            found=f"{len(times)}, {len(pauses)} pauses",
            holds=len(pauses) == 0,
        ),
    ]  # fmt: skip


def ending(model: Model) -> list[Check]:
    """What must hold when a video ends and the microphone goes on."""
    run = _opened(model, "paced:synthetic://?seconds=2", "mic://pulse")
    predictions = _run(run, 4.0)
    image = {source: name for name, source in _names(model).items()}["camera"]
    ended_ns = next(event.t_ns for event in run.events if event.state == "ended")
    after = [now for now in predictions if now.t_ns > ended_ns + NS]
    state = run.status[image].state
    oldest = max((now.age_ms[image] for now in after), default=0.0)
    return [
        Check(what="state of a video that ended", found=state, holds=state == "ended"),
        Check(what="decisions after its end", found=str(len(after)), holds=len(after) > 10),
        Check(what="and the age of its last picture", found=f"{oldest:.0f} ms", holds=oldest > 1000),
    ]  # fmt: skip


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.option("--seconds", default=60.0, help="Length of the part without faults.")
@click.option("--steady", "steady_only", is_flag=True, help="Leave out the faults.")
@click.option("--json", "json_output", is_flag=True, help="Print the checks as JSON.")
def main(bundle: Path, seconds: float, *, steady_only: bool, json_output: bool) -> None:
    """Run all of it."""
    if missing := missing_for_microphone():
        raise click.ClickException(missing)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with VirtualMicrophone() as microphone, load(bundle) as model:
        checks = steady(model, microphone, seconds)
        if not steady_only:
            checks += [*faults(model, microphone), *ending(model)]
    if json_output:
        click.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            click.echo(f"{'ok    ' if check.holds else 'BROKEN'} {check.what:<44}{check.found}")
    if not all(check.holds for check in checks):
        raise SystemExit(1)


def _opened(model: Model, camera: Any, audio: str, *, record: Path | None = None) -> LiveRun:
    run = open_run(model, camera=camera, audio=audio, tick="50hz", record=record)
    assert isinstance(run, LiveRun)  # both sensors are live
    return run


def _run(run: LiveRun, seconds: float) -> list[Prediction]:
    predictions = []
    with run:
        for now in run:
            predictions.append(now)
            if now.t_ns > run.arrivals.origin_ns + seconds * NS:
                run.stop()
    return predictions


def _sound(tape: Path) -> list[AudioChunk]:
    with TapeReader(tape) as reader:
        return [packet for _, packet in reader if isinstance(packet, AudioChunk)]


def _names(model: Model) -> dict[str, str]:
    return {name: port.modality for name, port in model.manifest.ports.items() if port.camera or port.audio}


def _ages(model: Model, predictions: list[Prediction], stamps: list[int]) -> Check:
    """Each picture's age must lead to a picture that was really taken; and it must be one of the two newest."""
    image = {source: name for name, source in _names(model).items()}["camera"]
    taken = np.array(stamps)
    wrong = 0
    for now in predictions:
        picture_ns = now.t_ns - now.age_ms[image] * 1e6
        nearest = int(np.abs(taken - picture_ns).argmin())
        newer = int(np.count_nonzero((taken > taken[nearest]) & (taken <= now.t_ns)))
        wrong += bool(abs(taken[nearest] - picture_ns) > 1e6 or newer > 1)
    return Check(what="wrong ages of pictures", found=f"{wrong} of {len(predictions)}", holds=bool(wrong == 0))


def _bad(counters: dict[str, dict[str, int]]) -> dict[str, int]:
    """What should not have happened; a picture that is late on a busy machine is no fault of the software."""
    kinds = ("dropped", "losses", "stalls", "lost_ms", "xruns", "lost_samples", "late_samples", "jumps", "refused")
    sums = {kind: sum(counts.get(kind, 0) for counts in counters.values()) for kind in kinds}
    return {kind: number for kind, number in sums.items() if number}


def _states(run: LiveRun) -> dict[str, str]:
    return {port: status.state for port, status in run.status.items()}


def _counted(counts: dict[str, dict[str, int]], port: str, what: str, least: int, most: int) -> Check:
    number = counts[port].get(what, 0)
    return Check(what=f"{port}: {what}", found=str(number), holds=least <= number <= most)


def _wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end_ns = monotonic_ns() + round(seconds * NS)
    while not holds() and monotonic_ns() < end_ns:
        sleep(0.02)


if __name__ == "__main__":
    main()
