"""The page, its server and the thread that feeds it."""

import json
from threading import Event, Thread
from types import TracebackType

from mmedge.stream import Stream
from mmedge.view.scene import Scene, Statuses
from mmedge.view.server import Server

__all__ = ["View"]

EVERY_S = 0.08
FIRST_PORT = 8765
TRIES = 20


class View:
    """A page about a stream, at :attr:`url` until :meth:`close`; a context manager.

    It never slows the stream down: pictures are taken at a bounded rate and only while somebody looks, everything else
    is done in threads of its own, and a browser that is too slow misses messages.

    Args:
        stream: The stream.
        port: Where to listen; None is 8765, or the next one that is free.
        host: Address to listen at. Whoever can reach another one than the default sees camera and microphone.
        statuses: What is known of the sensors, by port; ``lambda: run.status`` for a live run.

    Attributes:
        url: Where the page is.
        is_private: Only this machine reaches it.

    Raises:
        InputError: There is no such port.
        SourceError: The port is taken.
        MissingLibraryError: OpenCV is not installed.
    """

    def __init__(
        self, stream: Stream, *, port: int | None = None, host: str = "127.0.0.1", statuses: Statuses | None = None
    ) -> None:
        self._scene = Scene(stream, statuses)
        try:
            self._server = Server(
                host,
                FIRST_PORT if port is None else port,
                tries=TRIES if port is None else 1,
                describe=self._scene.description,
                snapshot=self._scene.snapshot,
                jpegs=self._scene.jpegs,
            )
        except BaseException:
            self._scene.close()
            raise
        self.url, self.is_private = self._server.url, self._server.is_private
        self._ending = Event()
        self._threads = [
            Thread(target=self._feed, name="mmedge view", daemon=True),
            Thread(target=self._server.serve_forever, args=(0.1,), name="mmedge view server", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Tell the browsers that it is over, and stop; further calls do nothing."""
        if self._ending.is_set():
            return
        self._ending.set()
        self._scene.close()
        self._threads[0].join()
        self._server.audience.tell(None)
        self._server.shutdown()
        self._threads[1].join()
        self._server.server_close()

    def __enter__(self) -> "View":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _feed(self) -> None:
        audience = self._server.audience
        while not self._ending.wait(EVERY_S):
            self._scene.watched = len(audience) > 0
            news = self._scene.news()
            if self._scene.watched:
                audience.tell(b"data: " + json.dumps(news, separators=(",", ":"), allow_nan=False).encode() + b"\n\n")
