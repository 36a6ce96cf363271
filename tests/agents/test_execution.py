"""A run of an agent: its deps, and what is added to it when it is over."""

import asyncio
import threading
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest
from pydantic_ai.exceptions import UserError
from pydantic_ai.run import AgentRun

from axon_port.agents import execution as executions
from axon_port.agents import sources
from axon_port.agents.allow import Allowed
from axon_port.agents.definition import Workshop, build_agent
from axon_port.agents.execution import Execution, Outcome
from axon_port.agents.models import Lease
from axon_port.agents.recordings import Recordings
from axon_port.wire import commands
from axon_port.wire.commands import parse_command
from axon_port.wire.errors import WireError

from .stand_ins import SECONDS, Desk, run_async

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


def test_a_run_with_a_model_and_an_output_of_its_own_begins_though_every_thread_of_the_modules_tools_hangs() -> None:
    """clause: TOOL-THREADS"""
    model = {"script": [{"output": {"a": 1}}]}
    run = execution({}, model=model, output_schema={"type": "object"})

    async def main() -> Outcome:
        everybodys = anyio.to_thread.current_default_thread_limiter()
        everybodys.total_tokens = 1
        async with everybodys:
            return await run.run()

    assert run_async(main).result == {"a": 1}


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


def test_a_model_that_is_built_when_its_run_was_cancelled_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: MODEL-HTTP"""
    begun, go_on = threading.Event(), threading.Event()
    build = sources.build_models

    def slowly(models: Any, lease: Lease, recordings: Recordings) -> Any:
        begun.set()
        assert go_on.wait(SECONDS)
        return build(models, lease, recordings)

    monkeypatch.setattr(executions, "build_models", slowly)
    endpoint = {"name": "openai-chat:m", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-not-a-real-key"}
    run = execution({}, model=endpoint)
    factory: Any = run._workshop.models  # pyright: ignore[reportPrivateUsage]
    given_back = asyncio.Event()
    give_back = factory.give_back

    async def noted(place: Any) -> None:
        await give_back(place)
        given_back.set()

    monkeypatch.setattr(factory, "give_back", noted)

    async def main() -> None:
        task = asyncio.create_task(run.run())
        await asyncio.to_thread(begun.wait, SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not given_back.is_set()
        go_on.set()
        await given_back.wait()

    run_async(main)
    assert not factory._shared
