"""One HTTP exchange: the request as it was received, and the reply as it is written, byte by byte."""

import json
import select
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from .answers import JsonObject

PATIENCE_S = 30.0
"""How long a `wait_*` of the kit waits before it fails the test: far above what a loopback needs."""


class ClientGone(Exception):
    """The client has closed or reset the connection: there is nobody left to answer."""


class Closing(Exception):
    """The server is being closed while this exchange was held."""


@dataclass(frozen=True)
class Request:
    """What a client sent, and what became of its connection since.

    `headers` have lower-case names; `json` is the parsed body, `{}` where the body was empty.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    json: JsonObject
    number: int
    stalled: threading.Event = field(default_factory=threading.Event)
    disconnected: threading.Event = field(default_factory=threading.Event)
    finished: threading.Event = field(default_factory=threading.Event)

    def wait_stalled(self, timeout: float = PATIENCE_S) -> None:
        """Returns once the server holds this answer back."""
        _wait(self.stalled, "was not stalled", self, timeout)

    def wait_disconnected(self, timeout: float = PATIENCE_S) -> None:
        """Returns once the server saw the client leave before the answer was over."""
        _wait(self.disconnected, "was not left by its client", self, timeout)

    def wait_finished(self, timeout: float = PATIENCE_S) -> None:
        """Returns once the server has nothing more to send for this request, for whatever reason."""
        _wait(self.finished, "was not finished", self, timeout)


def _wait(event: threading.Event, what: str, request: Request, timeout: float) -> None:
    if not event.wait(timeout):
        raise AssertionError(f"request {request.number} ({request.path}) {what} within {timeout:g} s")


class Gate:
    """Holds exchanges until it is opened; a client that leaves meanwhile is noticed at once."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()
        self._lock = threading.Lock()
        self.closing = False

    def open(self, *, closing: bool = False) -> None:
        with self._lock:
            self.closing = self.closing or closing
            self._outside.close()

    def dispose(self) -> None:
        self.open(closing=True)
        self._inside.close()

    def pass_through(self, connection: socket.socket, timeout: float | None = None) -> bool:
        """Waits until the gate is open (True) or the time is up (False).

        Raises:
            ClientGone: the peer of `connection` has left.
            Closing: the gate was opened because the server closes.
        """
        watched = select.poll()
        watched.register(self._inside, select.POLLIN)
        watched.register(connection, select.POLLIN)
        ready = {descriptor for descriptor, _ in watched.poll(None if timeout is None else timeout * 1000)}
        if self._inside.fileno() in ready:
            if self.closing:
                raise Closing
            return True
        if connection.fileno() in ready and _has_left(connection):
            raise ClientGone
        return False


def _has_left(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


class Reply:
    """Writes one answer to one request, whole, in chunks, or as badly as a test wants it."""

    def __init__(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        self._handler = handler
        self._chunked = False
        self.request = request

    def start(self, status: int, headers: Mapping[str, str], length: int | None = None) -> None:
        """Sends the head; without a `length` the body goes out in HTTP/1.1 chunks."""
        self._chunked = length is None
        framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
        reason, _ = self._handler.responses.get(status, ("Overloaded", ""))
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in {**headers, **framing}.items())]
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def write(self, data: bytes) -> None:
        if data:
            self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        if self._chunked:
            self._send(b"0\r\n\r\n")

    def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.start(status, headers, len(body))
        self.write(body)

    def hold(self, gate: Gate) -> None:
        """Holds the answer here until the gate opens."""
        self.request.stalled.set()
        while not gate.pass_through(self._handler.connection):
            pass

    def pause(self, gate: Gate, seconds: float) -> None:
        """Waits, but not longer than the gate is shut or the client is there."""
        gate.pass_through(self._handler.connection, seconds)

    def hang_up(self, *, reset: bool) -> None:
        """Ends the connection in the middle of the answer: by a reset, or by an orderly close."""
        self._handler.close_connection = True
        connection = self._handler.connection
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._handler.rfile.close()
        connection.close()

    def _send(self, data: bytes) -> None:
        try:
            self._handler.wfile.write(data)
        except OSError as error:
            raise ClientGone from error


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("content-length") or 0))


def make_request(handler: BaseHTTPRequestHandler, body: bytes, number: int) -> Request:
    """The request whose head the handler has just parsed."""
    path, _, query = handler.path.partition("?")
    headers = {name.lower(): value for name, value in handler.headers.items()}
    return Request(handler.command, path, query, headers, body, json.loads(body or b"{}"), number)
