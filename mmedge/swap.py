"""Another model in the place of the one that decides: seen at work beside it first, then exchanged between two ticks.

Both get every packet, and each has its own front ends, windows and states. Only one of them is heard. What the other
one decides is compared, and kept until the heard one has decided that tick too: so the seam can be put behind any tick,
without one that is missing or told twice, also where the two threads are not equally far.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from threading import Condition, Lock, RLock
from time import monotonic
from types import TracebackType
from typing import Literal, Protocol

from mmedge.agreement import KEPT, Comparison, SwapReport
from mmedge.errors import ClosedError, InputError, StreamError
from mmedge.feeds import AudioFeed
from mmedge.gates import parse_weights
from mmedge.journal import tell
from mmedge.manifest import Manifest, Port
from mmedge.pace import JUMP_NS
from mmedge.predictions import Outlet, Predictions, Valve
from mmedge.stream import Stream
from mmedge.types import Packet, Prediction
from mmedge.works import Works

__all__ = ["Swap"]

State = Literal["shadow", "switched", "closed"]


class Streams(Protocol):
    """What can be swapped in: a model."""

    def stream_like(self, stream: Stream) -> Stream:
        """A stream of it that decides when and as another one does."""


class _Side:
    """One of the two models."""

    def __init__(self, valve: Valve) -> None:
        self.valve = valve
        self.waiting: deque[Prediction] = deque(maxlen=KEPT)  # not heard; the other one has not decided these yet
        self.error: BaseException | None = None


class _Outlet:
    """Where its predictions go; held by its valve alone, so that what is over is free without the collector."""

    def __init__(self, swap: "Swap", index: int) -> None:
        self._swap, self._index = swap, index

    def put(self, prediction: Prediction) -> None:
        self._swap.take(self._index, prediction, self)

    def close(self, error: BaseException | None = None) -> None:
        self._swap.lose(self._index, error)


class _Both:
    """An engine that gives every packet to two others, to the one that is heard first."""

    def __init__(self, swap: "Swap", engines: Sequence[Works], ports: Iterable[str], *, live: bool) -> None:
        self._swap, self._engines = swap, engines
        self._new = set(ports)  # which the second one has seen nothing of
        one = RLock()  # both see the packets of a port in one order, and a serial stream one push at a time
        self._locks = {name: RLock() if live else one for name in ports}

    @property
    def counts(self) -> dict[str, int]:
        """Those of the model that is heard."""
        return self._engines[self._swap.heard].counts

    def push(self, name: str, packet: Packet) -> None:
        """Give it to both; what the model that is not heard makes of it disturbs nobody."""
        with self._locks[name]:
            if name in self._new:
                self._new.remove(name)
                first, second = (each.branches[name].feed for each in self._engines)
                if isinstance(first, AudioFeed) and isinstance(second, AudioFeed):
                    second.continue_from(first)
            swap, heard = self._swap, self._swap.heard
            try:
                self._engines[heard].push(name, packet)
            except InputError as error:
                if not isinstance(error, ClosedError) or swap.heard == heard:
                    raise
            except Exception as error:
                swap.end(heard, error)
                if swap.heard == heard:
                    raise
            other = 1 - heard
            if swap.is_well(other):
                try:
                    self._engines[other].push(name, packet)
                except Exception as error:  # noqa: BLE001 kept, told and raised by switch()
                    swap.end(other, error)

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Weigh modalities so in both; neither changes where one of them cannot.

        Raises:
            InputError: One of them cannot.
        """
        for works in self._engines:
            parse_weights(weights, works.manifest.gates)
        for works in self._engines:
            works.weigh(weights)

    def close(self) -> None:
        """Close both."""
        for engine in self._engines:
            engine.close()


