"""The frames of a conversation, sorted by the command that they belong to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from axon_port.wire.envelope import ANSWERS
from axon_port.wire.record import Entry
from axon_port.wire.words import Id

Frame = Mapping[str, Any]

TERMINAL = frozenset({"result", "error"})
CALLS = frozenset({"tool_call", "approval_request"})

_UNREAD: Final = frozenset({"InvalidJSON", "FrameTooLarge", "InvalidCommand", "InternalError"})
"""What a worker says of a frame that a record does not hold (REC-UNREADABLE)."""


class Stage(NamedTuple):
    """How far an exchange has come: how many calls were made, whether chunks have begun to come, whether it is over."""

    calls: int
    begun: bool
    over: bool


class Key(NamedTuple):
    """A command: its id, and for the how manieth time the id was used."""

    id: Id
    use: int


class Call(NamedTuple):
    """What a call is known by in every run: its `call_id` is another one each time. `number` tells equal ones apart."""

    type: str
    name: str
    args: str
    number: int


@dataclass(slots=True)
class Exchange:
    """A command and everything that was said to it. `calls` are its tool calls and approval requests, in order."""

    key: Key
    command: Frame
    said: list[Frame] = field(default_factory=list[Frame])
    calls: dict[Call, Frame] = field(default_factory=dict[Call, Frame])
    begun: bool = False
    over: bool = False
    chunks: int = 0
    granted: int = 0
    """Credit that was given after the command's own."""
    _equal: Counter[Call] = field(default_factory=Counter[Call])

    def hears(self, frame: Frame) -> None:
        self.said.append(frame)
        kind = frame["type"]
        if kind in CALLS:
            call = Call(kind, frame["name"], json.dumps(frame.get("args"), sort_keys=True), 0)
            self.calls[call._replace(number=self._equal[call])] = frame
            self._equal[call] += 1
        self.chunks += kind == "chunk"
        self.begun = self.chunks > 0
        self.over = self.over or kind in TERMINAL

    def has_come_to(self, stage: Stage) -> bool:
        """Whether a parent that has seen this has seen what it had seen there."""
        return len(self.calls) >= stage.calls and self.begun >= stage.begun and self.over >= stage.over

    @property
    def stage(self) -> Stage:
        return Stage(len(self.calls), self.begun, self.over)

    @property
    def credit(self) -> int | None:
        """How many chunks the parent was ready for; None for any number."""
        own = self.command.get("credit")
        return own + self.granted if isinstance(own, int) else None

    @property
    def overdrawn(self) -> bool:
        """Whether there were more chunks than that, as there are when the input has ended."""
        return self.credit is not None and self.chunks > self.credit

    @property
    def failure(self) -> str | None:
        """The error that it ended with."""
        return self.said[-1].get("error_type") if self.over else None


def id_of(frame: Frame) -> Id | None:
    """The id of a frame, if it has one that a worker would take; a parent can send anything."""
    frame_id = frame.get("id")
    return frame_id if type(frame_id) in {str, int} else None


def is_lost(frame: Frame) -> bool:
    """Whether it stands for frames that a record does not hold."""
    return "type" not in frame and ("unreadable_bytes" in frame or "left_out_frames" in frame)


def is_answer(frame: Frame) -> bool:
    """Whether a frame towards the worker goes with a command that is under way, and is none itself."""
    kind = frame.get("type")
    return isinstance(kind, str) and kind in ANSWERS


class Conversation:
    """Takes frames in the order of the pipe."""

    def __init__(self) -> None:
        self.exchanges: dict[Key, Exchange] = {}
        self.loose: list[Frame] = []
        """Errors without an id, but for those about frames that are not recorded: these cannot be sent again."""
        self._unread = 0
        self._uses: Counter[Id] = Counter()

    def command(self, frame: Frame) -> Exchange | None:
        """A frame towards the worker; its exchange, unless it answers one or is none that a worker would take."""
        frame_id = id_of(frame)
        self._unread += is_lost(frame) and "unreadable_bytes" in frame
        if frame_id is None or is_answer(frame):
            self._grant(frame)
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
        exchange = None if frame_id is None or kind == "log" else self.current(frame_id)
        if kind == "error" and (exchange is None or exchange.over) and self._is_about_the_lost(frame):
            return None
        if kind == "error" and frame_id is None:
            self.loose.append(frame)
        if exchange is not None:
            exchange.hears(frame)
        return exchange

    def _grant(self, frame: Frame) -> None:
        frame_id, more = id_of(frame), frame.get("n")
        exchange = None if frame_id is None else self.current(frame_id)
        if exchange is not None and frame.get("type") == "credit" and isinstance(more, int):
            exchange.granted += more

    def _is_about_the_lost(self, error: Frame) -> bool:
        kind = error.get("error_type")
        if error.get("fatal") is True or kind == "TruncatedFrame":
            return True
        told = self._unread > 0 and kind in _UNREAD
        self._unread -= told
        return told

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
