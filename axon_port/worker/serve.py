"""A worker's life, from its first byte to its exit status (PROTOCOL.md, LIFE-*).

    starting ──> serving ──> stopping ──> over
                    │           ├ shutdown, signal: runs get their grace
                    │           ├ end of input: runs get the drain timeout
                    │           └ nobody listens, framing lost: at once
                    └ commands are taken in order, in `stopping` too

`serve` owns the process: descriptors, threads, signals and the event loop. It claims the descriptors and reads
before anything heavy is imported, so that a ping is answered within milliseconds of the start; pydantic-ai is
imported on a thread meanwhile. It leaves by `os._exit`, because threads and tools that will not stop are not waited
for.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import anyio
import anyio.to_thread

from axon_port import __version__
from axon_port.wire.errors import WireError
from axon_port.wire.events import PROTOCOL_VERSION
from axon_port.worker import children, logs, stdio
from axon_port.worker.exchanges import Exchange, Exchanges
from axon_port.worker.intake import Inbox, InputEnded, InputLost, Intake, ParentDied, Received, Signalled
from axon_port.worker.options import Options
from axon_port.worker.outbox import Outbox, call_on
from axon_port.worker.reader import Reader
from axon_port.worker.redaction import Redactor
from axon_port.worker.stats import Stats
from axon_port.worker.watchdog import BEAT_SECONDS, Watchdog

if TYPE_CHECKING:
    from axon_port.worker.dispatch import Dispatcher

EX_OK: Final = 0
EX_DATAERR: Final = 65
EX_SOFTWARE: Final = 70

DEFAULT_GRACE_MS: Final = 5_000
"""How long runs may go on after `shutdown` or a signal."""

GONE_SECONDS: Final = 0.8
"""Nobody listens: the process ends within a second, cleaning up included."""

FLUSH_SECONDS: Final = 5.0
"""At the end, how long the parent may take to read what is left."""

MARGIN_SECONDS: Final = 3.0
"""After a deadline of ours: what unwinding and flushing may take before the watchdog steps in."""

FATAL_UNWIND_SECONDS: Final = 0.05
"""The framing is lost: the process ends within 100 ms."""

TURN_SECONDS: Final = 0.005
"""How long commands are taken in one turn of the loop before the runs get theirs."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_logger = logging.getLogger("axon_port.worker")

Reason = Literal["shutdown", "eof", "signal", "fatal"]


