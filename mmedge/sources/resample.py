"""Sound at another rate, through soxr, block by block."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from mmedge.errors import MissingLibraryError, SourceError, needs

__all__ = ["needs_resampler", "resample"]

Samples = npt.NDArray[np.float32]


def needs_resampler(name: str, rate_hz: int, wanted_hz: int) -> None:
    """Make sure that `resample` will work, before anything is read.

    Raises:
        SourceError: soxr is not installed; the text gives both ways out.
    """
    try:
        needs("soxr", fix="pip install 'mmedge[resample]'")
    except MissingLibraryError as error:
        raise SourceError(
            f"{name} is {rate_hz} Hz, the model expects {wanted_hz} Hz; pip install 'mmedge[resample]' "
            f"or convert it: ffmpeg -i '{name}' -ar {wanted_hz} -ac 1 OUT.wav"
        ) from error


def resample(blocks: Iterable[Samples], rate_hz: int, wanted_hz: int) -> Iterator[Samples]:
    """Blocks of [N] float32 at another rate: the same numbers as resampling all of it at once.

    soxr's filter is linear-phase and its delay is already taken out: sample k of the output belongs to the time
    k / wanted_hz after the first sample of the input. Only its arrival is late, by the filter's look-ahead. The blocks
    given out are new.
    """
    soxr = needs("soxr", fix="pip install 'mmedge[resample]'")
    stream = soxr.ResampleStream(rate_hz, wanted_hz, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
