"""Writes down for ``backend="auto"`` how fast the bundle's variants were on this machine."""

from collections.abc import Sequence

from mmedge.bundle import Bundle
from mmedge.measured import Measured, write_measured
from mmedge.model import load
from mmedge_bench.summary import Row

__all__ = ["remember"]


def remember(bundle: Bundle, rows: Sequence[Row], threads: int) -> list[Measured]:
    """Keep the latencies of the bundle's own stages, paced like its sensors.

    Args:
        bundle: What was measured.
        rows: The summary of the result; peers are left out, and what was not paced.
        threads: Of one operator.

    Raises:
        OSError: The user's cache cannot be written.
    """
    kept = []
    for row in rows:
        if row.contestant.kind != "staged" or not row.latency_ms:
            continue
        backend, variant = row.contestant.backend, row.contestant.variant
        with load(bundle.path, backend=backend, variant=variant, threads=threads) as model:  # as it was timed
            report = model.report
        kept.append(
            Measured(
                backend=report.backend,
                variant=report.variant,
                threads=threads,
                ms=row.latency_ms["p50"].value,
                p99_ms=row.latency_ms["p99"].value,
                runs=row.latency_ms["p50"].n,
                library=report.library,
            )
        )
    for measured in kept:
        write_measured(bundle, measured)
    return kept
