"""Runs and streams under way, as their caller holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

from axon_port.client.calls import deferred_results
from axon_port.client.errors import CommandError, local_error
from axon_port.client.exchange import Callbacks, Exchange, Frame
from axon_port.client.fields import Prompt
from axon_port.client.port import Port
from axon_port.client.results import Chunk, RunResult, joined, run_result
from axon_port.wire.errors import WireError

WINDOW: Final = 32
"""Chunks of a stream that may be on the way or waiting for the caller. Fewer would make a round trip of each chunk,
more would only be a longer queue: what does not fit is joined by the worker."""

MAX_LEGS: Final = 50
"""Runs that `on_deferred` makes of one, as many as a run may make requests by default. Then the deferred result is the
caller's: a model that defers for ever must not be answered for ever."""


class Asker(Protocol):
    """What a run needs of its worker."""

    async def ask(self, kind: str, fields: Mapping[str, Any], exchange: Exchange) -> Port: ...


class Run:
    """A run under way. Dropping it, or a caller that stops waiting for its `result`, does not end it; `cancel` does."""

    _kind: str = "run"

    def __init__(self, worker: Asker, fields: Frame, callbacks: Callbacks) -> None:
        self._worker = worker
        self._fields = fields
        self._callbacks = callbacks
        self._exchange = Exchange(callbacks)
        """The leg under way; before `start`, one that was never sent."""
        self._port: Port | None = None
        self._legs = 0
        self._earlier: RunResult | None = None
        self._result: RunResult | None = None
        self._cancelled = False
        """No leg begins any more."""
        self._starting = asyncio.Lock()
        self._turn = asyncio.Lock()

    async def start(self) -> Self:
        """Send the command, once. Raises `CommandError` where it is refused on this side."""
        # A worker that is being restarted is waited for, and others may ask meanwhile.
        async with self._starting:
            if self._legs == 0:
                await self._begin_leg(self._fields)
        return self

    async def result(self) -> RunResult:
        """How the run ended, `on_deferred` included. Raises what it failed with."""
        await self.start()
        async with self._turn:
            while self._result is None:
                await self._finish_leg(await self._exchange.outcome())
        return self._result

    async def cancel(self) -> bool:
        """End it as `Cancelled`; False where it has ended already.

        What has not begun does not begin. While `on_deferred` is asked, that is waited for and its answer dropped; the
        error's `messages` then leave the deferred calls open, for a run that is given `deferred_results`.
        """
        exchange, self._cancelled = self._exchange, True
        return await self._about_itself("cancel", {}, "cancelled") or self._is_followed(exchange)

    async def enqueue(self, prompt: Prompt, priority: Literal["asap", "when_idle"] = "asap") -> bool:
        """Add to the prompt; False where it is not under way: it has ended, or `on_deferred` is asked."""
        return await self._about_itself("enqueue", {"prompt": prompt, "priority": priority}, "enqueued")

    def abandon(self) -> None:
        """Have it cancelled without waiting for that: nobody wants its result any more."""
        self._cancelled = True
        if self._port is not None:
            self._port.abandon(self._exchange)

    async def _about_itself(self, kind: str, fields: Mapping[str, Any], answer: str) -> bool:
        port, exchange = self._port, self._exchange
        if port is None or exchange.settled:
            return False
        about = Exchange()
        if not await port.ask(kind, {"target": exchange.id, **fields}, about):
            return False
        return (await about.outcome())["result"][answer]

    def _is_followed(self, exchange: Exchange) -> bool:
        """Whether a leg comes after this one, which was not sent or is over."""
        fate = exchange.fate
        if fate is None:
            return not exchange.id
        is_deferred = isinstance(fate, dict) and fate.get("status") == "deferred"
        return is_deferred and self._callbacks.on_deferred is not None and self._legs < MAX_LEGS

    async def _finish_leg(self, frame: Frame) -> None:
        """Take the result of a leg: it is the run's, or the run is carried on."""
        result = run_result(frame)
        if self._earlier is not None:
            result = joined(self._earlier, result, self._selection)
        resolve = self._callbacks.on_deferred
        if resolve is None or not self._is_followed(self._exchange):
            self._result = result
            return
        answers = {} if self._cancelled else await deferred_results(resolve, result.deferred)
        await self._begin_leg(self._carried_on(frame["messages"], answers), result)

    def _carried_on(self, messages: list[Any], answers: Mapping[str, Any]) -> Frame:
        history = messages if self._selection == "all" else [*(self._fields.get("message_history") or ()), *messages]
        left_out = ("prompt", "deferred_results")
        fields = {name: value for name, value in self._fields.items() if name not in left_out}
        return {**fields, "message_history": history, "deferred_results": dict(answers)}

    async def _begin_leg(self, fields: Frame, earlier: RunResult | None = None) -> None:
        exchange = Exchange(self._callbacks)
        if self._cancelled:
            exchange.settle(_cancelled(earlier))
        else:
            self._port = await self._worker.ask(self._kind, fields, exchange)
            self._legs += 1
        self._fields, self._earlier, self._exchange = fields, earlier, exchange
        if self._cancelled and self._port is not None:
            # While a worker was waited for, where nobody could be told.
            self._port.abandon(exchange)

    @property
    def _selection(self) -> str:
        return str(self._fields.get("messages") or "new")


class Stream(Run):
    """A run whose chunks come on the way, as `async for` takes them.

    Leaving it before its end cancels the run: at the end of `async with`, or where a bare `async for` is broken off
    and nobody holds the stream. After its last chunk, `result` is what the run ended with.
    """

    _kind = "stream"

    def __init__(self, worker: Asker, fields: Frame, callbacks: Callbacks, window: int = WINDOW) -> None:
        if window < 1:
            raise ValueError("a window of no chunk would let none come")
        super().__init__(worker, {**fields, "credit": window}, callbacks)
        self._window = window
        self._taken = 0
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk. Raises what the run failed with, after its last chunk."""
        await self.start()
        async with self._turn:
            while self._result is None:
                frame = await self._exchange.next_chunk()
                if frame is not None:
                    self._count()
                    return Chunk(frame["seq"], frame["step"], frame["kind"], frame["data"])
                await self._finish_leg(await self._exchange.outcome())
                self._taken = 0
        raise StopAsyncIteration

    async def result(self) -> RunResult:
        """How the run ended. Chunks that have not been taken are passed over."""
        async for _ in self:
            pass
        return await super().result()

    def _count(self) -> None:
        """Let the next chunks come when half the window has been taken: one frame of ours for many of theirs."""
        self._taken += 1
        if self._taken * 2 >= self._window and self._port is not None:
            self._port.grant(self._exchange, self._taken)
            self._taken = 0

    def __del__(self) -> None:
        # Whoever broke off `async for` holds nothing that could be closed. This may be the thread of anybody.
        port = getattr(self, "_port", None)
        if port is not None and not self._exchange.settled and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(port.abandon, self._exchange)


def _cancelled(earlier: RunResult | None) -> CommandError:
    """What a run ends with that was cancelled while no worker had it: before it began, or after `earlier`."""
    error = WireError("Cancelled", "the run was cancelled")
    if earlier is None:
        return local_error(error)
    return local_error(error, agent_id=earlier.agent_id, usage=earlier.usage, messages=earlier.messages)
