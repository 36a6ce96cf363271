"""A whole worker without its process: intake, dispatcher and runs on an event loop, frames in memory.

Nothing moves but in `turns`: a test says how far the runs get between two commands.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from axon_port.worker.dispatch import Dispatcher
from axon_port.worker.exchanges import Exchange
from axon_port.worker.intake import Received
from axon_port.worker.logs import LogSink
from axon_port.worker.options import Options
from axon_port.worker.parts import Parts
from axon_port.worker.spans import NO_TELEMETRY

from .rig import PONG, SECONDS, Desk, NoWatchdog

T = TypeVar("T")

Look = Callable[[list[dict[str, Any]]], None]


def parts_at(desk: Desk, options: Options) -> Parts:
    """The parts of a worker that has no process."""
    return Parts(
        options=options,
        exchanges=desk.exchanges,
        inbox=desk.inbox,
        stats=desk.stats,
        sink=LogSink(desk.exchanges, desk.redactor, "error"),
        redactor=desk.redactor,
        watchdog=NoWatchdog(),
        pong=lambda: dict(PONG),
        frames=lambda: ({"in": 0, "out": 0}, {"in": 0, "out": 0}),
        telemetry=NO_TELEMETRY,
    )


class Floor:
    """The dispatcher and all that it needs. `look` sees every frame, in order, as soon as it was put.

    `late` is how many seconds frames have waited for the loop.
    """

    def __init__(self, options: Options, look: Look) -> None:
        self.desk = Desk(options.max_frame_bytes)
        self.shutdowns: list[Exchange] = []
        self.late = 0.0
        self._look = look
        self._runner = asyncio.Runner()
        self.dispatcher = self._runner.run(self._made(options))

    async def _made(self, options: Options) -> Dispatcher:
        return Dispatcher(
            parts_at(self.desk, options),
            on_shutdown=lambda exchange, _grace: self.shutdowns.append(exchange),
            on_idle=lambda: None,
        )

    def receive(self, payload: bytes, *, expecting: Callable[[], None] = lambda: None) -> None:
        """One frame of the parent, taken as far as the loop takes it in one breath. `expecting` is called right
        before, when all earlier frames have been looked at."""
        self.breath((payload, expecting))

    def breath(self, *said: tuple[bytes, Callable[[], None]]) -> None:
        """Several frames of the parent, between which the loop does not turn."""

        async def main() -> None:
            for payload, expecting in said:
                self.look()
                expecting()
                self.desk.raw(payload)
                self._dispatch()
            self.look()

        self._runner.run(main())

    def input_ended(self) -> None:
        """The parent says no more."""

        async def main() -> None:
            self.dispatcher.input_ended()

        self._runner.run(main())

    def turns(self, count: int) -> None:
        """Let the loop turn."""

        async def main() -> None:
            for _ in range(count):
                await asyncio.sleep(0)
                self.look()

        self._runner.run(main())

    def until(self, done: Callable[[], bool]) -> None:
        """Let the loop turn until something is so, which must come in time."""

        async def main() -> None:
            async with asyncio.timeout(SECONDS):
                while not done():
                    await asyncio.sleep(0.0005)
                    self.look()

        self._runner.run(main())

    def tasks(self) -> list[str]:
        """The tasks that are under way, by what they run."""

        async def main() -> list[str]:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            return sorted(str(task.get_coro()) for task in others)

        return self._runner.run(main())

    def look(self) -> None:
        """Show what was put since the last look."""
        payloads, self.desk.outbox.payloads = self.desk.outbox.payloads, []
        if payloads:
            self._look([json.loads(payload) for payload in payloads])

    def close(self) -> None:
        """Close clients and the loop."""
        self._runner.run(self.dispatcher.close())
        self._runner.close()

    def _dispatch(self) -> None:
        while (item := self.desk.inbox.take()) is not None:
            if isinstance(item, Received):
                self.dispatcher.dispatch(replace(item, at=item.at - self.late))
