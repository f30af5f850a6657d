"""The page about a stream: what it shows, and whom it refuses."""

import json
import socket
import threading
from contextlib import suppress
from http.client import HTTPConnection
from threading import Event, Thread
from time import monotonic_ns, sleep

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from duo import PATIENCE_S, until

from mmedge.errors import InputError, SourceError
from mmedge.types import NS
from mmedge.view import View
from mmedge.view.server import Audience
from mmedge.view.spectrogram import BANDS, COLUMNS_HZ, Spectrogram

pytest.importorskip("cv2")


def push_until(stream, ended):
    """A moving picture and a tone that comes and goes, in real time or as near to it as the machine comes."""
    begin_ns, hop = monotonic_ns(), 0
    t = np.arange(320) / 16000
    while not ended.is_set():
        if hop % 4 == 0:
            pixels = np.zeros((240, 320, 3), np.uint8)
            pixels[:, 5 * hop % 300 : 5 * hop % 300 + 20] = (250, 120, 30)
            stream.push_frame(pixels, begin_ns + hop * NS // 50)
        loud = 0.3 if hop // 25 % 2 else 0.0
        stream.push_audio((loud * np.sin(2 * np.pi * 1000 * t)).astype(np.float32), begin_ns + hop * NS // 50)
        hop += 1
        sleep(max(0, (begin_ns + hop * NS // 50 - monotonic_ns()) / NS))


@pytest.fixture
def running(model):
    """A stream that runs, with its page."""
    ended = Event()
    with model.stream("audio", live=True) as stream, View(stream, port=0) as view:
        stream.decider.attribute = lambda _: {"event": {"image": 0.7, "audio": -0.2}}
        pushing = Thread(target=push_until, args=(stream, ended))
        pushing.start()
        try:
            yield stream, view
        finally:
            ended.set()
            pushing.join()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("mmedge")]


@pytest.fixture
def view(model):
    """The page of a stream that is given nothing."""
    with model.stream("audio") as stream, View(stream, port=0) as view:
        yield view


def get(view, path="/", **headers):
    address = view.url.split("/")[2]
    connection = HTTPConnection(address, timeout=PATIENCE_S)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1440, 390])
def test_a_browser_shows_pictures_sound_and_changing_decisions(running, width):
    _, view = running
    with Browser(width, 900, mobile=width < 500) as page:
        page.open(view.url)
        page.wait("document.querySelector('#link')?.textContent === 'live'")
        page.wait("document.querySelector('.sense img').naturalWidth === 320")
        first = page.ask("document.querySelector('.sense img').src")
        page.wait(f"document.querySelector('.sense img').src !== '{first}'")
        page.wait("document.querySelector('.verdict').textContent !== '–'")
        value = "[...document.querySelectorAll('.prob .value')].map(each => each.textContent).join()"
        seen = page.ask(value)
        page.wait(f"{value} !== '{seen}'")
        colours = "new Set(document.querySelector('.sense canvas').getContext('2d').getImageData(300, 0, 200, 64).data)"
        page.wait(f"{colours}.size > 40")
        page.wait("parseFloat(document.querySelector('#rate').textContent) > 10")
        page.wait("[...document.querySelectorAll('#stages tr')].length >= 3")
        page.wait("[...document.querySelectorAll('.port .age')].every(each => /^-?\\d+ ms$/.test(each.textContent))")
        page.wait("document.querySelector('#shares').textContent === 'image +0.70audio −0.20'")
        assert page.ask("document.querySelector('#attribution').offsetHeight > 20")
        assert page.ask("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.complaints == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_says_that_the_stream_has_ended(model):
    with model.stream("audio") as stream, Browser() as page:
        with View(stream, port=0) as view:
            page.open(view.url)
            page.wait("document.querySelector('#link')?.textContent === 'live'")
        page.wait("document.querySelector('#link').textContent === 'ended'")
        assert page.complaints == []


def test_the_page_loads_nothing_from_elsewhere(view):
    status, page, headers = get(view)
    assert status == 200
    assert b"http://" not in page
    assert b"https://" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Server"] == "mmedge"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "192.168.1.4", "127.0.0.1.evil.example", "[::1", "", "localhost.evil"]
)
@pytest.mark.parametrize("path", ["/", "/events", "/picture/0", "/metrics", "/metrics.json"])
def test_a_name_that_is_not_this_machine_is_refused(view, host, path):
    assert get(view, path, Host=host)[0] == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1", "127.0.0.1:1", "[::1]:8765"])
def test_names_of_this_machine_are_served(view, host):
    assert get(view, "/metrics.json", Host=host)[0] == 200


def test_other_sites_may_not_read_it(view):
    assert get(view, "/metrics.json", Origin="http://evil.example")[0] == 403
    assert get(view, "/picture/0", Sec_Fetch_Site="cross-site")[0] == 403
    assert get(view, "/events", Sec_Fetch_Site="cross-site")[0] == 403
    assert get(view, "/", Sec_Fetch_Site="cross-site")[0] == 200  # a link to the page
    assert get(view, "/metrics.json", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/picture/../view.js", "/picture/99999999999", "/picture/-1",
     "/picture/%C2%B2", "//etc/passwd", "/view.css"],
)  # fmt: skip
def test_there_are_no_other_addresses(view, path):
    assert get(view, path)[0] == 404


def raw(view, content):
    host, port = view.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(content)
        return connection.recv(100)


def test_requests_that_are_too_large_are_refused(view):
    assert b" 414 " in raw(view, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n")
    assert b" 431 " in raw(view, b"GET / HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n")
    assert b" 431 " in raw(view, b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(200)) + b"\r\n")
    assert b" 421 " in raw(view, b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert b" 501 " in raw(view, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert get(view)[0] == 200


def test_many_connections_do_not_stop_it_from_closing(view):
    host, port = view.url.split("/")[2].split(":")
    idle = [socket.create_connection((host, int(port)), timeout=PATIENCE_S) for _ in range(100)]
    for connection in idle:
        connection.close()

    def is_served():
        with suppress(OSError):  # closed again while there are too many
            return get(view)[0] == 200

    until(is_served)


def test_a_browser_that_reads_nothing_slows_nobody(running):
    stream, view = running
    host, port = view.url.split("/")[2].split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect((host, int(port)))
        deaf.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = stream.totals["ticks"]
        until(lambda: stream.totals["ticks"] >= before + 20)


def test_who_is_too_slow_misses_the_oldest_messages():
    audience = Audience()
    queue = audience.join()
    for number in range(100):
        audience.tell(b"%d" % number)
    assert queue.get_nowait() == b"92"
    assert audience.missed == 92
    audience.leave(queue)
    assert len(audience) == 0


def test_nothing_is_copied_while_nobody_looks(model):
    with model.stream("audio") as stream, View(stream, port=0) as view:
        stream.push_frame(np.zeros((24, 32, 3), np.uint8), 0)
        sleep(0.2)
        assert get(view, "/picture/0")[0] == 404
        assert len(stream.taps) == 1
    assert not stream.taps


def test_the_next_free_port_is_taken_unless_one_was_asked_for(model):
    with model.stream("audio") as stream, View(stream) as first, View(stream) as second:
        ports = [int(view.url.split(":")[2].strip("/")) for view in (first, second)]
        assert ports[1] > ports[0] >= 8765
        observers = len(stream.observers)
        with pytest.raises(SourceError, match=f"port {ports[0]} of 127.0.0.1 cannot be used: Address already in use"):
            View(stream, port=ports[0])
        with pytest.raises(InputError, match="port 70000 does not exist"):
            View(stream, port=70000)
        assert (len(stream.observers), len(stream.taps)) == (observers, 2)


def test_metrics_are_served_for_prometheus(running):
    parser = pytest.importorskip("prometheus_client.parser")
    stream, view = running
    until(lambda: stream.totals["ticks"] > 20)
    status, text, headers = get(view, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {family.name: family for family in parser.text_string_to_metric_families(text.decode())}
    (ticks,) = found["mmedge_ticks"].samples
    assert 20 < ticks.value <= stream.totals["ticks"]
    latency = [each for each in found["mmedge_latency_seconds"].samples if each.name.endswith("_bucket")]
    assert latency[-1].labels["le"] == "+Inf"
    assert [each.value for each in latency] == sorted(each.value for each in latency)
    assert {each.labels["port"] for each in found["mmedge_age_seconds"].samples} == {"image", "audio"}
    kinds = {(each.labels["port"], each.labels["kind"]) for each in found["mmedge_port_events"].samples}
    assert {("image", "dropped"), ("audio", "lost_samples"), ("image", "stale")} <= kinds


def test_a_tone_is_where_its_pitch_is():
    rate_hz = 16000
    spectrogram = Spectrogram(rate_hz)
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz)).astype(np.float32)
    columns = np.concatenate([spectrogram.push(part) for part in np.array_split(tone, 33)])
    assert columns.shape == (COLUMNS_HZ - 3, BANDS)  # the first ones are not whole
    assert set(columns.argmax(axis=1)) == {np.searchsorted(spectrogram.edges_hz, 1000) - 1}
    assert columns.max() == pytest.approx(255 * (90 - 6) / 90, abs=4)  # half of full scale
    assert not spectrogram.push(np.full(4000, np.nan, np.float32))[-1].any()


def test_run_shows_a_page_and_writes_metrics(mmedge_cli, reference_bundle, tmp_path, clip):
    told = mmedge_cli(
        "run", reference_bundle, "--camera", clip.video, "--jsonl", tmp_path / "out.jsonl", "--log", "info",
        "--metrics", tmp_path / "metrics.jsonl", "--view", "0",
    )  # fmt: skip
    assert told.status == 0, told.err
    assert "view: http://127.0.0.1:" in told.err
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["ticks"] == len((tmp_path / "out.jsonl").read_text().splitlines())
    assert lines[-1]["latency_ms"]["count"] == lines[-1]["ticks"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--view", "abc"], "--view abc: expected the number of a port"),
        (["--view", "99999"], "port 99999 does not exist"),
        (["--metrics", "VIDEO"], "holds something else than metrics"),
        (["--view", "0", "--view-host", "203.0.113.7"], "cannot be used"),
    ],
)
def test_run_refuses_in_one_line(mmedge_cli, reference_bundle, clip, options, message):
    size = clip.video.stat().st_size
    given = [clip.video if each == "VIDEO" else each for each in options]
    told = mmedge_cli("run", reference_bundle, "--camera", clip.video, *given)
    assert told.status == 1
    assert message in told.err
    assert "Traceback" not in told.err
    assert clip.video.stat().st_size == size


def test_run_warns_where_others_can_see(mmedge_cli, reference_bundle, clip):
    told = mmedge_cli("run", reference_bundle, "--camera", clip.video, "--view", "0", "--view-host", "0.0.0.0")
    assert told.status == 0, told.err
    assert "warning: whoever reaches 0.0.0.0 sees camera and microphone, without a password" in told.err