class Swap:
    """A new model beside the one of a stream, from shadow to switch; a context manager.

    From the start on both models get every packet that is pushed. ``switch()`` puts the new one in the place of the
    first, ``roll_back()`` undoes that, as often as you like; ``close()`` lets go of the one that is not heard then. The
    stream stays the same object: who pushes and who fetches predictions does nothing. Every prediction is wholly of one
    model; ``prediction.model`` says of which.

    A model that breaks while the other one is at work is left out: the shadow silently but for ``error``; the one that
    is heard is replaced by the other one at the same tick.

    Args:
        stream: Open, serial or live; not part of another swap.
        model: The new one; from :func:`mmedge.load`. It has the same sensors, by name: microphones at the same rate,
            tensors of the same shape. Windows, hops, sizes and features may differ. Loading it is not part of the swap,
            nor is closing it.

    Raises:
        InputError: It does not fit, the stream is part of another swap, or it is live and decides at "any" packet.
        ClosedError: The model or the stream was closed.
    """

    def __init__(self, stream: Stream, model: Streams) -> None:
        if not isinstance(stream, Stream):
            raise InputError(f"a swap begins on a stream of model.stream(), not on {type(stream).__name__}")
        if not hasattr(model, "stream_like"):
            raise InputError(f"a swap needs a loaded model, not {type(model).__name__}; try: mmedge.load(...)")
        if stream.predictions.closed:
            raise ClosedError("the stream was closed; open a new one with model.stream()")
        if isinstance(stream.engine, _Both):
            raise InputError("the stream is part of another swap; close that one first")
        if stream.options.live and stream.tick.kind == "any":
            raise InputError('a live stream with tick="any" cannot be swapped: its ticks have no times of their own')
        shadow = model.stream_like(stream)
        with stream.exchanging:  # and no weights are changed meanwhile
            self._begin(stream, shadow)
        tell("INFO", "swap", "a new model runs beside the old one", model=self._name(1))

    def _begin(self, stream: Stream, shadow: Stream) -> None:
        try:
            _check_ports(stream.works.manifest, shadow.works.manifest)
            shadow.works.weigh(stream.weights)
        except InputError:
            shadow.close()
            raise
        shadow.observers.clear()
        for graph in shadow.works.graphs:
            graph.warm()
        self._stream = stream
        self._works: tuple[Works, ...] = (stream.works, shadow.works)
        self._begun_ns = [_work_ns(works) for works in self._works]
        self._sides = (_Side(stream.works.valve), _Side(shadow.works.valve))
        self._compared = Comparison()
        self._changed = Condition(stream.exchanging)
        self._heard = 0
        self._told_ns: int | None = None
        self._by_time = stream.tick.kind != "any"
        self._first_ns: int | None = None  # tick of the new model's first decision
        self._caught_up = self._closed = False
        self._closing = Lock()
        self._final: SwapReport | None = None
        with self._changed:
            for index, side in enumerate(self._sides):
                side.valve.outlet = _Outlet(self, index)
        stream.engine = _Both(self, self._works, list(stream.branches), live=stream.options.live)

    @property
    def heard(self) -> int:
        """Whose predictions the stream gives: 0 the first model's, 1 the new one's."""
        return self._heard

    @property
    def state(self) -> State:
        """Where it stands: the new model is only compared, is heard, or it is over."""
        return "closed" if self._closed else "switched" if self._heard else "shadow"

    @property
    def error(self) -> BaseException | None:
        """What broke one of the models, if something did."""
        return self._sides[0].error or self._sides[1].error

    @property
    def ready(self) -> bool:
        """Whether the new model has filled its windows and decided, and nothing broke it."""
        return self._caught_up and self.is_well(1)

    @property
    def report(self) -> SwapReport:
        """How the two compare so far, or compared until the end; from any thread."""
        with self._changed:
            if self._final is not None:
                return self._final
            work = [_work_ns(works) - begun for works, begun in zip(self._works, self._begun_ns, strict=True)]
            first, new = self._compared.ticks
            outputs = self._compared.outputs
        return SwapReport(outputs=outputs, ticks=(first, new), work_ms=(work[0] / 1e6, work[1] / 1e6))

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is ready, for so long at most; whether it is. Packets must come from another thread.

        Raises:
            StreamError: The new model broke.
        """
        end = monotonic() + timeout_s
        with self._changed:
            while not self.ready and not self._closed and (left := end - monotonic()) > 0:
                self._check_well(1)
                self._changed.wait(left)
            self._check_well(1)
        return self.ready

    def switch(self) -> None:
        """Give the new model's predictions from the next tick on.

        Raises:
            InputError: It is not ready.
            StreamError: The new model broke.
            ClosedError: The swap is over.
        """
        with self._changed:
            self._check_well(1)
            if not self.ready and not self._closed:
                wanting = [name for name, branch in self._works[1].branches.items() if not branch.encoded]
                missing = f"; nothing whole yet of {', '.join(wanting)}" if wanting else ""
                raise InputError(f"the new model has not decided yet{missing}; switch when swap.ready")
            self._turn(1)

    def roll_back(self) -> None:
        """Give the first model's predictions again, from the next tick on; it was at work all the time.

        Raises:
            StreamError: The first model broke.
            ClosedError: The swap is over.
        """
        with self._changed:
            self._check_well(0)
            self._turn(0)

    def close(self) -> None:
        """Let go of the model that is not heard; waits for its threads. Further calls do nothing.

        Not for observers of the stream, which the threads may wait for.
        """
        with self._closing:
            if self._closed:
                return
            with self._changed:
                self._closed = True
                kept, other = self._works[self._heard], self._works[1 - self._heard]
                self._stream.works = self._stream.engine = kept
                self._changed.notify_all()
            other.close()
            with self._changed:
                self._final = self.report
                other.valve.outlet = Predictions(1)  # nothing comes any more, and nothing is held by it
                kept_name = self._name(self._heard)
                self._works = ()  # what is exchanged later is not held by what exchanged it before
                for side in self._sides:
                    side.waiting.clear()
        tell("INFO", "swap", "one model is left", model=kept_name)

    def __enter__(self) -> "Swap":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, index: int, prediction: Prediction, outlet: Outlet) -> None:
        """What one of the models has decided, in the thread that decided, through an outlet of this swap."""
        with self._changed:
            side, t_ns = self._sides[index], prediction.t_ns
            if side.valve.outlet is not outlet:  # it was on its way here when the next swap began
                side.valve.outlet.put(prediction)
                return
            if index == self._heard and not (self._by_time and _is_past(t_ns, side.valve.seam_ns)):
                side.valve.seam_ns = None
                self._tell(prediction)
            elif index != self._heard and not _is_past(t_ns, self._told_ns):
                side.waiting.append(prediction)
            if self._closed:
                if index == self._heard and side.valve.seam_ns is None:  # nothing is left to do here
                    side.valve.outlet = self._stream.predictions
                return
            self._compared.add(index, prediction)
            if not self._caught_up:
                self._look(index, t_ns)

    def end(self, index: int, error: BaseException | None) -> bool:
        """One of the models broke; whether the other one goes on instead, or has been heard all the time."""
        with self._changed:
            if self._closed:
                return index != self._heard
            self._sides[index].error = error
            self._changed.notify_all()
            other = 1 - index
            if index == self._heard and self._caught_up and self.is_well(other):
                tell("ERROR", "swap", f"the model broke; the other one goes on: {error}", model=self._name(index))
                self._turn(other)
            elif index != self._heard:
                tell("ERROR", "swap", f"the model that is not heard broke: {error}", model=self._name(index))
            return index != self._heard

    def lose(self, index: int, error: BaseException | None) -> None:
        """A thread of one of the models broke; the stream ends if the other one cannot go on."""
        if not self.end(index, error):
            self._stream.predictions.close(error)

    def is_well(self, index: int) -> bool:
        """Whether nothing has broken a model."""
        return self._sides[index].error is None

    def _look(self, index: int, t_ns: int) -> None:
        """Whether the first model has decided where the new one began: it is not needed for any tick from there on."""
        if index == 1 and self._first_ns is None:
            self._first_ns = t_ns
        if self._first_ns is not None and _is_past(self._first_ns, self._told_ns):
            self._caught_up = True
            self._changed.notify_all()

    def _turn(self, to: int) -> None:
        if self._closed:
            raise ClosedError("the swap is over; make a new one with mmedge.Swap(stream, model)")
        if self._heard == to:
            return
        self._heard, self._sides[to].valve.seam_ns = to, self._told_ns
        self._stream.works = self._works[to]
        waiting = self._sides[to].waiting
        while waiting:  # it was further than the other one
            self._tell(waiting.popleft())
        self._sides[1 - to].waiting.clear()
        tell("INFO", "swap", "another model is heard", model=self._name(to))

    def _tell(self, prediction: Prediction) -> None:
        self._told_ns = prediction.t_ns
        waiting = self._sides[1 - self._heard].waiting
        while waiting and (_is_past(waiting[0].t_ns, self._told_ns) or waiting[0].t_ns > self._told_ns + JUMP_NS):
            waiting.popleft()
        self._stream.predictions.put(prediction)

    def _check_well(self, index: int) -> None:
        if error := self._sides[index].error:
            what = "first" if index == 0 else "new"
            raise StreamError(f"the {what} model broke: {error}") from error

    def _name(self, index: int) -> str:
        return self._works[index].decider.model or self._works[index].manifest.name


def _is_past(t_ns: int, newest_ns: int | None) -> bool:
    """Whether a tick lies before another one or at it; a clock that was set makes both times say nothing."""
    return newest_ns is not None and newest_ns - JUMP_NS < t_ns <= newest_ns


def _work_ns(works: Works) -> int:
    return sum(sum(graph.work_ns.values()) for graph in works.graphs)


def _check_ports(old: Manifest, new: Manifest) -> None:
    """Raise InputError unless what is pushed for one model can be pushed for the other one."""
    sensors = [{name: _takes(port) for name, port in each.ports.items() if not port.state} for each in (old, new)]
    if sensors[0] != sensors[1]:
        given = [", ".join(f"{name} ({what})" for name, what in each.items()) for each in sensors]
        raise InputError(f"{new.name} has other sensors: {given[1]}; the stream is of {given[0]}")


def _takes(port: Port) -> str:
    if port.audio is not None:
        return f"audio at {port.audio.rate_hz} Hz"
    if port.tensor is not None:
        return f"tensor {list(port.tensor.shape)} {port.tensor.dtype}"
    return port.modality
