"""A model on live sensors: packets go into its stream as they arrive, decisions come out, whatever a sensor does."""

from collections.abc import Iterator, Mapping
from threading import Thread

from mmedge.errors import ClosedError, InputError
from mmedge.model import Model
from mmedge.sources import Arrivals, LiveSource, Recorder, SourceEvent, SourceStatus, TapeWriter
from mmedge.stream import Stream
from mmedge.sync import Sync, shifted
from mmedge.types import Packet, Prediction

__all__ = ["LiveRun"]


class LiveRun:
    """Predictions of a model on live sensors; an iterator and a context manager.

    The sensors start when the run is made. One thread of its own takes their packets in the order of arrival, records
    them if asked to, and pushes them; another may iterate, and ask for the state at any time. The iteration ends after
    :meth:`stop`, or when no sensor has more to give. What a sensor does wrong is a state and a count, never an
    exception here.

    Args:
        model: The model.
        stream: Its stream; owned, and closed.
        sources: One for every port that needs one; owned, and closed.
        tape: Where to record; owned, and closed.
        sync: What the camera and the microphone are apart.

    Attributes:
        model: The model.
        stream: Its stream, with counters and stage times.
        arrivals: The packets, with the states and counts of the sensors.
        begin_ns: The time of the first packet; 0 before it came.
    """

    def __init__(
        self,
        model: Model,
        stream: Stream,
        sources: Mapping[str, LiveSource],
        *,
        tape: TapeWriter | None = None,
        sync: Sync | None = None,
    ) -> None:
        self.model = model
        self.stream = stream
        self._recorder = None if tape is None else Recorder(tape)
        self._records, self._sync = tape is not None, sync
        self._refused: dict[str, int] = dict.fromkeys(sources, 0)
        self._notes: list[str] = []
        self._failure: BaseException | None = None
        self.begin_ns = 0
        self.arrivals = Arrivals(sources)
        self._thread = Thread(target=self._pump, name="mmedge pump", daemon=True)
        self._thread.start()

    @property
    def status(self) -> dict[str, SourceStatus]:
        """How each sensor is doing, by port; from any thread."""
        return self.arrivals.status

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """What happened to each sensor and to its packets so far, by port; from any thread."""
        sensed, taken = self.arrivals.counters, self.stream.counters
        own = {port: {"refused": count} for port, count in self._refused.items()}
        for port, count in dict(self._recorder.unrecorded).items() if self._recorder else ():
            own[port]["unrecorded"] = count
        return {port: {**counts, **taken.get(port, {}), **own[port]} for port, counts in sensed.items()}

    @property
    def events(self) -> list[SourceEvent]:
        """The changes of the sensors' states, oldest first."""
        return self.arrivals.events

    @property
    def notes(self) -> list[str]:
        """Facts worth reporting, one line each; may grow."""
        return [*self.arrivals.notes, *self._notes]

    def __iter__(self) -> Iterator[Prediction]:
        yield from self.stream
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """End the iteration soon, without waiting for it; may be called by a signal handler."""
        self.arrivals.stop()

    def close(self) -> None:
        """Stop the sensors, wait for every thread, close stream and recording; further calls do nothing."""
        self.arrivals.close()
        self._thread.join()
        self.stream.close()

    def _pump(self) -> None:
        try:
            for number, (port, packet) in enumerate(shifted(self._recording(), self._sync)):
                if number == 0:
                    self.begin_ns = packet.t_ns
                self._push(port, packet)
        except ClosedError:  # the stream was closed under our feet: so be it
            pass
        except BaseException as error:  # noqa: BLE001 - not swallowed: the iteration raises it
            self._failure = error
        finally:
            self.stream.close()
            self._close_recorder()

    def _push(self, port: str, packet: Packet) -> None:
        try:
            self.stream.push(packet, port=port)
        except ClosedError:
            raise
        except InputError as error:  # a NaN, a wrong rate: one packet is bad, the next one may not be
            self._refused[port] += 1
            if self._refused[port] == 1:
                self._notes.append(f"{port}: a packet was refused: {error}")

    def _recording(self) -> Iterator[tuple[str, Packet]]:
        for port, packet in self.arrivals:
            if self._recorder is not None and self._records:
                try:
                    self._recorder.write_events(self.arrivals.events)
                    self._recorder.write(port, packet)
                except OSError as error:  # deciding goes on
                    self._notes.append(f"the recording ended: {error}")
                    self._close_recorder()
            yield port, packet

    def _close_recorder(self) -> None:
        recorder, self._records = self._recorder if self._records else None, False
        if recorder is not None:
            try:
                recorder.close(self.counters)
            except OSError as error:
                self._notes.append(f"the recording was not closed: {error}")
            if left_out := sum(recorder.unrecorded.values()):
                self._notes.append(f"the recorder was too slow: {left_out} packets are not in the recording")
