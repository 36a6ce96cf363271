"""The frames of a conversation, sorted by the command that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from axon_port.wire.envelope import ANSWERS
from axon_port.wire.record import Entry

Frame = Mapping[str, Any]
Id = str | int

TERMINAL = frozenset({"result", "error"})
CALLS = frozenset({"tool_call", "approval_request"})


class Stage(NamedTuple):
    """How far an exchange has come: how many calls were made, whether chunks have begun to come, whether it is over."""

    calls: int
    begun: bool
    over: bool


class Key(NamedTuple):
    """A command: its id, and for the how manieth time the id was used."""

    id: Id
    use: int


@dataclass(slots=True)
class Exchange:
    """A command and everything that was said to it. `calls` are its tool calls and approval requests, in order."""

    key: Key
    command: Frame
    said: list[Frame] = field(default_factory=list[Frame])
    calls: list[Frame] = field(default_factory=list[Frame])
    begun: bool = False
    over: bool = False

    def hears(self, frame: Frame) -> None:
        self.said.append(frame)
        kind = frame["type"]
        if kind in CALLS:
            self.calls.append(frame)
        self.begun = self.begun or kind == "chunk"
        self.over = self.over or kind in TERMINAL

    def has_come_to(self, stage: Stage) -> bool:
        """Whether a parent that has seen this has seen what it had seen there."""
        return len(self.calls) >= stage.calls and self.begun >= stage.begun and self.over >= stage.over

    @property
    def stage(self) -> Stage:
        return Stage(len(self.calls), self.begun, self.over)


def id_of(frame: Frame) -> Id | None:
    """The id of a frame, if it has one that a worker would take; a parent can send anything."""
    frame_id = frame.get("id")
    return frame_id if type(frame_id) in {str, int} else None


def is_answer(frame: Frame) -> bool:
    """Whether a frame towards the worker goes with a command that is under way, and is none itself."""
    kind = frame.get("type")
    return isinstance(kind, str) and kind in ANSWERS


class Conversation:
    """Takes frames in the order of the pipe."""

    def __init__(self) -> None:
        self.exchanges: dict[Key, Exchange] = {}
        self.loose: list[Frame] = []
        """Errors without an id."""
        self._uses: Counter[Id] = Counter()

    def command(self, frame: Frame) -> Exchange | None:
        """A frame towards the worker; its exchange, unless it answers one or is none that a worker would take."""
        frame_id = id_of(frame)
        if frame_id is None or is_answer(frame):
            return None
        if (current := self.current(frame_id)) is not None and not current.over:
            return None  # refused as DuplicateId, with `id: null`
        self._uses[frame_id] += 1
        exchange = Exchange(Key(frame_id, self._uses[frame_id]), frame)
        self.exchanges[exchange.key] = exchange
        return exchange

    def event(self, frame: Frame) -> Exchange | None:
        """A frame of the worker; the exchange it belongs to, if to any."""
        frame_id, kind = frame.get("id"), frame.get("type")
        if kind == "error" and frame_id is None:
            self.loose.append(frame)
        exchange = None if frame_id is None or kind == "log" else self.current(frame_id)
        if exchange is not None:
            exchange.hears(frame)
        return exchange

    def current(self, frame_id: Id) -> Exchange | None:
        """The last exchange with an id."""
        return self.exchanges.get(Key(frame_id, self._uses[frame_id]))


def conversation_of(entries: Iterable[Entry]) -> Conversation:
    """The conversation of a whole record."""
    conversation = Conversation()
    for entry in entries:
        if entry.direction == "in":
            conversation.command(entry.frame)
        else:
            conversation.event(entry.frame)
    return conversation
