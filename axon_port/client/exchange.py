"""One request of a caller, from the frame that left to its fate."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from axon_port.client.errors import AxonPortError, ToolError, command_error
from axon_port.client.results import Approved, Call, DeferredCall, Denied
from axon_port.client.tools import Tool

Frame = dict[str, Any]

Approve = Callable[[Call], Approved | Denied | bool | Awaitable[Approved | Denied | bool]]
"""Says whether a call may be made. Plain (and quick: it runs on the loop) or `async`."""

Resolve = Callable[[DeferredCall], Any]
"""What became of a deferred call: what it returned, or `Approved` or `Denied`; `Retry` and `Failed` may be raised."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Who answers what the worker asks during a run."""

    tools: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    on_approval: Approve | None = None
    on_deferred: Resolve | None = None


class Exchange:
    """What a caller waits for. The port settles it, once; one caller at a time waits."""

    def __init__(
        self, callbacks: Callbacks | None = None, on_fate: Callable[[Frame | AxonPortError], None] | None = None
    ) -> None:
        """`on_fate` is told of it as it comes, whether or not anybody still waits."""
        self.id = 0
        self._on_fate = on_fate
        self.callbacks = callbacks or Callbacks()
        self.calls: dict[str, asyncio.Task[None]] = {}
        """Callbacks that were asked for this run, by call id."""
        self.raised: BaseException | None = None
        """What a function of ours ended the run with."""
        self._chunks: deque[Frame] = deque()
        self._fate: Frame | AxonPortError | None = None
        self._news = asyncio.Event()

    @property
    def settled(self) -> bool:
        return self._fate is not None

    @property
    def fate(self) -> Frame | AxonPortError | None:
        """The terminal frame, or why there is none; None while it is waited for."""
        return self._fate

    def chunk(self, frame: Frame) -> None:
        self._chunks.append(frame)
        self._news.set()

    def settle(self, fate: Frame | AxonPortError) -> None:
        """The terminal frame, or why there will be none. Nobody waits for the callbacks any more."""
        if self._fate is not None:
            raise RuntimeError("a request has two fates")
        self._fate = fate
        if self._on_fate is not None:
            self._on_fate(fate)
        self._news.set()
        for task in self.calls.values():
            task.cancel()

    async def next_chunk(self) -> Frame | None:
        """The next chunk; None when all have come. Raises what the run ended with, after its last chunk."""
        while not self._chunks:
            if self._fate is not None:
                self._outcome()
                return None
            self._news.clear()
            await self._news.wait()
        return self._chunks.popleft()

    async def outcome(self) -> Frame:
        """The `result` frame. Raises the error, also for everybody who asks again."""
        while self._fate is None:
            self._news.clear()
            await self._news.wait()
        return self._outcome()

    def _outcome(self) -> Frame:
        fate = self._fate
        if fate is None or isinstance(fate, AxonPortError):
            raise fate or RuntimeError("this request has no fate yet")
        if fate["type"] == "result":
            return fate
        error = command_error(fate)
        raise error from (self.raised if isinstance(error, ToolError) else None)
