"""Producers that wait for room in the outbox, on the event loop (PROTOCOL.md, OUT-MARKS).

They go on one after the other, in order, each when the frame of the one before it counts: all at once they would fill
with all their frames what was to stay bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from axon_port.worker.outbox import Outbox, call_on

SETTLING_TURNS: Final = 4
"""Turns of the event loop from a place to the frame it was asked for: a run's task ends, then its callback settles."""


class Admission:
    """Only for the event loop."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._queue: deque[asyncio.Future[None]] = deque()
        self._admitting = False

    async def room(self) -> None:
        """Wait until a producer may add a frame. Returns at once where there is room, or nobody to read it."""
        outbox = self._outbox
        if outbox.broken or (outbox.has_room and not self._queue):
            return
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._queue.append(place)
        if not self._admitting:
            self._admitting = True
            outbox.when_room(lambda: call_on(loop, lambda: self._admit(loop)))
        await place

    def _admit(self, loop: asyncio.AbstractEventLoop, turns: int = 0) -> None:
        if turns:
            loop.call_soon(self._admit, loop, turns - 1)
            return
        outbox = self._outbox
        while self._queue and (outbox.broken or self._queue[0].done()):
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
        if not self._queue:
            self._admitting = False
        elif outbox.has_room:
            self._queue.popleft().set_result(None)
            loop.call_soon(self._admit, loop, SETTLING_TURNS)
        else:
            outbox.when_room(lambda: call_on(loop, lambda: self._admit(loop)))
