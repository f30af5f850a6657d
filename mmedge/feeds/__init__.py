"""Between a sensor's packets and a stage graph's buffers: one feed for each port, with the time its data stands for."""

from mmedge.feeds.audio import AudioFeed
from mmedge.feeds.camera import CameraFeed
from mmedge.feeds.feed import Feed, open_feed
from mmedge.feeds.front import FrontEnd, front_end
from mmedge.feeds.value import ValueFeed

__all__ = ["AudioFeed", "CameraFeed", "Feed", "FrontEnd", "ValueFeed", "front_end", "open_feed"]
