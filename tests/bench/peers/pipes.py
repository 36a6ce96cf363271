"""Frames over a pipe, from the parent's side, and the echoes: what a pipe costs when nothing is done."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import orjson

from tests.bench import scenes
from tests.bench.driver import Event
from tests.bench.peers.base import PROGRAMS, Served, pipe_ends
from tests.bench.task import Op, PeerFailed

READ_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 4


class Pipe:
    """Frames of `{packet, 4}`: what was put leaves in one write, together with the next `frames`."""

    def __init__(self, into: int, out_of: int) -> None:
        self._into = into
        self._out_of = out_of
        self._waiting: list[bytes] = []
        self._buffer = bytearray()

    def put(self, payload: bytes) -> None:
        self._waiting.append(len(payload).to_bytes(HEADER_BYTES, "big") + payload)

    def frames(self) -> list[bytes]:
        """At least one. Raises `PeerFailed` where no more will come."""
        self._flush()
        while True:
            data = os.read(self._out_of, READ_BYTES)
            if not data:
                raise PeerFailed("the peer's output has ended")
            self._buffer += data
            if found := list(self._cut()):
                return found

    def _flush(self) -> None:
        if not self._waiting:
            return
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        written = os.write(self._into, data)
        while written < len(data):
            written += os.write(self._into, memoryview(data)[written:])

    def _cut(self) -> Iterator[bytes]:
        begin, buffer = 0, self._buffer
        while len(buffer) >= begin + HEADER_BYTES:
            end = begin + HEADER_BYTES + int.from_bytes(buffer[begin : begin + HEADER_BYTES], "big")
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                frame = bytes(view[begin + HEADER_BYTES : end])
            begin = end
            yield frame
        del buffer[:begin]


class EchoConnection:
    """Asks an echo: the bytes of a ping come back as they are, or parsed and written again."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._prompt = b""

    def prepare(self, op: Op, size: int) -> None:
        if op == "prompt":
            self._prompt = orjson.dumps(scenes.prompt(op, size))

    def send(self, number: int, op: Op, size: int) -> None:
        match op:
            case "ping":
                self._pipe.put(b'{"type":"ping","id":%d}' % number)
            case "prompt":
                self._pipe.put(b'{"type":"run","id":%d,"prompt":%b}' % (number, self._prompt))
            case _:
                self._pipe.put(b'{"type":"run","id":%d,"answer":%d}' % (number, size))

    def answer(self, event: Event) -> None:
        raise PeerFailed("an echo calls no tool")

    def events(self) -> list[Event]:
        return [Event("done", orjson.loads(frame)["id"]) for frame in self._pipe.frames()]


class PythonEcho(Served[EchoConnection]):
    name: ClassVar[str] = "python-echo"
    title: ClassVar[str] = "Python pipe echo"
    ops: ClassVar[frozenset[Op]] = frozenset({"ping"})
    drives_busy: ClassVar[bool] = False
    _mode = "raw"

    def start(self) -> None:
        process = self.spawn_python("echo.py", self._mode)
        self.connection = EchoConnection(Pipe(*pipe_ends(process)))


class JsonEcho(PythonEcho):
    """Parses and writes JSON; takes a long text and gives one, as a worker does."""

    name: ClassVar[str] = "json-echo"
    title: ClassVar[str] = "Python JSON echo"
    ops: ClassVar[frozenset[Op]] = frozenset({"ping", "prompt", "answer"})
    _mode = "json"


class CEcho(Served[EchoConnection]):
    """Compiled when it is started."""

    name: ClassVar[str] = "c-echo"
    title: ClassVar[str] = "C pipe echo"
    ops: ClassVar[frozenset[Op]] = frozenset({"ping"})
    drives_busy: ClassVar[bool] = False

    def missing(self) -> str | None:
        return None if shutil.which("cc") else "there is no C compiler (cc)"

    def start(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            program = Path(directory) / "echo"
            subprocess.run(["cc", "-O2", "-o", program, PROGRAMS / "echo.c"], check=True)
            # The program goes with the directory; the process keeps it.
            self.connection = EchoConnection(Pipe(*pipe_ends(self.spawn([program]))))
