"""One port of a live stream: accepts packets in the threads that push, encodes them in its own."""

from collections import deque
from threading import Lock
from time import perf_counter_ns

from mmedge.branches import Branch
from mmedge.decide import Decider, Moment
from mmedge.feeds import AudioFeed
from mmedge.ticks import Tick
from mmedge.timers import CATCH_UP_NS, Deadlines
from mmedge.types import Packet

__all__ = ["Lane"]


class Lane:
    """See the module.

    Args:
        branch: The port.
        decider: Asked when the port brings a tick, as soon as what belongs to the tick is encoded.
        tick: When to decide.
        deadlines: Told of every tick that the port brings; None if there are none.

    Attributes:
        brings_ticks: Whether decisions follow this port.
        passed_over: Ticks without a decision: they had waited too long, or their data had to make room.
    """

    def __init__(self, branch: Branch, decider: Decider, tick: Tick, deadlines: Deadlines | None) -> None:
        self.passed_over = 0
        self.brings_ticks = tick.kind == "any" or tick.port == branch.name
        self._branch = branch
        self._feed = branch.feed
        self._decider = decider
        self._in_order = tick.kind == "any"
        self._at_hops = isinstance(self._feed, AudioFeed) and not self._in_order
        self._deadlines = deadlines
        self._pushing = Lock()
        self._moments: deque[Moment] = deque()

    def accept(self, packet: Packet, pushed_ns: int) -> bool:
        """Take in a packet, from any thread; whether there is work to do.

        Args:
            packet: The packet.
            pushed_ns: When it was pushed, on ``perf_counter_ns``.

        Raises:
            InputError: It does not fit.
        """
        with self._pushing:
            before = self._feed.accepted
            if not self._feed.accept(packet):
                return False
            if not self.brings_ticks:
                return True
            for moment in self._completed(before, packet, pushed_ns):
                self._moments.append(moment)
                if self._deadlines is not None:
                    self._deadlines.add(moment, self._branch.name)
            while len(self._moments) > self._feed.waits:
                self._pass_over(self._moments.popleft())
        return True

    def work(self) -> None:
        """Encode what was accepted, and decide at the ticks it brings."""
        if not self.brings_ticks:
            self._feed.ingest(self._feed.step)
            self._branch.encode()
            return
        while (moment := self._next()) is not None:
            self._work_on(moment)

    def _completed(self, before: int, packet: Packet, pushed_ns: int) -> list[Moment]:
        """The ticks that are complete with a packet that was accepted."""
        feed = self._feed
        if not isinstance(feed, AudioFeed):
            return [Moment(t_ns=packet.t_ns, pushed_ns=pushed_ns, until=feed.accepted)]
        numbers = feed.hops(before) if self._at_hops else [feed.accepted]
        return [Moment(t_ns=feed.time_of(number), pushed_ns=pushed_ns, until=number) for number in numbers]

    def _next(self) -> Moment | None:
        with self._pushing:
            if self._moments:
                return self._moments.popleft()
            rest = self._feed.accepted
        self._feed.ingest(rest)  # of no tick yet; what it costs now is not in the way of the tick
        return None

    def _work_on(self, moment: Moment) -> None:
        if self._moments and (moment.done or perf_counter_ns() - moment.pushed_ns > CATCH_UP_NS):
            self._pass_over(moment)
            return
        self._feed.ingest(moment.until)
        if self._feed.ingested < moment.until:  # it had to make room
            self._pass_over(moment)
            return
        self._branch.encode()
        decided = self._decider.decide(moment, in_order=self._in_order)
        if decided and self._deadlines is not None:
            self._deadlines.note(moment)

    def _pass_over(self, moment: Moment) -> None:
        if self._deadlines is None:  # or they will decide it
            moment.done = True
            self.passed_over += 1
