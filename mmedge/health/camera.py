"""Whether a camera sees: black, covered or frozen, from three thousand pixels of a picture."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mmedge.health.ailment import Ailment, Alarm
from mmedge.health.usual import Usual
from mmedge.types import VideoFrame

__all__ = ["CameraHealth"]

ROWS, COLUMNS, BLOCK = 48, 64, 4
BLACK, LIT = 20.0, 28.0  # of 255, the brightest block of the picture
PLAIN, DETAILED = 4.5, 5.5  # of 255, mean difference of neighbouring blocks; scenes in fog or at night have 6 and more
PLAIN_FROM_THE_START = 2.0
LOST, FOUND = 0.4, 0.6  # of the detail that is usual for this camera


class CameraHealth:
    """Facts of one camera; every picture is looked at in a grid of at most 48 x 64 green pixels.

    Blocks of 4 x 4 of these are averaged first, so that the noise of a dark sensor is no detail.

    Attributes:
        ailment: What is wrong, the most telling one first.
    """

    def __init__(self) -> None:
        self._black = Alarm("black", enter_ms=400, leave_ms=300)
        self._covered = Alarm("covered", enter_ms=600, leave_ms=500)
        self._frozen = Alarm("frozen", enter_ms=1000, leave_ms=100)
        self._usual = Usual()
        self._before: npt.NDArray[np.uint8] | None = None
        self._facts = (0.0, 0.0, 0.0)
        self.ailment: Ailment | None = None

    @property
    def facts(self) -> Mapping[str, float]:
        """Of the newest picture: its brightest block and its detail, of 255, and the detail that is usual."""
        return dict(zip(("brightest", "detail", "usual_detail"), self._facts, strict=True))

    def see(self, packet: VideoFrame) -> list[tuple[int, Ailment | None]]:
        """Take in a picture; returns what is wrong from when on."""
        t_ns, sample = packet.t_ns, _sample(packet.pixels)
        if not sample.size:  # the stream refuses it
            return []
        blocks = _blocks(sample)
        brightest = float(np.maximum.reduce(blocks, axis=None))
        detail = _detail(blocks)
        self._look_at_motion(t_ns, sample)
        self._black.update(t_ns, bad=brightest < BLACK, well=brightest > LIT)
        usual = self._usual.value
        lost = detail < LOST * usual if usual else detail < PLAIN_FROM_THE_START
        found = detail > DETAILED or (usual > 0 and detail > FOUND * usual)
        self._covered.update(t_ns, bad=lost and detail < PLAIN, well=found)
        if not lost and self._covered.ailment is None:
            self._usual.add(t_ns, detail)
        self._facts = brightest, detail, usual
        self.ailment = self._black.ailment or self._covered.ailment or self._frozen.ailment
        return [(t_ns, self.ailment)]

    def _look_at_motion(self, t_ns: int, sample: npt.NDArray[np.uint8]) -> None:
        before = self._before
        # a sensor has noise, so that no two pictures agree in all of these pixels, however still the scene is
        same = before is not None and before.shape == sample.shape and before.tobytes() == sample.tobytes()
        self._frozen.update(t_ns, bad=same, well=not same)
        self._before = sample


def _sample(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[R, C] uint8, the green of every n-th pixel; R and C are multiples of the block where the picture allows."""
    height, width = pixels.shape[:2]
    down, right = max(1, height // ROWS), max(1, width // COLUMNS)
    sample = pixels[: ROWS * down : down, : COLUMNS * right : right, 1]
    rows, columns = (size - size % BLOCK if size > BLOCK else size for size in sample.shape)
    return np.ascontiguousarray(sample[:rows, :columns])


def _blocks(sample: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    rows, columns = sample.shape
    high, wide = (BLOCK if size % BLOCK == 0 else 1 for size in (rows, columns))
    summed = np.add.reduce(sample.reshape(rows // high, high, columns, 1), axis=1, dtype=np.uint32)
    summed = np.add.reduce(summed.reshape(rows // high, columns // wide, wide), axis=2)
    return np.asarray(summed, np.float32) / np.float32(high * wide)


def _detail(blocks: npt.NDArray[np.float32]) -> float:
    """Mean difference of neighbours, down and across."""
    down, across = np.abs(blocks[1:] - blocks[:-1]), np.abs(blocks[:, 1:] - blocks[:, :-1])
    means = [float(np.add.reduce(part, axis=None)) / part.size for part in (down, across) if part.size]
    return sum(means) / len(means) if means else 0.0
