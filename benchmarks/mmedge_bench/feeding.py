"""Noise at the rates of a model's sensors, for benchmarks of streams."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic_ns, sleep

import numpy as np
import numpy.typing as npt

from mmedge.backends.base import Session
from mmedge.bundle import open_bundle
from mmedge.manifest import Manifest
from mmedge.stream import Stream
from mmedge.types import NS
from mmedge_bench.injection import Injection, SlowedSession
from mmedge_bench.setup import open_stages

__all__ = ["Feeder", "open_sessions"]

CAMERA_HZ = 15  # where the model does not say
SEED = 0


def open_sessions(bundle: Path, slow: Mapping[str, float] | None = None) -> tuple[Manifest, dict[str, Session]]:
    """The manifest and a session for every stage, on one thread each.

    Args:
        bundle: Its folder.
        slow: By stage, seconds that each run takes longer.
    """
    opened = open_bundle(bundle)
    sessions: dict[str, Session] = dict(open_stages(opened, "fp32", threads=1))
    for name, seconds in (slow or {}).items():
        sessions[name] = SlowedSession(sessions[name], Injection(stage=name, sleep_ms=1e3 * seconds))
    return opened.manifest, sessions


class Feeder:
    """Pushes noise, hop by hop and picture by picture, for a model with one audio port and at most one camera.

    Args:
        manifest: The model.

    Attributes:
        hop_ns: Time between two hops.
        warm_hops: Hops until every window is full.
    """

    def __init__(self, manifest: Manifest) -> None:
        ports = manifest.ports.values()
        self.audio = next(port.audio for port in ports if port.audio)
        self.camera = next((port.camera for port in ports if port.camera), None)
        random = np.random.default_rng(SEED)
        self.hop_ns = self.audio.hop_samples * NS // self.audio.rate_hz
        self.camera_ns = int(NS / ((self.camera and self.camera.rate_hz) or CAMERA_HZ))
        frames_ns = self.camera.frames * self.camera_ns if self.camera else 0
        window_ns = self.audio.window_samples * NS // self.audio.rate_hz
        self.warm_hops = max(window_ns, frames_ns) // self.hop_ns + 2
        self._sound = (0.1 * random.standard_normal((64, self.audio.hop_samples))).astype(np.float32)
        self._pictures = random.integers(0, 256, (8, 240, 320, 3), dtype=np.uint8)

    def hop(self, number: int) -> npt.NDArray[np.float32]:
        """The sound of one hop."""
        samples: npt.NDArray[np.float32] = self._sound[number % len(self._sound)]
        return samples

    def show(self, stream: Stream, begin_ns: int, number: int) -> None:
        """Push the picture that comes during a hop, if one does."""
        if self.camera is None:
            return
        picture = -(-number * self.hop_ns // self.camera_ns)
        if picture * self.camera_ns < (number + 1) * self.hop_ns:
            stream.push_frame(self._pictures[picture % len(self._pictures)], begin_ns + picture * self.camera_ns)

    def feed_live(self, stream: Stream, hops: int, see: Callable[[int], bool] = lambda _: True) -> int:
        """Push at the sensors' own pace, each hop when it is over.

        Args:
            stream: A live one.
            hops: How many hops of sound.
            see: Whether the camera works at a hop, by its number.

        Returns:
            When the first hop began.
        """
        begin_ns = monotonic_ns()
        for number in range(hops):
            if see(number):
                self.show(stream, begin_ns, number)
            sleep(max(0, begin_ns + (number + 1) * self.hop_ns - monotonic_ns()) / NS)
            stream.push_audio(self.hop(number), begin_ns + number * self.hop_ns)
        sleep(0.2)  # until the last one is decided
        return begin_ns
