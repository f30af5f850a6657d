"""Sources: things that yield timestamped packets. Here: recordings; what they need is imported when they are opened.

`open_file_sources` finds the right reader for each file, `Replay` merges them into one ordered stream.
"""

from mmedge.sources.media import MediaAudio, open_media_audio
from mmedge.sources.pairing import open_file_sources
from mmedge.sources.replay import Replay, Source
from mmedge.sources.video import VideoFile, open_video
from mmedge.sources.wav import WavFile, open_wav

__all__ = [
    "MediaAudio",
    "Replay",
    "Source",
    "VideoFile",
    "WavFile",
    "open_file_sources",
    "open_media_audio",
    "open_video",
    "open_wav",
]
