"""Against real servers and libraries, where this machine has them."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from time import monotonic_ns

import pytest

from mmedge.errors import InputError
from mmedge.sources import Arrivals, open_gstreamer, open_source

SERVER = Path(__file__).with_name("rtsp_server.py")


class Server:
    """GStreamer's RTSP server, which can be killed and started again."""

    def __init__(self):
        self.port, self.process = 0, None

    def start(self):
        python = shutil.which("python3", path="/usr/bin")
        self.process = subprocess.Popen([python, SERVER, str(self.port)], stdout=subprocess.PIPE, text=True)
        port = int(self.process.stdout.readline())
        assert port == self.port or (port > 0 and not self.port)
        self.port = port

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.mark.rtsp
def test_a_network_camera_that_goes_away_is_found_again():
    pytest.importorskip("cv2")
    server, begun_ns = Server(), monotonic_ns()
    server.start()
    stamps, late_ns = [], []
    try:
        with Arrivals({"camera": open_source(f"rtsp://127.0.0.1:{server.port}/live", "camera")}) as arrivals:
            for _, frame in arrivals:
                assert frame.pixels.shape == (240, 320, 3)
                red, green, blue = frame.pixels[120, 160].tolist()
                assert (red > 200, green < 50, blue < 50) == (True, True, True)
                assert begun_ns < frame.t_ns
                late_ns.append(monotonic_ns() - frame.t_ns)
                stamps.append(frame.t_ns)
                if len(stamps) == 5:
                    server.kill()
                    server.start()
                if arrivals.counters["camera"]["connections"] >= 2 and len(stamps) > 60:
                    break
        counts = arrivals.counters["camera"]
        assert counts["losses"] >= 1
        assert 0 <= min(late_ns) < 1_000_000_000
        steps = sorted(after - before for before, after in pairwise(stamps[-15:]))  # after the backlog of its opening
        assert abs(steps[len(steps) // 2] - 40_000_000) < 5_000_000
    finally:
        server.kill()


@pytest.mark.gstreamer
@pytest.mark.filterwarnings("ignore::ImportWarning")  # PyGObject's own
def test_a_pipeline_gives_pictures_at_its_own_times_until_it_ends():
    source = open_gstreamer(
        "videotestsrc is-live=true pattern=blue num-buffers=12 ! video/x-raw,width=322,height=24,framerate=50/1"
    )
    with Arrivals({"camera": source}) as arrivals:
        frames = [frame for _, frame in arrivals]
    assert arrivals.status["camera"].state == "ended"
    assert len(frames) + arrivals.counters["camera"].get("dropped", 0) == 12
    assert frames[0].pixels.shape == (24, 322, 3)  # rows of 966 bytes, which GStreamer pads
    assert (frames[-1].pixels == (0, 0, 255)).all()
    assert 0 <= monotonic_ns() - frames[-1].t_ns < 1_000_000_000


@pytest.mark.gstreamer
@pytest.mark.filterwarnings("ignore::ImportWarning")  # PyGObject's own
def test_a_pipeline_that_means_nothing_is_refused_at_once():
    with pytest.raises(InputError, match="nonsense"):
        open_gstreamer("videotestsrc ! nonsense")
