"""A grpc.aio server. Messages are JSON, read and written by orjson: quicker in Python than generated classes.

Prints the port that it listens on.
"""
# grpcio is there with the extra `bench` only.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportMissingModuleSource=false, reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import orjson
from pydantic_ai.messages import (
    ModelMessagesTypeAdapter,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)

from tests.bench import agents
from tests.bench.peers.rpc import OPTIONS, SERVICE


async def ping(_question: Any, _context: Any) -> bytes:
    return b'{"status":"ok"}'


async def run(question: dict[str, Any], _context: Any) -> bytes:
    history = question.get("history")
    messages = None if history is None else ModelMessagesTypeAdapter.validate_python(history)
    model = agents.model(question["op"], question["size"])
    result = await agents.plain.run(question["prompt"], model=model, message_history=messages)
    added = result.new_messages_json() if messages else b"null"
    return b'{"result":%b,"messages":%b}' % (orjson.dumps(result.output), added)


async def stream(question: dict[str, Any], _context: Any) -> AsyncIterator[bytes]:
    model = agents.model(question["op"], question["size"])
    async with agents.plain.run_stream_events(question["prompt"], model=model) as events:
        async for event in events:
            match event:
                case PartStartEvent(part=TextPart(content=text)):
                    yield orjson.dumps({"delta": text})
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    yield orjson.dumps({"delta": text})
                case _:
                    continue


async def converse(said: AsyncIterator[dict[str, Any]], context: Any) -> None:
    """A run whose tool calls go back to whoever asked."""
    question = await anext(said)

    async def ask(city: str) -> dict[str, Any]:
        await context.write(orjson.dumps({"call": {"city": city}}))
        return (await anext(said))["result"]

    model = agents.model(question["op"], question["size"])
    result = await agents.asking.run(question["prompt"], model=model, deps=agents.Parent(ask))
    await context.write(orjson.dumps({"result": result.output}))


async def main() -> None:
    server = grpc.aio.server(options=OPTIONS)
    handlers = {
        "Ping": grpc.unary_unary_rpc_method_handler(ping, request_deserializer=orjson.loads),
        "Run": grpc.unary_unary_rpc_method_handler(run, request_deserializer=orjson.loads),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, request_deserializer=orjson.loads),
        "Converse": grpc.stream_stream_rpc_method_handler(converse, request_deserializer=orjson.loads),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
