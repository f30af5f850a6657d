"""All of a stream's work in the thread that pushes: the order of the pushes is the clock, for files and for tests.

A tick uses what was pushed before it, and long chunks of sound are cut at the ticks, so the same packets in the same
order give the same predictions whatever the machine's speed.
"""

from collections.abc import Mapping
from threading import Lock

from mmedge.branches import Branch
from mmedge.decide import Decider, Moment
from mmedge.errors import ClosedError
from mmedge.feeds import AudioFeed
from mmedge.manifest import Manifest
from mmedge.pace import JUMP_NS
from mmedge.ticks import Tick
from mmedge.types import AudioChunk, Packet

__all__ = ["Serial"]


class Serial:
    """See the module; pushes may come from any thread, and are worked on one at a time."""

    def __init__(self, manifest: Manifest, branches: Mapping[str, Branch], decider: Decider, tick: Tick) -> None:
        self._branches = branches
        self._decider = decider
        self._tick = tick
        self._audios = {name: branch.feed for name, branch in branches.items() if isinstance(branch.feed, AudioFeed)}
        self._early = {name for name in branches if name not in self._audios and _is_slower(name, manifest, tick)}
        self._next_tick: int | None = None  # number on the grid
        self._pushed_ns = 0
        self._working = Lock()  # one push at a time; what fetches predictions does not wait for it
        self._closed = False

    @property
    def counts(self) -> dict[str, int]:
        """What it counts beside the feeds."""
        return {}

    def push(self, name: str, packet: Packet, pushed_ns: int) -> None:
        """Take in a packet of a port, and decide at the ticks that it brings.

        Args:
            name: Of the port.
            packet: The packet.
            pushed_ns: When it was pushed, on ``perf_counter_ns``.

        Raises:
            InputError: It does not fit.
            ClosedError: Used after close().
        """
        with self._working:
            if self._closed:
                raise ClosedError("the stream was closed; open a new one with model.stream()")
            self._pushed_ns = pushed_ns
            if isinstance(packet, AudioChunk):
                self._push_sound(self._audios[name], packet)
            else:
                self._push_held(self._branches[name], packet)

    def close(self) -> None:
        """Take no more packets; does not wait for a push of another thread that is being worked on."""
        self._closed = True

    def _push_held(self, branch: Branch, packet: Packet) -> None:
        """Take in what stands until the next one comes."""
        self._fire_grid(packet.t_ns - 1)
        if not branch.feed.accept(packet):
            return
        branch.feed.ingest()
        if branch.name in self._early:
            branch.encode()
        if self._tick.kind == "any" or self._tick.port == branch.name:
            self._fire(packet.t_ns)
        elif not self._audios:
            self._fire_grid(packet.t_ns)

    def _push_sound(self, feed: AudioFeed, packet: AudioChunk) -> None:
        before = feed.accepted
        new = feed.accept(packet)
        if self._tick.port == feed.name:
            for number in feed.hops(before):
                feed.ingest(number)
                self._fire(feed.time_of(number))
        elif self._tick.kind == "grid":
            self._fire_grid(feed.time_of(before) - 1)
            self._fire_grid_with(feed, before)
        feed.ingest()
        if self._tick.kind == "any" and new:
            self._fire(feed.time_of(feed.accepted))

    def _fire_grid_with(self, feed: AudioFeed, before: int) -> None:
        """The ticks of the grid for which sound came after a number, each with the sound before it."""
        while self._next_tick is not None:
            t_ns = self._tick.at(self._next_tick)
            number = max(before, feed.number_at(t_ns))
            if number > feed.accepted:
                break
            feed.ingest(number)
            self._next_tick += 1
            self._fire(t_ns)

    def _fire_grid(self, until_ns: int) -> None:
        """The ticks of the grid up to a time, for which no sound came."""
        if self._tick.kind != "grid":
            return
        last = self._tick.first_from(until_ns + 1) - 1
        if self._next_tick is None or self._tick.at(self._next_tick) > until_ns + JUMP_NS:
            self._next_tick = last + 1
        behind = int(self._tick.rate_hz)  # a second of ticks; a clock that jumps is not caught up with
        self._next_tick = max(self._next_tick, last - behind)
        while self._next_tick <= last:
            self._next_tick += 1
            self._fire(self._tick.at(self._next_tick - 1))

    def _fire(self, t_ns: int) -> None:
        empty = []
        for name, branch in self._branches.items():
            if not branch.feed.ready:
                empty.append(name)
        if empty and not self._decider.can_do_without(empty, t_ns):
            return
        for branch in self._branches.values():
            branch.encode()
        # packets of several sensors do not come in the order of their times
        self._decider.decide(Moment(t_ns=t_ns, pushed_ns=self._pushed_ns), in_order=self._tick.kind == "any")


def _is_slower(name: str, manifest: Manifest, tick: Tick) -> bool:
    """Whether a port's data comes more seldom than ticks, so that encoding it as it comes wastes nothing."""
    paced = manifest.ports[name].camera or manifest.ports[name].tensor
    rate_hz = paced.rate_hz if paced else 0  # a text changes seldom
    return tick.kind in {"audio", "grid"} and rate_hz <= tick.rate_hz
