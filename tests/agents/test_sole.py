"""The one capability and the one toolset of an agent whose tools are ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import TextPart, UserPromptPart

from axon_port.agents import sole
from axon_port.agents.bench import Toolset
from axon_port.agents.script import ScriptedModel
from axon_port.agents.sole import OnlyToolset, sole_capability
from axon_port.wire.commands import Turn

from .stand_ins import run_async


def agent(*turns: dict[str, Any]) -> Agent[Any, Any]:
    model = ScriptedModel([Turn.model_validate(turn) for turn in turns], None)
    return Agent(model, capabilities=[sole_capability(Toolset({}))])


def test_what_pydantic_ai_puts_into_every_agent_is_one_capability() -> None:
    (only,) = agent().root_capability.capabilities
    assert isinstance(only, OnlyToolset)
    for kind in {type(one) for one in Agent().root_capability.capabilities}:
        assert isinstance(only, kind)


def test_a_run_starts_no_task_for_what_there_is_one_of() -> None:
    started: list[str] = []

    def counted(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        started.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    async def go(one: Agent[Any, Any]) -> int:
        started.clear()
        asyncio.get_running_loop().set_task_factory(counted)
        await one.run("go")
        return len(started)

    async def main() -> tuple[int, int]:
        script = ScriptedModel([Turn(text="done")], None)
        return await go(agent({"text": "done"})), await go(Agent(script, toolsets=[Toolset({})]))

    ours, plain = run_async(main)
    assert 0 < ours < plain


def test_what_was_enqueued_goes_with_the_next_request() -> None:
    """clause: RUN-ENQUEUE"""

    async def asked(one: Agent[Any, Any]) -> list[str]:
        async with one.iter("go") as run:
            run.enqueue("and this", priority="asap")
            run.enqueue("and at last this", priority="when_idle")
            async for _ in run:
                pass
        parts = [part for message in run.all_messages() for part in message.parts]
        return [str(part.content) for part in parts if isinstance(part, UserPromptPart | TextPart)]

    async def main() -> tuple[list[str], list[str]]:
        turns = [{"text": "done"}, {"text": "done again"}]
        script = ScriptedModel([Turn.model_validate(turn) for turn in turns], None)
        return await asked(agent(*turns)), await asked(Agent(script))

    ours, plain = run_async(main)
    assert ours == plain == ["go", "and this", "done", "and at last this", "done again"]


def test_a_capability_that_does_more_stays_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (queue,) = [type(one) for one in Agent().root_capability.capabilities if not isinstance(one, sole.ToolSearch)]
    monkeypatch.setattr(queue, "after_run", AbstractCapability[Any].after_run, raising=False)
    for cached in (sole._others, sole._joined):  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(sole, cached.__name__, cached.__wrapped__)
    only, other = agent().root_capability.capabilities
    assert {isinstance(only, queue), isinstance(other, queue)} == {True, False}
