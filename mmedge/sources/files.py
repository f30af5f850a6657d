"""What can be said of a recording before anything decodes it: is it there, and is it whole."""

import os
from pathlib import Path
from typing import BinaryIO

from mmedge.errors import SourceError

__all__ = ["checked_file", "is_mp4", "is_wav", "missing_bytes", "why_unreadable"]

_MAX_BOXES = 100_000  # a fragmented hour has about ten thousand; a hostile file must not keep us here
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide")


def checked_file(path: Path | str) -> Path:
    """The path of a readable file with something in it.

    Raises:
        SourceError: It does not exist, is no regular file, may not be read, or is empty.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; expected a recording")
    if not path.is_file():
        raise SourceError(f"{path} is not a file; expected a recording")
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path} may not be read; check its permissions")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes); record or copy it again")
    return path


def is_wav(path: Path) -> bool:
    """Whether the first bytes are those of a WAV file (RIFF or RF64)."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE"


def is_mp4(path: Path) -> bool:
    """Whether the file is made of boxes (MP4, MOV), which declare an exact number of frames."""
    with path.open("rb") as file:
        return file.read(8)[4:] in _BOXES


def why_unreadable(path: Path, guess: str) -> str:
    """A guess at why a decoder refused the file, or the fact that it is cut off."""
    cut = missing_bytes(path)
    return (
        f"it is cut off, {cut} bytes are missing; copy it again" if cut else f"{guess}; check it with: ffprobe '{path}'"
    )


def missing_bytes(path: Path) -> int:
    """How many bytes the container promises beyond the end of the file; 0 where it is whole or does not say.

    Decoders stop quietly at the end of a file that was cut off, so the container's own bookkeeping is asked: the boxes
    of MP4 and MOV, the segment of Matroska and WebM, the RIFF chunk of AVI. A transport stream promises nothing.

    Source: ISO/IEC 14496-12 section 4.2 (boxes); RFC 8794 section 6 and RFC 9559 section 5.1 (EBML, Segment).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in _BOXES:
            promised = _end_of_boxes(file, size)
        elif head[:4] == _EBML:
            promised = _end_of_segment(file)
        elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
            promised = 8 + int.from_bytes(head[4:8], "little")
        else:
            promised = 0
    return max(0, promised - size)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    end = 0
    for _ in range(_MAX_BOXES):
        if end >= size:
            break
        file.seek(end)
        header = file.read(16)
        if len(header) < 8:
            return end + 8
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # 0 reaches to the end of the file; anything else is damage, for the decoder to find
            break
        end += length
    return end


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(len(_EBML))
    header_size = _read_vint(file)
    file.seek(header_size or 0, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    segment_size = _read_vint(file)
    return 0 if segment_size is None else file.tell() + segment_size


def _read_vint(file: BinaryIO) -> int | None:
    """An EBML size; None where it says that it does not know (a recording that nobody closed)."""
    first = file.read(1)
    if not first or first == b"\0":
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(extra), "big") & ((1 << (7 * (extra + 1))) - 1)
    return None if value == (1 << (7 * (extra + 1))) - 1 else value
