import re
from dataclasses import replace

import numpy as np
import pytest
from html_page import Page
from mmedge_export.demo.page.graph import runs_per_s
from mmedge_export.demo.report import render_report

from mmedge.page.layout import crossing, places
from mmedge.page.svg import Axis, ticks

HOSTILE = "</title><script>alert(\"x\")</script>&<b onload='y'>"


def page_of(result):
    return Page(render_report(result))


def column(table, index):
    return [row[index][0] for row in table[1:]]


@pytest.mark.parametrize("contestants", [1, 2, 3, 4])
@pytest.mark.parametrize("whole", [False, True])
def test_page_is_well_formed(make_result, contestants, whole):
    page = page_of(make_result(contestants=contestants, whole=whole))
    assert len(page.ids) == len(set(page.ids))
    assert {"h1", "h2", "svg", "table", "caption", "title", "desc"} <= set(page.tags)


def test_page_needs_nothing_else(make_result):
    result = make_result()
    text = render_report(result)
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_every_picture_has_a_title(make_result):
    page = page_of(make_result())
    named = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert len(named) == 4
    assert set(" ".join(named).split()) <= set(page.ids)


def test_table_repeats_the_measurements(make_result):
    result = make_result(contestants=2)
    rows = page_of(result).tables[0]
    whole, mine = result.contestants
    expected = {
        1: [whole.work_ms_per_s, mine.work_ms_per_s],
        2: [1.0, mine.work_ms_per_s / whole.work_ms_per_s],
        3: [1.0, whole.work_ms_per_s / mine.work_ms_per_s],
        4: [np.percentile(c.latency_ms, 50) for c in (whole, mine)],
        5: [np.percentile(c.latency_ms, 95) for c in (whole, mine)],
        6: [np.percentile(c.latency_ms, 99) for c in (whole, mine)],
        7: [1.0, np.median(whole.latency_ms) / np.median(mine.latency_ms)],
        8: [whole.peak_mb, mine.peak_mb],
        9: [whole.first_decision_s, mine.first_decision_s],
        10: [whole.worst_difference, mine.worst_difference],
    }
    for index, values in expected.items():
        np.testing.assert_allclose(column(rows, index), values, rtol=1e-12)  # written with all their digits


def test_tiles_are_computed_from_the_result(make_result):
    result = make_result()
    _, whole, mine = result.contestants
    less, sooner, right = page_of(result).numbers[:3]
    settled = result.truth.settled
    assert less == whole.work_ms_per_s / mine.work_ms_per_s
    assert sooner == np.percentile(whole.latency_ms, 50) / np.percentile(mine.latency_ms, 50)
    assert right == np.mean((result.decided.probabilities.argmax(1) == result.truth.labels)[settled])


def test_shown_numbers_are_their_values_rounded(make_result):
    text = render_report(make_result(contestants=4))
    shown = re.findall(r'<data value="([^"]+)">([^<]+)</data>', text)
    assert len(shown) > 60
    for value, words in shown:
        number = re.match(r"[\d.\N{NARROW NO-BREAK SPACE}]+", words).group().replace("\N{NARROW NO-BREAK SPACE}", "")
        power = (
            words.partition("10")[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) if "×" in words[:-1] else 0
        )
        scale = 10.0 ** int(power) * (0.01 if words.endswith("%") else 1)
        assert float(number) * scale == pytest.approx(float(value), rel=0.051)  # two digits count at least


def test_confusion_counts_only_scored_decisions(make_result):
    result = make_result()
    table = page_of(result).tables[1]
    counts = np.array([[cell[0] for cell in row[1:-1]] for row in table[1:]])
    for true, row in enumerate(counts):
        for decided, count in enumerate(row):
            both = (result.truth.labels == true) & (result.decided.labels == decided)
            assert count == np.sum(both & result.truth.settled)
    assert counts.sum() == result.truth.settled.sum()
    np.testing.assert_allclose(np.trace(counts) / counts.sum(), result.accuracy, rtol=1e-12)


def test_parity_table_compares_with_what_is_allowed(make_result):
    result = make_result()
    table = page_of(result).tables[2]
    assert [row[1:] for row in table[1:]] == [[[w], [a], [w / a]] for w, a in result.parity_worst.values()]


def test_contestant_that_falls_behind_has_no_latency(make_result):
    result = make_result(contestants=3)
    page = page_of(result)
    assert page.text.count("does not keep up") >= 2
    assert len(page.tables[0][1]) == len(page.tables[0][2]) - 2  # three cells became one
    assert "– " in page.text


