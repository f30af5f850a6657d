"""A microphone without hardware: PulseAudio with a pipe as its source, into which known samples are written on time.

Needs the Debian packages pulseaudio, libasound2-plugins and libportaudio2; neither root nor D-Bus nor a sound card.
"""

import os
import shutil
import subprocess
import tempfile
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from time import monotonic_ns, sleep
from types import TracebackType

import numpy as np
import numpy.typing as npt

__all__ = ["VirtualMicrophone", "missing_for_microphone"]

NS = 1_000_000_000
RATE_HZ = 16000
BLOCK = 160
CYCLE = 30_000  # samples count up through this many values, so that each one says which it is
START_S = 10.0


def missing_for_microphone() -> str:
    """What is not installed, "" if nothing is missing."""
    if shutil.which("pulseaudio") is None:
        return "pulseaudio is not installed; apt install pulseaudio libasound2-plugins libportaudio2"
    if find_spec("sounddevice") is None:
        return "sounddevice is not installed; pip install 'mmedge[mic]'"
    if find_library("portaudio") is None:  # importing sounddevice would look for devices before there is one
        return "PortAudio is not installed; apt install libportaudio2"
    return ""


class VirtualMicrophone:
    """PulseAudio in a folder of its own; a context manager. The device is called "pulse".

    It sets environment variables of this process, which ALSA reads once: make one per process.

    Attributes:
        start_ns: When sample 0 was taken, on the monotonic clock.
        written: Samples so far.
    """

    def __init__(self) -> None:
        self.start_ns = 0
        self.written = 0
        self._folder = Path(tempfile.mkdtemp(prefix="mmedge-pulse-"))
        self._stop, self._muted = Event(), Event()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._write, name="virtual microphone", daemon=True)

    def __enter__(self) -> "VirtualMicrophone":
        pipe, socket, script = (self._folder / name for name in ("pipe", "socket", "script.pa"))
        script.write_text(
            f"load-module module-native-protocol-unix socket={socket} auth-anonymous=1\n"
            f"load-module module-pipe-source source_name=virtual file={pipe} rate={RATE_HZ} channels=1 format=s16le\n"
            "set-default-source virtual\n"
        )
        (self._folder / ".asoundrc").write_text("pcm.pulse { type pulse }\nctl.pulse { type pulse }\n")
        os.environ.update(
            HOME=str(self._folder), XDG_RUNTIME_DIR=str(self._folder), PULSE_SERVER=f"unix:{socket}",
            PULSE_SOURCE="virtual",
        )  # fmt: skip
        log = (self._folder / "log").open("wb")
        self._daemon = subprocess.Popen(
            ["pulseaudio", "-n", "-F", str(script), "--exit-idle-time=-1", "--daemonize=no"], stdout=log, stderr=log
        )
        log.close()
        for _ in range(round(START_S * 20)):
            if socket.exists() and pipe.exists():
                self._thread.start()
                return self
            sleep(0.05)
        said = (self._folder / "log").read_text(errors="replace").strip().splitlines()
        self.__exit__(None, None, None)
        raise RuntimeError(f"pulseaudio did not start: {said[-1] if said else 'it says nothing'}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def mute(self, seconds: float) -> None:
        """Give nothing at all for some time, as a microphone that hangs; what would have been taken is lost."""
        self._muted.set()
        sleep(seconds)
        self._muted.clear()

    def numbers_of(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Which samples these are, modulo ``CYCLE``."""
        return np.round(samples * 32768).astype(np.int64) + CYCLE // 2

    def time_of(self, number: int, about_ns: int) -> float:
        """When a sample was truly taken, in nanoseconds.

        Args:
            number: Modulo ``CYCLE``.
            about_ns: A time within a second of it, which tells the cycles apart.
        """
        expected = (about_ns - self.start_ns) * RATE_HZ / NS
        return self.start_ns + (number + round((expected - number) / CYCLE) * CYCLE) * NS / RATE_HZ

    def _write(self) -> None:
        """Write each block at the moment at which its last sample has been taken."""
        with (self._folder / "pipe").open("wb", buffering=0) as pipe:
            self.start_ns = monotonic_ns()
            first = 0
            while not self._stop.is_set():
                wait_ns = self.start_ns + (first + BLOCK) * NS // RATE_HZ - monotonic_ns()
                if wait_ns > 0:
                    sleep(wait_ns / NS)
                if not self._muted.is_set():
                    numbers = np.arange(first, first + BLOCK) % CYCLE
                    pipe.write((numbers - CYCLE // 2).astype("<i2").tobytes())
                    self.written += BLOCK
                first += BLOCK
