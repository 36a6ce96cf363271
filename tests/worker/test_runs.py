"""Runs whose end is unusual: an agent still being made, a result that waits for room, code that fails on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import NoReturn

import pytest

from axon_port.agents.execution import Execution
from axon_port.wire.errors import WireError
from axon_port.worker.outbox import HIGH_BYTES

from .parent import DONE, Parent, parent

NEVER = {"script": [{"delay_ms": 86_400_000}]}


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Our logs, whatever level another test has left."""
    caplog.set_level(logging.DEBUG, "axon_port")
    return caplog


def of_runs(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "axon_port.runs"]


def test_the_timeout_of_an_agent_counts_for_a_run_that_came_before_the_agent_was_made() -> None:
    """clause: RUN-TIMEOUT, ENV-PIPELINE"""
    with parent() as someone:
        create = {"type": "create_agent", "id": 1, "agent_id": "short", "model": NEVER, "timeout_ms": 1}
        run = {"type": "run", "id": "r", "agent_id": "short", "prompt": "go"}
        someone.floor.breath(*((json.dumps(command).encode(), lambda: None) for command in (create, run)))
        end = someone.terminal("r")
        assert (end["error_type"], end["details"]) == ("Timeout", {"timeout_ms": 1})


def test_the_timeout_of_a_run_counts_instead_of_its_agents() -> None:
    """clause: RUN-TIMEOUT"""
    with parent() as someone:
        create = {"type": "create_agent", "id": 1, "agent_id": "short", "model": {"script": [DONE]}, "timeout_ms": 1}
        run = {"type": "run", "id": "r", "agent_id": "short", "prompt": "go", "timeout_ms": 86_400_000}
        someone.floor.breath(*((json.dumps(command).encode(), lambda: None) for command in (create, run)))
        assert someone.terminal("r")["result"] == "done"


def test_a_run_counts_from_when_it_was_read() -> None:
    """The loop may have been blocked, or importing. clause: RUN-TIMEOUT, EVT-RESULT"""
    with parent() as someone:
        someone.floor.late = 10_000.0
        someone.start("run", "talks")
        assert 10_000_000 <= someone.terminal("r")["duration_ms"] < 20_000_000
        someone.send("run", "s", agent_id="waits", prompt="go", timeout_ms=10_000_000)
        assert someone.terminal("s")["error_type"] == "Timeout"


@pytest.mark.parametrize("messages", ["all", "new"])
def test_a_run_that_had_not_begun_gives_back_the_history_it_was_given(messages: str) -> None:
    """clause: RUN-RESUME"""
    with parent() as someone:
        someone.start("run", "talks")
        history = someone.terminal("r")["messages"]
        run = {"type": "run", "id": "s", "agent_id": "talks", "prompt": "go", "messages": messages}
        cancel = {"type": "cancel", "id": "c", "target": "s"}
        said = [json.dumps(command).encode() for command in ({**run, "message_history": history}, cancel)]
        someone.floor.breath(*((command, lambda: None) for command in said))
        end = someone.terminal("s")
        assert (end["error_type"], end["messages"]) == ("Cancelled", history if messages == "all" else [])


def test_a_run_that_had_not_begun_gives_back_no_history_that_is_none() -> None:
    with parent() as someone:
        run = {"type": "run", "id": "s", "agent_id": "talks", "messages": "all", "message_history": [{"kind": "?"}]}
        cancel = {"type": "cancel", "id": "c", "target": "s"}
        someone.floor.breath(*((json.dumps(command).encode(), lambda: None) for command in (run, cancel)))
        assert someone.terminal("s")["messages"] == []


def test_a_run_that_has_ended_cannot_be_ended_again() -> None:
    """clause: RUN-CANCEL, ENV-ONE-TERMINAL"""
    with parent() as someone:
        someone.start("run", "talks")
        (run,) = someone.floor.dispatcher.runs
        assert someone.terminal("r")["result"] == "done"
        assert not run.end(WireError("Cancelled", "too late"))
        assert someone.terminal("r")["result"] == "done"


def test_a_result_that_waits_for_room_can_still_be_cancelled() -> None:
    """The run is over, its answer is not out. clause: OUT-MARKS, RUN-CANCEL"""
    with parent() as someone:
        outbox = someone.floor.desk.outbox
        someone.start("run", "talks")
        (run,) = someone.floor.dispatcher.runs
        assert run.task is not None
        # Before the run's own: the room that it waited for is gone again when it ends.
        run.task.remove_done_callback(run._finished)  # pyright: ignore[reportPrivateUsage]
        run.task.add_done_callback(lambda _task: outbox.stall(HIGH_BYTES + 1))
        run.task.add_done_callback(run._finished)  # pyright: ignore[reportPrivateUsage]
        someone.floor.turns(80)
        assert run.task.done()
        assert someone.of("r") == []
        cancels = [json.dumps({"type": "cancel", "id": f"c{n}", "target": "r"}).encode() for n in range(2)]
        someone.floor.breath(*((cancel, lambda: None) for cancel in cancels))
        assert [someone.terminal(f"c{n}")["result"] for n in range(2)] == [{"cancelled": True}] * 2
        end = someone.terminal("r")
        assert (end["error_type"], end["usage"]["requests"], len(end["messages"])) == ("Cancelled", 1, 2)
        outbox.drain()
        someone.floor.turns(20)
        assert len(someone.of("r")) == 1
        assert (someone.floor.desk.stats.runs_succeeded, someone.floor.desk.stats.runs_cancelled) == (0, 1)
        assert someone.floor.tasks() == []


