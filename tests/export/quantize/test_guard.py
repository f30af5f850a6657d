import numpy as np
import pytest
from hostile_models import raw
from mmedge_export.quantize.calibrate import calibrate
from mmedge_export.quantize.data import read_windows
from mmedge_export.quantize.evaluator import Evaluator
from mmedge_export.quantize.guard import guard, judge
from mmedge_export.quantize.produce import Choice, produce
from mmedge_export.quantize.score import Budget, losses

from mmedge.bundle import open_bundle
from mmedge.manifest import StagePlan

BUDGET = Budget(drop=0.02, error=0.05)


@pytest.fixture(scope="module")
def workshop(made, tmp_path_factory):
    """The hostile bundle, calibrated; labels are what it says in fp32."""
    bundle = open_bundle(made("hostile"))
    path = tmp_path_factory.mktemp("data") / "clip.npz"
    np.savez(path, **raw(64, seed=3))
    windows = read_windows(path, bundle, 64)
    calibration, _, tensors = calibrate(bundle, windows)
    return bundle, Evaluator(bundle, calibration.ranges, windows, tensors)


def plans(bundle, precision):
    return {stage.name: StagePlan(precision=precision) for stage in bundle.manifest.stages}


@pytest.mark.parametrize("family", ["int8-cpu", "int8-trt"])
def test_without_the_guard_a_hostile_model_misses_its_budget_and_with_it_keeps_it(workshop, family):
    bundle, evaluator = workshop
    start = plans(bundle, "int8")
    unguarded = judge(evaluator, family, start, BUDGET)
    assert not unguarded.holds
    assert max(loss.drop for loss in unguarded.losses) > 5 * BUDGET.drop
    guarded = guard(bundle, evaluator, family, start, BUDGET, lambda _: None)
    assert guarded.holds
    assert all(loss.holds for loss in guarded.losses)
    named = {row.node for row in guarded.reverted}
    assert any("hidden" in name for name in named)  # where the small branch meets the large one
    assert len(named) < 7  # of the seven products some still have 8 bits
    kept = {name for plan in guarded.plans.values() for name in plan.exact}
    assert named == kept
    assert [trial.holds for trial in guarded.trials if trial.what == "all stages"] == [False]


def test_a_branch_that_the_head_no_longer_hears_is_found_with_that_sensor_alone(workshop):
    bundle, evaluator = workshop
    start = plans(bundle, "int8")
    found = judge(evaluator, "int8-trt", start, BUDGET)
    errors = {row.port: row.error for row in found.alone}
    assert errors["audio"] > 4 * BUDGET.error
    shares = {row.port: row.share_fp32 for row in found.alone}
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("family", ["int8-cpu", "int8-trt"])
def test_how_far_the_attribution_has_shifted_is_told_and_the_guard_makes_it_less(workshop, family):
    bundle, evaluator = workshop

    def shift(rows):
        return max(abs(row.share - row.share_fp32) for row in rows)

    start = plans(bundle, "int8")
    assert shift(judge(evaluator, family, plans(bundle, "fp32"), BUDGET).alone) == 0
    assert shift(judge(evaluator, family, start, BUDGET).alone) > 0.5  # one sensor is hardly heard any more
    assert shift(guard(bundle, evaluator, family, start, BUDGET, lambda _: None).alone) < 0.02


def test_fp32_plans_lose_nothing(workshop):
    bundle, evaluator = workshop
    found = judge(evaluator, "int8-cpu", plans(bundle, "fp32"), Budget(drop=0, error=0))
    assert found.holds
    assert found.error == 0
    assert all(shift.cosine == pytest.approx(1) and shift.error == 0 for shift in found.shifts)


def test_a_variant_that_cannot_keep_its_budget_is_not_shipped_and_says_what_was_tried(workshop):
    bundle, evaluator = workshop
    choice = Choice(budget=Budget(drop=0.0, error=0.0))
    report, graphs = produce(bundle, evaluator, "fp8", choice, None, lambda _: None)
    assert not report.shipped
    assert graphs == {}
    assert "misses its budget" in report.why
    assert report.guarded is not None
    assert len(report.guarded.trials) > 4


def test_a_variant_that_is_not_faster_is_shipped_only_when_asked_for(workshop):
    bundle, evaluator = workshop
    loose = Budget(drop=1.0, error=1.0)
    slow = ("image=fp32", "audio=fp32", "head=int8-weights")  # computes as fp32 does, and is therefore not faster
    for ship_slower in (False, True):
        choice = Choice(budget=loose, precision=slow, ship_slower=ship_slower)
        report, graphs = produce(bundle, evaluator, "int8-cpu", choice, None, lambda _: None)
        assert report.speed is not None
        if report.speed.times_faster <= 1:  # noise decides between 0.99 and 1.01
            assert report.shipped is bool(graphs) is ship_slower
            assert "not faster here" in report.why


def test_accuracy_is_counted_on_what_is_labelled_and_agreement_elsewhere(made):
    manifest = open_bundle(made("tame")).manifest
    name = manifest.outputs["event"].tensor
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]][:, np.newaxis]
    worse = np.eye(3, dtype=np.float32)[[0, 1, 1, 1]][:, np.newaxis]
    labels = {"event": np.array([0, 1, 2, -1])}
    (loss,) = losses(manifest, {name: logits}, {name: worse}, labels, BUDGET)
    assert (loss.metric, loss.windows, loss.fp32, loss.variant) == ("accuracy", 3, 1.0, pytest.approx(2 / 3))
    (loss,) = losses(manifest, {name: logits}, {name: worse}, {}, BUDGET)
    assert (loss.metric, loss.drop, loss.holds) == ("same decision as fp32", 0.5, False)
    (loss,) = losses(manifest, {name: logits}, {name: logits * np.float32("nan")}, labels, BUDGET)
    assert not loss.holds
