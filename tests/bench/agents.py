"""The agents behind the Python peers: pydantic-ai as it is documented, with the model that axon-port has inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage
from pydantic_ai.tools import DeferredToolRequests, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset

from axon_port.agents.script import ScriptedModel
from axon_port.wire.commands import Turn
from tests.bench import scenes
from tests.bench.task import Op


@dataclass(frozen=True, slots=True)
class Parent:
    """Answers tool calls."""

    weather: Callable[[str], Awaitable[dict[str, Any]]]


plain: Agent[None, str] = Agent(name="bench")

local: Agent[None, str] = Agent(name="bench")
"""Its tool is a function of this process."""

asking: Agent[Parent, str] = Agent(name="bench", deps_type=Parent)
"""Its tool asks the parent, through the run's dependencies."""

deferring: Agent[None, str | DeferredToolRequests] = Agent(
    name="bench",
    output_type=[str, DeferredToolRequests],
    toolsets=[
        ExternalToolset([ToolDefinition(name=scenes.TOOL_NAME, parameters_json_schema=dict(scenes.TOOL_PARAMETERS))])
    ],
)
"""A run ends with the tool call; the next one takes its result: for interfaces that only answer."""


@local.tool_plain
async def weather(city: str) -> dict[str, Any]:
    """The weather now."""
    assert city
    return scenes.TOOL_RESULT


@asking.tool(name=scenes.TOOL_NAME)
async def weather_elsewhere(ctx: RunContext[Parent], city: str) -> dict[str, Any]:
    """The weather now."""
    return await ctx.deps.weather(city)


@cache
def _turns(op: Op, size: int) -> Sequence[Turn]:
    return tuple(Turn.model_validate(turn) for turn in scenes.turns(op, size))


def model(op: Op, size: int, *, history: Sequence[ModelMessage] | None = None) -> ScriptedModel:
    """A model for one run. A run that takes the result of a deferred call goes on with the second turn."""
    return ScriptedModel(_turns(op, size)[1:] if op == "tool" and history else _turns(op, size), None)
