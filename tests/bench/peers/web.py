"""HTTP beside the BEAM: a FastAPI server, and a lean client with kept-alive connections."""

from __future__ import annotations

import select
import socket
from typing import Any, ClassVar, Final

import orjson

from tests.bench import scenes
from tests.bench.driver import Event
from tests.bench.peers.base import ALL_OPS, Served
from tests.bench.task import Op, PeerFailed

HEAD_END: Final = b"\r\n\r\n"
READ_BYTES: Final = 1 << 20


class _Line:
    """One connection, with one request on its way at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self._buffer = bytearray()
        self._body = bytearray()
        self._length: int | None = None
        """Bytes of the body that are still to come; None before the head, -1 for pieces with lengths of their own."""

    def receive(self) -> tuple[bytes, bool]:
        """What has come of the body, and whether that was all."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise PeerFailed("the server closed the connection")
        self._buffer += data
        if self._length is None and not self._read_head():
            return b"", False
        return self._read_pieces() if self._length == -1 else self._read_whole()

    def _read_head(self) -> bool:
        head, mark, rest = self._buffer.partition(HEAD_END)
        if not mark:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise PeerFailed(bytes(self._buffer[:500]).decode(errors="replace"))
        fields = dict(line.split(b": ", 1) for line in bytes(head).lower().split(b"\r\n")[1:])
        self._length = int(fields.get(b"content-length", -1))
        self._buffer = rest
        return True

    def _read_whole(self) -> tuple[bytes, bool]:
        if len(self._buffer) < (self._length or 0):
            return b"", False
        body, self._buffer, self._length = bytes(self._buffer), bytearray(), None
        return body, True

    def _read_pieces(self) -> tuple[bytes, bool]:
        found: list[bytes] = []
        begin = 0
        while (line_end := self._buffer.find(b"\r\n", begin)) >= 0:
            length = int(self._buffer[begin:line_end], 16)
            end = line_end + 2 + length
            if len(self._buffer) < end + 2:
                break
            found.append(bytes(self._buffer[line_end + 2 : end]))
            begin = end + 2
            if not length:
                self._length = None
                break
        del self._buffer[:begin]
        return b"".join(found), self._length is None


class HttpConnection:
    """As many connections as there are requests in flight."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._poll = select.epoll()
        self._lines: dict[int, _Line] = {}
        self._free: list[_Line] = []
        self._waiting: list[tuple[int, bytes]] = []
        self._requests: dict[tuple[Op, int], bytes] = {}

    def close(self) -> None:
        for line in self._lines.values():
            line.socket.close()
        self._poll.close()

    def prepare(self, op: Op, size: int) -> None:
        if op == "ping":
            self._requests[op, size] = b"GET /ping HTTP/1.1\r\nHost: bench\r\n\r\n"
            return
        question: dict[str, Any] = {"op": op, "size": size, "prompt": scenes.prompt(op, size)}
        if op == "history":
            question["history"] = scenes.history(size)
        self._requests[op, size] = _post("/stream" if op == "stream" else "/run", orjson.dumps(question))

    def send(self, number: int, op: Op, size: int) -> None:
        self._waiting.append((number, self._requests[op, size]))

    def answer(self, event: Event) -> None:
        results = dict.fromkeys(event.call["calls"], scenes.TOOL_RESULT)
        question = {"op": "tool", "size": 1, "history": event.call["messages"], "results": results}
        self._waiting.append((event.id, _post("/run", orjson.dumps(question))))

    def events(self) -> list[Event]:
        self._flush()
        while True:
            found: list[Event] = []
            for descriptor, _ in self._poll.poll():
                found += self._events_of(self._lines[descriptor])
            if found:
                return found

    def _flush(self) -> None:
        for number, request in self._waiting:
            line = self._free.pop() if self._free else self._connect()
            line.number = number
            line.socket.sendall(request)
        self._waiting.clear()

    def _connect(self) -> _Line:
        line = _Line(self._address)
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        return line

    def _events_of(self, line: _Line) -> list[Event]:
        body, over = line.receive()
        if b'{"delta"' in body[:16]:
            deltas = [Event("delta", line.number) for text in body.splitlines() if "delta" in orjson.loads(text)]
        else:
            deltas = []
        if not over:
            return deltas
        self._free.append(line)
        value = None if deltas or not body else orjson.loads(body)
        if value is not None and "calls" in value:
            return [Event("call", line.number, value)]
        return [*deltas, Event("done", line.number)]


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + HEAD_END + body


class Web(Served[HttpConnection]):
    name: ClassVar[str] = "fastapi"
    title: ClassVar[str] = "FastAPI + uvicorn"
    ops: ClassVar[frozenset[Op]] = ALL_OPS
    needs: ClassVar[tuple[str, ...]] = ("fastapi", "uvicorn")

    def start(self) -> None:
        # Bound here: whoever connects before the server is up waits in the backlog.
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
            self.spawn_python("web.py", str(listening.fileno()), pass_fds=[listening.fileno()])
            self.connection = HttpConnection(listening.getsockname())

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        super().stop()
