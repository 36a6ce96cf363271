"""FastAPI under uvicorn, on the socket whose descriptor is the argument."""
# FastAPI is there with the extra `bench` only.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults
from starlette.responses import Response, StreamingResponse

from tests.bench import agents
from tests.bench.task import Op

app = FastAPI()


class Question(BaseModel):
    """`op` and `size` choose the model's answer. `results` are those of deferred calls, by their ids."""

    op: Op
    size: int = 0
    prompt: str | None = None
    history: list[ModelMessage] | None = None
    results: dict[str, Any] | None = None


@app.get("/ping")
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/run")
async def run(question: Question) -> Response:
    model = agents.model(question.op, question.size, history=question.history)
    if question.op == "tool":
        return await _run_deferring(question, model)
    result = await agents.plain.run(question.prompt, model=model, message_history=question.history)
    messages = result.new_messages_json() if question.history else b"null"
    return _json(b'{"result":%b,"messages":%b}' % (orjson.dumps(result.output), messages))


async def _run_deferring(question: Question, model: Any) -> Response:
    results = None if question.results is None else DeferredToolResults(calls=question.results)
    result = await agents.deferring.run(
        question.prompt, model=model, message_history=question.history, deferred_tool_results=results
    )
    if isinstance(result.output, DeferredToolRequests):
        calls = orjson.dumps({call.tool_call_id: call.args for call in result.output.calls})
        return _json(b'{"calls":%b,"messages":%b}' % (calls, result.all_messages_json()))
    return _json(b'{"result":%b}' % orjson.dumps(result.output))


@app.post("/stream")
async def stream(question: Question) -> StreamingResponse:
    return StreamingResponse(_lines(question), media_type="application/x-ndjson")


async def _lines(question: Question) -> AsyncIterator[bytes]:
    model = agents.model(question.op, question.size)
    async with agents.plain.run_stream_events(question.prompt, model=model) as events:
        async for event in events:
            match event:
                case PartStartEvent(part=TextPart(content=text)):
                    yield orjson.dumps({"delta": text}) + b"\n"
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    yield orjson.dumps({"delta": text}) + b"\n"
                case _:
                    continue


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


if __name__ == "__main__":
    # Not by uvicorn's own `fd`, which takes every socket for a Unix one and leaves Nagle's delay on.
    # Between two workloads a connection is idle for longer than the five seconds it would be kept.
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=3600)
    listening = socket.socket(fileno=int(sys.argv[1]))
    uvicorn.Server(config).run(sockets=[listening])
