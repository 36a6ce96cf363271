"""How a worker that serves comes to its end, on the event loop (PROTOCOL.md, LIFE-*).

    serving ──> stopping ──> over
       │           ├ shutdown, signal: runs get their grace
       │           ├ end of input: runs get the drain timeout
       │           └ nobody listens, framing lost: at once
       └ commands are taken in order, in `stopping` too

Of several reasons to stop the first is named and the shortest grace counts; a lost framing outranks the others.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, Final, Literal, cast

import anyio

from axon_port.statuses import EX_DATAERR, EX_OK
from axon_port.wire.commands import Shutdown, parse_command
from axon_port.wire.errors import WireError
from axon_port.worker.dispatch import Dispatcher
from axon_port.worker.exchanges import Exchange
from axon_port.worker.intake import InputEnded, InputEnding, InputLost, ParentDied, Received, Signalled
from axon_port.worker.parts import Parts
from axon_port.worker.runs import UNWIND_SECONDS

DEFAULT_GRACE_MS: Final = 5_000
"""How long runs may go on after `shutdown` or a signal."""

MARGIN_SECONDS: Final = 3.0
"""After a deadline of ours: what unwinding and flushing may take before the watchdog steps in."""

DRAIN_UNWIND_SECONDS: Final = 0.5
"""How long runs may unwind when the drain timeout has passed; the watchdog is near."""

LAST_UNWIND_SECONDS: Final = 0.05
"""For runs that are still there when the worker is over, whatever ended it: a lost framing leaves 100 ms for all."""

TURN_SECONDS: Final = 0.005
"""How long commands are taken in one turn of the loop before the runs get theirs."""

CLOSE_SECONDS: Final = 0.2
"""How long the providers' connections may take to close."""

Reason = Literal["shutdown", "eof", "signal", "fatal"]


class Lifecycle:
    """Takes the commands of a worker and knows when it is over. Only for the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._read_at = 0.0
        self._end_at = math.inf
        self._end_timer: asyncio.Handle = self._loop.call_soon(lambda: None)
        self.over = asyncio.Event()
        self.reason: Reason = "shutdown"
        self.status = EX_OK
        self.shutdowns: list[Exchange] = []
        self.dispatcher = Dispatcher(parts, on_shutdown=self._shutdown, on_idle=self._idle)

    def take_commands(self) -> None:
        """Take what has come, in order, for at most `TURN_SECONDS`."""
        until = time.monotonic() + TURN_SECONDS
        while (item := self._parts.inbox.take()) is not None:
            match item:
                case Received():
                    self._read_at = item.at
                    self.dispatcher.dispatch(item)
                case InputEnded(truncated):
                    self._input_ended(EX_DATAERR if truncated else EX_OK, item.at)
                case ParentDied():
                    self._input_ended(EX_OK, item.at)
                case InputEnding(at):
                    self._end_in(self._parts.options.drain_timeout, at, DRAIN_UNWIND_SECONDS)
                case InputLost():
                    self._framing_lost()
                case Signalled():
                    self._stop("signal", DEFAULT_GRACE_MS / 1000, since=item.at)
            if time.monotonic() > until and self._parts.inbox:
                self._loop.call_soon(self.take_commands)
                return
        self._idle()

    def listener_gone(self) -> None:
        """Nobody reads the answers: everything is cancelled, and over."""
        self.dispatcher.end_all(_cancelled("nobody reads the answers any more"), within=0.0)
        self.over.set()

    async def finish(self) -> None:
        """Answer what was read and is not answered yet; `shutdown` itself is answered last, by the process."""
        while (item := self._parts.inbox.take()) is not None:
            if isinstance(item, Received):
                self.dispatcher.dispatch(item)
        self.dispatcher.end_all(_cancelled("the worker is going down"), within=LAST_UNWIND_SECONDS)
        while runs := [run.task for run in self.dispatcher.runs if run.task is not None]:
            await asyncio.wait(runs, timeout=LAST_UNWIND_SECONDS)
        for exchange in self._parts.exchanges:
            if exchange not in self.shutdowns:
                exchange.fail(WireError("ShuttingDown", "the worker went down before this was done"))
        with anyio.move_on_after(CLOSE_SECONDS):
            await self.dispatcher.close()

    def _shutdown(self, exchange: Exchange, grace_ms: int | None) -> None:
        self.shutdowns.append(exchange)
        self._stop("shutdown", _grace(grace_ms), since=self._read_at)

    def _input_ended(self, status: int, at: float) -> None:
        self.status = self.status or status
        self.dispatcher.input_ended()
        self._stop("eof", self._parts.options.drain_timeout, since=at, unwind=DRAIN_UNWIND_SECONDS)

    def _framing_lost(self) -> None:
        self.status = EX_DATAERR
        self._stop("fatal", 0.0, since=time.monotonic(), unwind=LAST_UNWIND_SECONDS)

    def _stop(self, reason: Reason, grace: float, *, since: float, unwind: float = UNWIND_SECONDS) -> None:
        """Give runs the rest of their grace, which began when the reason was read: the watchdog counts from there."""
        if not self._stopping or reason == "fatal":
            self.reason = reason
        self._stopping = True
        if reason != "eof":
            self.dispatcher.refuse_new_runs()
        if reason != "eof":
            # The end of the input has set the watchdog already, on the reader's thread.
            self._parts.watchdog.expire_in(max(0.0, since + grace - time.monotonic()) + MARGIN_SECONDS)
        self._end_in(grace, since, unwind)
        self._idle()

    def _end_in(self, grace: float, since: float, unwind: float) -> None:
        """End what is left when `grace` is over; the shortest counts."""
        end_at = max(0.0, since + grace - time.monotonic()) + self._loop.time()
        if end_at < self._end_at:
            self._end_at = end_at
            self._end_timer.cancel()
            self._end_timer = self._loop.call_at(end_at, self._grace_over, unwind)

    def _grace_over(self, unwind: float) -> None:
        if not self._stopping:
            # The end of the input is still to be read.
            self.reason = "eof"
        error = _cancelled("the worker is going down and the time for this run is over")
        self.dispatcher.end_all(error, within=unwind)
        self._loop.call_later(unwind, self.over.set)

    def _idle(self) -> None:
        """Nothing may be left to do: then a worker that is stopping has stopped."""
        if self._stopping and not self.dispatcher.busy and not self._parts.inbox:
            self.over.set()


def shutdown_seconds(fields: dict[str, Any]) -> float:
    """From a `shutdown` until the process has to be gone. Raises `WireError` for one that is none."""
    command = cast("Shutdown", parse_command(fields))
    return _grace(command.grace_ms) + MARGIN_SECONDS


def _grace(grace_ms: int | None) -> float:
    return (DEFAULT_GRACE_MS if grace_ms is None else grace_ms) / 1000


def _cancelled(why: str) -> WireError:
    return WireError("Cancelled", why)
