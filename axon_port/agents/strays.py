"""Tasks that pydantic-ai leaves behind in a run that is cancelled.

It starts tasks of its own for a run and for a streamed request. A cancel that falls into the one turn of the loop
between the start of such a task and its adoption loses it: it waits for ever, and holds what it was reading and the
connection that it was reading from. So each run knows which tasks were started in it, and ends those that are left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import ref


@dataclass(slots=True)
class _Roll:
    """The tasks that were started in a run. Those that outlive it hold this for as long as they live, and add nothing
    to it any more."""

    tasks: list[ref[asyncio.Task[Any]]] = field(default_factory=list["ref[asyncio.Task[Any]]"])
    is_open: bool = True


_roll: ContextVar[_Roll | None] = ContextVar("axon_port_started_tasks", default=None)


class Started(asyncio.Task[Any]):
    """A task that says in a word who it is.

    anyio puts the current task into the reason of every cancel, and pydantic-ai's graph cancels the scope of each of
    its steps: asyncio's own word, with coroutine, callbacks and a lock against recursion, costs a run two percent.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Task {self.get_name()!r}>"


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """From now on the tasks of this loop are known to the run in which they are started."""
    loop.set_task_factory(_start)


def _start(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
) -> asyncio.Task[Any]:
    task = Started(work, loop=loop, **options)  # pyright: ignore[reportArgumentType]
    if (roll := _roll.get()) is not None and roll.is_open:
        roll.tasks.append(ref(task))
    return task


@asynccontextmanager
async def ended() -> AsyncGenerator[None]:
    """When the block is left, pydantic-ai's tasks that were started in it have ended.

    What a tool has started goes on: it belongs to whoever wrote the tool.
    """
    roll = _Roll()
    token = _roll.set(roll)
    try:
        yield
    finally:
        _roll.reset(token)
        roll.is_open = False
        left = [task for reference in roll.tasks if (task := reference()) is not None and not task.done()]
        roll.tasks.clear()
        strays = [task for task in left if _is_pydantic_ais(task)]
        for task in strays:
            task.cancel()
        if strays:
            await asyncio.wait(strays)


def _is_pydantic_ais(task: asyncio.Task[Any]) -> bool:
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("pydantic_ai.")
