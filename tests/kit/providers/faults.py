"""What the server does with a request: an answer, or one of the ways in which a service fails to give one.

Each plan is a frozen value with one method, `play`, which writes the reply. A plan is told how far to go and
stops there; what a client makes of it is the matter of the tests.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, Protocol

from .answers import Answer, JsonObject
from .dialect import Dialect, Frames, Turn, sse
from .exchange import Gate, Reply

GarbageKind = Literal["sse", "json", "utf8", "empty", "no_choices", "shape", "html"]
"""`sse` has lines that are no events; `json` breaks off in a value; `shape` is JSON of another service."""

_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Scene:
    """Everything a plan plays with."""

    dialect: Dialect
    turn: Turn
    reply: Reply
    streamed: bool
    gate: Gate

    @property
    def request_key(self) -> str:
        return self.dialect.key(self.turn.request.headers) or ""

    def frames(self) -> Frames:
        return self.dialect.frames(self.turn)

    def plain(self) -> bytes:
        return json.dumps(self.dialect.plain(self.turn)).encode()

    def head(self, status: int = 200, content: str | None = None, **more: str) -> dict[str, str]:
        kind = content or ("text/event-stream; charset=utf-8" if self.streamed else "application/json")
        return {"content-type": kind, **self.dialect.headers(self.turn.request), **more}

    def whole(self, body: bytes, *, status: int = 200, content: str = "application/json", **more: str) -> None:
        self.reply.whole(status, self.head(status, content, **more), body)

    def stream(self, frames: Iterator[bytes] | tuple[bytes, ...]) -> None:
        self.reply.start(200, self.head())
        for frame in frames:
            self.reply.write(frame)
        self.reply.end()


class Plan(Protocol):
    """A plan's `answer` is what the model would have said."""

    @property
    def answer(self) -> Answer: ...

    def play(self, scene: Scene) -> None: ...


@dataclass(frozen=True)
class Say:
    """The answer, as it should be."""

    answer: Answer

    def play(self, scene: Scene) -> None:
        if scene.streamed:
            scene.stream(scene.frames().all)
        else:
            scene.whole(scene.plain())


