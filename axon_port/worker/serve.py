"""The process: descriptors, threads, signals, and the event loop between its first byte and its last (LIFE-*).

It claims the descriptors and reads before anything heavy is imported, the event loop included, so that a ping is
answered within milliseconds of the start; pydantic-ai is imported on a thread meanwhile. It leaves by `os._exit`,
because threads and tools that will not stop are not waited for.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import faulthandler
import gc
import logging
import os
import platform
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from axon_port import __version__
from axon_port.statuses import EX_DATAERR, EX_OK, EX_SOFTWARE
from axon_port.wire.errors import WireError
from axon_port.wire.events import PROTOCOL_VERSION
from axon_port.worker import children, forks, logs, redaction, signals, stdio
from axon_port.worker.exchanges import Exchanges
from axon_port.worker.guardian import Guardian
from axon_port.worker.imports import pydantic_ai_version, wants_logfire, without_logfire
from axon_port.worker.intake import Inbox, Intake, ParentDied, Signalled
from axon_port.worker.last_answers import answer_rest, answer_unbegun
from axon_port.worker.options import Options
from axon_port.worker.outbox import Outbox, call_on
from axon_port.worker.reader import Reader
from axon_port.worker.redaction import Redactor
from axon_port.worker.stats import Stats
from axon_port.worker.watchdog import BEAT_SECONDS, Watchdog, stack_of_main

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from axon_port.worker.lifecycle import Lifecycle
    from axon_port.worker.meters import Figures
    from axon_port.worker.recorder import Recorder
    from axon_port.worker.spans import Telemetry


GC_THRESHOLDS: Final = (50_000, 20, 100)
"""New objects before the collector looks at the young, and how often it then looks at the older ones. Runs make few
cycles and many objects: with Python's own thresholds it takes a seventh of their CPU time."""

SWITCH_SECONDS: Final = 0.002
"""How long a thread that has something to do waits for the interpreter: Python's own 5 ms are what a ping would take
while runs are busy."""

GONE_SECONDS: Final = 0.6
"""Nobody listens: the process ends within a second, `children.TERMINATE_SECONDS` included."""

SIGNAL_SECONDS: Final = 8.0
"""After a first signal, until the watchdog ends the process even if the loop is blocked: the grace and a margin."""

DRAIN_MARGIN_SECONDS: Final = 1.0
"""After the drain timeout, until the watchdog ends the process: what is left is cancelled and told in that time."""

FLUSH_SECONDS: Final = 5.0
"""At the end, how long the parent may take to read what is left."""

LEAVE_SECONDS: Final = FLUSH_SECONDS + 3.0
"""At the end, until the watchdog ends a process that hangs in somebody's exit handler."""

TELEMETRY_SECONDS: Final = 2.0
"""At the end, how long a collector may take to accept what is left; less where a deadline is near."""

TELEMETRY_RESERVE_SECONDS: Final = 0.5
"""Of a deadline, what telemetry leaves to the frames."""

TELEMETRY_LOST_SECONDS: Final = 0.05
"""The same where the process ends within 100 ms."""

LAST_LINES_SECONDS: Final = 0.2
"""At the end, how long a captured descriptor is waited for; a child may hold it for ever."""

_logger = logging.getLogger("axon_port.worker")


