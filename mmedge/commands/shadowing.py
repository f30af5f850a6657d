"""A second bundle beside the one that decides: compared, and put in its place when it agrees."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from mmedge.errors import InputError, StreamError
from mmedge.live import LiveRun
from mmedge.manifest import Manifest
from mmedge.model import Model
from mmedge.replay import Run
from mmedge.swap import Swap
from mmedge.types import Prediction

__all__ = ["Shadow", "shadow_options"]

ENOUGH = 50  # ticks that both decided, before a share of them says something


def shadow_options(command: Any) -> Any:
    """The options of a command whose model can be compared with another one."""
    for option in (
        click.option(
            "--switch-at",
            type=click.FloatRange(0, 100),
            metavar="PERCENT",
            help="Let it decide as soon as so many of its labels are the same; 0: as soon as it can.",
        ),
        click.option("--shadow-variant", default="auto", help="Which set of graphs of the shadow."),
        click.option(
            "--shadow", type=click.Path(path_type=Path), help="Run this bundle beside, and say how far they agree."
        ),
    ):
        command = option(command)
    return command


class Shadow:
    """A model beside the one of a run, until it takes over or the run ends; a context manager.

    Args:
        run: Not yet iterated.
        model: With the same sensors.
        switch_at: The share of ticks with the same labels, in percent, from which on it decides; None for never.

    Attributes:
        model: The second one.

    Raises:
        InputError: It does not fit, or has no labels to agree in.
    """

    def __init__(self, run: Run | LiveRun, model: Model, switch_at: float | None) -> None:
        if switch_at and not _labelled(run.model.manifest) & _labelled(model.manifest):
            raise InputError(f"--switch-at {switch_at:g} compares labels, and there are none; try: --switch-at 0")
        self.model = model
        self._swap = Swap(run.stream, model)
        self._switch_at, self._switched = switch_at, False

    def watch(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """The same, while the second model is compared; it may decide from one of them on.

        Args:
            predictions: Of the run.
        """
        for prediction in predictions:
            yield prediction
            if self._switch_at is not None and not self._switched and self._agrees(self._switch_at):
                with suppress(StreamError):  # it broke just now, which is told at the end
                    self._swap.switch()
                    self._switched = True
                    click.echo(f"{self.model.id} decides from here on", err=True)

    def __enter__(self) -> "Shadow":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._swap.close()

    def tell(self) -> None:
        """Print how the two compared.

        Raises:
            StreamError: One of them broke; all ticks were decided by the other one.
        """
        self._swap.close()
        click.echo(f"beside it, {self.model.id}: {self._swap.report}", err=True)
        if self._switch_at is not None and not self._switched:
            asked = f"{self._switch_at:g} % over at least {ENOUGH} ticks" if self._switch_at else "one whole decision"
            click.echo(f"it did not take over: {asked} was asked for", err=True)
        if (broken := self._swap.error) is not None:
            raise StreamError(f"one of the two models broke, and the other one decided alone: {broken}") from broken

    def _agrees(self, percent: float) -> bool:
        if not percent or not self._swap.ready:
            return self._swap.ready
        labelled = [each for each in self._swap.report.outputs.values() if each.same_label is not None]
        return bool(labelled) and all(
            each.ticks >= ENOUGH and 100 * (each.same_label or 0) >= percent for each in labelled
        )


def _labelled(manifest: Manifest) -> set[str]:
    return {name for name, output in manifest.outputs.items() if output.labels}
