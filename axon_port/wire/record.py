"""The form of a record: every frame of one worker's life, in both directions, with its time (PROTOCOL.md, REC-*).

A record is text, one JSON value in each line, so that `grep`, `head` and `jq` work on it and a worker that was killed
leaves a record that can be read up to its last whole line:

    {"axon_port_record": 1, "version": "0.1.0", "started": "2026-11-20T14:41:02.235004Z", "options": {…}}
    [1534, "out", {"type": "ready", …}]
    [80211, "in", {"type": "ping", "id": 1}]
    [80260, "in", {"unreadable_bytes": 17}]

The number is microseconds since the start of the worker, by a clock that never goes back. `in` is towards the worker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from axon_port.wire import codec
from axon_port.wire.words import REDACTED

RECORD_VERSION: Final = 1
HEAD: Final = "axon_port_record"

_SECRET: Final = re.compile(r"(.*[_-])?(api[_-]?key|authorization([_-]token)?)", re.IGNORECASE)
"""Fields of commands whose value is a secret, at any depth."""

_SECRETS: Final = re.compile(r"(.*[_-])?(headers|env)", re.IGNORECASE)
"""Fields that may hold secrets under any name where they are for a server, which is sent them or started with them."""

_Place = Literal["command", "model", "server", "tool", "schema", "secret", "plain"]
"""Where in a command a value stands; `secret` is the schema of a field that is a secret."""

_WITHIN: Final[Mapping[_Place, tuple[Mapping[str, _Place], _Place]]] = {
    "command": (
        {
            "model": "model",
            "model_settings": "server",
            "capabilities": "server",
            "tools": "tool",
            "output_schema": "schema",
            "deps_schema": "schema",
        },
        "plain",
    ),
    # A script says how tools are called, and no server hears of it.
    "model": ({"model": "model", "script": "plain"}, "server"),
    "tool": ({"parameters": "schema"}, "plain"),
}
"""Where the fields of an object stand, and where those not named do. In the other places: where it stands itself."""

_VALUES: Final = frozenset({"default", "const", "enum", "examples"})
"""What of a schema holds values of the field."""

_SUSPECTS: Final = (b"api_key", b"api-key", b"apikey", b"authorization", b'headers"', b'env"', b"\\u", b"\\/")
"""What a command with such a field holds, in small letters; or a character in another form, behind which a name or a
key is not seen before it is read."""

Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class Head:
    """The first line. `options` are those of the worker that was recorded, by their names in Python."""

    version: str
    started: str
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame. `at` is in microseconds since the worker's start."""

    at: int
    direction: Direction
    frame: Mapping[str, Any]


class NotARecord(ValueError):
    """The text is no record; the message names the line."""


def head_line(head: Head) -> bytes:
    fields = {HEAD: RECORD_VERSION, "version": head.version, "started": head.started, "options": dict(head.options)}
    return codec.encode(fields) + b"\n"


def entry_line(at: int, direction: Direction, payload: bytes) -> bytes:
    """The line of a frame that is JSON in UTF-8 already; it is not read again."""
    # White space between values is all that a line feed can be in JSON: inside a string it would be escaped.
    return b'[%d,"%s",%s]\n' % (at, direction.encode(), payload.replace(b"\n", b" ").replace(b"\r", b" "))


def unreadable(length: int) -> bytes:
    """What stands for bytes that were no frame of JSON."""
    return codec.encode({"unreadable_bytes": length})


def without_secrets(payload: bytes) -> bytes:
    """A command, which is JSON, without the secrets that it brings, and with every text written plainly."""
    small = payload.lower()
    if not any(word in small for word in _SUSPECTS):
        return payload
    return codec.encode(_hidden(codec.decode(payload), "command"))


def read_record(lines: Iterable[bytes]) -> tuple[Head, Iterator[Entry]]:
    """The head of a record, and its frames as they are asked for.

    A last line that was cut off, as a killed worker leaves it, is left out. Raises `NotARecord`, the iterator too.
    """
    numbered = enumerate(lines, start=1)
    _, first = next(numbered, (1, b""))
    return _head(first), _entries(numbered)


def _head(line: bytes) -> Head:
    value = _json(line)
    if not isinstance(value, dict):
        raise NotARecord("line 1 is not the head of a record: it should hold axon_port_record")
    fields = cast("dict[str, Any]", value)
    if fields.get(HEAD) != RECORD_VERSION:
        raise NotARecord(f"line 1 is not the head of a record of version {RECORD_VERSION}")
    options: object = fields.get("options") or {}
    if not isinstance(options, dict):
        raise NotARecord("line 1 is not the head of a record: its options are no object")
    return Head(str(fields.get("version")), str(fields.get("started")), cast("dict[str, Any]", options))


def _entries(lines: Iterator[tuple[int, bytes]]) -> Iterator[Entry]:
    for number, line in lines:
        if not line.endswith(b"\n"):
            return
        value: Any = _json(line)
        match value:
            case [int(), "in" | "out", dict()]:
                yield Entry(value[0], value[1], value[2])
            case _:
                raise NotARecord(f"line {number} is no frame of a record")


def _json(line: bytes) -> Any:
    try:
        # Not the codec, which refuses what a worker may have written before it was changed.
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _hidden(value: Any, place: _Place, name: str = "", around: str = "") -> Any:
    if _SECRET.fullmatch(name) and place in {"schema", "secret"} and _describes(value, around):
        # Without a schema of its fields a tool could not be made again.
        return _hidden(value, "secret")
    if _is_secret(place, name):
        return _blank(value)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: _hidden(item, _place_of(key, place), key, name) for key, item in fields.items()}
    if isinstance(value, list):
        return [_hidden(item, place) for item in cast("list[Any]", value)]
    return value


def _place_of(key: str, around: _Place) -> _Place:
    if around not in _WITHIN:
        return around
    named, others = _WITHIN[around]
    return named[key] if key in named else others  # noqa: SIM401  pyright takes what `get` gives for any text


def _is_secret(place: _Place, name: str) -> bool:
    if place == "server" and _SECRETS.fullmatch(name):
        return True
    return (place == "secret" and name in _VALUES) or _SECRET.fullmatch(name) is not None


def _describes(value: Any, around: str) -> bool:
    """Whether it is a schema that says what a field of such a name is."""
    return around == "properties" and isinstance(value, dict | bool)


def _blank(value: Any) -> Any:
    """The same shape, with nothing in it; a null says that there is no secret."""
    if isinstance(value, dict):
        return {key: _blank(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_blank(item) for item in cast("list[Any]", value)]
    return None if value is None else REDACTED