class Worker:
    """The process. Make one, `serve` once."""

    def __init__(
        self,
        options: Options,
        port: stdio.FramePort,
        guardian: Guardian,
        redactor: Redactor,
        recorder: Recorder | None = None,
    ) -> None:
        self._options = options
        self._guardian = guardian
        self._redactor = redactor
        self._recorder = recorder
        self._spare = [os.open(os.devnull, os.O_RDONLY)]
        self._port = port
        self._stats = Stats()
        self._outbox = Outbox(port.write_fd, self._nobody_listens, self._thread_failed, self._recorder)
        traced = any(name.startswith("OTEL_") for name in os.environ)
        self._exchanges = Exchanges(self._outbox, self._redactor, options.max_frame_bytes, traced=traced)
        self._sink = logs.LogSink(self._exchanges, self._redactor, options.log_level)
        self._inbox = Inbox()
        self._intake = Intake(
            self._exchanges,
            self._inbox,
            self._stats,
            pong=self._pong,
            on_ended=self._input_ended,
            on_gone=self._outbox.break_off,
            on_signal=self._signalled,
            on_shutdown=self._shutdown_read,
            on_lost=self._framing_lost,
            on_deaf=self._thread_failed,
            recorder=self._recorder,
        )
        self._reader = Reader(port.read_fd, port.write_fd, self._intake, options.max_frame_bytes)
        self._intake.resume = self._reader.resume
        self._watchdog = Watchdog(
            self._deadline_missed, self._parent_died, status=EX_SOFTWARE, drain_timeout=options.drain_timeout
        )
        self._captures: list[logs.Capture] = []
        self._lifecycle: Lifecycle | None = None
        self._telemetry: Telemetry | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._signals = 0
        self._leaving = threading.Lock()
        self._exiting = threading.Lock()

    def serve(self) -> NoReturn:
        """Serve until the end, and leave the process."""
        faulthandler.enable(file=2)
        sys.setswitchinterval(SWITCH_SECONDS)
        if self._recorder is not None:
            self._recorder.start(self._record_failed)
        children.adopt_orphans()
        self._exchanges.say(self._ready())
        signals.catch(self._reader.signal_fd)
        try:
            logs.install(self._sink)
            self._captures = [logs.Capture(fd, logger, self._sink) for fd, logger in self._port.captured.items()]
            self._reader.start()
            import anyio

            loop_options = {"loop_factory": lambda: _new_loop(self._watchdog.turned)}
            anyio.run(self._main, backend="asyncio", backend_options=loop_options)
        except BaseException as error:
            _logger.critical("the worker failed: %r", error, exc_info=error)
            self._leave_in_order("fatal", EX_SOFTWARE)
        self._leave_in_order("eof", 0)

    def _ready(self) -> dict[str, Any]:
        return {
            "type": "ready",
            "protocol": PROTOCOL_VERSION,
            "version": __version__,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "pydantic_ai": pydantic_ai_version(),
            "limits": {
                "max_frame_bytes": self._options.max_frame_bytes,
                "max_inflight": self._options.max_inflight,
                "max_tool_calls": self._options.max_tool_calls,
            },
        }

    # --- on the event loop

    async def _main(self) -> None:
        from axon_port.worker.loop import Escaped

        try:
            await self._serve_commands()
        except (SystemExit, KeyboardInterrupt) as error:
            # The loop takes either for a task's own affair. An import can raise one.
            raise Escaped(repr(error)) from error

    async def _serve_commands(self) -> None:
        import asyncio

        redaction.keep_keys_from_children()
        self._context = contextvars.copy_context()
        loop = self._loop = asyncio.get_running_loop()
        forks.leave_to_parent(loop)
        self._beat(loop)
        lifecycle = self._lifecycle = await self._new_lifecycle()
        if self._outbox.broken:
            return
        self._inbox.connect(lambda: self._on_loop(lifecycle.take_commands))
        await lifecycle.over.wait()
        self._reader.leave_input()
        await lifecycle.finish()
        # From inside the loop, which would otherwise wait for tasks that swallow their cancellation.
        self._leave_in_order(lifecycle.reason, lifecycle.status)

    async def _new_lifecycle(self) -> Lifecycle:
        def load() -> tuple[type[Any], type[Any], Telemetry]:
            with contextlib.nullcontext() if wants_logfire(self._options) else without_logfire():
                from axon_port.worker.lifecycle import Lifecycle
                from axon_port.worker.parts import Parts
                from axon_port.worker.spans import NO_TELEMETRY

            return Lifecycle, Parts, self._start_telemetry() or NO_TELEMETRY

        import anyio.to_thread

        gc.disable()
        try:
            lifecycle, parts, telemetry = await anyio.to_thread.run_sync(load)
        finally:
            # What was imported stays for good: the collector need not look at it, now or later.
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            gc.enable()
        self._telemetry = telemetry
        made = parts(
            options=self._options,
            exchanges=self._exchanges,
            inbox=self._inbox,
            stats=self._stats,
            sink=self._sink,
            redactor=self._redactor,
            watchdog=self._watchdog,
            pong=self._pong,
            frames=self._frames,
            telemetry=telemetry,
        )
        return lifecycle(made)

    def _start_telemetry(self) -> Telemetry | None:
        if not self._exchanges.traced:
            return None
        from axon_port.worker.telemetry_plan import start

        return start(os.environ, self._redactor, self._figures)

    def _figures(self) -> Figures:
        from axon_port.worker.meters import Figures

        return Figures(
            stats=self._stats,
            frames=self._frames,
            waiting_bytes=lambda: self._outbox.waiting_bytes,
            lag_ms=lambda: self._watchdog.lag_ms,
            logs_dropped=lambda: self._sink.dropped,
        )

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watchdog.beat()
        loop.call_later(BEAT_SECONDS, self._beat, loop)

    # --- from any thread

    def _on_loop(self, callback: Any) -> None:
        if self._loop is not None:
            # anyio has noted in its own context which library it runs on. Runs that inherited a thread's would look
            # for that anew forty times each.
            call_on(self._loop, callback, self._context.copy())

    def _pong(self) -> dict[str, Any]:
        lifecycle = self._lifecycle
        return {
            "status": "ok",
            "uptime_ms": self._stats.uptime_ms,
            "inflight": self._stats.inflight,
            "agents": 0 if lifecycle is None else len(lifecycle.dispatcher.roster),
            "loop_lag_ms": 0 if lifecycle is None else self._watchdog.lag_ms,
        }

    def _frames(self) -> tuple[dict[str, int], dict[str, int]]:
        frames = {"in": self._intake.frames_in, "out": self._outbox.frames_out}
        return frames, {"in": self._reader.bytes_in, "out": self._outbox.bytes_out}

    def _nobody_listens(self) -> None:
        if self._lifecycle is None:
            # Still importing, which may take longer than there is time.
            self._leave_at_once(0)
        self._watchdog.expire_in(GONE_SECONDS, busy=0.0)
        self._on_loop(self._lifecycle.listener_gone)

    def _input_ended(self) -> None:
        self._watchdog.expire_in(self._options.drain_timeout + DRAIN_MARGIN_SECONDS)

    def _parent_died(self) -> None:
        self._input_ended()
        self._inbox.put(ParentDied())

    def _signalled(self, number: int) -> None:
        if number not in signals.ENDING:
            return
        self._signals += 1
        if self._signals > 1:
            self._leave_at_once(128 + number)
        self._watchdog.expire_in(SIGNAL_SECONDS)
        self._inbox.put(Signalled(number))

    def _shutdown_read(self, fields: dict[str, Any]) -> None:
        if self._lifecycle is None:
            # Nobody blocks the loop yet; it sets the deadline itself when it turns.
            return
        from axon_port.worker.lifecycle import shutdown_seconds

        # One that is none is refused by the loop.
        with contextlib.suppress(WireError):
            self._watchdog.expire_in(shutdown_seconds(fields))

    def _framing_lost(self) -> None:
        if self._lifecycle is None:
            # Importing takes longer than there is time.
            self._leave_unbegun("fatal", EX_DATAERR)

    def _thread_failed(self) -> None:
        # A worker that hears nothing, not even the end of its input, or says nothing, is of no use: its supervisor has
        # another one.
        _logger.critical("the thread of %s has failed", threading.current_thread().name, exc_info=True)
        self._leave_at_once(EX_SOFTWARE)

    def _leave_unbegun(self, reason: str, status: int) -> NoReturn:
        answer_unbegun(self._exchanges)
        self._leave_in_order(reason, status)

    def _deadline_missed(self) -> None:
        if self._lifecycle is None and not self._outbox.broken:
            # Nobody blocks anything: the machine is slow to import what the first command wants.
            self._leave_unbegun("signal" if self._signals else "eof", 0)
        if not self._outbox.broken:
            message = "the process did not end in time: somebody's code blocks it"
            self._sink.write("critical", "axon_port.watchdog", message, traceback=stack_of_main())
        # Where nobody listens there is no time to let a busy loop end its runs, and nobody to miss them.
        self._leave_at_once(EX_OK if self._outbox.broken and self._watchdog.turns else EX_SOFTWARE)

    # --- the end

    def _leave_in_order(self, reason: str, status: int) -> NoReturn:
        """From the loop, or from a thread before there is one: everything is answered, and `goodbye` is last."""
        # For good: of two threads that see a reason the first leaves, and says goodbye once.
        self._leaving.acquire()
        if not self._outbox.broken:
            # Somebody reads, and may take until then.
            self._watchdog.leave_in(LEAVE_SECONDS)
        # `os._exit` runs no exit handlers; user code may have registered some. Those of multiprocessing wait for
        # its children, and had to wait for the end of these.
        exit_handlers = atexit._run_exitfuncs  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        for step in (
            self._end_descendants,
            exit_handlers,
            self._end_descendants,
            self._end_captures,
            lambda: self._answer_rest(status),
            lambda: self._end_telemetry(reason),
        ):
            try:
                step()
            except BaseException:
                # Nothing that somebody's code did may keep the next step from what it owes.
                _logger.exception("a step of the end failed")
        self._exchanges.say_last({"type": "goodbye", "reason": reason})
        self._gone(status, FLUSH_SECONDS)

    def _end_captures(self) -> None:
        self._port.release_captured()
        for capture in self._captures:
            capture.finish(LAST_LINES_SECONDS)

    def _answer_rest(self, status: int) -> None:
        shutdowns = [] if self._lifecycle is None else self._lifecycle.shutdowns
        answer_rest(self._exchanges, shutdowns, orderly=status != EX_SOFTWARE)

    def _leave_at_once(self, status: int) -> NoReturn:
        """From whichever thread. Nothing is answered any more; what waits already may still leave."""
        with self._exiting:
            self._end_descendants()
            self._gone(status, LAST_LINES_SECONDS)

    def _gone(self, status: int, patience: float) -> NoReturn:
        self._outbox.flush(patience)
        self._close_record(patience)
        self._guardian.dismiss()
        os._exit(status)

    def _end_telemetry(self, reason: str) -> None:
        # Before `goodbye`, which is last: what goes wrong is a log.
        if self._telemetry is not None:
            longest = TELEMETRY_LOST_SECONDS if reason == "fatal" else TELEMETRY_SECONDS
            self._telemetry.end(min(longest, self._watchdog.remaining - TELEMETRY_RESERVE_SECONDS))

    def _end_descendants(self) -> None:
        # It takes a descriptor, and somebody may have used up all others, or closed this one.
        with contextlib.suppress(IndexError, OSError):
            os.close(self._spare.pop())
        children.end_descendants(spared=self._guardian.pids)

    def _record_failed(self, error: OSError) -> None:
        self._sink.write("error", "axon_port.recorder", f"the record ends here: {error.strerror}")

    def _close_record(self, timeout: float) -> None:
        if self._recorder is not None:
            self._recorder.close(timeout)


