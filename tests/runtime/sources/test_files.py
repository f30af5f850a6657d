import struct

import pytest

from mmedge.errors import SourceError
from mmedge.sources.files import checked_file, missing_bytes

EBML = b"\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67"


def box(kind, body, promised=None):
    return struct.pack(">I", len(body) + 8 if promised is None else promised) + kind + body


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (box(b"ftyp", b"isom") + box(b"mdat", b"x" * 100) + box(b"moov", b"y" * 10), 0),
        (box(b"ftyp", b"isom") + box(b"mdat", b"x" * 100, promised=208), 100),
        (box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"mdat", 2**33) + b"x" * 84, 2**33 - 100),
        (box(b"ftyp", b"isom") + box(b"mdat", b"x" * 100, promised=0), 0),  # reaches to the end, whatever that is
        (box(b"ftyp", b"isom") + box(b"mdat", b"x" * 100, promised=5), 0),  # damage is for the decoder
        (box(b"ftyp", b"isom") + b"\0\0\0", 5),
        (box(b"ftyp", b"isom") + box(b"free", b"") * 300_000, 0),  # not walked to its end
        (EBML + b"\x8a" + b"x" * 10, 0),
        (EBML + b"\x8a" + b"x" * 4, 6),
        (EBML + b"\x41\x00" + b"x" * 6, 250),
        (EBML + b"\x01\xff\xff\xff\xff\xff\xff\xff" + b"x" * 4, 0),  # nobody closed it: it does not say
        (EBML + b"\x00" + b"x" * 4, 0),
        (EBML, 0),
        (EBML[:7], 0),
        (b"RIFF" + struct.pack("<I", 104) + b"AVI " + b"x" * 60, 40),
        (b"G" * 188, 0),
        (b"x", 0),
    ],
)
def test_missing_bytes_are_those_the_container_promises(tmp_path, content, missing):
    path = tmp_path / "clip"
    path.write_bytes(content)
    assert missing_bytes(path) == missing


def test_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root, who may read everything
    with pytest.raises(SourceError, match="may not be read"):
        checked_file(path)
