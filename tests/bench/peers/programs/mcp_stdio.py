"""An MCP server over stdio, with the SDK's own decorators: a tool for each thing a parent may want."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel
from pydantic_ai.messages import (
    ModelMessagesTypeAdapter,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)

from tests.bench import agents
from tests.bench.task import Op

server = MCPServer("bench", log_level="WARNING")


class Weather(BaseModel):
    """What the parent is asked for."""

    degrees: int


@server.tool()
async def run(op: Op, size: int, prompt: str, history: list[Any] | None = None) -> dict[str, Any]:
    """Runs the agent."""
    messages = None if history is None else ModelMessagesTypeAdapter.validate_python(history)
    result = await agents.plain.run(prompt, model=agents.model(op, size), message_history=messages)
    added = ModelMessagesTypeAdapter.dump_python(result.new_messages(), mode="json") if messages else None
    return {"result": result.output, "messages": added}


@server.tool()
async def stream(size: int, prompt: str, ctx: Context) -> str:
    """Runs the agent; its deltas are the messages of progress notifications."""
    seen = 0
    async with agents.plain.run_stream_events(prompt, model=agents.model("stream", size)) as events:
        async for event in events:
            match event:
                case PartStartEvent(part=TextPart(content=text)):
                    seen += 1
                    await ctx.report_progress(seen, message=text)
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    seen += 1
                    await ctx.report_progress(seen, message=text)
                case _:
                    continue
    return "done"


@server.tool()
async def converse(size: int, prompt: str, ctx: Context) -> str:
    """Runs the agent; its tool calls go back to the client as elicitations."""

    async def ask(city: str) -> dict[str, Any]:
        answer = await ctx.elicit(f"the weather in {city}?", Weather)
        assert answer.action == "accept"
        return answer.data.model_dump()

    result = await agents.asking.run(prompt, model=agents.model("tool", size), deps=agents.Parent(ask))
    return result.output


if __name__ == "__main__":
    server.run("stdio")
