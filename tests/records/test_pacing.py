"""A replay sends each command after what its parent had seen."""

from typing import Any

import pytest

from axon_port.records.conversation import Call, Exchange, Frame, Key, Stage
from axon_port.records.pacing import matching, steps

from .scenes import AGENT, ANSWER, CALL, RESULT, RUN, a_run_with_a_call, into, out

RIGA = Call("tool_call", "weather", '{"city": "Riga"}', 0)


def asking(*calls: Frame) -> Exchange:
    exchange = Exchange(Key(1, 1), RUN)
    for call in calls:
        exchange.hears(call)
    return exchange


def test_an_answer_waits_for_its_call_and_for_what_had_ended() -> None:
    """clause: REPLAY-PACE"""
    first, second, third = steps(a_run_with_a_call())
    assert (first.frame, first.after, first.call) == (AGENT, {}, None)
    assert (second.frame, second.after, second.key) == (RUN, {}, Key(1, 1))
    assert third.frame == ANSWER
    assert third.after == {Key("a", 1): Stage(0, begun=False, over=True), Key(1, 1): Stage(1, begun=False, over=False)}
    assert (third.call, third.key) == (RIGA, Key(1, 1))


def test_a_command_waits_for_chunks_to_begin_and_not_for_their_number() -> None:
    """clause: REPLAY-PACE"""
    chunk = {"type": "chunk", "id": 1, "seq": 0, "step": 1, "kind": "text", "data": "x"}
    cancel = {"type": "cancel", "id": 2, "target": 1}
    entries = [into(0, {**RUN, "type": "stream"}), out(1, chunk), out(2, chunk), into(3, cancel)]
    assert steps(entries)[1].after == {Key(1, 1): Stage(0, begun=True, over=False)}


def test_an_exchange_has_come_as_far_as_it_was_or_further() -> None:
    exchange = Exchange(Key(1, 1), RUN)
    wanted = Stage(1, begun=False, over=False)
    assert not exchange.has_come_to(wanted)
    exchange.hears(CALL)
    assert exchange.has_come_to(wanted)
    exchange.hears(RESULT)
    assert exchange.has_come_to(wanted)


def test_a_frame_that_could_not_be_read_is_not_sent_again() -> None:
    """clause: REPLAY-PACE"""
    assert [step.frame for step in steps([into(0, {"unreadable_bytes": 9}), into(1, RUN)])] == [RUN]
    assert [step.frame for step in steps([into(0, {"id": 1})])] == [{"id": 1}]


def test_a_call_is_found_by_its_arguments_whatever_its_number() -> None:
    """clause: REPLAY-PACE"""
    other = {**CALL, "call_id": "8", "args": {"city": "Oslo"}}
    same = {**CALL, "call_id": "9", "args": {"city": "Riga"}}
    assert matching(RIGA, asking(CALL), asking(other, same)) is same
    assert matching(RIGA, asking(CALL), asking(other)) is other
    assert matching(RIGA, asking(CALL), asking({**CALL, "name": "clock"})) is None
    assert matching(RIGA, asking(CALL), asking({**CALL, "type": "approval_request"})) is None


def test_of_equal_calls_each_is_the_one_in_its_place() -> None:
    """clause: REPLAY-PACE"""
    first, second = {**CALL, "call_id": "8"}, {**CALL, "call_id": "9"}
    recorded = asking(CALL, {**CALL, "call_id": "70"})
    assert matching(RIGA, recorded, asking(first, second)) is first
    assert matching(RIGA._replace(number=1), recorded, asking(first, second)) is second
    assert matching(RIGA._replace(number=1), recorded, asking(first)) is None


def test_a_call_with_other_arguments_takes_none_that_is_another_s() -> None:
    """clause: REPLAY-PACE"""
    oslo, vilnius = ({**CALL, "call_id": city, "args": {"city": city}} for city in ("Oslo", "Vilnius"))
    assert matching(RIGA, asking(CALL, oslo), asking(oslo, vilnius)) is vilnius


def test_an_answer_belongs_to_a_call_of_its_own_type() -> None:
    """clause: REPLAY-PACE"""
    asked, approval = {**CALL, "type": "approval_request"}, {"type": "approval", "id": 1, "call_id": "7"}
    _, first, second = steps([into(0, RUN), out(1, asked), into(2, approval), out(3, CALL), into(4, ANSWER)])
    assert (first.call, second.call) == (RIGA._replace(type="approval_request"), RIGA)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "tool_result", "call_id": "7", "result": 1},
        {"type": "tool_result", "id": [1], "call_id": ["7"]},
        {"type": "approval", "id": None},
        {"type": ["tool_result"], "id": 1},
        {"type": "credit", "id": 99, "n": 1},
    ],
)
def test_a_frame_that_no_worker_takes_is_sent_again_as_it_is(frame: dict[str, Any]) -> None:
    """clause: REPLAY-PACE"""
    found = steps([*a_run_with_a_call(), into(12_000, frame)])
    assert (found[-1].frame, found[-1].call) == (frame, None)
