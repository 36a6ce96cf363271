"""Fuzz whole commands: `python -m tests.fuzz.commands --seconds N`.

An input is JSON, one command a line; changes are made to its structure (fields dropped, doubled, replaced by other
values or by another line's), and now and then to its bytes.

The invariant: whatever a line is,

1. the intake raises nothing, and says at most one frame: an `error`, or the `result` of a ping;
2. the line ends up in exactly one place: refused with that frame, dropped as a duplicate with it, or handed on;
3. what is handed on parses to the command of its type, or to one `InvalidCommand` with a list of faults;
4. each frame has its shape and fits, and repeats no secret of the line.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any, Final, cast

from axon_port.wire.commands import COMMANDS, parse_command
from axon_port.wire.errors import WireError
from axon_port.wire.events import error_frame
from axon_port.worker.intake import Received
from tests.kit.shapes import problems_of
from tests.worker.rig import Desk

from .engine import INTERESTING, corpus, main, mutated

SECRET: Final = "sk-secret-0123456789abcdef"
MAX: Final = 65_536

VALUES: Final[list[Any]] = [
    *json.loads(
        """
        [null, true, false, 0, 1, -1, 1.0, 0.5, 9007199254740993, 9223372036854775808, -9223372036854775808,
         1180591620717411303424, "", "1", "~text", "\\u0000", [], {}, [[]], [null], [1, "x"], {"type": "text"},
         {"name": "m"}, {"script": [{}]}, {"python": "a:b"}, {"~": {}}]
        """
    ),
    SECRET,
    "x" * 257,
]
"""What is put in the place of something else."""


def target(data: bytes) -> None:
    """The lines of one input, one after the other, for one parent."""
    desk = Desk(MAX)
    for line in data.split(b"\n"):
        take(desk, line)


def take(desk: Desk, line: bytes) -> None:
    """One line, as a worker takes a payload."""
    desk.raw(line)
    frames, desk.outbox.payloads = [json.loads(payload) for payload in desk.outbox.payloads], []
    item = desk.inbox.take()
    assert desk.inbox.take() is None
    assert len(frames) <= 1
    assert len(frames) + (item is not None) == 1
    for frame in frames:
        check(frame)
    if item is None:
        return
    assert isinstance(item, Received)
    kind, frame_id, fields = item.envelope
    try:
        command = parse_command(fields)
    except WireError as error:
        frame = error_frame(None, error, run_id=frame_id)
        assert frame["error_type"] == "InvalidCommand"
        assert isinstance(frame.get("details"), list) or "nested" in frame["message"]
        check(frame)
    else:
        assert type(command) is COMMANDS[kind]
        assert (type(command.id), command.id) == (type(frame_id), frame_id)
    if item.exchange is not None:
        item.exchange.succeed(None)
        desk.outbox.payloads.clear()


def check(frame: dict[str, Any]) -> None:
    """A frame of the worker about a command that it did not take, or a pong."""
    assert list(problems_of(frame)) == [], frame
    if frame["type"] == "result":
        assert frame["result"]["status"] == "ok"
        return
    # Ids, the type and the names of fields are told, and may be anything; a value never is.
    shown = json.dumps({name: value for name, value in frame.items() if name not in ("id", "run_id", "call_id")})
    faults = cast("list[Any]", frame["details"]) if isinstance(frame.get("details"), list) else []
    told = SECRET in str([fault["loc"] for fault in faults]) or frame["error_type"] == "UnknownCommand"
    assert told or SECRET not in shown, frame


def changed(data: bytes, chance: random.Random) -> bytes:
    """A structure-aware change of some line, or of the bytes."""
    if chance.random() < 0.15:
        return mutated(data, chance)
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    try:
        value: Any = json.loads(lines[place])
    except (ValueError, RecursionError):
        return mutated(data, chance)
    for _ in range(chance.randint(1, 3)):
        value = altered(value, chance)
    lines[place] = json.dumps(value).encode()
    if chance.random() < 0.05:
        at = chance.randint(0, len(lines[place]))
        lines[place] = lines[place][:at] + chance.choice(INTERESTING) + lines[place][at:]
    if chance.random() < 0.2:
        lines.insert(place, chance.choice(lines))
    return b"\n".join(lines[:8])


def altered(value: Any, chance: random.Random) -> Any:
    """The value with one thing in it replaced, dropped, added or moved."""
    inside = chance.random() < 0.75
    if isinstance(value, dict) and value and inside:
        fields = cast("dict[str, Any]", dict(value))  # pyright: ignore[reportUnknownArgumentType]
        name = chance.choice(list(fields))
        match chance.randint(0, 4):
            case 0:
                del fields[name]
            case 1:
                fields[chance.choice(["bogus", "~x", "id", "type", "args", "deps", SECRET])] = fields[name]
            case 2:
                fields[name] = chance.choice([*VALUES, *fields.values()])
            case _:
                fields[name] = altered(fields[name], chance)
        return fields
    if isinstance(value, list) and value and inside:
        items = cast("list[Any]", list(value))  # pyright: ignore[reportUnknownArgumentType]
        at = chance.randrange(len(items))
        items[at : at + chance.randint(0, 1)] = [altered(items[at], chance)] * chance.randint(0, 2)
        return items
    if chance.random() < 0.1:
        return nested(value, chance)
    return chance.choice(VALUES)


def nested(value: Any, chance: random.Random) -> Any:
    """The value, somewhere deep in lists and objects."""
    payload = json.dumps(value)
    for _ in range(chance.choice([1, 5, 100, 250])):
        payload = f"[{payload}]" if chance.random() < 0.5 else f'{{"a":{payload}}}'
    return json.loads(payload)


def all_lines() -> list[bytes]:
    """Every line of the corpus."""
    return [line for data in corpus("commands") for line in data.split(b"\n") if line]


if __name__ == "__main__":
    sys.exit(main("commands", target, changed))