@dataclass(frozen=True)
class Fail:
    """An HTTP error; with `after`, in a stream, the service's own error event behind that many frames."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: JsonObject | str | bytes | None = None
    message: str = "The loopback service fails on purpose."
    echo_key: bool = False
    after: int | None = None
    answer: Answer = field(default_factory=Answer)

    def play(self, scene: Scene) -> None:
        message = f"{self.message} Key: {scene.request_key}" if self.echo_key else self.message
        if self.after is not None and scene.streamed:
            begun = scene.frames().all[: self.after]
            scene.stream((*begun, scene.dialect.error_frame(self.status, message)))
            return
        if self.body is None or isinstance(self.body, dict):
            value = scene.dialect.error(self.status, message) if self.body is None else self.body
            content, body = "application/json", json.dumps(value).encode()
        else:
            content, body = "text/html; charset=utf-8", _bytes(self.body)
        scene.whole(body, status=self.status, content=content, **self.headers)


@dataclass(frozen=True)
class Cut:
    """The connection ends in the answer: before its head, behind `after` frames, or in a plain body."""

    answer: Answer
    after: int = 1
    before: Literal["headers"] | None = None
    how: Literal["reset", "close"] = "reset"

    def play(self, scene: Scene) -> None:
        if self.before is None:
            _first_part(scene, self.after)
        scene.reply.hang_up(reset=self.how == "reset")


@dataclass(frozen=True)
class Stall:
    """The answer stops, before its head or behind `after` frames, until its gate opens; then it goes on."""

    answer: Answer
    held: Gate
    after: int = 1
    before: Literal["headers"] | None = None

    def play(self, scene: Scene) -> None:
        if self.before is not None:
            scene.reply.hold(self.held)
            Say(self.answer).play(scene)
            return
        rest = _first_part(scene, self.after)
        scene.reply.hold(self.held)
        scene.reply.write(rest)
        scene.reply.end()


@dataclass(frozen=True)
class Trickle:
    """The right answer, a byte at a time."""

    answer: Answer
    interval: float

    def play(self, scene: Scene) -> None:
        body = b"".join(scene.frames().all) if scene.streamed else scene.plain()
        scene.reply.start(200, scene.head())
        for index in range(len(body)):
            scene.reply.write(body[index : index + 1])
            scene.reply.pause(scene.gate, self.interval)
        scene.reply.end()


@dataclass(frozen=True)
class NoFinish:
    """The answer ends early and in good order.

    `after` frames of a stream, else all up to the finish reason; with `keep_reason` that too, and only the
    closing mark is missing. A plain answer has everything but its finish reason.
    """

    answer: Answer
    after: int | None = None
    keep_reason: bool = False

    def play(self, scene: Scene) -> None:
        if not scene.streamed:
            unfinished = replace(scene.turn, answer=replace(scene.turn.answer, finish=None))
            scene.whole(json.dumps(scene.dialect.plain(unfinished)).encode())
            return
        frames = scene.frames()
        said = (*frames.head, *frames.finish) if self.keep_reason else frames.head
        scene.stream(said[: self.after])


@dataclass(frozen=True)
class Garbage:
    """Status 200, and then something that is no answer; in a stream behind `after` frames."""

    kind: GarbageKind
    after: int
    answer: Answer

    def play(self, scene: Scene) -> None:
        if self.kind == "html":
            scene.whole(html_page(2000).encode(), content="text/html; charset=utf-8")
        elif scene.streamed:
            scene.stream(self._frames(scene))
        else:
            scene.whole(self._body(scene))

    def _frames(self, scene: Scene) -> tuple[bytes, ...]:
        if self.kind == "no_choices":
            return scene.dialect.empty_frames(scene.turn).all
        if self.kind == "empty":
            return ()
        name = scene.dialect.event
        broken: dict[str, bytes] = {
            "sse": b"this is no event\n\x00\x01\x02: nor this\n\n",
            "json": sse('{"broken": "js', name),
            "utf8": sse('{"text": "??"}', name).replace(b"??", b"\xff\xfe"),
            "shape": sse({"weather": "fine"}, name),
        }
        return (*scene.frames().all[: self.after], broken[self.kind])

    def _body(self, scene: Scene) -> bytes:
        if self.kind == "no_choices":
            return json.dumps(scene.dialect.empty_plain(scene.turn)).encode()
        bodies: dict[str, bytes] = {
            "sse": b"event: x\ndata: {}\n\n",
            "json": scene.plain()[:-20],
            "utf8": b'{"text": "\xff\xfe"}',
            "empty": b"",
            "shape": b'{"weather": "fine"}',
        }
        return bodies[self.kind]


@dataclass(frozen=True)
class GzipBomb:
    """The answer behind `size` bytes of nothing, which compression makes about a thousand times smaller."""

    answer: Answer
    size: int

    def play(self, scene: Scene) -> None:
        if scene.streamed:
            body = gzipped(b": ", self.size, b"\n\n" + b"".join(scene.frames().all))
        else:
            body = gzipped(b"", self.size, scene.plain())
        scene.reply.whole(200, {**scene.head(), "content-encoding": "gzip"}, body)


@dataclass(frozen=True)
class Endless:
    """An answer that does not end before `limit` bytes: text and more text, or one long string of JSON."""

    answer: Answer
    limit: int

    def play(self, scene: Scene) -> None:
        scene.reply.start(200, scene.head())
        if scene.streamed:
            # What comes after the first text stays unsaid: a client waits for an end of the text.
            for frame in _until_text(scene):
                scene.reply.write(frame)
            more = scene.dialect.more(scene.turn, "and on " * 1000)
        else:
            scene.reply.write(b'{"padding": "')
            more = b" " * _BLOCK
        for _ in range(0, self.limit, len(more)):
            scene.reply.write(more)
        scene.reply.end()


@dataclass(frozen=True)
class Unexpected:
    """Nothing was queued for this request: an error that no client takes for an answer, nor tries again."""

    answer: Answer = field(default_factory=Answer)

    def play(self, scene: Scene) -> None:
        body = scene.dialect.error(400, "nothing was queued for this request")
        scene.whole(json.dumps(body).encode(), status=400)


def html_page(size: int) -> str:
    """An error page as a proxy in front of a service sends it, of `size` characters."""
    head, tail = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>", "</body></html>"
    return head + "<p>Bad Gateway</p>".ljust(size - len(head) - len(tail), "x") + tail


@cache
def gzipped(before: bytes, size: int, after: bytes) -> bytes:
    """`before`, `size` spaces and `after`, compressed, without ever holding the spaces."""
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [press.compress(before)]
    parts += [press.compress(b" " * min(_BLOCK, size - start)) for start in range(0, size, _BLOCK)]
    return b"".join([*parts, press.compress(after), press.flush()])


def _first_part(scene: Scene, after: int) -> bytes:
    """Sends the head and the first part of the body; returns the rest."""
    if scene.streamed:
        frames = scene.frames().all
        sent, rest = b"".join(frames[:after]), b"".join(frames[after:])
        scene.reply.start(200, scene.head())
    else:
        body = scene.plain()
        sent, rest = body[: len(body) // 2], body[len(body) // 2 :]
        scene.reply.start(200, scene.head(), len(body))
    scene.reply.write(sent)
    return rest


def _until_text(scene: Scene) -> tuple[bytes, ...]:
    first = scene.turn.answer.chunks[0].encode()
    head = scene.frames().head
    return head[: next(index for index, frame in enumerate(head) if first in frame) + 1]


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body
