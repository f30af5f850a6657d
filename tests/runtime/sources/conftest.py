"""Recordings made on the spot: what is in them is known to the sample and to the frame."""

import struct
from fractions import Fraction

import numpy as np
import pytest

WIDTH, HEIGHT, RATE_HZ = 64, 48, 25
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def picture(n, width=WIDTH, height=HEIGHT):
    """Noise, so that a frame has some bytes, with a red corner at the top left to tell which way is up. RGB."""
    pixels = np.random.default_rng(n).integers(0, 128, (height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    return pixels


@pytest.fixture
def write_video(tmp_path):
    """Write a constant-rate video through OpenCV."""
    cv2 = pytest.importorskip("cv2")

    def write(name="clip.mp4", frames=50, codec="mp4v"):
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), RATE_HZ, (WIDTH, HEIGHT))
        assert writer.isOpened()
        for n in range(frames):
            writer.write(picture(n)[..., ::-1])
        writer.release()
        return path

    return write


@pytest.fixture
def write_wav(tmp_path):
    """Write [N] or [N, C] samples bit for bit; ``declared`` puts another length in the header."""

    def write(samples, name="clip.wav", *, rate_hz=16000, tag=1, bits=16, extensible=False, declared=None, before=b""):
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        form = struct.pack(
            "<HHIIHH", tag, channels, rate_hz, rate_hz * channels * bits // 8, channels * bits // 8, bits
        )
        if extensible:
            form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHIH", 22, bits, 0, tag) + GUID_TAIL
        data = samples.tobytes() if bits != 24 else samples.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
        length = len(data) if declared is None else declared
        body = (
            b"WAVE"
            + before
            + b"fmt "
            + struct.pack("<I", len(form))
            + form
            + b"data"
            + struct.pack("<I", length)
            + data
        )
        path = tmp_path / name
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body)
        return path

    return write


@pytest.fixture
def write_media(tmp_path):
    """Write a file through PyAV: pictures at given milliseconds, and [N] or [N, C] sound that starts when told."""
    av = pytest.importorskip("av")

    def write(
        name, *, picture_ms=(), sound=None, rate_hz=16000, sound_start_s=0.0, rotate=None, codec="mpeg4", options=None
    ):
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {}) as container:
            streams = []
            if picture_ms:
                video = container.add_stream(codec, rate=RATE_HZ)
                video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
                video.codec_context.time_base = Fraction(1, 1000)
                if rotate is not None:
                    video.set_display_rotation(rotate)
                streams.append((video, [_frame(av, n, ms) for n, ms in enumerate(picture_ms)]))
            if sound is not None:
                audio = container.add_stream("aac", rate=rate_hz, layout="mono" if sound.ndim == 1 else "stereo")
                planes = np.ascontiguousarray(np.atleast_2d(sound.T), np.float32)
                frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=audio.layout.name)
                frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
                frame.pts = round(sound_start_s * rate_hz)
                streams.append((audio, [frame]))
            for stream, frames in streams:
                for frame in [*frames, None]:
                    container.mux(stream.encode(frame))
        return path

    return write


def _frame(av, n, ms):
    frame = av.VideoFrame.from_ndarray(picture(n), format="rgb24")
    frame.pts, frame.time_base = ms, Fraction(1, 1000)
    return frame
