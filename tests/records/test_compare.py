"""What counts as another answer, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from axon_port.records.compare import Difference, differences
from axon_port.records.conversation import conversation_of
from axon_port.wire.record import Entry

from .scenes import ANSWER, CALL, RESULT, RUN, a_run_with_a_call, into, out


def between(ours: list[Entry], theirs: list[Entry]) -> list[Difference]:
    return list(differences(conversation_of(ours), conversation_of(theirs)))


def told(*frames: dict[str, Any]) -> list[Entry]:
    return [into(0, RUN), *(out(at, frame) for at, frame in enumerate(frames))]


def chunk(seq: int, data: str, kind: str = "text") -> dict[str, Any]:
    return {"type": "chunk", "id": 1, "seq": seq, "step": 1, "kind": kind, "data": data}


def test_the_same_is_the_same() -> None:
    assert between(a_run_with_a_call(), a_run_with_a_call()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": "y"},
        {"duration_ms": 17},
        {
            "messages": [
                {"parts": [{"content": "x", "timestamp": 2, "tool_call_id": "b"}], "run_id": "r", "timestamp": 3}
            ]
        },
    ],
)
def test_times_and_generated_ids_are_not_compared(changed: dict[str, Any]) -> None:
    """clause: REPLAY-COMPARED"""
    before = {"messages": [{"parts": [{"content": "x", "timestamp": 1, "tool_call_id": "a"}], "run_id": "q"}]}
    ours = {**RESULT, **(before if "messages" in changed else {})}
    assert between(told(ours), told({**ours, **changed})) == []


def test_the_trace_of_a_call_is_not_compared() -> None:
    """clause: REPLAY-COMPARED"""
    traced = {**CALL, "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    assert between(told(CALL, RESULT), told(traced, RESULT)) == []


def test_how_an_answer_was_cut_into_chunks_is_not_compared() -> None:
    """clause: REPLAY-COMPARED"""
    whole, cut = told(chunk(0, "a coat"), RESULT), told(chunk(0, "a "), chunk(1, "co"), chunk(2, "at"), RESULT)
    assert between(whole, cut) == []


def test_text_of_another_kind_or_step_is_not_joined() -> None:
    thought = told(chunk(0, "a ", "thinking"), chunk(1, "coat"), RESULT)
    said = told(chunk(0, "a "), chunk(1, "coat"), RESULT)
    assert [one.path for one in between(thought, said)] != []


@pytest.mark.parametrize(
    ("theirs", "path", "recorded", "replayed"),
    [
        ([{**RESULT, "result": "a hat"}], "frames[0].result", '"a coat"', '"a hat"'),
        ([{**RESULT, "result": 1}], "frames[0].result", '"a coat"', "1"),
        ([], "frames[0]", None, "nothing"),
        ([CALL, RESULT], "frames[0].type", '"result"', '"tool_call"'),
        ([{**RESULT, "more": True}], "frames[0].more", "nothing", "true"),
    ],
)
def test_another_answer_is_told_with_its_place(
    theirs: list[dict[str, Any]], path: str, recorded: str | None, replayed: str
) -> None:
    """clause: REPLAY-COMPARED"""
    found = {one.path: one for one in between(told(RESULT), told(*theirs))}
    assert path in found
    assert found[path].replayed == replayed
    assert recorded is None or found[path].recorded == recorded
    assert (found[path].id, found[path].command) == (1, "run")


def test_a_number_is_not_its_boolean() -> None:
    assert between(told({**RESULT, "result": 1}), told({**RESULT, "result": True})) != []


def test_what_a_ping_and_the_statistics_say_of_the_process_is_not_compared() -> None:
    """clause: REPLAY-COMPARED"""

    def ping(uptime: int) -> list[Entry]:
        return [
            into(0, {"type": "ping", "id": 1}),
            out(1, {"type": "result", "id": 1, "result": {"uptime_ms": uptime}}),
        ]

    assert between(ping(1), ping(2)) == []


def test_errors_without_an_id_are_compared() -> None:
    loose = out(1, {"type": "error", "id": None, "error_type": "InvalidJSON", "message": "x"})
    (found,) = between([loose], [])
    assert found.path == "errors without an id[0]"


def test_an_answer_to_a_call_changes_nothing_by_itself() -> None:
    assert between([*told(CALL), into(9, ANSWER)], told(CALL)) == []


def test_of_an_output_that_grows_the_last_state_counts() -> None:
    """clause: REPLAY-COMPARED"""
    states: list[Any] = [{"city": "O"}, {"city": "Os"}, {"city": "Oslo"}]
    grown = [{**chunk(seq, ""), "kind": "output", "data": state} for seq, state in enumerate(states)]
    assert between(told(*grown, RESULT), told(grown[-1], RESULT)) == []
    (found,) = between(told(*grown, RESULT), told(grown[1], RESULT))
    assert (found.recorded, found.replayed) == ('"Oslo"', '"Os"')


@pytest.mark.parametrize("kind", ["tool_call", "tool_return"])
def test_the_ids_of_calls_in_chunks_and_in_what_was_deferred_are_not_compared(kind: str) -> None:
    """clause: REPLAY-COMPARED"""

    def with_id(call_id: str, name: str = "ship") -> list[Entry]:
        call: dict[str, Any] = {"call_id": call_id, "name": name, "args": {}}
        made: dict[str, Any] = {**chunk(0, ""), "kind": kind, "data": call}
        return told(made, {**RESULT, "status": "deferred", "deferred": {"calls": [call]}})

    assert between(with_id("7"), with_id("8")) == []
    assert len(between(with_id("7"), with_id("7", "shop"))) == 2


def test_messages_of_another_shape_are_compared_as_they_are() -> None:
    ours, theirs = ({**RESULT, "messages": [text]} for text in ("one", "two"))
    assert between(told(ours), told(ours)) == []
    assert len(between(told(ours), told(theirs))) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {**RESULT, "messages": [{"parts": [1, None]}]},
        {**RESULT, "messages": [{"parts": 1}]},
        {**RESULT, "status": "deferred", "deferred": {"calls": 1}},
        {**RESULT, "status": "deferred", "deferred": {"calls": ["x"]}},
        {**RESULT, "kind": ["tool_call"]},
        {**chunk(0, "x", "tool_call")},
    ],
)
def test_frames_of_another_shape_are_compared_as_they_are(odd: dict[str, Any]) -> None:
    """clause: REPLAY-COMPARED"""
    assert between(told(odd), told(odd)) == []
    assert between(told(odd), told({**odd, "more": 1})) != []