def test_rival_that_falls_behind_is_not_compared(make_result):
    result = make_result(contestants=3)
    page = page_of(replace(result, contestants=(result.contestants[0], result.contestants[2])))
    assert "the only one of them that keeps up" in page.text
    assert "nothing to compare with" in page.text


def test_slower_result_is_not_called_faster(make_result):
    result = make_result(contestants=2)
    page = page_of(replace(result, contestants=result.contestants[::-1]))
    assert "5.7 times more work per second" in page.text
    assert "times later from a sound to its decision" in page.text
    assert "less work per second of stream" not in page.text


def test_hostile_text_stays_text(make_result):
    result = make_result(labels=(HOSTILE, "siren heard", "beacons seen", "approaching"))
    first = replace(result.pictures[0], caption=HOSTILE)
    rival = replace(result.contestants[0], name=HOSTILE)
    manifest = replace(result.manifest, name=HOSTILE, notes=(HOSTILE,), made_with={HOSTILE: HOSTILE})
    page = page_of(
        replace(
            result,
            manifest=manifest,
            pictures=(first, *result.pictures[1:]),
            contestants=(rival, *result.contestants[1:]),
            events=((1.0, 2.0, HOSTILE),),
            machine={HOSTILE: HOSTILE},
        )
    )
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 6
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_model_kept_whole_says_why(make_result):
    page = page_of(make_result(whole=True))
    assert "Kept whole: nothing is private to a sensor" in page.text
    assert "cut by" not in page.text


def test_graph_names_what_crosses_the_cut(make_result):
    result = make_result()
    page = page_of(result)
    crossed = crossing(result.manifest)
    assert crossed == ["keys", "values", "tokens", "queries", "mean_2"]
    size = sum(4 * int(np.prod(result.manifest.tensors[name].shape)) for name in crossed)
    assert f"cut by sensor: 5 tensors, {size / 1024:.1f} KiB" in page.text
    assert "cut by time: 8 results kept" in page.text
    assert "15 runs per second" in page.text
    assert "instead of 400" in page.text


def test_runs_of_all_stages_make_up_the_predicted_work(make_result):
    result = make_result()
    work = sum(
        cost.ms * runs_per_s(result, stage) for stage, cost in zip(result.manifest.stages, result.costs, strict=True)
    )
    assert work == pytest.approx(result.saving.staged_ms)


def test_window_is_drawn_as_a_ring_of_its_slots(make_result):
    assert render_report(make_result()).count('class="slot ') == 8
    long = render_report(make_result(window=50))
    assert long.count('class="slot ') == 24
    assert "cut by time: 50 results kept" in long


def test_encoders_stand_next_to_the_border(make_result):
    place = places(make_result().manifest)
    assert place["stage:image"] == (2, 0.0)
    assert place["stage:audio"] == (2, 1.0)
    assert place["stage:head"] == (3, 0.5)


def test_clip_without_a_vehicle_has_no_distance(make_result):
    result = make_result()
    truth = replace(result.truth, distance_m=np.full(len(result.truth.labels), np.nan))
    page = page_of(replace(result, truth=truth))
    assert "no vehicle to measure in this clip" in page.text
    assert "nan" not in [value for _, value in page.attributes]


def test_decided_distance_may_be_unknown(make_result):
    result = make_result()
    decided = replace(result.decided, distance_m=np.full(len(result.decided.t_s), np.nan))
    text = render_report(replace(result, decided=decided))
    assert "median error" not in text
    assert not re.search(r'd="[^"]*nan', text)


def test_clip_in_which_nothing_is_scored_says_so(make_result):
    result = make_result()
    truth = replace(result.truth, settled=np.zeros(len(result.truth.labels), bool))
    assert "no decision of this clip could be scored" in page_of(replace(result, truth=truth)).text


def test_clip_without_pictures_or_events_is_drawn(make_result):
    page = page_of(replace(make_result(), pictures=(), events=()))
    assert "The frames, larger" not in page.text
    assert "what happens" not in page.text


def test_axis_keeps_values_inside():
    axis = Axis(low=1, high=100, start_px=0, end_px=50, logarithmic=True)
    assert [axis.at(value) for value in (0, 1, 10, 100, 1e9)] == [0, 0, 25, 50, 50]


@pytest.mark.parametrize(("high", "most"), [(20, 21), (7.3, 5), (0.61, 8), (950, 4)])
def test_ticks_are_round_and_few(high, most):
    values = ticks(0, high, most)
    assert 2 <= len(values) <= most
    assert values[-1] <= high * (1 + 1e-9)
    step = values[1]
    assert f"{step:e}"[0] in "125"
