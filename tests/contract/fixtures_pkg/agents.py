"""Ready agents to refine."""

from collections.abc import AsyncIterator

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel


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


@describing.tool_plain
@doubling.tool_plain
def double(n: int) -> int:
    """Twice the number."""
    return 2 * n
