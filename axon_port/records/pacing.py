"""When the next recorded command may be sent in a replay: after what its parent had seen when it sent it.

A parent decides by what has come back: it answers a call that was made, goes on when a run has ended, cancels when
text has begun to come. So a command waits for the same calls, ends and beginnings; not for the same number of chunks,
which depends on how fast somebody read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from axon_port.records.conversation import Call, Conversation, Exchange, Frame, Key, Stage, id_of, is_answer, is_lost
from axon_port.wire.record import Entry

_ANSWERED: Final = {"tool_result": "tool_call", "approval": "approval_request"}


@dataclass(frozen=True, slots=True)
class Step:
    """A command to send `at` so many microseconds, and what has to have come before."""

    at: int
    frame: Frame
    after: Mapping[Key, Stage]
    call: Call | None = None
    """The recorded call that this frame answers."""
    key: Key | None = None
    """The exchange that this frame begins, or belongs to."""


def steps(entries: Iterable[Entry]) -> list[Step]:
    """The commands of a record, in order; frames that could not be read cannot be sent again and are left out."""
    heard, found = Conversation(), list[Step]()
    news: dict[Key, Exchange] = {}
    for entry in entries:
        frame = entry.frame
        if entry.direction == "out":
            if (exchange := heard.event(frame)) is not None:
                news[exchange.key] = exchange
        elif not is_lost(frame):
            after = {key: exchange.stage for key, exchange in news.items()}
            # What one command has waited for, those after it need not wait for again.
            news.clear()
            step = Step(entry.at, frame, after)
            found.append(_answer(step, heard) if is_answer(frame) else _begun(step, heard))
    return found


def matching(call: Call, recorded: Exchange, replayed: Exchange) -> Frame | None:
    """The call of a replay that is the recorded `call`: the same; else, of those that were not made in both, the one
    in the same place among calls of that name."""
    if (same := replayed.calls.get(call)) is not None:
        return same
    ours, theirs = (
        [one for one in side.calls if one[:2] == call[:2] and one not in other.calls]
        for side, other in ((recorded, replayed), (replayed, recorded))
    )
    place = ours.index(call)
    return replayed.calls[theirs[place]] if place < len(theirs) else None


def _answer(step: Step, heard: Conversation) -> Step:
    frame_id = id_of(step.frame)
    exchange = None if frame_id is None else heard.current(frame_id)
    if exchange is None:
        return step
    # A call that was approved is made with the id that its request had.
    wanted = (_ANSWERED.get(step.frame["type"]), step.frame.get("call_id"))
    call = next((call for call, frame in exchange.calls.items() if (call.type, frame["call_id"]) == wanted), None)
    return replace(step, call=call, key=exchange.key)


def _begun(step: Step, heard: Conversation) -> Step:
    exchange = heard.command(step.frame)
    return step if exchange is None else replace(step, key=exchange.key)
