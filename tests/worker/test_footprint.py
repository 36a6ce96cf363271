"""What a run leaves behind: nothing, the moment it has ended well, without a collector that comes for it.

One that fails is held by its exception, whose traceback holds the frames that hold the run, until the collector comes.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator
from typing import Any

import pytest

from axon_port.agents.execution import Execution
from axon_port.worker import dispatch, runs
from axon_port.worker.runs import ActiveRun

from .parent import CALL, DONE, KINDS, TOOL, Parent, parent

RESULT = {"type": "object", "properties": {"n": {"type": "integer"}}}

AGENTS: dict[str, dict[str, Any]] = {
    "plain": {"model": {"script": [DONE]}},
    "with tools": {"model": {"script": [CALL, DONE]}, "tools": [TOOL]},
    "with an output": {"model": {"script": [{"output": {"n": "no"}}, {"output": {"n": 1}}]}, "output_schema": RESULT},
}


@pytest.fixture(autouse=True)
def no_collector() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """Every run and every execution that is made from now on."""
    seen: list[weakref.ref[Any]] = []

    class SeenRun(ActiveRun):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append(weakref.ref(self))

    class SeenExecution(Execution):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append(weakref.ref(self))

    monkeypatch.setattr(dispatch, "ActiveRun", SeenRun)
    monkeypatch.setattr(runs, "Execution", SeenExecution)
    return seen


def begin(someone: Parent, kind: str, agent: dict[str, Any], **fields: Any) -> None:
    someone.send("create_agent", "create", agent_id="a", **agent)
    someone.terminal("create")
    someone.start(kind, "a", **fields)


def answer_calls(someone: Parent) -> None:
    calls: list[dict[str, Any]] = []
    while len(calls) < len(CALL["tool_calls"]):
        someone.floor.turns(1)
        calls = [frame for frame in someone.of("r") if frame["type"] == "tool_call"]
    for frame in calls:
        someone.send("tool_result", "r", call_id=frame["call_id"], result="fine")


@KINDS
@pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS)
def test_a_run_is_freed_when_it_has_ended(kind: str, agent: dict[str, Any], made: list[weakref.ref[Any]]) -> None:
    with parent() as someone:
        begin(someone, kind, agent)
        if "tools" in agent:
            answer_calls(someone)
        assert someone.terminal("r")["type"] == "result"
        assert [thing() for thing in made] == [None, None]


@KINDS
def test_a_run_with_a_schema_of_its_own_is_freed_when_it_has_ended(kind: str, made: list[weakref.ref[Any]]) -> None:
    with parent() as someone:
        begin(someone, kind, {"model": {"script": [{"output": {"n": 1}}]}}, output_schema=RESULT)
        assert someone.terminal("r")["result"] == {"n": 1}
        assert [thing() for thing in made] == [None, None]