class Worker:
    """The process. Make one, `serve` once."""

    def __init__(self, options: Options, port: stdio.FramePort) -> None:
        self._options = options
        self._captured = port.captured
        self._stats = Stats()
        self._gone = threading.Event()
        self._outbox = Outbox(port.write_fd, self._nobody_listens)
        self._exchanges = Exchanges(self._outbox, options.max_frame_bytes)
        self._redactor = Redactor()
        self._sink = logs.LogSink(self._exchanges, self._redactor, options.log_level)
        self._inbox = Inbox()
        self._intake = Intake(
            self._exchanges, self._inbox, pong=self._pong, on_gone=self._outbox.break_off, on_signal=self._signalled
        )
        self._reader = Reader(port.read_fd, port.write_fd, self._intake, options.max_frame_bytes)
        self._intake.resume = self._reader.resume
        self._watchdog = Watchdog(self._deadline_missed, lambda: self._inbox.put(ParentDied()))
        self._captures: list[logs.Capture] = []
        self._dispatcher: Dispatcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._reason: Reason = "shutdown"
        self._status = EX_OK
        self._stopping = False
        self._signals = 0
        self._end_timer: asyncio.TimerHandle | None = None
        self._end_at: float | None = None
        self._shutdowns: list[Exchange] = []
        self._exiting = threading.Lock()

    def serve(self) -> NoReturn:
        """Serve until the end, and leave the process."""
        children.adopt_orphans()
        self._exchanges.say(self._ready())
        self._catch_signals()
        self._reader.start()
        self._captures = [logs.Capture(fd, logger, self._sink) for fd, logger in self._captured.items()]
        logs.install(self._sink)
        try:
            anyio.run(self._main, backend="asyncio")
        except BaseException as error:
            _logger.critical("the event loop ended: %r", error, exc_info=error)
            self._reason, self._status = "fatal", EX_SOFTWARE
        self._leave()

    def _ready(self) -> dict[str, Any]:
        return {
            "type": "ready",
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "pydantic_ai": _pydantic_ai_version(),
            "limits": {
                "max_frame_bytes": self._options.max_frame_bytes,
                "max_inflight": self._options.max_inflight,
                "max_tool_calls": self._options.max_tool_calls,
            },
        }

    # --- called from any thread

    def _pong(self) -> dict[str, Any]:
        dispatcher = self._dispatcher
        return {
            "status": "ok",
            "uptime_ms": self._stats.uptime_ms,
            "inflight": self._stats.inflight,
            "agents": 0 if dispatcher is None else len(dispatcher.roster),
            "loop_lag_ms": self._watchdog.lag_ms if dispatcher is not None else 0,
        }

    def _nobody_listens(self) -> None:
        self._gone.set()
        self._watchdog.expire_in(GONE_SECONDS)
        self._on_loop(self._listener_gone)

    def _on_loop(self, callback: Callable[[], None]) -> None:
        if self._loop is not None:
            call_on(self._loop, callback)

    def _signalled(self, number: int) -> None:
        if number not in SIGNALS:
            return
        self._signals += 1
        if self._signals > 1:
            self._exit(128 + number)
        self._watchdog.expire_in(DEFAULT_GRACE_MS / 1000 + MARGIN_SECONDS)
        self._inbox.put(Signalled(number))

    def _deadline_missed(self) -> None:
        if not self._gone.is_set():
            stuck = "".join(_stack_of_main())
            self._sink.write("critical", "axon_port.watchdog", "the event loop did not end in time", traceback=stuck)
        self._exit(EX_OK if self._over.is_set() and not self._status else self._status or EX_SOFTWARE)

    # --- on the event loop

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat()
        if self._gone.is_set():
            return
        self._dispatcher = await self._import_dispatcher()
        self._inbox.connect(lambda: self._on_loop(self._take_commands))
        await self._over.wait()
        await self._finish(self._dispatcher)

    async def _import_dispatcher(self) -> Dispatcher:
        def load() -> type[Dispatcher]:
            from axon_port.worker.dispatch import Dispatcher

            return Dispatcher

        gc.disable()
        try:
            dispatcher = await anyio.to_thread.run_sync(load)
        finally:
            gc.enable()
        # What was imported stays for good: the collector need not look at it again.
        gc.freeze()
        return dispatcher(self._surroundings())

    def _surroundings(self) -> Any:
        from axon_port.worker.dispatch import Surroundings

        return Surroundings(
            options=self._options,
            exchanges=self._exchanges,
            stats=self._stats,
            sink=self._sink,
            redactor=self._redactor,
            pong=self._pong,
            frames=self._frames,
            on_shutdown=self._shutdown,
            on_idle=self._idle,
        )

    def _frames(self) -> tuple[dict[str, int], dict[str, int]]:
        self._stats.commands["ping"] = self._intake.pings
        frames = {"in": self._intake.frames_in, "out": self._outbox.frames_out}
        return frames, {"in": self._reader.bytes_in, "out": self._outbox.bytes_out}

    def _beat(self) -> None:
        self._watchdog.beat()
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _take_commands(self) -> None:
        assert self._dispatcher is not None
        until = time.monotonic() + TURN_SECONDS
        while (item := self._inbox.take()) is not None:
            match item:
                case Received():
                    self._dispatcher.dispatch(item)
                case InputEnded(truncated):
                    self._input_ended(EX_DATAERR if truncated else EX_OK)
                case ParentDied():
                    self._input_ended(EX_OK)
                case InputLost():
                    self._framing_lost()
                case Signalled():
                    self._stop("signal", DEFAULT_GRACE_MS / 1000)
            if time.monotonic() > until and self._inbox:
                asyncio.get_running_loop().call_soon(self._take_commands)
                return
        self._idle()

    def _shutdown(self, exchange: Exchange, grace_ms: int | None) -> None:
        self._shutdowns.append(exchange)
        self._stop("shutdown", (DEFAULT_GRACE_MS if grace_ms is None else grace_ms) / 1000)

    def _input_ended(self, status: int) -> None:
        assert self._dispatcher is not None
        self._status = self._status or status
        self._dispatcher.input_ended()
        self._stop("eof", self._options.drain_timeout, refuse=False)

    def _framing_lost(self) -> None:
        assert self._dispatcher is not None
        self._status = EX_DATAERR
        self._stop("fatal", 0.0, within=FATAL_UNWIND_SECONDS)

    def _listener_gone(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.end_all(_cancelled("nobody reads the answers any more"), within=0.0)
        self._over.set()

    def _stop(self, reason: Reason, grace: float, *, refuse: bool = True, within: float | None = None) -> None:
        """Begin to stop, or stop sooner: of several reasons the first is named, the shortest grace counts."""
        assert self._dispatcher is not None
        if not self._stopping:
            self._stopping, self._reason = True, reason
        elif reason == "fatal":
            self._reason = reason
        if refuse:
            self._dispatcher.refuse_new_runs()
        loop = asyncio.get_running_loop()
        end_at = loop.time() + grace
        if self._end_at is None or end_at < self._end_at:
            if self._end_timer is not None:
                self._end_timer.cancel()
            self._end_at = end_at
            self._watchdog.expire_in(grace + MARGIN_SECONDS if reason != "eof" else grace + 1.5)
            self._end_timer = loop.call_later(grace, self._grace_over, within)
        self._idle()

    def _grace_over(self, within: float | None) -> None:
        assert self._dispatcher is not None
        from axon_port.worker.runs import UNWIND_SECONDS

        unwind = UNWIND_SECONDS if within is None else within
        self._dispatcher.end_all(
            _cancelled("the worker is going down and the time for this run is over"), within=unwind
        )
        asyncio.get_running_loop().call_later(unwind, self._over.set)

    def _idle(self) -> None:
        """Nothing may be left to do: then a worker that is stopping has stopped."""
        if self._stopping and self._dispatcher is not None and not self._dispatcher.busy and not self._inbox:
            self._over.set()

    async def _finish(self, dispatcher: Dispatcher) -> None:
        self._reader.stop()
        while (item := self._inbox.take()) is not None:
            if isinstance(item, Received):
                dispatcher.dispatch(item)
        dispatcher.end_all(_cancelled("the worker is going down"), within=0.0)
        await asyncio.sleep(0)
        for exchange in self._exchanges:
            if exchange not in self._shutdowns and not any(run.exchange is exchange for run in dispatcher.runs):
                exchange.fail(WireError("ShuttingDown", "the worker went down before this was done"))
        with anyio.move_on_after(0.2):
            await dispatcher.close()

    # --- the end

    def _leave(self) -> NoReturn:
        self._watchdog.expire_in(FLUSH_SECONDS + MARGIN_SECONDS)
        _run_exit_handlers()
        children.end_descendants()
        stdio.release_captured()
        for capture in self._captures:
            capture.finish(0.2)
        for exchange in self._shutdowns:
            exchange.succeed({})
        for exchange in self._exchanges:
            exchange.fail(WireError("InternalError", "the worker ended before this was done"))
        self._exchanges.say({"type": "goodbye", "reason": self._reason})
        self._outbox.flush(FLUSH_SECONDS)
        os._exit(self._status)

    def _exit(self, status: int) -> NoReturn:
        """Leave at once, from whichever thread: what has been said already may still leave."""
        with self._exiting:
            children.end_descendants()
            self._outbox.flush(0.1)
            os._exit(status)

    def _catch_signals(self) -> None:
        for number in SIGNALS:
            signal.signal(number, _heard_by_the_reader)
        signal.set_wakeup_fd(self._reader.signal_fd, warn_on_full_buffer=False)


def serve(options: Options) -> NoReturn:
    """Serve the frame descriptors of this process. Raises `stdio.BadDescriptor` where there are none."""
    port = stdio.claim(nouse_stdio=options.nouse_stdio)
    os.environ.setdefault("PYDANTIC_AI_NO_BANNER", "1")
    Worker(options, port).serve()


def _heard_by_the_reader(_number: int, _frame: FrameType | None) -> None:
    # Python must have a handler, or the signal does what it does by default; the wake-up descriptor tells the reader.
    return


def _cancelled(why: str) -> WireError:
    return WireError("Cancelled", why)


def _pydantic_ai_version() -> str:
    for name in ("pydantic-ai", "pydantic-ai-slim"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _run_exit_handlers() -> None:
    # `os._exit` runs none of them; user code may have registered some.
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def _stack_of_main() -> list[str]:
    import traceback

    main = threading.main_thread().ident
    frame = sys._current_frames().get(main or 0)  # pyright: ignore[reportPrivateUsage]
    return traceback.format_stack(frame) if frame is not None else []
