"""What the commands for live sensors share: a clean end by Ctrl-C, and a line whenever a sensor changes its state."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import click

from mmedge.sources import Arrivals, SourceEvent

__all__ = ["counted", "stopped_by_signals", "telling"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def counted(counters: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line for each port that has something to report; one connection is what is expected.

    Args:
        counters: By port, then by what was counted.
    """
    lines = []
    for port, counts in counters.items():
        told = {what: n for what, n in counts.items() if n and (what, n) != ("connections", 1)}
        if told:
            lines.append(f"{port}: " + ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in told.items()))
    return lines


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """End by Ctrl-C or by SIGTERM as if the sensors had ended; a second Ctrl-C interrupts.

    Args:
        stop: Called by the signal's handler.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, before[signal.Signals(number)])
        stop()

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])


@contextmanager
def telling(arrivals: Arrivals, tell: Callable[[SourceEvent], object] | None = None) -> Iterator[None]:
    """Print changes of state on stderr, those that have happened already included.

    Args:
        arrivals: The live sources.
        tell: Told instead.
    """
    arrivals.listen(tell or _tell)
    try:
        yield
    finally:
        arrivals.listen(None)


def _tell(event: SourceEvent) -> None:
    click.echo(f"{event.source}: {event.state}{': ' if event.detail else ''}{event.detail}", err=True)
