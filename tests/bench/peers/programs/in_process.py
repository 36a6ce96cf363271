"""pydantic-ai in one process: reads tasks as lines of JSON, runs them with plain asyncio, writes what it saw.

Settings are as Python has them: this is what an application gets that calls its agents itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, PartDeltaEvent, PartStartEvent

from tests.bench import agents, scenes
from tests.bench.task import Task

_held: list[Any] = []


async def once(task: Task, history: list[ModelMessage] | None) -> None:
    """One operation."""
    model = agents.model(task.op, task.size)
    prompt = scenes.prompt(task.op, task.size)
    if task.op == "stream":
        heard = 0
        async with agents.plain.run_stream_events(prompt, model=model) as events:
            async for event in events:
                heard += isinstance(event, PartDeltaEvent | PartStartEvent)
        assert heard == task.size
    else:
        agent = agents.local if task.op == "tool" else agents.plain
        result = await agent.run(prompt, model=model, message_history=history)
        assert result.output


async def measure(task: Task) -> dict[str, Any]:
    history = None
    if task.op == "history":
        history = ModelMessagesTypeAdapter.validate_python(scenes.history(task.size))
    latencies: list[float] = []
    left = iter(range(task.count))

    async def one_after_the_other() -> None:
        for _ in left:
            if task.pause:
                await asyncio.sleep(task.pause)
            then = time.perf_counter()
            await once(task, history)
            latencies.append(time.perf_counter() - then)

    cpu, then = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(task.inflight)))
    return {"latencies": latencies, "wall": time.perf_counter() - then, "cpu": time.process_time() - cpu}


async def hold(what: str, count: int) -> dict[str, Any]:
    """Agents, or runs whose tool never answers."""
    if what == "agents":
        for number in range(count):
            instructions = f"You are agent {number}."
            tools = [agents.weather]
            _held.append(Agent(name=f"held-{number}", instructions=instructions, tools=tools))
        return {}
    arrived = asyncio.Semaphore(0)

    async def waits(_city: str) -> dict[str, Any]:
        arrived.release()
        return await asyncio.get_running_loop().create_future()

    for _ in range(count):
        run = agents.asking.run(scenes.PROMPT, model=agents.model("tool", 1), deps=agents.Parent(waits))
        _held.append(asyncio.ensure_future(run))
    for _ in range(count):
        await arrived.acquire()
    return {}


async def main() -> None:
    handlers: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"hold": hold, "measure": _measure_fields}
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(await handlers[request.pop("do")](**request)), flush=True)


async def _measure_fields(**fields: Any) -> dict[str, Any]:
    return await measure(Task(**fields))


if __name__ == "__main__":
    asyncio.run(main())
