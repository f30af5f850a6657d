"""A camera and a microphone at the boundary of their drivers, which can be pulled out, held up and set."""

from threading import Event, Thread
from time import monotonic_ns, sleep
from types import SimpleNamespace

import numpy as np

NS = 1_000_000_000
CAMERA_HZ, RATE_HZ = 15, 16000


class Camera:
    """What OpenCV gives: BGR pictures at their time, with the driver's stamp."""

    def __init__(self):
        self.plugged, self.clock_offset_ns = True, 0
        self._random, self._due_ns, self._stamp_ns = np.random.default_rng(0), 0, 0

    def open(self, *_):
        return self

    def isOpened(self):
        return self.plugged

    def read(self):
        self._due_ns = max(self._due_ns + NS // CAMERA_HZ, monotonic_ns())
        sleep(max(0, self._due_ns - monotonic_ns()) / NS)
        self._stamp_ns = monotonic_ns()
        pixels = self._random.integers(0, 256, (48, 64, 3), np.uint8)
        return (True, pixels) if self.plugged else (False, None)

    def get(self, _):
        return (self._stamp_ns + self.clock_offset_ns) / 1e6

    def set(self, *_):
        return False

    def release(self):
        pass


class Microphone:
    """The module sounddevice, with one device of one channel."""

    class PortAudioError(Exception):
        pass

    def __init__(self):
        self.plugged, self.running = True, Event()
        self.running.set()

    def InputStream(self, *, blocksize, callback, **_):
        if not self.plugged:
            raise self.PortAudioError("no such device", -9996)
        return _Sound(self, blocksize, callback)

    def _terminate(self):
        pass

    def _initialize(self):
        pass


class _Sound:
    def __init__(self, microphone, size, callback):
        self._microphone, self._size, self._callback = microphone, size, callback
        self._ended, self._random = Event(), np.random.default_rng(0)
        self._thread = Thread(target=self._run)

    @property
    def active(self):
        return self._microphone.plugged

    def start(self):
        self._thread.start()

    def close(self):
        self._ended.set()
        self._thread.join()

    def _run(self):
        begin_ns, n = monotonic_ns(), 0
        while not self._ended.is_set():
            n += 1
            sleep(max(0, begin_ns + n * self._size * NS // RATE_HZ - monotonic_ns()) / NS)
            if self._microphone.running.is_set() and self.active:  # what is not read meanwhile is lost
                samples = 0.1 * self._random.standard_normal((self._size, 1)).astype(np.float32)
                self._callback(samples, self._size, None, SimpleNamespace(input_overflow=False))
