"""The tables of the documentation, written from committed results: ``python -m mmedge_bench.readme_table``.

Each stands between ``<!-- NAME table -->`` and ``<!-- end -->``; what is between is replaced. Run it after a file of
``benchmarks/results`` has changed. A test compares pages and files.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from mmedge.errors import InputError
from mmedge_bench.claims import Claim, claims_of, read_runs
from mmedge_bench.result import Result
from mmedge_bench.summary import Row, summarize

__all__ = ["BLOCKS", "bench_table", "block_of", "main", "scaling_table", "with_block"]

FOLDER = "benchmarks/results"
RUNS = f"{FOLDER}/reference-x86-2-cores"
PEER_NAMES = {
    "mmedge": "**mmedge**, float32",
    "mmedge int8-cpu": "**mmedge**, int8 variant",
    "mmedge live": "mmedge, a thread for every sensor",
    "onnxruntime": "ONNX Runtime, whole graph",
    "openvino": "OpenVINO, whole graph",
    "torch eager": "PyTorch eager",
    "torch.compile": "PyTorch, `torch.compile`",
    "torch per window": "PyTorch, front ends by hand too",
}
HEADS = ("", "work ms/s", "× mmedge", "p50 ms", "× mmedge", "p99 ms", "max ms", "start s", "MiB", "difference")
UNSTEADY = "too unsteady to say"
CURVES = {
    "frames": "pictures in the window",
    "sensors": "sensors besides camera and microphone",
    "width": "channels of the first camera layer",
    "camera_hz": "pictures per second",
    "tick_hz": "decisions per second",
}


def bench_table(root: Path) -> str:
    """The reference model against its peers, with what is claimed of them.

    Args:
        root: Of the repository.
    """
    runs = read_runs(root / RUNS)
    claims = claims_of(runs)
    together = replace(
        runs[0],
        segments=tuple(segment for run in runs for segment in run.segments),
        starts=tuple(start for run in runs for start in run.starts),
    )
    rows = summarize(together)
    lines = [_line(HEADS), _line(["---"] * len(HEADS)), *(_line(_cells(row, claims, runs[0])) for row in rows)]
    quantized = _read(root / FOLDER / "quantized-reference.json")
    windows = _read(root / FOLDER / "windows.json")
    said = " ".join([*_said(runs, claims, root), _said_of_int8(claims, quantized), _said_of_windows(windows)])
    return "\n".join([*lines, "", said])


def scaling_table(root: Path) -> str:
    """How many times less work the stages need, along every curve of ``scaling.json``.

    Args:
        root: Of the repository.
    """
    found = _read(root / FOLDER / "scaling.json")
    lines = [_line(["along", "times less work than the unsplit graph"]), _line(["---", "---"])]
    for name, costs in found["curves"].items():
        points = [f"{cost['point'][name]:g}: {_times(cost):.1f}" for cost in costs]
        lines.append(_line([CURVES[name], ", ".join(points)]))
    warned = f" {_doubtful(found['warnings'])}" if found["warnings"] else ""
    machine = found["machine"]
    words = (
        f"Medians of {len(costs[0]['staged'])} rounds on {machine['processor']}, {machine['cores']} cores, one thread"
    )
    return "\n".join([*lines, "", f"{words} ([every round](results/scaling.json)).{warned}"])


BLOCKS: Mapping[tuple[str, str], Callable[[Path], str]] = {
    ("README.md", "bench"): bench_table,
    ("benchmarks/README.md", "scaling"): scaling_table,
}


def block_of(page: str, name: str) -> str:
    """What stands in a page's block.

    Raises:
        InputError: It has none of that name.
    """
    found = _pattern(name).search(page)
    if not found:
        raise InputError(f"the page has no block between <!-- {name} table --> and <!-- end -->; put one in")
    return found[2]


def with_block(page: str, name: str, text: str) -> str:
    """The page with another text in a block.

    Raises:
        InputError: It has none of that name.
    """
    block_of(page, name)
    return _pattern(name).sub(lambda found: f"{found[1]}{text}{found[3]}", page)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} table -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)


def _cells(row: Row, claims: Sequence[Claim], run: Result) -> Iterator[str]:
    name = row.contestant.name
    yield PEER_NAMES.get(name, name)
    yield f"{np.median(row.work_ms_per_s):.0f}" if row.work_ms_per_s else "–"
    yield _interval(_found(claims, run.ours.name, name, "work"))
    yield _ms(row.latency_ms["p50"].value)
    yield _interval(_found(claims, run.ours.name, name, "latency"))
    yield from (_ms(row.latency_ms[key].value) for key in ("p99", "max"))
    yield f"{row.start_s:.2f}" if row.start_s else "–"
    yield f"{row.peak_mib:.0f}"
    yield f"{row.contestant.difference:.1g}"


def _said(runs: Sequence[Result], claims: Sequence[Claim], root: Path) -> Iterator[str]:
    machine, ours = runs[0].machine, runs[0].ours.name
    whole = next(contestant.name for contestant in runs[0].took_part if contestant.kind == "whole")
    work, latency = (_found(claims, ours, whole, figure) for figure in ("work", "latency"))
    if not work or not latency:
        raise InputError(f"{root / RUNS}: the runs lack {whole}, closed loop or paced; make them with all peers")
    yield (
        f"{len(runs)} runs on {machine['processor']}, {machine['cores']} cores, one thread for each operator, "
        f"decisions at {runs[0].settings['tick']}, {runs[0].settings['rates']} ([every sample]({RUNS})). In brackets: "
        f"where another run is expected (99 %). Against the whole graph in ONNX Runtime, with the same front ends: "
        f"{_words(work)} less work, {_words(latency)} sooner from a sound to its decision, the same numbers."
    )
    if warnings := list(dict.fromkeys(warning for run in runs for warning in run.warnings)):
        yield _doubtful(warnings)


def _said_of_int8(claims: Sequence[Claim], quantized: Mapping[str, Any]) -> str:
    work = next(claim for claim in claims if claim.ours == "mmedge int8-cpu" and claim.figure == "work")
    before, after = (quantized[key]["event accuracy"] for key in ("fp32", "scores"))
    return (
        f"The int8 variant does {_words(work)} less work than that float32 graph; its accuracy on "
        f"{quantized['windows']} held-out scenes is {after:.2%} instead of {before:.2%} "
        f"([numbers]({FOLDER}/quantized-reference.json))."
    )


def _said_of_windows(windows: Mapping[str, Any]) -> str:
    return (
        f"With windows of {windows['items']} pictures the stages do {windows['cold']['times_less']:.0f} times less "
        f"([another model]({FOLDER}/windows.json), [further curves](benchmarks/README.md#curves-of-cost))."
    )


def _found(claims: Sequence[Claim], ours: str, theirs: str, figure: str) -> Claim | None:
    return next((c for c in claims if (c.ours, c.theirs, c.figure) == (ours, theirs, figure)), None)


def _interval(claim: Claim | None) -> str:
    if claim is None:
        return ""
    return f"{_round(claim.value)} ({_bounds(claim, '–')})" if claim.says_something else f"({UNSTEADY})"


def _words(claim: Claim) -> str:
    return f"**{_round(claim.value)} times** ({_bounds(claim, ' to ')})" if claim.says_something else f"({UNSTEADY})"


def _bounds(claim: Claim, between: str) -> str:
    """Rounded outwards: what is stated holds wherever the interval does."""
    step = 1.0 if claim.high >= 20 else 0.1
    low, high = np.floor(claim.low / step) * step, np.ceil(claim.high / step) * step
    return f"{_round(low)}{between}{_round(high)}"


def _round(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.1f}"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _times(cost: Mapping[str, Any]) -> float:
    return float(np.median(cost["unsplit"]) / np.median(cost["staged"]))


def _doubtful(warnings: Sequence[str]) -> str:
    return f"**Disturbed**: {warnings[0]}."


def _line(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@click.command()
@click.option("--root", default=".", type=click.Path(exists=True, path_type=Path), help="Of the repository.")
def main(root: Path) -> None:
    """Write every table from its file again."""
    for (file, name), render in BLOCKS.items():
        page = root / file
        page.write_text(with_block(page.read_text(encoding="utf-8"), name, render(root)), encoding="utf-8")
        click.echo(f"written: {page}, {name} table")


if __name__ == "__main__":
    main()
