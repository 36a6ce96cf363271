"""Tasks that outlive the run in which they were started."""

from __future__ import annotations

import asyncio
from types import FunctionType
from typing import Any

import anyio

from axon_port.agents import strays


def as_of(module: str, function: Any) -> Any:
    """The function as if it stood in another module."""
    return FunctionType(function.__code__, {**function.__globals__, "__name__": module}, closure=function.__closure__)


async def for_ever() -> None:
    await asyncio.Event().wait()


def test_what_pydantic_ai_leaves_behind_has_ended_when_the_block_is_left() -> None:
    async def main() -> asyncio.Task[None]:
        strays.watch(asyncio.get_running_loop())
        async with strays.ended():
            stray = asyncio.create_task(as_of("pydantic_ai.capabilities", for_ever)())
            await asyncio.sleep(0)
        return stray

    assert anyio.run(main).cancelled()


def test_it_has_ended_too_when_the_run_was_cancelled() -> None:
    async def main() -> asyncio.Task[None]:
        strays.watch(asyncio.get_running_loop())
        left: list[asyncio.Task[None]] = []

        async def run() -> None:
            async with strays.ended():
                left.append(asyncio.create_task(as_of("pydantic_ai.agent", for_ever)()))
                await for_ever()

        running = asyncio.create_task(run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        return left[0]

    assert anyio.run(main).cancelled()


def test_what_a_tool_has_started_goes_on_and_so_does_what_was_started_outside() -> None:
    async def main() -> None:
        strays.watch(asyncio.get_running_loop())
        outside = asyncio.create_task(as_of("pydantic_ai.agent", for_ever)())
        async with strays.ended():
            background = asyncio.create_task(for_ever())
            await asyncio.sleep(0)
        assert not background.done()
        assert not outside.done()
        background.cancel()
        outside.cancel()

    anyio.run(main)


def test_a_task_says_in_a_word_who_it_is() -> None:
    """anyio writes it into the reason of every cancel."""

    async def main() -> str:
        strays.watch(asyncio.get_running_loop())
        task = asyncio.create_task(for_ever(), name="run 7")
        task.cancel()
        return repr(task)

    assert anyio.run(main) == "<Task 'run 7'>"


def test_what_outlives_a_run_adds_nothing_to_what_the_run_knew() -> None:
    """A connection that a capability keeps open starts tasks for as long as it lives."""

    async def main() -> None:
        strays.watch(asyncio.get_running_loop())
        rolls: list[Any] = []
        over = asyncio.Event()

        async def connection() -> None:
            rolls.append(strays._roll.get())  # pyright: ignore[reportPrivateUsage]
            await over.wait()
            await asyncio.create_task(asyncio.sleep(0))

        async with strays.ended():
            outlives = asyncio.create_task(connection())
            await asyncio.sleep(0)
        over.set()
        await outlives
        assert [roll.tasks for roll in rolls] == [[]]

    anyio.run(main)
