"""A camera on a driver that is made up; OpenCV's own is only asked what is not there."""

from collections import Counter
from time import monotonic_ns

import numpy as np
import pytest
from duo import until

from mmedge.errors import InputError
from mmedge.sources import Arrivals, open_camera, open_network_camera
from mmedge.sources.stamps import StampClock

cv2 = pytest.importorskip("cv2")
NS = 1_000_000_000
BGR = np.full((4, 6, 3), (255, 0, 0), np.uint8)  # blue


class Driver:
    """Gives so many pictures per opening, stamped as told, and then none."""

    def __init__(self, *pictures, stamp=lambda: monotonic_ns(), settings=None):
        self.pictures, self.stamp, self.settings = list(pictures), stamp, settings or {}
        self.opened, self.released, self.asked = [], 0, {}

    def open(self, device):
        self.opened.append(device)
        self.left = self.pictures.pop(0) if self.pictures else -1
        return self

    def isOpened(self):  # noqa: N802
        return self.left >= 0

    def read(self):
        self.left -= 1
        return self.left >= 0, BGR

    def get(self, prop):
        return self.stamp() / 1e6 if prop == cv2.CAP_PROP_POS_MSEC else self.settings.get(prop, 0)

    def set(self, prop, value):
        self.asked[prop] = value
        return True

    def release(self):
        self.released += 1


def test_pictures_are_rgb_and_stamped_by_the_driver():
    taken_ns = monotonic_ns() - 40_000_000
    driver = Driver(1, stamp=lambda: taken_ns)
    with Arrivals({"image": open_camera(3, capture=driver.open)}) as arrivals:
        _, frame = next(arrivals)
    assert driver.opened[0] == 3
    assert frame.pixels[0, 0].tolist() == [0, 0, 255]
    assert abs(frame.t_ns - taken_ns) < 1000  # milliseconds as a float hold microseconds


def test_a_camera_that_is_unplugged_is_waited_for_and_used_again():
    driver = Driver(2, -1, 3)
    with Arrivals({"image": open_camera(0, capture=driver.open)}) as arrivals:
        for _ in arrivals:
            if arrivals.counters["image"]["packets"] == 5:
                arrivals.stop()
    counts = arrivals.counters["image"]
    assert (counts["packets"], counts["connections"]) == (5, 2)
    assert counts["losses"] >= 2
    assert driver.released == len(driver.opened)


def test_what_is_asked_of_the_driver_and_not_given_is_noted():
    driver = Driver(1, settings={cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 480})
    source = open_camera(0, width_px=640, height_px=480, capture=driver.open)
    with Arrivals({"image": source}) as arrivals:
        next(arrivals)
    assert driver.asked == {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480}
    assert arrivals.notes == ["camera 0: frame width is 320, 640 was asked for"]


def test_a_format_has_four_letters():
    with pytest.raises(InputError, match="four letters"):
        open_camera(0, fourcc="JPEG2")


@pytest.mark.parametrize("device", ["/dev/no-such-camera", "/dev/null", 97])
def test_a_camera_that_is_not_there_is_lost_with_a_reason(device):
    with Arrivals({"image": open_camera(device)}) as arrivals:
        until(lambda: arrivals.events)
    event = arrivals.events[0]
    assert event.state == "lost"
    assert str(device) in event.detail
    assert "ls /dev/video*" in event.detail


def test_a_password_stays_out_of_messages():
    source = open_network_camera("rtsp://me:secret@127.0.0.1:1/live?token=x", capture=Driver().open)
    assert source.name == "rtsp://127.0.0.1:1/live"


class TestStamps:
    """When a picture was taken, whatever clock its driver reads."""

    def test_a_stamp_of_the_monotonic_clock_is_taken_as_it_is(self):
        clock = StampClock(Counter())
        assert clock.to_monotonic(5 * NS, 5 * NS + 30_000_000) == 5 * NS

    def test_another_clock_is_put_on_the_monotonic_one(self):
        rng, clock = np.random.default_rng(3), StampClock(Counter())
        for n in range(300):
            taken = 100 * NS + n * NS // 30
            arrival = taken + 20_000_000 + int(rng.exponential(2e6))
            found = clock.to_monotonic(taken + 1_700_000_000 * NS, arrival)
        assert abs(found - 20_000_000 - taken) < 2_000_000

    def test_a_backlog_at_the_opening_does_not_delay_what_comes_after(self):
        clock = StampClock(Counter())
        for n in range(60):
            taken = 100 * NS + n * NS // 25
            arrival = max(taken, 100 * NS + 20 * NS // 25) + 5_000_000  # the first twenty come at once
            found = clock.to_monotonic(n * NS // 25, arrival)
            assert found <= arrival
            if n > 20:
                assert abs(found - taken - 5_000_000) < 100_000

    def test_a_clock_that_is_set_by_an_hour_is_followed_and_counted(self):
        counts = Counter()
        clock = StampClock(counts)
        found = []
        for n in range(60):
            taken = 100 * NS + n * NS // 30
            step = 3600 * NS if n >= 30 else 0
            found.append(clock.to_monotonic(taken + step, taken + 5_000_000) - taken)
        assert counts["clock_steps"] == 1
        assert found[:30] == [0] * 30
        assert max(abs(late - 5_000_000) for late in found[30:]) < 100

    def test_a_picture_without_a_stamp_has_its_time_of_arrival(self):
        counts = Counter()
        clock = StampClock(counts)
        assert [clock.to_monotonic(0, t * NS) for t in (5, 6, 7)] == [5 * NS, 6 * NS, 7 * NS]
        assert counts["unstamped"] == 2
