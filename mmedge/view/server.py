"""The web server of the page: a few fixed addresses, nothing of the disk, for this machine unless told otherwise.

A page of a stranger must not reach it by way of the user's browser: a name that is made to lead to this machine (DNS
rebinding) is refused by the Host header, requests from other sites by Sec-Fetch-Site and Origin.
"""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from queue import Empty, Full, Queue
from threading import BoundedSemaphore, Lock
from typing import Any
from urllib.parse import urlsplit

from mmedge.errors import InputError, MissingLibraryError, SourceError
from mmedge.exposition import CONTENT_TYPE, exposition
from mmedge.view.page import PAGE, POLICY

__all__ = ["Audience", "Server"]

CONNECTIONS = 48
LISTENERS = 12
TIMEOUT_S = 10.0  # for a request to be complete, and for a browser to take what it is sent
BEHIND = 8  # messages that may wait for a slow browser
QUIET_S = 5.0


class Audience:
    """The browsers that listen; a message goes to all of them, and who is too slow misses some.

    Attributes:
        missed: How many messages were missed.
    """

    def __init__(self) -> None:
        self._queues: list[Queue[bytes | None]] = []
        self._lock = Lock()
        self.missed = 0

    def __len__(self) -> int:
        return len(self._queues)

    def join(self) -> "Queue[bytes | None] | None":
        """A queue of one's own, or None if there are too many; None in it is the end."""
        with self._lock:
            if len(self._queues) >= LISTENERS:
                return None
            self._queues.append(Queue(BEHIND))
            return self._queues[-1]

    def leave(self, queue: "Queue[bytes | None]") -> None:
        """Listen no more."""
        with self._lock:
            if queue in self._queues:
                self._queues.remove(queue)

    def tell(self, message: bytes | None) -> None:
        """Give a message to all, without waiting; the oldest makes room for it."""
        with self._lock:
            for queue in self._queues:
                while True:
                    try:
                        queue.put_nowait(message)
                        break
                    except Full:
                        with suppress(Empty):
                            queue.get_nowait()
                            self.missed += 1


class Server(ThreadingHTTPServer):
    """Serves one page; see the module.

    Args:
        host: Address to listen at.
        port: The first to try.
        tries: How many ports, one after another.
        describe: Gives what a browser is sent first.
        snapshot: Gives the metrics.
        jpegs: Pictures, by number.

    Raises:
        InputError: There is no such port.
        SourceError: No port is free, or there is no such address.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tries: int,
        describe: Callable[[], dict[str, Any]],
        snapshot: Callable[[], dict[str, Any]],
        jpegs: dict[int, bytes],
    ) -> None:
        if not 0 <= port <= 65535:
            raise InputError(f"port {port} does not exist; expected 0 to 65535, 0 for any that is free")
        self.host = host
        self.describe, self.snapshot, self.jpegs = describe, snapshot, jpegs
        self.audience = Audience()
        self._room = BoundedSemaphore(CONNECTIONS)
        if ":" in host:
            self.address_family = socket.AF_INET6
        ports = range(port, min(port + tries, 65536)) if port else [0]
        *others, last = ports
        if any(self._is_bound(each) for each in others):
            return
        try:
            super().__init__((host, last), _Handler)
        except OSError as error:
            what = f"any of the ports {port} to {last}" if others else f"port {port}"
            raise SourceError(f"{what} of {host} cannot be used: {error.strerror}; choose one: --view PORT") from error

    def _is_bound(self, port: int) -> bool:
        try:
            super().__init__((self.host, port), _Handler)
        except OSError:
            return False
        return True

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches it."""
        return _is_loopback(self.host)

    def is_own_name(self, given: str | None) -> bool:
        """Whether a Host header names this machine in a way that no stranger's name server can."""
        if not given:
            return False
        try:
            name = urlsplit(f"//{given}").hostname or ""
            if name in {"localhost", self.host.lower()}:
                return True
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.is_private

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless there are too many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    server: Server

    def version_string(self) -> str:
        return "mmedge"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        if not server.is_own_name(self.headers.get("Host")):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "open the page by the address that mmedge has printed")
            return
        path = self.path.partition("?")[0]
        own = f"http://{self.headers['Host']}"
        foreign = self.headers.get("Sec-Fetch-Site", "none") in {"cross-site", "same-site"}
        if self.headers.get("Origin", own) != own or (foreign and path != "/"):
            self._refuse(HTTPStatus.FORBIDDEN, "other sites may not read this")
        elif path == "/":
            self._answer(PAGE, "text/html; charset=utf-8")
        elif path == "/events":
            self._stream()
        elif path == "/metrics":
            self._metrics()
        elif path == "/metrics.json":
            self._answer(_json(server.snapshot()), "application/json")
        elif path.startswith("/picture/") and (jpeg := self._jpeg(path[len("/picture/") :])):
            self._answer(jpeg, "image/jpeg")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is / , /metrics and /metrics.json")

    def _jpeg(self, number: str) -> bytes | None:
        return self.server.jpegs.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 4 else None

    def _metrics(self) -> None:
        try:
            text = exposition(self.server.snapshot())
        except MissingLibraryError as error:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, str(error))
        else:
            self._answer(text, CONTENT_TYPE)

    def _stream(self) -> None:
        """Server-sent events, until the browser or the stream goes."""
        queue = self.server.audience.join()
        if queue is None:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{LISTENERS} browsers look already; close one")
            return
        try:
            self.close_connection = True
            self._head(HTTPStatus.OK, "text/event-stream", None)
            self._send(b"event: hello\ndata: " + _json(self.server.describe()) + b"\n\n")
            while True:
                try:
                    message = queue.get(timeout=QUIET_S)
                except Empty:
                    message = b":\n\n"  # so that a browser that is gone is noticed
                if message is None:
                    self._send(b"event: end\ndata: {}\n\n")
                    return
                self._send(message)
        except OSError:  # it went away, or takes nothing any more
            pass
        finally:
            self.server.audience.leave(queue)

    def _send(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()

    def _answer(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(status, kind, len(content))
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._answer(f"{why}\n".encode(), "text/plain; charset=utf-8", status)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
