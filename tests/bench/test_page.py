"""Every number of the page, computed again from the JSON without the suite's own code."""

import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from made_up_results import made_up, segment
from mmedge_bench.cli import bench_command
from mmedge_bench.page.report import render_page
from mmedge_bench.result import read_result, write_result
from mmedge_bench.statistics import estimate

from mmedge.page.numbers import rounded

PERCENTS = (50, 90, 95, 99, 99.9, 100)


def varied():
    """Two peers, a variant with a score, and a long run."""
    base = made_up(3)
    scored = replace(base.contestants[0], score=0.94, scored_on="x")
    variant = replace(scored, name="mmedge int8-cpu", variant="int8-cpu", score=0.93)
    halved = [
        replace(
            s, contestant=variant.name, cpu_ns=s.cpu_ns * 2 // 3, latency_ns=tuple(v * 3 // 4 for v in s.latency_ns)
        )
        for s in base.segments
        if s.contestant == "mmedge"
    ]
    long = replace(segment("mmedge", "soak", 0, [1.0] * 90), rss_kib=tuple(80_000 + i // 10 for i in range(90)))
    contestants = (scored, variant, *base.contestants[1:])
    return replace(base, contestants=contestants, segments=(*base.segments, *halved, long))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The page, drawn from a file, and that file."""
    folder = tmp_path_factory.mktemp("page")
    write_result(varied(), folder / "r.json.gz")
    arguments = ["page", str(folder / "r.json.gz"), "-o", str(folder / "r.html")]
    CliRunner().invoke(bench_command, arguments, catch_exceptions=False, standalone_mode=False)
    write_result(read_result(folder / "r.json.gz"), folder / "r.json")
    return (folder / "r.html").read_text(), json.loads((folder / "r.json").read_text())


def ranked(values, percent):
    ordered = np.sort(values)
    return ordered[int(np.ceil(percent / 100 * len(ordered) - 1e-9)) - 1]


class Samples:
    """What the JSON holds of one contestant."""

    def __init__(self, raw, name):
        mine = [s for s in raw["segments"] if s["contestant"] == name]
        self.paced = [s for s in mine if s["scenario"] == "paced"]
        self.closed = [s for s in mine if s["scenario"] == "closed-loop"]
        self.starts = [s for s in raw["starts"] if s["contestant"] == name]
        self.ms = np.concatenate([s["latency_ns"] for s in self.paced]) / 1e6
        self.work = np.array([s["cpu_ns"] / 1e6 / (s["stream_ns"] / 1e9) for s in self.closed])
        due = np.median(np.diff(self.paced[0]["t_ns"])) / 1e6
        self.missed = 1 - (self.ms <= due).sum() / sum(s["expected"] for s in self.paced)


def sections(page):
    """The numbers of each part of the page, in order."""
    found = {}
    for part in re.split(r"<section>", page):
        title = re.search(r"<h2>(.*?)</h2>", part)
        values = [float(value) for value in re.findall(r'<data value="([^"]+)"', part)]
        found[html.unescape(title[1]) if title else "first screen"] = values
    return found


def test_every_number_of_the_page_is_in_the_samples(drawn):
    page, raw = drawn
    names = [c["name"] for c in raw["contestants"] if not c.get("skipped")]
    by = {name: Samples(raw, name) for name in names}
    ours, whole, variant = by["mmedge"], by["onnxruntime"], by["mmedge int8-cpu"]
    wanted = {
        "first screen": [
            np.median(whole.work) / np.median(ours.work),
            ranked(whole.ms, 50) / ranked(ours.ms, 50),
            np.median(whole.work) / np.median(variant.work),
            ours.missed,
        ],
        "Everybody, in the same run": [v for name in names for v in contest_row(raw, by[name], name)],
        "What was to be reached": [
            np.median(ours.work) / np.median(whole.work),
            ranked(ours.ms, 50) / ranked(whole.ms, 50),
            np.median(variant.work) / np.median(whole.work),
        ],
        "How old is what a decision knows": [v for name in names for v in ages(by[name])],
        "A long run": long_run(raw),
        "Where one second of stream goes": [
            max(np.median([s["wall_ns"] / 1e6 / (s["stream_ns"] / 1e9) for s in by[name].closed]), stages(by[name]))
            for name in names
        ],
        "The parts alone": [v for part in ("image", "audio") for v in part_row(raw, part)],
    }
    shown = {title: values for title, values in sections(page).items() if values}
    assert set(shown) == set(wanted)
    for title, values in wanted.items():
        np.testing.assert_allclose(shown[title], values, rtol=1e-9, err_msg=title)


def contest_row(raw, samples, name):
    peaks = [s["peak_kib"] for s in (*samples.paced, *samples.closed, *samples.starts)]
    starts = [s["first_ns"] / 1e9 for s in samples.starts]
    difference = next(c for c in raw["contestants"] if c["name"] == name).get("difference", 0.0)
    return [
        np.median(samples.work),
        np.median([len(s["t_ns"]) / (s["wall_ns"] / 1e9) for s in samples.closed]),
        *(ranked(samples.ms, percent) for percent in PERCENTS),
        len(samples.ms),
        samples.missed,
        *([ranked(starts, 50)] if starts else []),
        max(peaks) / 1024,
        difference,
    ]


def ages(samples):
    for port in ("image", "audio"):
        age = np.concatenate([s["age_ms"][port] for s in samples.paced])
        yield from (ranked(age, 50), age.max(), np.mean(np.concatenate([s["fresh"][port] for s in samples.paced])))


def stages(samples):
    names = samples.closed[0]["stage_ns"]
    return sum(np.median([s["stage_ns"][n] / 1e6 / (s["stream_ns"] / 1e9) for s in samples.closed]) for n in names)


def part_row(raw, part):
    blocks = [b for b in raw["blocks"] if b["part"] == part]
    wall, cpu = (np.concatenate([b[key] for b in blocks]) / 1e6 for key in ("wall_ns", "cpu_ns"))
    return [ranked(wall, 50), ranked(wall, 99), wall.max(), ranked(cpu, 50), len(cpu)]


def long_run(raw):
    (soak,) = [s for s in raw["segments"] if s["scenario"] == "soak"]
    settled = soak["rss_kib"][len(soak["rss_kib"]) // 3 :]
    slope = np.polyfit(np.arange(len(settled)) / 60, settled, 1)[0]
    minutes = round(soak["stream_ns"] / 6e10, 2)
    return [minutes, soak["expected"], soak["expected"] - len(soak["t_ns"]), soak["rss_kib"][-1] / 1024, slope]


def test_intervals_and_the_words_of_figures_are_of_the_samples(drawn):
    page, raw = drawn
    ours, whole = Samples(raw, "mmedge"), Samples(raw, "onnxruntime")
    median = estimate([np.array(s["latency_ns"]) / 1e6 for s in ours.paced], 50)
    assert f"{rounded(median.low)} to {rounded(median.high)}" in page
    ratios = whole.work / ours.work
    assert f"{np.median(ratios):.1f}× ({ratios.min():.1f} to {ratios.max():.1f})" in page
    late = sum(value > 20e6 for value in ours.paced[0]["latency_ns"])
    assert f"mmedge {late} late" in page
    assert page.count('class="in-time"') + page.count('class="late"') == 3 * len(ours.paced[0]["t_ns"])


def test_the_first_screen_is_the_answer(drawn):
    page, raw = drawn
    ours, whole = Samples(raw, "mmedge"), Samples(raw, "onnxruntime")
    work = np.median(whole.work) / np.median(ours.work)
    headline = html.unescape(re.search(r"<h1>(.*?)</h1>", page)[1])
    assert headline.startswith(f"{work:.1f}× less work and ")
    assert headline.endswith("sooner to decide than the unsplit graph in ONNX Runtime")
    assert "On made up" in page[: page.index("<section>")]
    assert "Undisturbed: other processes used 1% of a core" in page
    assert "score 0.93 instead of 0.94" in page


def test_a_run_that_was_disturbed_says_so_above_everything_else():
    page = render_page(replace(made_up(1), warnings=("other processes used 80% of a core meanwhile",)))
    assert "Disturbed: other processes used 80% of a core" in page[: page.index("<section>")]
    assert "Undisturbed" not in page


def test_who_is_slower_than_the_unsplit_graph_does_not_claim_the_contrary():
    result = made_up(1)
    swapped = {"mmedge": "onnxruntime", "onnxruntime": "mmedge"}
    page = render_page(
        replace(result, segments=tuple(replace(s, contestant=swapped[s.contestant]) for s in result.segments))
    )
    headline = re.search(r"<h1>(.*?)</h1>", page)[1]
    assert "more work" in headline
    assert "later to decide" in headline


def test_a_target_that_is_missed_is_said_with_the_reason(drawn):
    page = drawn[0]
    assert "reached" in page
    assert "missed" not in page[page.index("What was to be reached") : page.index("From sensor to decision")]
    result = made_up(1)
    slow = tuple(replace(s, cpu_ns=4 * s.cpu_ns) if s.contestant == "mmedge" else s for s in result.segments)
    assert "missed: most of its time is front ends, copies, Python (" in render_page(replace(result, segments=slow))


def test_a_variant_that_is_beaten_is_named_and_the_front_joins_the_others(drawn):
    page = drawn[0]
    figure = page[page.index('class="drawing pareto"') :]
    assert "int8-cpu: " in figure
    assert "another one is" not in figure  # one is sooner, the other one is better
    assert len(re.findall("L", re.search(r'd="(M[^"]+)"', figure)[1])) == 1


def test_energy_is_shown_by_its_source_where_the_machine_tells():
    result = made_up(1)
    assert "not readable here" in render_page(result)
    told = tuple(replace(s, joules={"RAPL package-0": 12.0}) for s in result.segments)
    page = render_page(replace(result, segments=told))
    seconds = sum(s.stream_ns for s in told if (s.contestant, s.scenario) == ("mmedge", "paced")) / 1e9
    assert sections(page)["Energy"] == pytest.approx([3 * 12 / seconds] * 2)
    assert "RAPL package-0" in page


def test_a_long_run_alone_can_be_drawn():
    base = varied()
    page = render_page(
        replace(base, segments=tuple(s for s in base.segments if s.scenario == "soak"), blocks=(), starts=())
    )
    assert "A long run" in page
    assert "One paced run" in page
