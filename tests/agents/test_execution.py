"""A run of an agent: its deps, and what is added to it when it is over."""

from typing import Any, cast

import anyio
import pytest
from pydantic_ai.exceptions import UserError
from pydantic_ai.run import AgentRun

from axon_port.agents.allow import Allowed
from axon_port.agents.definition import Workshop, build_agent
from axon_port.agents.execution import Execution, Outcome
from axon_port.agents.recordings import Recordings
from axon_port.wire import commands
from axon_port.wire.commands import parse_command
from axon_port.wire.errors import WireError

from .stand_ins import Desk, run_async

ALLOWED = Allowed(())


def execution(agent: dict[str, Any], **run: Any) -> Execution:
    shop = Workshop(ALLOWED, Recordings(ALLOWED, lambda value: value))
    model = {"script": [{"text": "done"}, {"text": "done again"}]}
    create = parse_command({"type": "create_agent", "id": 1, "agent_id": "a", "model": model, **agent})
    definition = build_agent(cast(commands.CreateAgent, create), shop, shop.models.lease())
    command = cast(commands.Run, parse_command({"type": "run", "id": 2, "agent_id": "a", "prompt": "go", **run}))
    return Execution(definition, command, Desk(), shop, anyio.CapacityLimiter(1))


def outcome(agent: dict[str, Any], **run: Any) -> Outcome:
    return run_async(execution(agent, **run).run)


@pytest.mark.parametrize("schema", [{}, {"type": ["null", "object"]}])
def test_a_schema_of_deps_that_anything_meets_still_needs_some(schema: dict[str, Any]) -> None:
    """clause: RUN-DEPS"""
    agent = {"deps_schema": schema}
    with pytest.raises(WireError, match="needs `deps`") as caught:
        outcome(agent)
    assert caught.value.error_type == "InvalidDeps"
    assert outcome(agent, deps=None).result == "done"
    assert outcome({**agent, "deps": None}).result == "done"


def test_nothing_is_added_to_a_run_that_is_over() -> None:
    """clause: RUN-ENQUEUE"""
    run = execution({})
    assert run_async(run.run).result == "done"
    assert not run.enqueue("too late", "asap")


def test_nothing_is_added_to_a_run_that_pydantic_ai_takes_no_more_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and has not told us yet. clause: RUN-ENQUEUE"""
    run = execution({})
    said: list[bool] = []
    more = AgentRun[Any, Any].next

    def closed(*_: Any, **__: Any) -> None:
        raise UserError("the run has ended")

    async def ending(self: AgentRun[Any, Any], node: Any) -> Any:
        said.append(run.enqueue("too late", "asap"))
        return await more(self, node)

    monkeypatch.setattr(AgentRun, "enqueue", closed)
    monkeypatch.setattr(AgentRun, "next", ending)
    assert run_async(run.run).result == "done"
    assert set(said) == {False}
