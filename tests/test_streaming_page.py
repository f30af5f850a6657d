"""The examples of docs/streaming.md are run as they stand there."""

import re
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Thread
from time import monotonic_ns, sleep

import numpy as np
from duo import until

import mmedge

PAGE = (Path(__file__).parents[1] / "docs/streaming.md").read_text(encoding="utf-8")
LIVE, DEADLINE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class EnoughError(Exception):
    """Ends a loop that would go on for ever."""


def on_a_thread_of_its_own(threads, give):
    """Calls it every 10 ms until the stream is closed."""

    def work():
        with suppress(mmedge.ClosedError):
            for i in count():
                sleep(0.01)
                give(i)

    threads.append(Thread(target=work))
    threads[-1].start()


def test_the_live_loop_decides_while_two_threads_push(reference_bundle, tmp_path, monkeypatch):
    (tmp_path / "siren.mmedge").symlink_to(reference_bundle)
    monkeypatch.chdir(tmp_path)
    threads, told, begin_ns = [], [], monotonic_ns()
    picture, hop = np.zeros((24, 32, 3), np.uint8), np.zeros(320, np.float32)

    def on_picture(push):
        on_a_thread_of_its_own(threads, lambda _: push(picture))

    def on_sound(push):
        on_a_thread_of_its_own(threads, lambda i: push(hop, begin_ns + i * 20_000_000))

    def act(label, age_ms, degraded):
        told.append((label, age_ms, degraded))
        if len(told) == 5:
            raise EnoughError

    with suppress(EnoughError):
        exec(LIVE, {"on_picture": on_picture, "on_sound": on_sound, "act": act})
    for thread in threads:
        thread.join()
    assert len(told) == 5
    assert all(label and set(age_ms) == {"image", "audio"} for label, age_ms, _ in told)


def test_deadline_and_counters_are_as_the_page_says(reference_bundle, tmp_path, monkeypatch, capsys):
    (tmp_path / "siren.mmedge").symlink_to(reference_bundle)
    monkeypatch.chdir(tmp_path)
    streams = []

    def play(stream):
        streams.append(stream)
        for i in range(9):
            stream.push_frame(np.zeros((24, 32, 3), np.uint8), 500_000_000 + i * 66_666_667)
            until(lambda i=i: stream.runs["image.item"] == i + 1)
        until(lambda: stream.branches["image"].encoded)
        for i in count():
            stream.push_audio(np.zeros(320, np.float32), i * 20_000_000)
            if stream.totals["ticks"] >= 5:
                return
            sleep(0.002)

    exec(DEADLINE, {"play": play, "mmedge": mmedge})
    *lines, totals, counters = capsys.readouterr().out.splitlines()
    assert len(lines) >= 5
    for word in re.findall(r"print\(stream.totals\) +# (.*)", DEADLINE)[0].split(", "):
        assert f"'{word}'" in totals
    for word in re.findall(r"by port: (.*) \.\.\.", DEADLINE)[0].split(", "):
        assert f"'{word}'" in counters


def test_every_count_that_the_page_explains_is_there(reference_bundle):
    with mmedge.load(reference_bundle) as model, model.stream("50hz", live=True) as stream:
        known = {name for counts in stream.counters.values() for name in counts} | set(stream.totals)
    table = PAGE[PAGE.index("## When something") : PAGE.index("## What holds")]
    explained = {
        name for row in table.splitlines() if row.startswith("|") for name in re.findall(r"`(\w+)`", row.split("|")[3])
    }
    assert explained
    assert explained <= known
