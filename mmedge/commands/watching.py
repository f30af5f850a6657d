"""What ``mmedge run`` offers to those who watch it: a page, metrics in a file, a log."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any

import click

from mmedge.commands.decision_lines import refuse_to_spoil
from mmedge.errors import InputError
from mmedge.journal import JsonFormatter, tell
from mmedge.live import LiveRun
from mmedge.metrics import merge_sensors
from mmedge.replay import Run
from mmedge.sources import SourceEvent

__all__ = ["logged", "metered", "tell_sensor", "viewed", "watch_options"]

LEVELS = ["debug", "info", "warning", "error"]
EVERY_S = 1.0
BEGIN = '{"time": '


def watch_options(command: Any) -> Any:
    """The options of a command that can be watched."""
    for option in (
        click.option("--log", type=click.Choice(LEVELS), help="Log events of this level and above to stderr, as JSON."),
        click.option(
            "--metrics", type=click.Path(path_type=Path), help="Write counts and histograms here, a JSON line a second."
        ),
        click.option("--view-host", default="127.0.0.1", help="Address of the page, if others than you may see it."),
        click.option(
            "--view",
            is_flag=False,
            flag_value="any",
            metavar="[PORT]",
            help="Show all of it on a page in the browser, at 8765 or the next free port.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def logged(level: str | None) -> Iterator[None]:
    """Log to stderr as lines of JSON.

    Args:
        level: From which on; None logs nothing.
    """
    if level is None:
        yield
        return
    logger, handler = logging.getLogger("mmedge"), logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def tell_sensor(event: SourceEvent) -> None:
    """Log what a live sensor became."""
    level = {"lost": "ERROR", "stalled": "WARNING"}.get(event.state, "INFO")
    text = f"{event.source}: {event.state}{': ' if event.detail else ''}{event.detail}"
    tell(level, "sensor", text, source=event.source, state=event.state, detail=event.detail)


@contextmanager
def metered(run: Run | LiveRun, path: Path | None) -> Iterator[None]:
    """Write metrics every second, and at the end.

    Args:
        run: What to measure.
        path: A new file, or one of metrics, which is continued; None for none.

    Raises:
        InputError: The file holds something else.
        OSError: It cannot be written.
    """
    if path is None:
        yield
        return
    refuse_to_spoil("--metrics", path, BEGIN, "metrics")
    run.stream.metrics()
    ended = Event()
    with path.open("a", encoding="utf-8") as lines:

        def write() -> None:
            found = merge_sensors(run.stream.metrics(), run.status if isinstance(run, LiveRun) else {})
            time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            lines.write(json.dumps({"time": time, **found}) + "\n")
            lines.flush()

        def work() -> None:
            while not ended.wait(EVERY_S):
                write()

        thread = Thread(target=work, name="mmedge metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            write()


@contextmanager
def viewed(run: Run | LiveRun, port: str | None, host: str) -> Iterator[None]:
    """Serve the page.

    Args:
        run: What to show.
        port: A number, or "any"; None for no page.
        host: Where to listen.

    Raises:
        InputError: The port is no number, or there is none of it.
        SourceError: It is taken.
    """
    if port is None:
        yield
        return
    from mmedge.view import View

    if port != "any" and not (port.isascii() and port.isdecimal()):
        raise InputError(f"--view {port}: expected the number of a port, e.g. --view 8765; BUNDLE stands before --view")
    statuses = (lambda: run.status) if isinstance(run, LiveRun) else None
    with View(run.stream, port=None if port == "any" else int(port), host=host, statuses=statuses) as view:
        if not view.is_private:
            click.echo(f"warning: whoever reaches {host} sees camera and microphone, without a password", err=True)
        click.echo(f"view: {view.url}", err=True)
        yield
