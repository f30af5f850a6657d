import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from made_up_results import made_up
from mmedge_bench.cli import bench_command
from mmedge_bench.contestants import candidates, prepare
from mmedge_bench.page.report import render_page
from mmedge_bench.result import read_result

from mmedge.bundle import open_bundle
from mmedge.errors import InputError


@pytest.fixture(scope="module")
def run(reference_bundle, made_once):
    """What the command said, and the folder of its files; two of it at once would be refused."""

    def bench(folder):
        arguments = [str(reference_bundle), "--seconds", "2", "--rounds", "1", "--trtexec"]
        arguments += ["-o", str(folder / "r.json"), "--page", str(folder / "r.html")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tempfile.tempdir", str(folder))
            done = CliRunner().invoke(bench_command, arguments, catch_exceptions=False, standalone_mode=False)
        (folder / "said").write_text(done.output)

    folder = made_once("bench", bench)
    return (folder / "said").read_text(), folder


def test_one_command_writes_samples_and_page(run):
    output, folder = run
    result = read_result(folder / "r.json")
    assert {segment.scenario for segment in result.segments} == {"closed-loop", "paced"}
    assert result.blocks
    assert result.starts
    assert "engine only" in output
    assert (folder / "r.html").read_text().startswith("<!doctype html>")


def test_the_live_stream_runs_where_time_is_real_and_nowhere_else(run):
    segments = [s for s in read_result(run[1] / "r.json").segments if s.contestant == "mmedge live"]
    assert {segment.scenario for segment in segments} == {"paced"}
    assert all(0 < value < 1e9 for segment in segments for value in segment.latency_ns)
    assert all(segment.t_ns for segment in segments)
    quiet = [segment for segment in segments if segment.others < 0.2]  # ticks are passed over where others compute
    assert all(len(segment.t_ns) > 0.8 * segment.expected for segment in quiet)


def test_a_peer_that_is_missing_is_named_with_the_reason(run):
    output, folder = run
    skipped = {c.name: c.skipped for c in read_result(folder / "r.json").contestants if c.skipped}
    assert "give --checkpoint" in skipped["torch eager"]
    assert "skipped: torch eager:" in output


def test_every_number_of_the_table_can_be_computed_from_the_samples(run):
    folder = run[1]
    raw = json.loads((folder / "r.json").read_text())
    raw |= {kind: [row for row in raw[kind] if row["contestant"] == "mmedge"] for kind in ("segments", "starts")}
    page = (folder / "r.html").read_text()
    row = re.search(r'<tr class="ours">.*?</tr>', page, re.DOTALL)[0]
    shown = [float(value) for value in re.findall(r'<data value="([^"]+)"', row)]
    paced = np.array([v for s in raw["segments"] if s["scenario"] == "paced" for v in s["latency_ns"]]) / 1e6
    closed = [s for s in raw["segments"] if s["scenario"] == "closed-loop"]
    work = [s["cpu_ns"] / 1e6 / (s["stream_ns"] / 1e9) for s in closed]
    ordered = np.sort(paced)
    ranks = [int(np.ceil(p / 100 * len(ordered))) - 1 for p in (50, 90, 95, 99, 99.9, 100)]
    period_ms = np.median(np.diff(next(s["t_ns"] for s in raw["segments"] if s["scenario"] == "paced"))) / 1e6
    expected = [s["expected"] for s in raw["segments"] if s["scenario"] == "paced"]
    peaks = [s["peak_kib"] / 1024 for s in (*raw["segments"], *raw["starts"])]
    wanted = [
        np.median(work),
        *ordered[ranks],
        len(ordered),
        1 - (ordered <= period_ms).sum() / max(sum(expected), len(ordered)),
        np.median([s["first_ns"] / 1e9 for s in raw["starts"]]),
        max(peaks),
        raw["contestants"][0].get("difference", 0.0),
    ]
    np.testing.assert_allclose(shown, wanted, rtol=1e-9)


def test_two_benchmarks_at_once_are_refused(reference_bundle, monkeypatch, tmp_path):
    import fcntl

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (tmp_path / "mmedge-bench.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another mmedge bench is running"):
            CliRunner().invoke(bench_command, [str(reference_bundle)], catch_exceptions=False)


def test_an_unknown_peer_is_refused(reference_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where it sees that no other one runs
    with pytest.raises(InputError, match="'tensorflow' is not known; expected mmedge"):
        CliRunner().invoke(bench_command, [str(reference_bundle), "--peer", "tensorflow"], catch_exceptions=False)


def test_the_page_says_who_was_skipped_and_what_is_doubtful():
    page = render_page(replace(made_up(1), warnings=("the machine was busy",)))
    assert "openvino is not installed" in page
    assert "the machine was busy" in page
    assert "<script" not in page
    assert "http" not in re.sub(r'xmlns="[^"]+"', "", page)


def test_a_variant_of_the_bundle_is_no_rival_to_be_sooner_than():
    result = made_up(1)
    assert "sooner from sensor to decision" in render_page(result)
    variant = replace(result.contestants[1], kind="staged", variant="int8-cpu")
    page = render_page(replace(result, contestants=(result.contestants[0], variant)))
    assert "sooner from sensor to decision" not in page
    assert "came after the next was due" in page


def test_a_variant_for_other_backends_is_named_with_the_reason(reference_bundle):
    bundle = open_bundle(reference_bundle)
    fp16 = replace(bundle.manifest.variants["fp32"], backends=("tensorrt",))
    manifest = replace(bundle.manifest, variants={**bundle.manifest.variants, "fp16": fp16})
    ready = prepare(candidates(replace(bundle, manifest=manifest)), bundle, None, None, bundle.path)
    reasons = {candidate.contestant.name: reason for candidate, reason in ready}
    assert reasons["mmedge"] == ""
    assert reasons["mmedge fp16"] == "made for tensorrt; bench runs the CPU"


@pytest.mark.parametrize("width", [390, 1240])
def test_the_page_fits_its_screen(tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here")
    probe = "<script>document.title = document.documentElement.scrollWidth</script>"
    (tmp_path / "page.html").write_text(render_page(made_up(1)).replace("</body>", f"{probe}</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run(
        [*command, str(tmp_path / "page.html")], capture_output=True, text=True, timeout=300, check=True
    )
    assert int(re.search(r"<title>(\d+)</title>", done.stdout)[1]) <= max(width, 500)  # Chromium has no narrower window