@pytest.mark.parametrize("left", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_would_end_the_process_ends_the_run_only(
    left: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: RUN-UNWIND, ERR-INTERNAL"""

    async def leaves(_self: Execution) -> NoReturn:
        raise left

    with parent() as someone:
        monkeypatch.setattr(Execution, "run", leaves)
        someone.start("run", "talks")
        assert someone.terminal("r")["error_type"] == "InternalError"
        monkeypatch.undo()
        someone.send("run", "next", agent_id="talks", prompt="go")
        assert someone.terminal("next")["result"] == "done"
    (told,) = of_runs(caplog)
    assert repr(left) in str(told.exc_info)


@pytest.mark.parametrize("cancelled", [True, False])
def test_an_answer_that_cannot_be_made_is_an_error_without_the_rest(
    cancelled: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: ENV-ONE-TERMINAL, ERR-INTERNAL"""

    def fails(_self: Execution) -> NoReturn:
        raise RuntimeError("no leftover")

    monkeypatch.setattr(Execution, "leftover", fails)
    with parent() as someone:
        someone.start("run", "waits" if cancelled else "fails")
        someone.floor.turns(30)
        if cancelled:
            assert someone.cancel("r")
        end = someone.terminal("r")
        assert end["error_type"] == ("Cancelled" if cancelled else "InternalError")
        assert "messages" not in end
        assert not someone.floor.dispatcher.busy
    assert "the answer of run 'r' could not be made" in caplog.text


def test_what_a_cancelled_run_raises_on_its_way_out_is_told_in_the_log_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: RUN-CANCEL"""

    async def stumbles(_self: Execution) -> NoReturn:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("on the way out")
        raise AssertionError

    monkeypatch.setattr(Execution, "run", stumbles)
    with parent() as someone:
        someone.start("run", "talks")
        someone.floor.turns(10)
        assert someone.cancel("r")
        assert someone.terminal("r")["error_type"] == "Cancelled"
    (told,) = of_runs(caplog)
    assert "on the way out" in told.getMessage()


def end_all_at_once(someone: Parent, *, within: float = 0.0) -> None:
    """End every run on the loop, and give each of them so many seconds to unwind."""
    now = WireError("Cancelled", "now")
    stats = json.dumps({"type": "stats", "id": "s"}).encode()
    someone.floor.receive(stats, expecting=lambda: someone.floor.dispatcher.end_all(now, within=within))


@pytest.mark.parametrize("patience", [[0.0], [3600.0, 0.0], [0.0, 3600.0]])
def test_a_run_that_does_not_stop_ends_without_stopping(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, patience: list[float]
) -> None:
    """Of several times to unwind in the shortest counts. clause: RUN-UNWIND"""
    released = asyncio.Event()

    async def stays(_self: Execution) -> NoReturn:
        try:
            await released.wait()
        except asyncio.CancelledError:
            await released.wait()
        raise asyncio.CancelledError

    monkeypatch.setattr(Execution, "run", stays)
    with parent() as someone:
        someone.start("run", "talks")
        someone.floor.turns(10)
        for seconds in patience:
            end_all_at_once(someone, within=seconds)
        assert someone.terminal("r")["error_type"] == "Cancelled"
        assert someone.floor.desk.stats.tools["abandoned"] == 1
        released.set()
        someone.floor.turns(10)
        assert len(someone.of("r")) == 1
    assert "did not stop in time" in caplog.text


def test_a_run_that_leaves_nothing_that_can_be_written_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """clause: RUN-UNWIND, ENV-ONE-TERMINAL"""

    async def stays(_self: Execution) -> NoReturn:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(86_400)
        await asyncio.sleep(86_400)
        raise AssertionError

    def cannot(_self: Execution) -> NoReturn:
        raise TypeError("not to be written")

    monkeypatch.setattr(Execution, "run", stays)
    monkeypatch.setattr(Execution, "leftover", cannot)
    with parent() as someone:
        someone.start("run", "talks")
        someone.floor.turns(10)
        end_all_at_once(someone)
        assert someone.terminal("r")["error_type"] == "Cancelled"
        assert someone.floor.desk.stats.inflight == 0
    assert "could not be written" in caplog.text


def test_runs_that_come_after_the_end_of_the_input_do_not_wait_for_a_parent() -> None:
    """The parent died, and something else holds the pipe and writes to it. clause: LIFE-PARENT, LIFE-EOF"""
    with parent() as someone:
        someone.floor.input_ended()
        someone.send("run", "w", agent_id="looks", prompt="go")
        someone.send("stream", "s", agent_id="talks", prompt="go", credit=0)
        assert someone.terminal("w")["error_type"] == "ParentGone"
        assert someone.terminal("s")["result"] == "done"
        assert "".join(chunk["data"] for chunk in someone.of("s") if chunk["type"] == "chunk") == "done"
