"""A thread for every port, so that no decision waits for another sensor's encode."""

import atexit
from collections.abc import Mapping
from functools import partial
from threading import Lock

from mmedge.branches import Branch
from mmedge.decide import Decider
from mmedge.errors import ClosedError, StreamError
from mmedge.lane import Lane
from mmedge.predictions import Outlet
from mmedge.timers import Deadlines, Grid, Timing
from mmedge.types import Packet
from mmedge.worker import Worker

__all__ = ["Concurrent"]


class Concurrent:
    """The threads of one stream: a worker for every port, and one for the clock if there is a grid or a deadline.

    A worker ingests what its port accepted, encodes it and leaves it where the decider takes it. The worker of the port
    that brings the ticks also decides.

    Args:
        name: Of the model, for the names of the threads.
        branches: By port.
        decider: What joins them.
        timing: When to decide.
        predictions: Closed with the error of a thread that breaks.
    """

    def __init__(
        self, name: str, branches: Mapping[str, Branch], decider: Decider, timing: Timing, predictions: Outlet
    ) -> None:
        self._predictions = predictions
        self._ended = ""  # why
        self._ending = Lock()
        self._grid = Grid(timing, decider) if timing.tick.kind == "grid" else None
        self._deadlines: Deadlines | None = None
        if timing.deadline_ns is not None and self._grid is None:
            self._deadlines = Deadlines(timing.deadline_ns, decider, in_order=timing.tick.kind == "any")
        self._lanes = {port: Lane(branch, decider, timing.tick, self._deadlines) for port, branch in branches.items()}
        works = {port: lane.work for port, lane in self._lanes.items()}
        timer = self._grid or self._deadlines
        self._workers = {
            part: Worker(f"mmedge-{name}-{part}", work, partial(self._fail, part)) for part, work in works.items()
        }
        self._timer = Worker(f"mmedge-{name}-clock", timer.work, partial(self._fail, "clock")) if timer else None
        for worker in self._all():
            worker.start()
        atexit.register(self.close)

    @property
    def counts(self) -> dict[str, int]:
        """Ticks without a decision, decisions after their deadline, and how often the clock of the grid was set."""
        passed_over = sum(lane.passed_over for lane in self._lanes.values())
        return {
            "passed_over": passed_over + (self._grid.passed_over if self._grid else 0),
            "late": sum(timer.late for timer in (self._grid, self._deadlines) if timer),
            "clock_jumps": self._grid.jumps if self._grid else 0,
        }

    def push(self, name: str, packet: Packet, pushed_ns: int) -> None:
        """Take in a packet of a port; returns before it is encoded.

        Args:
            name: Of the port.
            packet: The packet.
            pushed_ns: When it was pushed, on ``perf_counter_ns``.

        Raises:
            InputError: It does not fit.
            ClosedError: Used after close(), or after a thread broke.
        """
        if self._ended:
            raise ClosedError(f"the stream {self._ended}; open a new one with model.stream()")
        lane = self._lanes[name]
        if lane.accept(packet, pushed_ns):
            self._workers[name].wake()
            if self._deadlines is not None and lane.brings_ticks and self._timer is not None:
                self._timer.wake()

    def close(self) -> None:
        """Take no more packets, and wait until all threads have ended, each after the encode that it is at."""
        self._end("was closed")
        for worker in self._all():
            worker.join()
        atexit.unregister(self.close)

    def _all(self) -> list[Worker]:
        return [*self._workers.values(), *([self._timer] if self._timer else [])]

    def _end(self, why: str) -> None:
        with self._ending:
            if self._ended:
                return
            self._ended = why
        for worker in self._all():
            worker.stop()

    def _fail(self, part: str, error: BaseException) -> None:
        """Called in the thread that broke: end the others, and let who fetches predictions know."""
        self._end(f"ended when its thread for {part} broke")
        broken = StreamError(f"the live stream's thread for {part} broke: {error}")
        broken.__cause__ = error
        self._predictions.close(broken)
