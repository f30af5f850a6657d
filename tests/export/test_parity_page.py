"""The proof as a page: well formed, self-contained, and every number of the report on it."""

import re
from dataclasses import replace

import pytest
from html_page import Page
from mmedge_export.parity.comparison import SAMPLES, Comparison, ParityReport
from mmedge_export.parity.page import render_parity

from mmedge.bundle import open_bundle

WHAT = ("torch float64 against the ONNX graph", "the ONNX graph against its stages")
CASES = (SAMPLES, "image alone", "audio alone")
HOSTILE = "</title><script>alert(1)</script>"


def row(what, tensor, case, share):
    return Comparison(tensor=tensor, what=what, case=case, difference=share * 1e-5, tolerance=1e-5, scale=2.0)


@pytest.fixture
def report():
    rows = [
        row(what, tensor, case, 0.1 * (i + 1))
        for what in WHAT
        for tensor in ("event", "view_1")
        for i, case in enumerate(CASES)
    ]
    return ParityReport(
        samples=4,
        real=True,
        original="torch float64",
        reference="torch 2.13 float64",
        cases=CASES,
        comparisons=tuple(rows),
        notes=("h alone: not compared",),
    )


@pytest.fixture
def manifest(reference_bundle):
    return open_bundle(reference_bundle).manifest


@pytest.fixture
def operators(manifest):
    return {stage.name: {"Conv": 7, "Relu": 3} for stage in manifest.stages}


def test_page_is_well_formed_and_needs_nothing_else(report, manifest, operators):
    text = render_parity(report, manifest, operators)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {"h1", "svg", "table", "caption", "title", "desc"} <= set(page.tags)
    assert not {"script", "link", "iframe", "object", "embed", "form", "img"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    named = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert set(" ".join(named).split()) <= set(page.ids)


def test_every_comparison_is_on_the_page(report, manifest, operators):
    page = Page(render_parity(report, manifest, operators))
    assert "The bundle computes what the model computes" in page.text
    assert "12 of 12 comparisons hold" in page.text
    assert "h alone: not compared" in page.text
    numbers = page.tables[-1][1:]
    assert sorted(cell[3][0] for cell in numbers) == sorted(row.difference for row in report.comparisons)
    assert page.tags.count("circle") >= len(report.comparisons)


def test_the_cut_is_drawn_with_what_crosses_it(report, manifest, operators):
    page = Page(render_parity(report, manifest, operators))
    for stage in manifest.stages:
        assert stage.name in page.text
        for tensor in stage.outputs:
            assert tensor in page.text
    assert "cut by time: 8 results kept" in page.text
    assert "cut by sensor: 5 tensors" in page.text
    assert "ring of 8" in page.text


def test_a_model_that_was_kept_whole_is_told_why(report, manifest, operators):
    page = Page(render_parity(report, replace(manifest, kept_whole="early fusion: nothing to split"), operators))
    assert "Kept whole: early fusion: nothing to split" in page.text


def test_random_samples_are_said_to_be_random(report, manifest, operators):
    page = Page(render_parity(replace(report, real=False), manifest, operators))
    assert "Anything about real data: these samples are random." in page.text


def test_what_is_not_allowed_is_shown_as_such(report, manifest, operators):
    worse = (*report.comparisons, row(WHAT[0], "transpose_9", SAMPLES, 40.0))
    text = render_parity(replace(report, comparisons=worse), manifest, operators)
    page = Page(text)
    assert "The bundle is not the model" in page.text
    assert "12 of 13 comparisons hold" in page.text
    assert "dot from-refused" in text
    assert 'class="refused"' in text


def test_names_from_a_file_are_not_markup(report, manifest, operators):
    hostile = replace(report, comparisons=(row(WHAT[0], HOSTILE, SAMPLES, 0.5),), notes=(HOSTILE,))
    assert "script" not in Page(render_parity(hostile, manifest, operators)).tags
