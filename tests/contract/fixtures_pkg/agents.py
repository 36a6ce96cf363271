"""Ready agents to refine."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel

log = logging.getLogger(__name__)


def _describe(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    requests = [message for message in messages if isinstance(message, ModelRequest)]
    names = ",".join(sorted(tool.name for tool in info.function_tools))
    return ModelResponse(parts=[TextPart(f"tools {names}; told {requests[-1].instructions}")])


def _double_once(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        return ModelResponse(parts=[ToolCallPart("double", {"n": 21})])
    return ModelResponse(parts=[TextPart("doubled")])


async def _double_once_streamed(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    if len(messages) == 1:
        yield {0: DeltaToolCall("double", '{"n": 21}')}
    else:
        yield "doubled"


describing = Agent(FunctionModel(_describe), instructions="be an agent")
"""Answers with the names of its tools and what it was told."""

doubling = Agent(FunctionModel(_double_once, stream_function=_double_once_streamed))
"""Calls its own tool once."""

no_agent = "only a string"


def _leave(_ctx: RunContext[Any]) -> str:
    sys.exit(9)


leaving = Agent(FunctionModel(_describe), instructions=_leave)
"""Would end the process."""


async def _stay(_ctx: RunContext[Any]) -> str:
    log.info("begun")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)


staying = Agent(FunctionModel(_describe), instructions=_stay)
"""Does not stop when it is cancelled."""


def _call_all(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if len(messages) > 1:
        return ModelResponse(parts=[TextPart("done")])
    prompt = messages[0].parts[-1]
    assert isinstance(prompt, UserPromptPart)
    return ModelResponse(parts=[ToolCallPart(name) for name in str(prompt.content).split()])


calling = Agent(FunctionModel(_call_all))
"""Calls the tools that its prompt names."""


@calling.tool_plain
async def hang() -> str:
    """Answers too late."""
    await asyncio.sleep(600)
    return "late"


@calling.tool_plain
async def cling() -> str:
    """Does not stop when it is cancelled."""
    return await _stay(cast(Any, None))


@calling.tool_plain(requires_approval=True)
def pay() -> str:
    """Needs a person."""
    return "paid"


@describing.tool_plain
@doubling.tool_plain
def double(n: int) -> int:
    """Twice the number."""
    return 2 * n
