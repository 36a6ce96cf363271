"""From a record to what a timeline shows: each run as a bar with what happened in it, in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from axon_port.records.conversation import CALLS, TERMINAL, Conversation, Exchange, Frame, Id, Key, id_of, is_answer
from axon_port.wire.record import Entry

RUNS: Final = frozenset({"run", "stream"})

SHOWN_CHARACTERS: Final = 600
"""Of a frame, when it is looked at; the record has the rest."""

KEPT_FRAMES: Final = 400
"""Frames of one run whose text is kept; of the others there are marks."""


@dataclass(slots=True)
class Mark:
    """A frame of a run: when, which way, of what type, its text."""

    at: float
    direction: str
    kind: str
    text: str


@dataclass(slots=True)
class Span:
    """A tool call or an approval, until its answer."""

    name: str
    begin: float
    end: float | None
    outcome: str


@dataclass(slots=True)
class Bar:
    """One command and its life. `outcome` is `complete`, `deferred`, an error type, or `open` where it never ended."""

    id: Id
    kind: str
    agent: str
    begin: float
    end: float | None = None
    outcome: str = "open"
    calls: list[Span] = field(default_factory=list[Span])
    model: list[tuple[float, float | None]] = field(default_factory=list[tuple[float, float | None]])
    """When the run waited for its model: all the time but that of its calls."""
    marks: list[Mark] = field(default_factory=list[Mark])
    left_out: int = 0


@dataclass(slots=True)
class Scene:
    """All of a record. `others` are commands that are no runs; `loose` are frames that belong to none."""

    runs: list[Bar]
    others: list[Bar]
    loose: list[Mark]
    length: float


class Gatherer:
    """Takes entries in order."""

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._bars: dict[Key, Bar] = {}
        self._open_calls: dict[tuple[Key, str], Span] = {}
        self._loose: list[Mark] = []
        self._last = 0.0

    def take(self, entry: Entry) -> None:
        at, frame = entry.at / 1000, entry.frame
        self._last = max(self._last, at)
        inward = entry.direction == "in"
        exchange = self._incoming(frame, at) if inward else self._conversation.event(frame)
        mark = Mark(at, entry.direction, _kind(frame), _text(frame))
        if exchange is None:
            self._loose.append(mark)
            return
        bar = self._bars[exchange.key]
        if len(bar.marks) < KEPT_FRAMES or mark.kind in TERMINAL:
            bar.marks.append(mark)
        else:
            bar.left_out += 1
        if not inward:
            self._outgoing(exchange, bar, frame, at)

    def scene(self) -> Scene:
        bars = list(self._bars.values())
        runs = [bar for bar in bars if bar.kind in RUNS]
        return Scene(runs, [bar for bar in bars if bar.kind not in RUNS], self._loose, self._last)

    def _incoming(self, frame: Frame, at: float) -> Exchange | None:
        frame_id = id_of(frame)
        if is_answer(frame) and frame_id is not None:
            exchange = self._conversation.current(frame_id)
            if exchange is not None and isinstance(call_id := frame.get("call_id"), str):
                self._close(exchange.key, call_id, at, _answer(frame))
            return exchange
        exchange = self._conversation.command(frame)
        if exchange is not None:
            bar = Bar(exchange.key.id, _kind(frame), str(frame.get("agent_id", "")), at)
            if bar.kind in RUNS:
                bar.model.append((at, None))
            self._bars[exchange.key] = bar
        return exchange

    def _outgoing(self, exchange: Exchange, bar: Bar, frame: Frame, at: float) -> None:
        kind = frame["type"]
        if kind in CALLS:
            span = Span(frame["name"], at, None, "open")
            bar.calls.append(span)
            self._open_calls[exchange.key, frame["call_id"]] = span
            _pause(bar, at)
        elif kind == "tool_cancel":
            self._close(exchange.key, frame["call_id"], at, "cancelled")
        elif kind in TERMINAL:
            bar.end = at
            _pause(bar, at)
            bar.outcome = frame["error_type"] if kind == "error" else str(frame.get("status", "complete"))

    def _close(self, key: Key, call_id: str, at: float, outcome: str) -> None:
        span = self._open_calls.pop((key, call_id), None)
        if span is None:
            return
        span.end, span.outcome = at, outcome
        bar = self._bars[key]
        if all(call.end is not None for call in bar.calls):
            bar.model.append((at, None))


def gather(entries: Iterable[Entry]) -> Scene:
    """What a timeline of these entries shows."""
    gatherer = Gatherer()
    for entry in entries:
        gatherer.take(entry)
    return gatherer.scene()


def _pause(bar: Bar, at: float) -> None:
    """The model is waited for no longer."""
    if bar.model and bar.model[-1][1] is None:
        bar.model[-1] = (bar.model[-1][0], at)


def _kind(frame: Frame) -> str:
    return str(frame.get("type", "unreadable"))


def _answer(frame: Frame) -> str:
    if frame["type"] == "approval":
        return "approved" if frame.get("approved") is True else "refused"
    return next((word for word in ("error", "failed", "retry") if word in frame), "result")


def _text(frame: Frame) -> str:
    text: Any = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
