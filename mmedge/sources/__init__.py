"""Sources: what yields timestamped packets, from files, devices, the network, or Python.

`open_source` opens one by its name, and imports what it needs. Recordings are merged by `Replay` into one stream
ordered by time; live sources have a thread each and are merged by `Arrivals` as their packets come.
"""

from mmedge.sources.arrays import from_packets, live_from_packets
from mmedge.sources.arrivals import Arrivals
from mmedge.sources.camera import open_camera, open_network_camera
from mmedge.sources.gstreamer import open_gstreamer
from mmedge.sources.images import open_images
from mmedge.sources.live import LiveSource, Modality, SourceEvent, SourceState, SourceStatus
from mmedge.sources.media import MediaAudio, open_media_audio
from mmedge.sources.microphone import open_microphone
from mmedge.sources.opening import Given, open_source, open_sources
from mmedge.sources.paced import paced
from mmedge.sources.pairing import open_file_sources
from mmedge.sources.recorder import Recorder
from mmedge.sources.replay import Replay, Source
from mmedge.sources.synthetic import event_times, synthetic_camera, synthetic_sound
from mmedge.sources.tape import TapeReader, TapeWriter, Track, is_tape
from mmedge.sources.video import VideoFile, open_video
from mmedge.sources.wav import WavFile, open_wav

__all__ = [
    "Arrivals",
    "Given",
    "LiveSource",
    "MediaAudio",
    "Modality",
    "Recorder",
    "Replay",
    "Source",
    "SourceEvent",
    "SourceState",
    "SourceStatus",
    "TapeReader",
    "TapeWriter",
    "Track",
    "VideoFile",
    "WavFile",
    "event_times",
    "from_packets",
    "is_tape",
    "live_from_packets",
    "open_camera",
    "open_file_sources",
    "open_gstreamer",
    "open_images",
    "open_media_audio",
    "open_microphone",
    "open_network_camera",
    "open_source",
    "open_sources",
    "open_video",
    "open_wav",
    "paced",
    "synthetic_camera",
    "synthetic_sound",
]
