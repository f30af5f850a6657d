"""What a model is fed with to be proved: the samples, and each port of them with the others at their baseline.

In an output one sensor's part may drown another's, and an error with it. Held still at its baseline, a sensor no longer
changes anything: what varies is the other's alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmedge.manifest import Port
from mmedge.types import Array
from mmedge_export.parity.comparison import SAMPLES

__all__ = ["Case", "Feed", "baseline", "located", "plan_cases"]

Feed = Mapping[str, Array]
ALONE = 2  # samples of each port that are also tried alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Some feeds and what they have in common.

    Attributes:
        name: For reports.
        feeds: Port tensors, batch axis included.
    """

    name: str
    feeds: tuple[Feed, ...]


def baseline(ports: Mapping[str, Port], samples: Sequence[Feed]) -> dict[str, Array]:
    """What every port is held at: the mean of its samples; zeros for states, texts and other integers."""
    held = {}
    for name, port in ports.items():
        first = samples[0][name]
        held[name] = np.zeros_like(first)
        if port.state is None and np.issubdtype(first.dtype, np.floating):
            held[name] = np.mean([sample[name] for sample in samples], axis=0, dtype=np.float64).astype(first.dtype)
    return held


def plan_cases(ports: Mapping[str, Port], samples: Sequence[Feed]) -> list[Case]:
    """The samples first, then each port alone; a model of one port has nothing to hold still.

    Args:
        ports: The model's inputs.
        samples: Port tensors, batch axis included.
    """
    cases = [Case(name=SAMPLES, feeds=tuple(samples))]
    if len(ports) > 1:
        held = baseline(ports, samples)
        cases += [
            Case(name=f"{name} alone", feeds=tuple({**held, name: sample[name]} for sample in samples[:ALONE]))
            for name in ports
        ]
    return cases


def located(cases: Sequence[Case]) -> Iterator[tuple[Case, slice]]:
    """Every case with its rows where the feeds of all cases follow one another."""
    start = 0
    for case in cases:
        yield case, slice(start, start + len(case.feeds))
        start += len(case.feeds)
