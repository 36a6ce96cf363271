"""The tasks of examples/python/README.md, one after the other, with the scripted model."""

import asyncio
import datetime
import logging
import os
import signal
from typing import Any

from axon_port.client import (
    Approved,
    Call,
    CommandError,
    Denied,
    Failed,
    Restarts,
    Retry,
    RunResult,
    Worker,
    WorkerGone,
    errors,
    tool,
)

ANSWER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def supervised() -> None:
    async with Worker.spawn(
        log_level="warning",
        max_inflight=200,
        env={**os.environ, "OPENAI_API_KEY": "sk-not-a-real-key"},
        restarts=Restarts(limit=3, first=0.1),
    ) as worker:
        await worker.create_agent("echo", model={"script": [{"text": "here"}]})
        os.kill(worker.ready["pid"], signal.SIGKILL)
        print("after a crash:", await in_any_case(worker, "echo", "Are you there?"))


async def in_any_case(worker: Worker, agent: str, prompt: str, attempts: int = 5) -> Any:
    """The answer; what may be better later is tried again."""
    while True:
        attempts -= 1
        try:
            return (await worker.run(agent, prompt, timeout_ms=60_000)).output
        except (WorkerGone, CommandError) as error:
            if not error.retryable or not attempts:
                raise
            wait = error.retry_after_ms if isinstance(error, CommandError) else None
            await asyncio.sleep((wait or 200) / 1000)


async def structured(worker: Worker) -> None:
    await worker.create_agent(
        "guide",
        model={"script": [{"output": {"city": "Riga"}}]},
        instructions="You help {{customer}}.",
        output_schema=ANSWER,
    )
    result = await worker.run("guide", "Where to?", deps={"customer": "Ada"})
    print("structured:", result.output["city"], result.usage["requests"])


async def conversation(worker: Worker) -> None:
    await worker.create_agent("friend", model={"script": [{"text": "Hello, Ada."}]})
    first = await worker.run("friend", "I am Ada.")
    other = {"script": [{"text": "You are Ada."}]}  # another model for this run only
    second = await worker.run("friend", "Who am I?", message_history=first.messages, messages="all", model=other)
    print("history:", second.output, len(second.messages or ()), "messages")


async def streamed(worker: Worker) -> None:
    await worker.create_agent("poet", model={"script": [{"chunks": ["Roses ", "are ", "red."]}]})
    async with worker.stream("poet", "A line, please", events=["text", "tool_call"], window=8) as stream:
        text = [chunk.data async for chunk in stream if chunk.kind == "text"]
        result = await stream.result()
    print("stream:", "".join(text), result.status)


def forecast(city: str, day: datetime.date | None = None) -> dict[str, Any]:
    """The weather in a city, today or on a day."""
    if city == "Atlantis":
        raise Retry("there is no such city: ask which one is meant")
    if day is not None and day.year < 2000:
        raise Failed("nobody has kept the weather of that day")
    return {"city": city, "degrees": 8}


async def refund(call: Call, amount: int) -> str:
    """Give money back."""
    return f"{amount} refunded by call {call.call_id}"


def allow(call: Call) -> Approved | Denied:
    return Approved({"amount": 10}) if call.args["amount"] < 100 else Denied("ask the manager")


async def with_tools(worker: Worker) -> None:
    calls = [{"name": "forecast", "args": {"city": "Riga"}}, {"name": "refund", "args": {"amount": 30}}]
    await worker.create_agent(
        "clerk",
        model={"script": [{"tool_calls": calls}, {"text": "Done."}]},
        tools=[forecast, tool(refund, timeout_ms=5000, requires_approval=True)],
        on_approval=allow,
    )
    result = await worker.run("clerk", "Refund me, and the weather?")
    print("tools:", result.output, returned(result))


def returned(result: RunResult) -> list[Any]:
    """What the tools of a run returned."""
    parts = [part for message in result.messages or () for part in message["parts"]]
    return [part["content"] for part in parts if part["part_kind"] == "tool-return"]


async def limited(worker: Worker) -> None:
    await worker.create_agent("thinker", model={"script": [{"text": "42", "delay_ms": 3_600_000}]})
    try:
        await worker.run("thinker", "Think", timeout_ms=50)  # the worker ends the run
    except errors.Timeout as error:
        print("limit:", error.retryable, error.details)
    try:
        async with asyncio.timeout(0.05):  # the caller is cancelled, and takes the run along
            await worker.run("thinker", "Think")
    except TimeoutError:
        print("the caller has given up")
    run = await worker.start("thinker", "Think")
    print("cancelled:", await run.cancel())
    try:
        await run.result()
    except errors.Cancelled as error:
        print("what was said is kept:", error.messages is not None)


async def deferred(worker: Worker) -> None:
    ship = {"name": "ship", "parameters": {"type": "object"}, "handler": "deferred"}
    await worker.create_agent("shop", model={"script": [{"tool_calls": [{"name": "ship"}]}]}, tools=[ship])
    result = await worker.run("shop", "Send it")
    print("deferred:", result.status, [call.name for call in result.deferred])

    # Next week, in any worker that has the agent: the messages and an answer for each call.
    answers = {call.call_id: {"result": "by post"} for call in result.deferred}
    goes_on = {"script": [{"text": "It is on its way."}]}
    done = await worker.run("shop", message_history=result.messages, deferred_results=answers, model=goes_on)
    print("answered:", done.output)


async def observed(worker: Worker) -> None:
    stats = await worker.stats()
    print("runs failed:", stats["runs"]["failed"])
    print("loop:", sorted(await worker.ping()))


async def main() -> None:
    logging.basicConfig(level=logging.ERROR)  # axon_port.worker.*: logs of the worker; axon_port.client: its restarts
    await supervised()
    async with Worker.spawn(grace_ms=2000) as worker:
        for task in (structured, conversation, streamed, with_tools, limited, deferred, observed):
            await task(worker)


if __name__ == "__main__":
    asyncio.run(main())
