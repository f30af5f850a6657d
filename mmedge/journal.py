"""What happens to a stream, as log records of ``logging.getLogger("mmedge")``: silent unless a program sets it up.

Records have a plain text and extra fields: ``event`` ("degraded", "counts", "sensor", "swap"), and of ``port``,
``source``, ``state``, ``detail``, ``counts``, ``model`` and ``suppressed`` what belongs to it.
"""

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from time import monotonic_ns
from typing import Protocol

from mmedge.types import NS, Prediction

__all__ = ["FIELDS", "Journal", "JsonFormatter", "tell"]

FIELDS = ("event", "port", "source", "state", "detail", "counts", "model", "suppressed")
EVERY_NS = NS  # at most one record of a kind and port in so long
# Counts that are no trouble.
QUIET = {"skipped", "ticks", "attributed", "attribution_head_calls", "attribution_ns"}

LOGGER = logging.getLogger("mmedge")
LOGGER.addHandler(logging.NullHandler())


class Counted(Protocol):
    """What is asked of a stream."""

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """By port."""

    @property
    def totals(self) -> dict[str, int]:
        """Of the stream."""


def tell(level: str, event: str, text: str, **fields: object) -> None:
    """Log one event.

    Args:
        level: "DEBUG" to "ERROR".
        event: Its kind.
        text: For people.
        **fields: Of :data:`FIELDS`.
    """
    LOGGER.log(getattr(logging, level), "%s", text, extra={"event": event, **fields})


class Journal:
    """Observes a stream, and logs when decisions become degraded or whole again, and what was lost.

    At most one record a second for each kind and port, whatever happens; the next one says how many were left out.

    Args:
        stream: Whose counts are looked at, as often.
        every_ns: How often, instead of once a second.
    """

    def __init__(self, stream: Counted, every_ns: int = EVERY_NS) -> None:
        self._stream, self._every_ns = stream, every_ns
        self._wrong: dict[str, str] = {}
        self._degraded: tuple[str, ...] = ()
        self._last_ns: dict[tuple[str, str], int] = {}
        self._suppressed: dict[tuple[str, str], int] = {}
        self._looked_ns = monotonic_ns()
        self._counts = self._read()

    def __call__(self, prediction: Prediction) -> None:
        """Take in a prediction; for ``stream.observers``."""
        if prediction.degraded != self._degraded:
            self._degraded = prediction.degraded
            self._compare(dict(reason.partition(": ")[::2] for reason in prediction.degraded))
        now_ns = monotonic_ns()
        if now_ns - self._looked_ns >= self._every_ns:
            self._looked_ns = now_ns
            self._look()

    def _compare(self, wrong: dict[str, str]) -> None:
        before, self._wrong = self._wrong, wrong
        for port in wrong.keys() - before.keys():
            self._tell("WARNING", port, f"decisions are degraded: {port}: {wrong[port]}", "degraded", wrong[port])
        for port in before.keys() - wrong.keys():
            self._tell("INFO", port, f"decisions are no longer degraded by {port}", "ok", "")

    def _tell(self, level: str, port: str, text: str, state: str, detail: str) -> None:
        key, now_ns = (state, port), monotonic_ns()
        if now_ns - self._last_ns.get(key, -self._every_ns) < self._every_ns:
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return
        self._last_ns[key] = now_ns
        suppressed = self._suppressed.pop(key, 0)
        tell(level, "degraded", text, port=port, state=state, detail=detail, suppressed=suppressed)

    def _look(self) -> None:
        before, self._counts = self._counts, self._read()
        for port, counts in self._counts.items():
            old = before.get(port, {})
            new = {what: n - old.get(what, 0) for what, n in counts.items() if n > old.get(what, 0)}
            if new:
                named = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in new.items())
                tell("WARNING", "counts", f"{port or 'stream'}: {named}", port=port, counts=new)

    def _read(self) -> dict[str, dict[str, int]]:
        """By port, "" for the stream."""
        counts = {**self._stream.counters, "": self._stream.totals}
        return {port: {w: n for w, n in each.items() if w not in QUIET} for port, each in counts.items()}


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON: time in UTC, level, text, and the fields that it has."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        fields: Mapping[str, object] = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        return json.dumps({"time": time, "level": record.levelname, "text": record.getMessage(), **fields}, default=str)
