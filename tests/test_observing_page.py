"""The examples and the tables of docs/observing.md are held against what the program does."""

import re
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic_ns

import numpy as np
import pytest
from duo import PATIENCE_S, until

import mmedge
from mmedge.exposition import exposition
from mmedge.journal import FIELDS

PAGE = (Path(__file__).parents[1] / "docs/observing.md").read_text(encoding="utf-8")
VIEW, SWAP = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def fed(reference_bundle):
    """A live stream of a model, and what pushes to it until the end."""
    ended = Event()
    with mmedge.load(reference_bundle) as model, model.stream(tick="audio", live=True) as stream:

        def push():
            begin_ns = monotonic_ns()
            for i in count():
                if ended.wait(0.005):
                    return
                if i % 4 == 0:
                    stream.push_frame(np.zeros((24, 32, 3), np.uint8), begin_ns + i * 20_000_000)
                stream.push_audio(np.zeros(320, np.float32), begin_ns + i * 20_000_000)

        pushing = Thread(target=push)
        pushing.start()
        yield stream
        ended.set()
        pushing.join()


def test_the_page_is_opened_as_it_says(reference_bundle, capsys):
    pytest.importorskip("cv2")
    with mmedge.load(reference_bundle) as model:
        exec(VIEW, {"model": model, "watch": lambda _: None})
    assert re.fullmatch(r"http://127.0.0.1:\d+/\n", capsys.readouterr().out)


def test_a_model_is_exchanged_as_it_says(fed, reference_bundle, tmp_path, monkeypatch, capsys):
    (tmp_path / "siren-2.mmedge").symlink_to(reference_bundle)
    monkeypatch.chdir(tmp_path)
    page = {"mmedge": mmedge, "stream": fed}

    def compared():
        return page["swap"].report.outputs

    page["sleep"] = lambda _: until(lambda: "event" in compared() and compared()["event"].ticks > 5)
    exec(SWAP.replace("wait(10)", f"wait({PATIENCE_S})"), page)
    assert re.search(r"same label in [\d.]+ %, differs by \S+ at most", capsys.readouterr().out)


def test_every_metric_of_the_table_is_there_and_none_is_left_out(fed):
    pytest.importorskip("prometheus_client")
    until(lambda: fed.metrics()["observed"] >= 3)
    found = fed.metrics()
    rows = [row.split(" | ") for row in re.findall(r"^\| `(.*)$", PAGE, re.MULTILINE) if "| `mmedge_" in row]
    keys = [row[0].strip("`").split(".") for row in rows]
    assert set(found) == {key[0] for key in keys}
    assert set(found["ports"]["audio"]) == {key[2] for key in keys if key[0] == "ports"} - {"state"}
    named = {re.findall(r"mmedge_[a-z_]+", row[1])[0] for row in rows}
    written = set(re.findall(r"^(mmedge_\w+?)(?:_bucket|_count|_sum)?(?:{.*})? ", exposition(found).decode(), re.M))
    assert written == named - {"mmedge_sensor_up"}


def test_every_field_of_the_log_is_named():
    log = PAGE[PAGE.index("## Log") : PAGE.index("## Exchanging")]
    assert set(FIELDS) <= set(re.findall(r"`(\w+)`", log))


def test_every_key_of_a_decision_is_in_the_table():
    rows = PAGE[PAGE.index("## Decisions") : PAGE.index("## Metrics")]
    keys = re.findall(r"^\| `(\w+)` \| `(\w+)`", rows, re.MULTILINE)
    assert {given for _, given in keys} == {*mmedge.Prediction._fields, "abstained"}
    assert all(key == given for key, given in keys)
