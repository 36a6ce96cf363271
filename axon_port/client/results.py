"""What a caller gets: results, chunks, and the questions that callbacks are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from axon_port.wire.words import ChunkKind

Usage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeferredCall:
    """A call that nobody made during its run. `approval` where it waits for a word, else for what it returns."""

    call_id: str
    name: str
    args: Mapping[str, Any]
    approval: bool = False


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended well.

    `output` is the model's answer, None for a deferred run. `messages` are what was asked for (`"new"`, `"all"`,
    `"none"`), to be given to a next run as they are. `deferred` is empty unless `status` is `"deferred"`. Where
    `on_deferred` carried the run on, `messages`, `usage` and `duration_ms` are those of all its legs together.
    """

    output: Any
    status: Literal["complete", "deferred"]
    agent_id: str
    run_id: str
    messages: list[Any] | None
    usage: Usage
    duration_ms: int
    deferred: tuple[DeferredCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream: `kind` and `data` as STREAM-EVENTS has them, `step` the model request it belongs to."""

    seq: int
    step: int
    kind: ChunkKind
    data: Any


@dataclass(frozen=True, slots=True)
class Call:
    """What a callback is asked: a tool call, or the permission for one.

    A tool whose first parameter has this annotation gets it there.
    """

    agent_id: str
    call_id: str
    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Approved:
    """The call may be made, with other arguments if they are given."""

    args: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The call may not be made; the model sees the message."""

    message: str | None = None


def run_result(frame: Mapping[str, Any]) -> RunResult:
    """The result of a run's terminal frame."""
    calls = frame.get("deferred", {}).get("calls", ())
    return RunResult(
        output=frame["result"],
        status=frame["status"],
        agent_id=frame["agent_id"],
        run_id=frame["run_id"],
        messages=frame.get("messages"),
        usage=frame["usage"],
        duration_ms=frame["duration_ms"],
        deferred=tuple(_deferred_call(call) for call in calls),
    )


def _deferred_call(call: Mapping[str, Any]) -> DeferredCall:
    return DeferredCall(call["call_id"], call["name"], call["args"], call.get("approval", False))


def joined(first: RunResult, second: RunResult, selection: str) -> RunResult:
    """Two legs of one run as one result; `selection` is what was asked for as `messages`."""
    messages = second.messages
    if selection == "new" and first.messages is not None and messages is not None:
        messages = [*first.messages, *messages]
    return RunResult(
        output=second.output,
        status=second.status,
        agent_id=second.agent_id,
        run_id=second.run_id,
        messages=messages,
        usage=_sum(first.usage, second.usage),
        duration_ms=first.duration_ms + second.duration_ms,
        deferred=second.deferred,
    )


def _sum(first: Usage, second: Usage) -> dict[str, Any]:
    total = dict(first)
    for name, value in second.items():
        had = total.get(name)
        if isinstance(value, Mapping) and isinstance(had, Mapping):
            total[name] = _sum(cast("Usage", had), cast("Usage", value))
        elif isinstance(value, int | float) and isinstance(had, int | float):
            total[name] = had + value
        else:
            total[name] = value
    return total
