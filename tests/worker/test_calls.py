"""What waits on the parent: each answer finds its call, crossed it, or is for none."""

from typing import Any

import pytest

from axon_port.worker.calls import Crossed, PendingCalls, UnknownCall, Waiting, Wanted

from .rig import run_async


def waiting_call(calls: PendingCalls, run_id: Any = 1, wanted: Wanted = "tool_result") -> Waiting:
    return calls.wait_for(run_id, calls.new_call_id(run_id), wanted, None)


def test_call_ids_count_and_are_never_used_twice() -> None:
    """clause: CALL-ID"""
    calls = PendingCalls()
    assert [calls.new_call_id(1) for _ in range(12)] == [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("wanted", ["tool_result", "approval"])
def test_an_answer_finds_the_call_that_waits_for_it(wanted: Wanted) -> None:
    """clause: CALL-ANSWER"""

    async def main() -> None:
        calls = PendingCalls()
        first, second = waiting_call(calls, 1, wanted), waiting_call(calls, 1, wanted)
        assert calls.find(1, second.call_id, wanted) is second
        assert calls.find(1, first.call_id, wanted) is first

    run_async(main)


def test_an_answer_to_a_call_that_is_over_crossed_its_end() -> None:
    """clause: CALL-LATE"""

    async def main() -> None:
        calls = PendingCalls()
        waiting = waiting_call(calls)
        calls.forget(waiting)
        with pytest.raises(Crossed):
            calls.find(1, waiting.call_id, "tool_result")

    run_async(main)


def test_a_second_answer_in_the_same_breath_crossed_the_first() -> None:
    """clause: CALL-LATE"""

    async def main() -> None:
        calls = PendingCalls()
        waiting = waiting_call(calls)
        calls.find(1, waiting.call_id, "tool_result").answered.set_result("x")
        with pytest.raises(Crossed):
            calls.find(1, waiting.call_id, "tool_result")

    run_async(main)


@pytest.mark.parametrize(
    "call_id",
    [
        "",
        "0",
        "-1",
        "+1",
        "01",
        " 1",
        "1 ",
        "1.0",
        "3",
        "99999999999999999999",
        "9" * 5000,
        "x",
        "\u0661",
        "\u00b2",
        "1\n",
    ],
)
def test_an_answer_to_a_call_that_was_never_made_is_for_none(call_id: str) -> None:
    """clause: CALL-UNKNOWN"""

    async def main() -> None:
        calls = PendingCalls()
        waiting_call(calls)
        waiting_call(calls)
        with pytest.raises(UnknownCall):
            calls.find(1, call_id, "tool_result")

    run_async(main)


@pytest.mark.parametrize(("made_for", "answered_for"), [(1, 2), (1, "1"), ("1", 1), ("a", "A")])
def test_an_answer_for_another_run_is_for_none(made_for: Any, answered_for: Any) -> None:
    """clause: CALL-UNKNOWN"""

    async def main() -> None:
        calls = PendingCalls()
        waiting = waiting_call(calls, made_for)
        with pytest.raises(UnknownCall):
            calls.find(answered_for, waiting.call_id, "tool_result")
        assert calls.find(made_for, waiting.call_id, "tool_result") is waiting

    run_async(main)


def test_a_result_for_a_call_whose_approval_is_open_is_for_none() -> None:
    """clause: CALL-UNKNOWN"""

    async def main() -> None:
        calls = PendingCalls()
        waiting = waiting_call(calls, wanted="approval")
        with pytest.raises(UnknownCall):
            calls.find(1, waiting.call_id, "tool_result")

    run_async(main)


def test_an_approval_for_a_call_that_was_approved_already_crossed_the_first() -> None:
    async def main() -> None:
        calls = PendingCalls()
        approval = waiting_call(calls, wanted="approval")
        calls.forget(approval)
        calls.wait_for(1, approval.call_id, "tool_result", None)
        with pytest.raises(Crossed):
            calls.find(1, approval.call_id, "approval")

    run_async(main)


def test_a_result_for_a_call_that_the_parent_was_not_asked_is_for_none() -> None:
    """It may know the number from a chunk: of a call that waits for its turn, or of a function of the worker.

    clause: CALL-UNKNOWN
    """

    async def main() -> None:
        calls = PendingCalls()
        unasked = calls.new_call_id(1)
        approval = waiting_call(calls, wanted="approval")
        calls.forget(approval)
        for call_id in (unasked, approval.call_id):
            with pytest.raises(UnknownCall):
                calls.find(1, call_id, "tool_result")
        waiting = calls.wait_for(1, unasked, "tool_result", None)
        assert calls.find(1, unasked, "tool_result") is waiting

    run_async(main)


def test_a_result_for_whatever_a_run_has_numbered_crossed_its_end() -> None:
    """clause: CALL-LATE"""

    async def main() -> None:
        calls = PendingCalls()
        unasked, other = calls.new_call_id(1), calls.new_call_id(2)
        calls.end(1)
        calls.end(1)
        with pytest.raises(Crossed):
            calls.find(1, unasked, "tool_result")
        with pytest.raises(UnknownCall):
            calls.find(2, other, "tool_result")

    run_async(main)


def test_the_way_out_of_the_table_is_for_the_one_that_is_in_it() -> None:
    async def main() -> None:
        calls = PendingCalls()
        approval = waiting_call(calls, wanted="approval")
        result = calls.wait_for(1, approval.call_id, "tool_result", None)
        calls.forget(approval)
        assert calls.find(1, result.call_id, "tool_result") is result
        calls.forget(result)
        calls.forget(result)
        with pytest.raises(Crossed):
            calls.find(1, result.call_id, "tool_result")

    run_async(main)


def test_a_result_is_not_shown_where_a_waiting_call_is() -> None:
    async def main() -> None:
        waiting = waiting_call(PendingCalls())
        waiting.answered.set_result("a secret result")
        assert "secret" not in repr(waiting)

    run_async(main)
