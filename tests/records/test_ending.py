"""How a recorded worker ended, and what a replay waits for before it does the same."""

from __future__ import annotations

from typing import Any

import pytest

from axon_port.records.conversation import Key, Stage, conversation_of
from axon_port.records.ending import Ending, ending_of
from axon_port.wire.record import Entry

from .scenes import CALL, RESULT, RUN, into, out

CHUNK: dict[str, Any] = {"type": "chunk", "id": 1, "kind": "text", "data": "x"}


def ending(*entries: Entry) -> Ending:
    return ending_of(entries, conversation_of(entries))


def failed(error_type: str) -> Entry:
    return out(2, {"type": "error", "id": 1, "error_type": error_type})


@pytest.mark.parametrize(
    ("reason", "cause"), [("eof", "eof"), ("signal", "signal"), ("shutdown", None), ("fatal", None), (["x"], None)]
)
def test_the_last_frame_says_what_ended_it(reason: Any, cause: str | None) -> None:
    """clause: REPLAY-END"""
    found = ending(into(0, RUN), out(1, RESULT), out(7, {"type": "goodbye", "reason": reason}))
    assert (found.cause, found.at) == (cause, 7)


def test_without_one_a_run_that_nobody_could_answer_says_that_the_input_ended() -> None:
    """clause: REPLAY-END"""
    assert ending(into(0, RUN), out(1, CALL), failed("ParentGone")).cause == "eof"
    assert ending(into(0, RUN), out(1, CALL), failed("Timeout")).cause is None
    assert ending().cause is None


@pytest.mark.parametrize("error_type", ["ParentGone", "Cancelled", "ShuttingDown"])
def test_what_the_end_itself_ended_is_not_waited_for_but_its_calls_are(error_type: str) -> None:
    """clause: REPLAY-END"""
    found = ending(into(0, RUN), out(1, CALL), failed(error_type))
    assert found.after == {Key(1, 1): Stage(1, begun=False, over=False)}


def test_what_ended_by_itself_is_waited_for() -> None:
    """clause: REPLAY-END"""
    assert ending(into(0, RUN), out(1, RESULT)).after == {Key(1, 1): Stage(0, begun=False, over=True)}


@pytest.mark.parametrize(("credit", "more", "cause", "stage"), [
    (0, 0, "eof", Stage(0, begun=False, over=False)),
    (1, 0, "eof", Stage(0, begun=True, over=False)),
    (1, 1, None, Stage(0, begun=True, over=True)),
    (None, 0, None, Stage(0, begun=True, over=True)),
])  # fmt: skip
def test_chunks_without_credit_came_of_the_end(credit: int | None, more: int, cause: str | None, stage: Stage) -> None:
    """clause: REPLAY-END"""
    stream, grant = {**RUN, "type": "stream", "credit": credit}, {"type": "credit", "id": 1, "n": more}
    found = ending(into(0, stream), into(0, grant), out(1, CHUNK), out(1, CHUNK), out(1, RESULT))
    assert (found.cause, found.after) == (cause, {Key(1, 1): stage})
