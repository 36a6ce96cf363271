"""The loop's timers: they run where they were made, and let go of everything when they are cancelled."""

from __future__ import annotations

import asyncio
import signal
import weakref
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from axon_port.worker.loop import Loop

where: ContextVar[object] = ContextVar("where", default="nowhere")


class Held:
    """Something large that a run keeps in its context."""


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main)


def test_a_timer_runs_in_the_context_in_which_it_was_made_or_in_the_one_that_is_given() -> None:
    async def main() -> None:
        loop, seen, done = asyncio.get_running_loop(), list[object](), asyncio.Event()
        given = copy_context()
        given.run(where.set, "given")
        where.set("made")
        loop.call_later(0, lambda: seen.append(where.get()))
        loop.call_later(0.001, seen.append, "an argument")
        loop.call_at(loop.time() + 0.002, lambda: (seen.append(where.get()), done.set()), context=given)
        where.set("later")
        await done.wait()
        assert seen == ["made", "an argument", "given"]

    run(main())


def test_a_timer_that_was_cancelled_holds_nothing() -> None:
    async def main() -> None:
        held = Held()
        alive = weakref.ref(held)
        where.set(held)
        timer = asyncio.get_running_loop().call_later(3600, print)
        where.set("elsewhere")
        del held
        assert alive() is not None
        timer.cancel()
        assert alive() is None
        assert timer.cancelled()

    run(main())


def test_a_task_whose_sleep_was_cancelled_leaves_nothing_behind() -> None:
    async def sleeps(held: Held) -> None:
        where.set(held)
        await asyncio.sleep(3600)

    async def main() -> None:
        held = Held()
        alive = weakref.ref(held)
        task = asyncio.create_task(sleeps(held))
        del held
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        del task
        assert alive() is None

    run(main())


def test_nobody_takes_the_signals_from_the_worker() -> None:
    """clause: LIFE-SIGNAL"""

    async def main() -> None:
        with pytest.raises(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)

    run(main())
