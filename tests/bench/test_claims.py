from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from made_up_results import made_up
from mmedge_bench.claims import check_claims, claims_of, main
from mmedge_bench.result import write_result
from mmedge_bench.statistics import predict, student_t

from mmedge.errors import InputError

RUNS = [made_up(seed) for seed in range(4)]


@pytest.mark.parametrize(
    ("degrees", "confidence", "expected"),  # Source: NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2
    [(1, 0.95, 12.706), (2, 0.95, 4.303), (3, 0.99, 5.841), (4, 0.99, 4.604), (30, 0.95, 2.042)],
)
def test_students_t_has_the_values_of_the_tables(degrees, confidence, expected):
    assert student_t(degrees, confidence) == pytest.approx(expected, rel=2e-4)


def test_another_run_lies_within_the_interval_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        *known, again = np.exp(0.05 * random.standard_normal(5))
        _, low, high = predict(known, 0.9)
        held += low <= again <= high
    assert 0.86 <= held / 400 <= 0.94


def test_a_claim_is_the_mean_ratio_of_the_runs():
    work, latency = claims_of(RUNS)
    assert (work.figure, latency.figure) == ("work", "latency")
    assert work.value == pytest.approx(6, rel=0.03)  # as made_up() makes them
    assert len(work.ratios) == 4
    for claim in (work, latency):
        assert claim.low < min(claim.ratios) <= claim.value <= max(claim.ratios) < claim.high


def test_another_run_of_the_same_code_reproduces_every_claim():
    claims = claims_of(RUNS)
    reproduced = sum(all(each.holds for each in check_claims(claims, made_up(100 + seed))) for seed in range(20))
    assert reproduced >= 18


def test_a_run_that_is_not_as_claimed_is_named_and_ends_with_status_2(tmp_path):
    other = made_up(9)
    twice = tuple(replace(s, cpu_ns=2 * s.cpu_ns) if s.contestant == "mmedge" else s for s in other.segments)
    results = {
        **{f"run-{i}": run for i, run in enumerate(RUNS)},
        "same": other,
        "worse": replace(other, segments=twice),
    }
    for name, result in results.items():
        write_result(result, tmp_path / f"{name}.json.gz")
    run = lambda name: CliRunner().invoke(main, [str(tmp_path), "--again", str(tmp_path / f"{name}.json.gz")])  # noqa: E731
    same, worse = run("same"), run("worse")
    assert same.exit_code == 0
    assert "2 of 2 claims are reproduced" in same.output
    assert worse.exit_code == 2
    assert "less work" in next(line for line in worse.output.splitlines() if "MISSED" in line)
    assert "1 of 2 claims are reproduced" in worse.output


def test_an_interval_that_nothing_could_contradict_claims_nothing(tmp_path):
    wild = []
    for run, factor in zip(RUNS, (1, 4, 0.3, 2), strict=True):
        latency = lambda s, by=factor: tuple(round(v * by) for v in s.latency_ns)  # noqa: E731
        ours = [replace(s, latency_ns=latency(s)) if s.contestant == "mmedge" else s for s in run.segments]
        wild.append(replace(run, segments=tuple(ours)))
    work, latency = claims_of(wild)
    assert work.says_something
    assert not latency.says_something
    for number, run in enumerate(wild):
        write_result(run, tmp_path / f"run-{number}.json.gz")
    write_result(made_up(9), tmp_path / "again.json.gz")
    told = CliRunner().invoke(main, [str(tmp_path), "--again", str(tmp_path / "again.json.gz")])
    assert told.exit_code == 0
    assert "1 of 1 claims are reproduced" in told.output
    assert "1 intervals are too wide to claim anything" in told.output


def test_two_runs_are_too_few_to_claim_anything():
    with pytest.raises(InputError, match="2 runs cannot say"):
        claims_of(RUNS[:2])


def test_runs_of_different_settings_make_no_claim():
    other = replace(RUNS[1], settings=RUNS[1].settings | {"tick": "10hz"})
    with pytest.raises(InputError, match="different tick, 50hz and 10hz"):
        claims_of([RUNS[0], other, RUNS[2]])


def test_a_run_without_the_contestant_cannot_be_looked_up():
    alone = replace(RUNS[0], contestants=RUNS[0].contestants[:1], segments=())
    with pytest.raises(InputError, match="the other run did not measure it"):
        check_claims(claims_of(RUNS), alone)


def test_a_variant_is_claimed_against_the_same_unsplit_graph():
    def with_variant(run):
        halved = [
            replace(s, contestant="mmedge int8", cpu_ns=s.cpu_ns // 2) for s in run.segments if s.contestant == "mmedge"
        ]
        variant = replace(run.contestants[0], name="mmedge int8", variant="int8-cpu")
        return replace(run, contestants=(*run.contestants, variant), segments=(*run.segments, *halved))

    claims = claims_of([with_variant(run) for run in RUNS])
    (work,) = [claim for claim in claims if claim.ours == "mmedge int8" and claim.figure == "work"]
    assert work.theirs == "onnxruntime"
    assert work.value == pytest.approx(12, rel=0.03)
