import json

import numpy as np
import pytest
from mmedge_export.demo.contestant import Log
from mmedge_export.demo.steps import Demo, run_demo
from mmedge_export.demo.summary import summarize, to_rows

import mmedge
from mmedge.model import load
from mmedge.running import open_run
from mmedge.unsplit import unsplit


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    demo = Demo(folder=tmp_path_factory.mktemp("demo"))
    steps = []
    return demo, run_demo(demo, seed=1, duration_s=4.0, progress=steps.append), steps


def test_the_demo_leaves_clip_bundle_and_graph(ran):
    demo, result, steps = ran
    assert all(path.exists() for path in (demo.video, demo.sound, demo.bundle, demo.whole))
    assert len(steps) > 8
    assert result.contestants[0].decisions == 151  # every 20 ms from 1 s to 4 s


def test_the_demo_leaves_a_folder_of_the_users_alone(tmp_path):
    (tmp_path / "clip.mp4").write_text("holiday")
    with pytest.raises(mmedge.InputError, match="no demo made"):
        run_demo(Demo(folder=tmp_path), seed=1, duration_s=4.0, progress=print)
    assert (tmp_path / "clip.mp4").read_text() == "holiday"


def test_all_contestants_decide_the_same(ran):
    _, result, _ = ran
    torch, whole, staged = result.contestants
    assert staged.worst_difference == 0
    assert whole.worst_difference <= 1e-6
    assert torch.worst_difference <= 1e-3  # metres, in another library's order of summation


def test_the_staged_model_does_less_than_half_of_the_arithmetic(ran):
    demo, result, _ = ran
    macs = result.manifest.macs
    with load(demo.bundle) as model, open_run(model, camera=demo.video, tick="50hz") as run:
        decisions = len(list(run))
        staged = sum(count * macs[name] for name, count in run.stream.runs.items())
    each = sum(cost.macs * cost.runs_unsplit for cost in result.costs)
    assert staged < 0.5 * decisions * each


def test_truth_and_decisions_are_of_the_same_moments(ran):
    _, result, _ = ran
    assert len(result.truth.labels) == len(result.decided.t_s) == len(result.contestants[0].latency_ms)
    assert np.isnan(result.truth.distance_m[result.truth.labels == 0]).all()
    assert 0 <= result.accuracy <= 1


def test_a_packet_waits_for_the_one_before_it():
    ms = 1_000_000
    log = Log(
        available_ns=np.array([0, 1 * ms, 20 * ms]), cost_ns=np.array([10 * ms, 3 * ms, 2 * ms]),
        packet=np.array([1, 2]), latency_ns=np.array([3 * ms, 1 * ms]), t_ns=np.array([1 * ms, 20 * ms]),
        outputs={}, age_ms={}, work_ns=0, peak_kib=0, first_ns=0,
    )  # fmt: skip
    assert log.latency_on_one_core().tolist() == [12, 1]  # the second packet waits 9 ms for the first


def test_the_unsplit_model_is_one_stage_with_the_same_ports_and_outputs(ran):
    _, result, _ = ran
    manifest = unsplit(result.manifest)
    (stage,) = manifest.stages
    assert set(stage.inputs) == set(result.manifest.ports)
    assert set(stage.outputs) == {output.tensor for output in result.manifest.outputs.values()}


def test_the_summary_is_json_and_has_a_row_for_each_contestant(ran):
    _, result, _ = ran
    summary = json.loads(json.dumps(summarize(result)))
    assert [row["name"] for row in summary["contestants"]] == [each.name for each in result.contestants]
    assert len(to_rows(summary)) == 3
