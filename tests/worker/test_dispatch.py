"""Runs on the floor: a cancel at every moment of a run, and what it leaves behind."""

from __future__ import annotations

import json
import logging
from typing import Any, Literal, NoReturn

import pytest

from axon_port.wire.commands import COMMANDS, Command
from axon_port.wire.envelope import Envelope
from axon_port.wire.errors import WireError
from axon_port.worker import roster
from axon_port.worker.intake import Received
from axon_port.worker.options import Options
from axon_port.worker.outbox import HIGH_BYTES

from .parent import AGENTS, DONE, KINDS, parent

MOMENTS = 40


@KINDS
@pytest.mark.parametrize("agent", AGENTS)
def test_a_run_can_be_cancelled_at_every_moment(agent: str, kind: str) -> None:
    """clause: RUN-CANCEL, CALL-CANCEL"""
    with parent() as someone:
        for moment in range(MOMENTS):
            someone.frames.clear()
            someone.start(kind, agent, **({"credit": 0} if kind == "stream" else {}))
            someone.floor.turns(moment)
            running = someone.cancel("r")
            end = someone.terminal("r")
            assert someone.terminal("c")["result"] == {"cancelled": running}
            assert (end.get("error_type") == "Cancelled") is running
            asked = [
                frame["call_id"] for frame in someone.of("r") if frame["type"] in ("tool_call", "approval_request")
            ]
            withdrawn = [frame["call_id"] for frame in someone.of("r") if frame["type"] == "tool_cancel"]
            assert withdrawn == asked
            assert not someone.floor.dispatcher.busy


@KINDS
@pytest.mark.parametrize("agent", AGENTS)
def test_a_run_that_is_cancelled_at_any_moment_leaves_no_task(agent: str, kind: str) -> None:
    """clause: RUN-CANCEL"""
    with parent() as someone:
        for moment in range(MOMENTS):
            someone.frames.clear()
            someone.start(kind, agent)
            someone.floor.turns(moment)
            someone.cancel("r")
            someone.terminal("r")
            assert someone.floor.tasks() == [], f"after a cancel at moment {moment}"


@pytest.mark.parametrize("moment", range(0, MOMENTS, 3))
def test_what_a_cancelled_run_sent_back_is_a_history_to_go_on_from(moment: int) -> None:
    """clause: RUN-RESUME"""
    with parent() as someone:
        someone.start("stream", "looks")
        someone.floor.turns(moment)
        someone.cancel("r")
        history = someone.terminal("r")["messages"]
        someone.send("run", "next", agent_id="talks", prompt="go on", message_history=history)
        assert someone.terminal("next")["result"] == "done"


def test_a_call_that_was_answered_right_before_the_cancel_is_not_cancelled() -> None:
    """clause: CALL-ANSWER, CALL-CANCEL"""
    with parent() as someone:
        someone.start("run", "looks")
        someone.floor.until(lambda: [frame["type"] for frame in someone.of("r")] == ["tool_call", "tool_call"])
        first, second = someone.of("r")
        answer = {"type": "tool_result", "id": "r", "call_id": first["call_id"], "result": 1}
        said = [json.dumps(command).encode() for command in (answer, {"type": "cancel", "id": "c", "target": "r"})]
        someone.floor.breath(*((payload, lambda: None) for payload in said))
        someone.terminal("r")
        withdrawn = [frame["call_id"] for frame in someone.of("r") if frame["type"] == "tool_cancel"]
        assert withdrawn == [second["call_id"]]


def test_a_cancel_that_comes_while_a_run_ends_of_something_else_is_answered_with_false() -> None:
    """clause: RUN-CANCEL"""
    with parent() as someone:
        someone.start("run", "waits")
        someone.floor.turns(20)
        (run,) = someone.floor.dispatcher.runs

        def time_out() -> None:
            assert run.end(WireError("Timeout", "too long"))

        someone.floor.receive(json.dumps({"type": "cancel", "id": "c", "target": "r"}).encode(), expecting=time_out)
        assert someone.terminal("r")["error_type"] == "Timeout"
        assert someone.terminal("c")["result"] == {"cancelled": False}


def test_a_timeout_of_a_millisecond_is_a_timeout_and_leaves_nothing() -> None:
    """clause: RUN-TIMEOUT"""
    with parent() as someone:
        someone.start("run", "waits", timeout_ms=1)
        assert someone.terminal("r")["error_type"] == "Timeout"
        assert not someone.floor.dispatcher.busy


