"""What differs between a recorded conversation and its replay, without what differs between any two runs.

Left out are times, durations, generated ids, traces, counters of the process, logs, how an answer was cut into chunks,
and how far a run had come when it was cancelled; compared is everything else, tool calls and their order included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from axon_port.records.conversation import Conversation, Exchange, Frame

SHOWN_CHARACTERS: Final = 120
"""Of a value in a difference."""

_JOINED: Final = frozenset({"text", "thinking"})
_ABOUT_THE_PROCESS: Final = frozenset({"ping", "stats"})
_OF_THE_FRAME: Final = frozenset({"run_id", "duration_ms", "call_id", "seq", "traceparent"})
_OF_A_MESSAGE: Final = frozenset(
    {"timestamp", "run_id", "conversation_id", "tool_call_id", "provider_response_id", "history_digest", "id"}
)
_OF_A_CALL: Final = frozenset({"call_id"})
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a replay went another way. `path` leads to it from the exchange's frames."""

    id: str | int | None
    command: str
    path: str
    recorded: str
    replayed: str


def differences(recorded: Conversation, replayed: Conversation) -> Iterator[Difference]:
    """Every difference, in the order of the recorded commands."""
    for key, exchange in recorded.exchanges.items():
        other = replayed.exchanges.get(key)
        yield from _between(exchange, [] if other is None else other.said)
    ours, theirs = ([_told(frame) for frame in side.loose] for side in (recorded, replayed))
    yield from _walk("errors without an id", ours, theirs, None, "")


def _between(exchange: Exchange, replayed: list[Frame]) -> Iterator[Difference]:
    kind = str(exchange.command.get("type"))
    if kind in _ABOUT_THE_PROCESS or (_was_cancelled(exchange.said) and _was_cancelled(replayed)):
        # What they hold depends on the moment.
        ours, theirs = ([frame["type"] for frame in side[-1:]] for side in (exchange.said, replayed))
    else:
        ours, theirs = (_joined(side) for side in (exchange.said, replayed))
    yield from _walk("frames", ours, theirs, exchange.key.id, kind)


def _was_cancelled(frames: list[Frame]) -> bool:
    return bool(frames) and frames[-1].get("error_type") == "Cancelled"


def _joined(frames: list[Frame]) -> list[dict[str, Any]]:
    """The frames without their accidents; neighbouring deltas are one, of growing outputs the last one stays."""
    told: list[dict[str, Any]] = []
    for frame in map(_told, frames):
        last = told[-1] if told else {}
        kind = frame.get("kind")
        same = frame["type"] == "chunk" and (last.get("kind"), last.get("step")) == (kind, frame.get("step"))
        if same and kind in _JOINED:
            last["data"] += frame["data"]
        elif same and kind == "output":
            last["data"] = frame["data"]
        else:
            told.append(frame)
    return told


def _told(frame: Frame) -> dict[str, Any]:
    told = _without(frame, _OF_THE_FRAME)
    if isinstance(messages := told.get("messages"), list):
        told["messages"] = [_message(message) for message in cast("list[object]", messages)]
    if isinstance(deferred := told.get("deferred"), dict):
        told["deferred"] = {"calls": _each(cast("dict[str, object]", deferred).get("calls", []), _OF_A_CALL)}
    if told["type"] == "chunk" and told["kind"] in {"tool_call", "tool_return"}:
        told["data"] = _part(told["data"], _OF_A_CALL)
    return told


def _message(message: object) -> object:
    if not isinstance(message, dict):
        return message
    fields = _without(cast("dict[str, object]", message), _OF_A_MESSAGE)
    return {**fields, "parts": _each(fields.get("parts", []), _OF_A_MESSAGE)}


def _each(values: object, left_out: frozenset[str]) -> object:
    if not isinstance(values, list):
        return values
    return [_part(value, left_out) for value in cast("list[object]", values)]


def _part(value: object, left_out: frozenset[str]) -> object:
    return _without(cast("dict[str, object]", value), left_out) if isinstance(value, dict) else value


def _without(fields: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in left_out}


def _walk(path: str, ours: object, theirs: object, frame_id: str | int | None, command: str) -> Iterator[Difference]:
    if type(ours) is not type(theirs):
        yield Difference(frame_id, command, path, _shown(ours), _shown(theirs))
    elif isinstance(ours, dict):
        left, right = cast("dict[str, object]", ours), cast("dict[str, object]", theirs)
        for name in dict.fromkeys([*left, *right]):
            place = f"{path}.{name}"
            yield from _walk(place, left.get(name, _MISSING), right.get(name, _MISSING), frame_id, command)
    elif isinstance(ours, list):
        first, second = cast("list[object]", ours), cast("list[object]", theirs)
        for index in range(max(len(first), len(second))):
            here, there = (side[index] if index < len(side) else _MISSING for side in (first, second))
            yield from _walk(f"{path}[{index}]", here, there, frame_id, command)
    elif ours != theirs:
        yield Difference(frame_id, command, path, _shown(ours), _shown(theirs))


def _shown(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
