"""Tables of the documentation are written from committed files, and these hold what the tables claim."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from mmedge_bench.claims import check_claims, claims_of, read_runs
from mmedge_bench.readme_table import BLOCKS, RUNS, block_of, with_block
from mmedge_bench.result import read_result

from mmedge.errors import InputError

ROOT = Path(__file__).parents[2]
PEERS = {"onnxruntime", "openvino", "torch eager", "torch.compile", "torch per window"}
LARGEST_BYTES = 300_000


@pytest.fixture(scope="module")
def runs():
    return read_runs(ROOT / RUNS)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: " ".join(block))
def test_a_table_says_what_its_file_says(block):
    file, name = block
    page = (ROOT / file).read_text(encoding="utf-8")
    assert block_of(page, name) == BLOCKS[block](ROOT), "run python -m mmedge_bench.readme_table"


def test_every_peer_took_part_and_computed_the_same(runs):
    for run in runs:
        assert {contestant.name for contestant in run.took_part} >= {"mmedge", "mmedge int8-cpu", *PEERS}
        for contestant in run.took_part:
            if contestant.variant in {"", "fp32"}:
                assert contestant.difference <= contestant.tolerance


def test_another_run_reproduced_every_claim(runs):
    again = read_result(ROOT / RUNS / "again.json.gz")
    assert {each.claim.text: each.holds for each in check_claims(claims_of(runs), again)} == {
        claim.text: True for claim in claims_of(runs)
    }


def test_runs_that_nothing_disturbed_say_how_much_less_the_stages_need(runs):
    if any(run.warnings for run in runs):
        pytest.skip("the committed runs were disturbed, and the table says so")
    against_whole = [claim for claim in claims_of(runs) if claim.theirs == "onnxruntime"]
    assert len(against_whole) >= 4
    assert all(claim.says_something for claim in against_whole)


def test_claims_can_be_computed_from_the_samples_alone(runs):
    rows = [json.loads(gzip.decompress(path.read_bytes())) for path in sorted((ROOT / RUNS).glob("run-*.json.gz"))]
    work = []
    for row in rows:
        closed = {name: [s for s in row["segments"] if (s["contestant"], s["scenario"]) == (name, "closed-loop")]
                  for name in ("mmedge", "onnxruntime")}  # fmt: skip
        ours, theirs = (np.median([s["cpu_ns"] / s["stream_ns"] for s in rounds]) for rounds in closed.values())
        work.append(theirs / ours)
    claim = claims_of(runs)[0]
    np.testing.assert_allclose(claim.ratios, work, rtol=1e-9)
    assert claim.value == pytest.approx(np.exp(np.mean(np.log(work))))


def test_committed_runs_are_small_enough_for_a_repository():
    for path in (ROOT / RUNS).iterdir():
        assert path.stat().st_size <= LARGEST_BYTES, f"{path.name} is too large"


def test_scaling_holds_every_round_of_every_point():
    found = json.loads((ROOT / "benchmarks/results/scaling.json").read_text(encoding="utf-8"))
    assert {"processor", "cores", "onnxruntime"} <= set(found["machine"])
    assert set(found["curves"]) == {"frames", "sensors", "width", "camera_hz", "tick_hz"}
    for name, costs in found["curves"].items():
        values = [cost["point"][name] for cost in costs]
        assert values == sorted(set(values))
        assert len(values) >= 4
        for cost in costs:
            assert len(cost["staged"]) == len(cost["unsplit"]) >= 3
            assert min(*cost["staged"], *cost["unsplit"]) > 0
    longest = found["curves"]["frames"][-1]
    assert np.median(longest["unsplit"]) > np.median(longest["staged"])
    assert set(found["warnings"]) == {w for costs in found["curves"].values() for c in costs for w in c["warnings"]}


def test_a_page_without_its_block_is_named():
    with pytest.raises(InputError, match="no block between <!-- bench table -->"):
        with_block("# A page\n", "bench", "text")


def test_a_block_is_replaced_and_the_rest_stays():
    page = "before\n<!-- bench table -->\nold\n<!-- end -->\nafter\n"
    assert with_block(page, "bench", r"new \1") == "before\n<!-- bench table -->\nnew \\1\n<!-- end -->\nafter\n"
