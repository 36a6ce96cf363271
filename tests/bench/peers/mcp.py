"""MCP over stdio: a message in each line."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Final

import orjson

from tests.bench import scenes
from tests.bench.driver import Event
from tests.bench.peers.base import ALL_OPS, Served, pipe_ends
from tests.bench.peers.pipes import READ_BYTES
from tests.bench.task import Op, PeerFailed

VERSION: Final = "2025-06-18"
HANDSHAKE: Final = 0

_TOOLS: Final[dict[Op, str]] = {"stream": "stream", "tool": "converse"}


class McpConnection:
    """A client that has shaken hands."""

    def __init__(self, into: int, out_of: int) -> None:
        self._into = into
        self._out_of = out_of
        self._buffer = b""
        self._waiting: list[bytes] = []
        self._params: dict[tuple[Op, int], dict[str, Any]] = {}
        self._lines: dict[tuple[Op, int], bytes] = {}
        client = {"name": "bench", "version": "1"}
        params: dict[str, Any] = {"protocolVersion": VERSION, "capabilities": {"elicitation": {}}, "clientInfo": client}
        self._put({"jsonrpc": "2.0", "id": HANDSHAKE, "method": "initialize", "params": params})
        self._shaking = True

    def prepare(self, op: Op, size: int) -> None:
        if op == "ping":
            self._lines[op, size] = b'"method":"ping"}\n'
            return
        arguments: dict[str, Any] = {"size": size, "prompt": scenes.prompt(op, size)}
        if op not in _TOOLS:
            arguments["op"] = op
        if op == "history":
            arguments["history"] = scenes.history(size)
        params = {"name": _TOOLS.get(op, "run"), "arguments": arguments}
        self._lines[op, size] = b'"method":"tools/call","params":' + orjson.dumps(params)[:-1]

    def send(self, number: int, op: Op, size: int) -> None:
        line = b'{"jsonrpc":"2.0","id":%d,' % number + self._lines[op, size]
        if op != "ping":
            token = b',"_meta":{"progressToken":%d}}}\n' % number if op == "stream" else b"}}\n"
            line += token
        self._waiting.append(line)

    def answer(self, event: Event) -> None:
        result = {"action": "accept", "content": scenes.TOOL_RESULT}
        self._put({"jsonrpc": "2.0", "id": event.call, "result": result})

    def events(self) -> list[Event]:
        if self._shaking:
            self._shake_hands()
        while True:
            found = [event for line in self._read() if (event := _event(orjson.loads(line))) is not None]
            if found:
                return found

    def _shake_hands(self) -> None:
        self._shaking = False
        asked, self._waiting = self._waiting[1:], self._waiting[:1]
        while HANDSHAKE not in [orjson.loads(line).get("id") for line in self._read()]:
            continue
        self._put({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self._waiting += asked

    def _put(self, message: dict[str, Any]) -> None:
        self._waiting.append(orjson.dumps(message) + b"\n")

    def _read(self) -> list[bytes]:
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        while data:
            data = data[os.write(self._into, data) :]
        pieces = [self._buffer]
        while b"\n" not in pieces[-1]:
            pieces.append(os.read(self._out_of, READ_BYTES))
            if not pieces[-1]:
                raise PeerFailed("the server's output has ended")
        *lines, self._buffer = b"".join(pieces).split(b"\n")
        return lines


def _event(message: dict[str, Any]) -> Event | None:
    match message:
        case {"method": "notifications/progress", "params": {"progressToken": number}}:
            return Event("delta", number)
        case {"method": "elicitation/create", "id": number}:
            return Event("call", 0, number)
        case {"id": number, "result": result}:
            if result.get("isError"):
                raise PeerFailed(str(result)[:500])
            return Event("done", number)
        case {"error": error}:
            raise PeerFailed(str(error)[:500])
        case _:
            return None


class Mcp(Served[McpConnection]):
    name: ClassVar[str] = "mcp"
    title: ClassVar[str] = "MCP over stdio"
    ops: ClassVar[frozenset[Op]] = ALL_OPS
    needs: ClassVar[tuple[str, ...]] = ("mcp",)

    def start(self) -> None:
        self.connection = McpConnection(*pipe_ends(self.spawn_python("mcp_stdio.py")))
