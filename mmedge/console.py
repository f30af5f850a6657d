"""What the commands share: one-line errors, plain progress, tables and JSON."""

import json
import sys
from collections.abc import Collection, Sequence
from threading import Event, Thread
from time import perf_counter
from types import TracebackType
from typing import Any

import click

from mmedge.records import to_plain

__all__ = ["Steps", "as_json", "table"]

SHOWN_EVERY_S = 1.0


class Steps:
    """Progress of a few long steps on stderr: one line each, with the time that it took.

    On a terminal the line is there from the start of the step, and its time runs.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tty = sys.stderr.isatty()
        self._step = ""
        self._begin = 0.0
        self._ended = Event()
        self._clock: Thread | None = None

    def __call__(self, step: str) -> None:
        """Say that a step begins; the one before has ended."""
        self._end("")
        self._step, self._begin = step, perf_counter()
        if self._tty and not self._quiet:
            click.echo(f"  {step} ...", err=True, nl=False)
            self._ended = Event()
            self._clock = Thread(target=self._run_clock, args=(step, self._begin, self._ended), daemon=True)
            self._clock.start()

    def __enter__(self) -> "Steps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end("failed" if error else "")

    def _end(self, how: str) -> None:
        if not self._step or self._quiet:
            return
        if self._clock:
            self._ended.set()
            self._clock.join()  # so that it does not write into the next line
        took = how or f"{perf_counter() - self._begin:.1f} s"
        click.echo(f"{chr(13) if self._tty else ''}  {self._step:<44} {took:<12}".rstrip(), err=True)
        self._step = ""

    @staticmethod
    def _run_clock(step: str, begin: float, ended: Event) -> None:
        while not ended.wait(SHOWN_EVERY_S):
            click.echo(f"{chr(13)}  {step:<44} {perf_counter() - begin:.0f} s ...", err=True, nl=False)


def as_json(value: object) -> str:
    """A report as JSON; dataclasses become objects."""
    return json.dumps(to_plain(value), indent=1, default=_plain)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> str:
    """Columns as wide as their widest cell.

    Args:
        header: Name of each column.
        rows: Their cells.
        left: Numbers of the columns that are aligned left, words rather than numbers.
    """
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