@KINDS
def test_calls_beyond_the_bound_wait_until_answers_come(kind: str) -> None:
    """clause: TOOL-PARALLEL"""
    with parent(Options(max_tool_calls=1)) as someone:
        someone.start(kind, "looks")
        someone.floor.turns(60)
        (first,) = [frame for frame in someone.of("r") if frame["type"] == "tool_call"]
        someone.send("tool_result", "r", call_id=first["call_id"], result=1)
        someone.floor.turns(60)
        _, second = [frame for frame in someone.of("r") if frame["type"] == "tool_call"]
        someone.send("tool_result", "r", call_id=second["call_id"], result=2)
        assert someone.terminal("r")["result"] == "done"


def test_more_runs_than_the_bound_are_refused_and_may_come_again() -> None:
    """clause: RUN-OVERLOADED"""
    with parent(Options(max_inflight=2)) as someone:
        for number in range(3):
            someone.send("run", number, agent_id="waits", prompt="go")
        refused = someone.terminal(2)
        assert (refused["error_type"], refused["retryable"]) == ("Overloaded", True)
        someone.send("cancel", "c", target=0)
        someone.terminal(0)
        someone.send("run", "again", agent_id="talks", prompt="go")
        assert someone.terminal("again")["result"] == "done"


def test_a_parent_that_does_not_read_holds_up_chunks_and_joins_them() -> None:
    """clause: OUT-MARKS, STREAM-JOIN"""
    with parent() as someone:
        someone.floor.desk.outbox.stall(HIGH_BYTES + 1)
        someone.start("stream", "talks")
        someone.floor.turns(80)
        assert someone.of("r") == []
        someone.floor.desk.outbox.drain()
        someone.terminal("r")
        chunks = [frame for frame in someone.of("r") if frame["type"] == "chunk"]
        assert [(chunk["seq"], chunk["data"]) for chunk in chunks] == [(0, "done")]


def test_results_of_runs_that_end_together_leave_one_by_one_and_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """clause: OUT-MARKS, RUN-CANCEL"""
    with parent() as someone:
        outbox = someone.floor.desk.outbox
        put = outbox.put

        def put_and_fill(payload: bytes) -> None:
            put(payload)
            outbox.stall(HIGH_BYTES + 1)

        def ended() -> list[Any]:
            return [frame["id"] for frame in someone.frames if frame["type"] == "result" and frame["id"] in range(4)]

        monkeypatch.setattr(outbox, "put", put_and_fill)
        for number in range(4):
            someone.send("run", number, agent_id="talks", prompt="go")
        someone.floor.turns(80)
        assert ended() == [0]
        assert someone.cancel(2)
        assert someone.terminal(2)["error_type"] == "Cancelled"
        for so_far in ([0, 1], [0, 1, 3]):
            outbox.drain()
            someone.floor.turns(20)
            assert ended() == so_far
        assert not someone.floor.dispatcher.busy


@pytest.mark.parametrize("credit", [0, 1])
def test_the_end_of_the_input_frees_what_waits_for_credit_and_ends_what_waits_for_answers(credit: int) -> None:
    """clause: LIFE-EOF"""
    with parent() as someone:
        someone.send("stream", "s", agent_id="talks", prompt="go", credit=credit)
        someone.send("run", "w", agent_id="looks", prompt="go")
        someone.floor.turns(60)
        someone.floor.input_ended()
        assert someone.terminal("w")["error_type"] == "ParentGone"
        assert someone.terminal("s")["result"] == "done"
        assert "".join(frame["data"] for frame in someone.of("s") if frame["type"] == "chunk") == "done"


def test_what_was_answered_in_the_last_breath_counts_as_answered() -> None:
    """clause: LIFE-EOF, ENV-PIPELINE"""
    with parent() as someone:
        someone.send("run", "w", agent_id="looks", prompt="go")
        someone.floor.until(lambda: len(someone.of("w")) == 2)
        for call in someone.of("w"):
            someone.send("tool_result", "w", call_id=call["call_id"], result=1)
        someone.floor.input_ended()
        assert someone.terminal("w")["type"] == "result"


def test_a_list_of_agents_tells_of_the_commands_before_it_and_of_none_after() -> None:
    """clause: ENV-PIPELINE, AGENT-ORDER"""
    with parent() as someone:
        someone.send("create_agent", "c", agent_id="late", model={"script": [{"text": "hi"}]})
        someone.send("list_agents", "l")
        someone.send("run", "r", agent_id="talks", prompt="go")
        someone.send("delete_agent", "d", agent_id="late")
        someone.send("delete_agent", "t", agent_id="talks")
        listed = {agent["agent_id"]: agent for agent in someone.terminal("l")["result"]["agents"]}
        assert set(listed) == {*AGENTS, "late"}
        assert {agent["runs_inflight"] for agent in listed.values()} == {0}
        someone.send("list_agents", "again")
        left = {agent["agent_id"] for agent in someone.terminal("again")["result"]["agents"]}
        assert left == set(AGENTS) - {"talks"}


