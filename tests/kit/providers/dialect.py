"""What the server has to know of an interface: where it is asked, how answers, ends and errors look."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .answers import Answer, JsonObject
from .exchange import Request

CREATED = 1_790_000_000
"""The time stamp of every answer, in seconds since 1970: answers are the same in every run."""


@dataclass(frozen=True)
class Turn:
    """An answer on its way to one request."""

    answer: Answer
    request: Request
    model: str

    @property
    def number(self) -> int:
        return self.request.number

    def name(self, prefix: str, index: int = 0) -> str:
        """An identifier that no other turn of this server uses."""
        return f"{prefix}{self.number:08d}{index:016d}"


@dataclass(frozen=True)
class Frames:
    """A streamed answer: what comes before the finish reason, the frames with it, and the closing mark."""

    head: tuple[bytes, ...]
    finish: tuple[bytes, ...]
    end: tuple[bytes, ...] = ()

    @property
    def all(self) -> tuple[bytes, ...]:
        return (*self.head, *self.finish, *self.end)


class Dialect(Protocol):
    """One interface. Stateless: everything it says follows from the turn."""

    prefix: str
    """What stands before the colon of a model's name."""

    event: str | None
    """The name of the events that carry text, None where events have no names."""

    def base_url(self, origin: str) -> str:
        """What a client is given as its `base_url`."""
        ...

    def accepts(self, request: Request) -> bool:
        """Whether the service has this method and path."""
        ...

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The api key, from where the service expects it."""
        ...

    def model(self, request: Request) -> str: ...

    def wants_stream(self, request: Request) -> bool: ...

    def tool_names(self, request: Request) -> list[str]: ...

    def headers(self, request: Request) -> dict[str, str]:
        """The headers that the service adds to each of its answers."""
        ...

    def plain(self, turn: Turn) -> JsonObject: ...

    def frames(self, turn: Turn) -> Frames: ...

    def more(self, turn: Turn, text: str) -> bytes:
        """A frame with some more text, as it stands in the middle of a stream."""
        ...

    def empty_plain(self, turn: Turn) -> JsonObject:
        """A well-formed answer with no choice, candidate or content in it."""
        ...

    def empty_frames(self, turn: Turn) -> Frames: ...

    def error(self, status: int, message: str) -> JsonObject: ...

    def error_frame(self, status: int, message: str) -> bytes:
        """How the service reports an error in a stream that has begun."""
        ...


def sse(data: Any, event: str | None = None) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    head = f"event: {event}\n" if event is not None else ""
    return f"{head}data: {text}\n\n".encode()


def named(objects: Sequence[JsonObject]) -> tuple[bytes, ...]:
    """Events whose name is the `type` of their data."""
    return tuple(sse(data, data["type"]) for data in objects)


def bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else None
