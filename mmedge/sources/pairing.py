"""Which file gives the pictures and which the sound, on one clock."""

from contextlib import ExitStack
from pathlib import Path

from mmedge.errors import InputError, MissingLibraryError, SourceError
from mmedge.sources.files import checked_file, is_wav
from mmedge.sources.media import MediaAudio, open_media_audio
from mmedge.sources.replay import Source
from mmedge.sources.video import open_video
from mmedge.sources.wav import WavFile, open_wav

__all__ = ["open_file_sources", "open_sound_file"]


def open_file_sources(
    camera: Path | str | None, audio: Path | str | None, *, audio_rate_hz: int | None, chunk_ms: int = 20
) -> dict[str, Source]:
    """Open what a model needs, as ``{"camera": ..., "audio": ...}`` less what it does not need.

    The sound comes from the file given, else from the WAV file of the same name beside the video, else from the video's
    own sound track. Sound of the same file shares its media clock; separate files are taken to start together, at 0.

    Args:
        camera: The video, None for a model without a camera.
        audio: The sound, None to look for it as said above.
        audio_rate_hz: The rate that the model expects, 0 for the file's own, None for a model without sound.
        chunk_ms: Length of an audio chunk.

    Raises:
        InputError: Sound for a model that hears nothing, or neither pictures nor sound.
        MissingLibraryError: A library is missing for the files that were named.
        SourceError: A file cannot be opened, or no sound can be found; the text gives the options.
    """
    if audio_rate_hz is None and audio is not None:
        raise InputError(f"the model has no audio input, but {audio} was given; leave it out")
    if camera is None and audio is None:
        raise InputError("no recording was given; expected a video, a sound file or both")
    with ExitStack() as opened:
        sources: dict[str, Source] = {}
        sound: WavFile | MediaAudio | None = None
        if audio_rate_hz is not None:
            sound = _open_sound(camera, audio, audio_rate_hz, chunk_ms)
            opened.callback(sound.close)
        if camera is not None:
            # Sound of a file of its own says nothing about when the pictures of another one start.
            shared = isinstance(sound, MediaAudio) and (audio is None or Path(audio).samefile(camera))
            start_ns = sound.video_start_ns if isinstance(sound, MediaAudio) and shared else None
            sources["camera"] = opened.enter_context(open_video(camera, start_ns=start_ns or 0))
        if sound is not None:
            sources["audio"] = sound
        opened.pop_all()
    return sources


def open_sound_file(path: Path | str, rate_hz: int | None, chunk_ms: int) -> WavFile | MediaAudio:
    """Open a sound file, or the sound of a video, by what it is; see `open_wav` and `open_media_audio`.

    Raises:
        InputError: As theirs.
        MissingLibraryError: As theirs.
        SourceError: As theirs.
    """
    path = checked_file(path)
    wav = is_wav(path) or path.suffix.lower() == ".wav"
    return open_wav(path, rate_hz, chunk_ms) if wav else open_media_audio(path, rate_hz, chunk_ms)


def _open_sound(
    camera: Path | str | None, audio: Path | str | None, rate_hz: int, chunk_ms: int
) -> WavFile | MediaAudio:
    if audio is not None:
        return open_sound_file(audio, rate_hz, chunk_ms)
    video = checked_file(camera or "")
    beside = video.with_suffix(".wav")
    if beside.exists():
        sound = open_wav(beside, rate_hz, chunk_ms)
        sound.notes.append(f"{beside.name}: found beside {video.name}, taken to start with its first frame")
        return sound
    try:
        return open_media_audio(video, rate_hz, chunk_ms)
    except MissingLibraryError as error:
        raise SourceError(
            f"{video}: no sound was given and there is no {beside.name} beside it; name a WAV file, "
            "or read the video's own sound track: pip install 'mmedge[media]'"
        ) from error