def test_a_list_of_agents_counts_runs_that_came_right_before_it() -> None:
    """Of an agent that is there, and of one that was replaced under them. clause: ENV-PIPELINE, CMD-LIST-AGENTS"""
    with parent() as someone:
        someone.send("create_agent", "c", agent_id="waits", replace=True, **AGENTS["waits"])
        someone.terminal("c")
        run = {"type": "run", "id": "r", "agent_id": "waits", "prompt": "go"}
        listing = {"type": "list_agents", "id": "l"}
        someone.floor.breath(*((json.dumps(command).encode(), lambda: None) for command in (run, listing)))
        someone.send("create_agent", "again", agent_id="waits", replace=True, **AGENTS["waits"])
        someone.send("list_agents", "m")
        for answer in ("l", "m"):
            (waits,) = (one for one in someone.terminal(answer)["result"]["agents"] if one["agent_id"] == "waits")
            assert waits["runs_inflight"] == 1
        someone.cancel("r")
        assert someone.terminal("r")["error_type"] == "Cancelled"


def test_a_list_of_agents_counts_no_run_that_came_after_it() -> None:
    """Of an agent that is being made when both come. clause: AGENT-ORDER"""
    with parent() as someone:
        someone.send("create_agent", "c", agent_id="late", **AGENTS["waits"])
        someone.send("run", "before", agent_id="late", prompt="go")
        someone.send("list_agents", "l")
        someone.send("run", "after", agent_id="late", prompt="go")
        (listed,) = (one for one in someone.terminal("l")["result"]["agents"] if one["agent_id"] == "late")
        assert listed["runs_inflight"] == 1
        for run in ("before", "after"):
            someone.cancel(run)
            assert someone.terminal(run)["error_type"] == "Cancelled"


def test_what_an_agent_keeps_open_outlives_the_runs_that_came_before_its_deletion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """clause: AGENT-ORDER, AGENT-DELETE"""
    closed: list[object] = []

    async def close(capabilities: object) -> None:
        closed.append(capabilities)
        raise OSError("it was closed already")

    monkeypatch.setattr(roster, "close_capabilities", close)
    with parent() as someone:
        someone.send("create_agent", "c", agent_id="late", **AGENTS["looks"])
        someone.send("run", "r", agent_id="late", prompt="go")
        someone.send("delete_agent", "d", agent_id="late")
        assert someone.terminal("d")["type"] == "result"
        someone.floor.until(lambda: len(someone.of("r")) == 2)
        assert closed == []
        for call in someone.of("r"):
            someone.send("tool_result", "r", call_id=call["call_id"], result=1)
        assert someone.terminal("r")["result"] == "done"
        assert len(closed) == 1


def test_a_fault_of_ours_in_a_command_is_its_answer_and_the_next_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: ERR-INTERNAL, ENV-ONE-TERMINAL"""

    def fails(*_: object) -> NoReturn:
        raise RuntimeError("a secret of ours")

    caplog.set_level(logging.DEBUG, "axon_port")
    with parent() as someone:
        monkeypatch.setattr(someone.floor.dispatcher.roster, "begin_change", fails)
        someone.send("delete_agent", "at once", agent_id="talks")
        monkeypatch.undo()
        monkeypatch.setattr(roster, "build_agent", fails)
        someone.send("create_agent", "later", agent_id="new", model={"script": [DONE]})
        for place in ("at once", "later"):
            answer = someone.terminal(place)
            assert answer["error_type"] == "InternalError"
            assert "secret" not in str(answer)
        monkeypatch.undo()
        someone.send("create_agent", "again", agent_id="new", model={"script": [DONE]})
        assert someone.terminal("again")["type"] == "result"
    assert caplog.text.count("RuntimeError: a secret of ours") == 2


class _New(Command):
    """A command that nobody handles."""

    type: Literal["new"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_command_that_nobody_handles_is_a_fault_of_ours(
    answers: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: ERR-INTERNAL, ENV-ANSWERS"""
    caplog.set_level(logging.DEBUG, "axon_port")
    with parent() as someone:
        monkeypatch.setitem(COMMANDS, "new", _New)
        exchange = None if answers else someone.floor.desk.exchanges.claim("n", "new")
        envelope = Envelope("new", "n", {"type": "new", "id": "n"})
        someone.floor.dispatcher.dispatch(Received(envelope, exchange, 1))
        someone.floor.look()
        (frame,) = [frame for frame in someone.frames if frame["type"] == "error"]
        assert (frame["error_type"], frame["id"]) == ("InternalError", None if answers else "n")
        assert frame.get("run_id") == ("n" if answers else None)
    assert "_New" in caplog.text
