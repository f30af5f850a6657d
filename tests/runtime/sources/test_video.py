import itertools
import subprocess
import sys

import numpy as np
import pytest

from mmedge.errors import ClosedError, ShortSourceError, SourceError
from mmedge.sources import open_video

pytest.importorskip("cv2")
MS = 1_000_000


def test_frames_come_in_rgb_at_the_times_of_the_file(write_video):
    with open_video(write_video(frames=30)) as video:
        frames = list(video)
    assert [frame.t_ns for frame in frames] == [n * 40 * MS for n in range(30)]
    assert (video.width_px, video.height_px, video.rate_hz, video.duration_ns) == (64, 48, 25.0, 1200 * MS)
    red, green, blue = frames[5].pixels[10, 10].astype(int)
    assert red > 200 > 60 > max(green, blue)
    assert video.notes == []


def test_start_shifts_every_frame(write_video):
    with open_video(write_video(frames=3), start_ns=760 * MS) as video:
        assert [frame.t_ns for frame in video] == [760 * MS, 800 * MS, 840 * MS]


def test_frames_own_their_pixels(write_video):
    with open_video(write_video(frames=20)) as video:
        first = next(video)
        before = first.pixels.copy()
        last = [*video][-1]
    np.testing.assert_array_equal(first.pixels, before)
    assert not np.array_equal(last.pixels, before)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_variable_frame_rate_keeps_its_times(write_media, name):
    times_ms = np.cumsum(np.random.default_rng(0).integers(10, 120, 40)).tolist()
    with open_video(write_media(name, picture_ms=times_ms)) as video:
        assert [frame.t_ns for frame in video] == [(ms - times_ms[0]) * MS for ms in times_ms]


def test_rotation_of_the_file_is_applied_and_noted(write_media):
    path = write_media("phone.mp4", picture_ms=range(0, 400, 40), rotate=90)
    with open_video(path) as video:
        frame = next(video)
    assert (video.width_px, video.height_px) == (48, 64) == (frame.pixels.shape[1], frame.pixels.shape[0])
    assert "turned by" in video.notes[0]
    red = frame.pixels[..., 0].astype(int) - frame.pixels[..., 1]
    assert red[50, 10] > 150 > red[10, 10]  # top left has become bottom left


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "does not exist"), (b"", "is empty"), (b"hello, not a video\n" * 20, "cannot be opened as a video")],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, content, text):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=text) as caught:
        open_video(path)
    assert "\n" not in str(caught.value)


def test_refusals_print_nothing(write_video):
    cut = cut_in_half(write_video("cut.avi", frames=50, codec="MJPG"))
    text = cut.with_name("text.mp4")
    text.write_text("hello, not a video\n" * 20)
    code = f"""
import os
from mmedge.errors import SourceError
from mmedge.sources import open_video
for path in {[str(text), str(cut)]}:
    try:
        list(open_video(path))
    except SourceError:
        print("refused")
assert 'OPENCV_FFMPEG_LOGLEVEL' not in os.environ
"""
    # A process of its own: FFmpeg's log level is set once, by whoever uses OpenCV's FFmpeg first.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\nrefused\n", "")


def test_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is not a file"):
        open_video(tmp_path)


def test_video_without_pictures_is_refused(write_media):
    path = write_media("sound.mp4", sound=np.zeros(16000))
    with pytest.raises(SourceError, match="without pictures"):
        open_video(path)


def test_writer_that_wrote_no_frame_is_refused(write_video):
    with pytest.raises(SourceError, match=r"cannot be opened as a video|no frame"):
        open_video(write_video(frames=0))


def test_cover_art_is_not_a_video(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        image = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        for stream, frame in [(cover, image), (cover, None), (audio, sound), (audio, None)]:
            container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="cover art"):
        open_video(path)


def test_mp4_without_its_index_is_refused_as_cut_off(write_video):
    with pytest.raises(SourceError, match=r"cut off, [0-9]+ bytes are missing"):
        open_video(cut_in_half(write_video(frames=50)))


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def read_to_complaint(source):
    """Everything up to the end that the source complains about, and the complaint."""
    packets = []
    with pytest.raises(ShortSourceError) as caught:
        packets.extend(source)
    assert list(source) == []  # said once
    return packets, str(caught.value)


@pytest.mark.parametrize(("name", "options"), [("cut.mkv", {}), ("cut.mp4", {"movflags": "faststart"})])
def test_cut_off_video_is_read_to_its_end_then_refused(write_media, name, options):
    with open_video(cut_in_half(write_media(name, picture_ms=range(0, 4000, 40), options=options))) as video:
        frames, text = read_to_complaint(video)
    assert 1 < len(frames) < 99
    assert "is cut off" in text
    assert f"ends at {len(frames) * 0.04:.2f} s" in text
    assert "--allow-short" in text


def test_cut_off_avi_is_read_to_its_end_then_refused(write_video):
    with open_video(cut_in_half(write_video("cut.avi", frames=100, codec="MJPG"))) as video:
        frames, _ = read_to_complaint(video)
    assert 1 < len(frames) < 99


def test_frames_hidden_by_an_edit_list_are_noted_not_refused(write_media, tmp_path):
    av = pytest.importorskip("av")
    whole = write_media("whole.mp4", picture_ms=range(0, 2000, 40))
    path = tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in itertools.takewhile(lambda packet: packet.dts is not None, source.demux(video=0)):
            shift = int(1 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            target.mux(packet)
    with open_video(path) as video:
        assert len(list(video)) < 50
    assert "of 50 declared frames could be read" in video.notes[0]


def test_longer_sound_in_matroska_is_noted_not_refused(write_media):
    with open_video(write_media("long.mkv", picture_ms=range(0, 1000, 40), sound=np.zeros(48000))) as video:
        assert len(list(video)) == 25
    assert "pictures end at 1.00 s of 3" in video.notes[0]


def test_frames_without_times_are_refused(tmp_path):
    av = pytest.importorskip("av")
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV does not encode H.264")
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24")
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    with open_video(path) as video, pytest.raises(SourceError, match="times do not advance"):
        list(video)


def test_reordered_frames_come_in_order_of_their_times(write_media):
    av = pytest.importorskip("av")
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV does not encode H.264")
    with open_video(write_media("b.mp4", picture_ms=range(0, 2000, 40), codec="libx264")) as video:
        assert [frame.t_ns for frame in video] == [ms * MS for ms in range(0, 2000, 40)]


def test_closed_video_says_so(write_video):
    video = open_video(write_video(frames=3))
    video.close()
    video.close()
    with pytest.raises(ClosedError, match=r"clip\.mp4 is closed"):
        next(video)


@pytest.mark.data
@pytest.mark.parametrize("name", ["nasa_av16k.mp4", "nasa_video_only.mp4", "nasa_audio_late_1s.mp4"])
def test_real_recording_has_the_times_and_pixels_of_pyav(data_dir, name):
    av = pytest.importorskip("av")
    with open_video(data_dir / name) as video, av.open(str(data_dir / name)) as container:
        count = 0
        for ours, theirs in itertools.zip_longest(video, container.decode(video=0)):
            assert ours.t_ns == pytest.approx(theirs.pts * theirs.time_base * 10**9, abs=1)  # rounding to 1 ns
            if count % 50 == 0:
                # The same pixels where both carry the same FFmpeg; another version rounds colours otherwise at edges.
                assert np.abs(ours.pixels - theirs.to_ndarray(format="rgb24").astype(float)).mean() < 1
            count += 1
    assert count == 390
    assert video.notes == []