class NoRecord(Exception):
    """The record that was asked for cannot be written; the text says why."""


def serve(options: Options) -> NoReturn:
    """Serve the frame descriptors of this process.

    Raises `stdio.BadDescriptor` where there are none, `NoRecord` where the file of the record cannot be opened.
    """
    redactor = Redactor()
    # Before the descriptors are claimed, after which a complaint could not be read where stderr is joined to them.
    recorder = _new_recorder(options, redactor)
    port = stdio.claim(nouse_stdio=options.nouse_stdio)
    os.environ.setdefault("PYDANTIC_AI_NO_BANNER", "1")
    Worker(options, port, Guardian(), redactor, recorder).serve()


def _new_loop(on_turn: Callable[[], None]) -> asyncio.AbstractEventLoop:
    import asyncio

    from axon_port.worker.loop import Loop

    loop = Loop(on_turn)
    # asyncio leaves it to whoever makes a loop; some libraries ask for the thread's where none need be running.
    asyncio.set_event_loop(loop)
    return loop


def _new_recorder(options: Options, redactor: Redactor) -> Recorder | None:
    if options.record is None:
        return None
    from axon_port.worker.recorder import Recorder

    try:
        return Recorder(Path(options.record), redactor, asdict(options))
    except OSError as error:
        raise NoRecord(f"--record {options.record}: {error.strerror}") from error
