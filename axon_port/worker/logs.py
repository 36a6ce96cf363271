"""Logs as frames: Python's logging, warnings, and whatever is printed (PROTOCOL.md, LOG-*).

A record knows the run it belongs to by a context variable, which threads and tasks of the run inherit. Logs never
hold up replies: above a bound of waiting output they are dropped and counted.
"""

from __future__ import annotations

import codecs
import logging
import os
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from axon_port.wire import codec
from axon_port.wire.events import MAX_MESSAGE_CHARACTERS, halved, shortened
from axon_port.wire.words import LEVELS, timestamp
from axon_port.worker.exchanges import Exchange, Exchanges
from axon_port.worker.redaction import Redactor

WAITING_BYTES: Final = 1024 * 1024
"""Output waiting above which logs are dropped: a reply behind them must not wait for more than this."""

RATE_PER_SECOND: Final = 10_000
"""Logs that may leave in the long run, above which they are dropped: a BEAM reads without backpressure, so a flood that
the parent keeps up with ends in a mailbox.
"""

BURST: Final = 20_000
"""Logs that may leave at once after a rest."""

LINE_FRAME_BYTES: Final = 65_536
"""The longest frame of a printed line; a longer line is cut into several."""

LINE_BYTES: Final = LINE_FRAME_BYTES - 256
"""Of a line that goes on, what is waited for before it is cut."""

MAX_TRACEBACK_CHARACTERS: Final = 32_768

NOTHING: Final = 1000
"""A level above all others."""

_CHATTY: Final = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "google_genai", "asyncio", "mcp")
"""Libraries that say at level info what only a developer wants to hear: one level less for them."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class RunTag:
    """The run that a record belongs to."""

    exchange: Exchange
    agent_id: str


current_run: ContextVar[RunTag | None] = ContextVar("axon_port_run", default=None)


class Bucket:
    """How many logs may leave now: `BURST` after a rest, `RATE_PER_SECOND` in the long run."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._filled_at = time.monotonic()

    def take(self) -> bool:
        """Whether one more may leave."""
        now = time.monotonic()
        self._left = min(float(BURST), self._left + (now - self._filled_at) * RATE_PER_SECOND)
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class LogSink:
    """Where all logs leave. For use from any thread."""

    def __init__(self, exchanges: Exchanges, redactor: Redactor, level: str) -> None:
        self._exchanges = exchanges
        self._redactor = redactor
        self._bucket = Bucket()
        self._unreported = 0
        self._governs = False
        self.dropped = 0
        self.level = LEVELS[level]
        os.register_at_fork(after_in_child=self._fall_silent)

    def set_level(self, level: str) -> None:
        """From now on, for our own frames and, where they come from it, for Python's logging."""
        self.level = LEVELS[level]
        if self._governs:
            self._set_python_s()

    def govern(self) -> None:
        """Python's logging sends here from now on, and is as loud as this is."""
        self._governs = True
        self._set_python_s()

    def _set_python_s(self) -> None:
        logging.getLogger().setLevel(self.level)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(self.level if self.level <= logging.DEBUG else max(self.level, 30))

    def write(
        self,
        level: str,
        logger: str,
        message: str,
        *,
        fields: dict[str, Any] | None = None,
        traceback: str | None = None,
        created: float | None = None,
        tag: RunTag | None = None,
    ) -> None:
        """Send one log frame, if its level is wanted and there is room."""
        if LEVELS[level] < self.level:
            return
        if not self._has_room():
            return
        redacted = self._redactor.text
        text = shortened(redacted(message), MAX_MESSAGE_CHARACTERS)
        frame = _frame(level, logger, text, time.time() if created is None else created)
        if traceback:
            frame["traceback"] = redacted(traceback)[-MAX_TRACEBACK_CHARACTERS:]
        if fields:
            frame["fields"] = self._redactor.value(fields)
        self._send(frame, tag)

    def _fall_silent(self) -> None:
        # In a forked child: its logs go nowhere, and a lock on their way may be held by a thread that does not exist.
        self.level = NOTHING

    def line(self, logger: str, line: bytes) -> None:
        """A printed line. It is information, and silenced only where nothing but errors is wanted."""
        if self._takes_lines():
            self._send_line(logger, self._redactor.text(line.decode(errors="replace")))

    def line_part(self, logger: str, part: bytes) -> bytes:
        """A printed line that goes on. What is returned is to stand before what follows: it may begin a key."""
        text, read = codecs.utf_8_decode(part, "replace", False)
        text = self._redactor.text(text)
        said = len(text) - self._redactor.begun(text)
        if self._takes_lines():
            self._send_line(logger, text[:said])
        return text[said:].encode() + part[read:]

    def leave_out(self) -> None:
        """Count what could not be made a log, as one that was dropped."""
        with self._exchanges.lock:
            self.dropped += 1
            self._unreported += 1

    def _takes_lines(self) -> bool:
        return self.level < logging.ERROR and self._has_room()

    def _send_line(self, logger: str, text: str) -> None:
        payload = codec.encode(_frame("info", logger, text, time.time()))
        if len(payload) > min(LINE_FRAME_BYTES, self._exchanges.max_frame_bytes) and len(text) > 1:
            self._send_line(logger, text[: len(text) // 2])
            self._send_line(logger, text[len(text) // 2 :])
        else:
            self._exchanges.outbox.put(payload)

    def _send(self, frame: dict[str, Any], tag: RunTag | None) -> None:
        if tag is not None:
            tagged = {**frame, "id": tag.exchange.id, "agent_id": tag.agent_id}
            if tag.exchange.send(self._fitting(tagged)):
                return
            frame["fields"] = {**frame.get("fields", {}), "run_id": tag.exchange.id}
        self._exchanges.outbox.put(self._fitting(frame))

    def _fitting(self, frame: dict[str, Any]) -> bytes:
        payload = _encoded(frame)
        room = self._exchanges.max_frame_bytes
        for field in ("fields", "traceback"):
            if len(payload) > room and frame.pop(field, None) is not None:
                payload = _encoded(frame)
        payload = halved(payload, frame, "message", room, lambda: _encoded(frame))
        if len(payload) > room and frame.pop("agent_id", None) is not None:
            payload = _encoded(frame)
        return halved(payload, frame, "logger", room, lambda: _encoded(frame))

    def _has_room(self) -> bool:
        """Whether one more log may leave; one that may not is counted, one that may tells of those before it."""
        with self._exchanges.lock:
            dropped = self._exchanges.outbox.waiting_bytes > WAITING_BYTES or not self._bucket.take()
            self.dropped += dropped
            self._unreported += dropped
            unreported = 0 if dropped else self._unreported
            self._unreported -= unreported
        if unreported:
            self._report(unreported)
        return not dropped

    def _report(self, count: int) -> None:
        if LEVELS["warning"] >= self.level:
            message = f"{count} log records were dropped: there were too many for the parent"
            frame = _frame("warning", "axon_port.logs", message, time.time())
            self._send({**frame, "fields": {"dropped": count}}, None)


class FrameHandler(logging.Handler):
    """Python's logging, as frames."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self._sink = sink

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock that others hold here: a finalizer that logs may run wherever the outbox's is held."""
        # From Python 3.12 on a filter may give another record.
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001  a record that cannot be formatted is still worth telling of
            message = f"{_shown(record.msg)} (its arguments do not fit: {type(error).__name__})"
        self._sink.write(
            _level_name(record.levelno),
            record.name,
            message,
            fields=_extras(record),
            traceback=_traceback(record),
            created=record.created,
            tag=current_run.get(),
        )


class Capture:
    """The thread behind one captured descriptor: it reads whatever is printed and makes lines of it."""

    def __init__(self, fd: int, logger: str, sink: LogSink) -> None:
        self._fd = fd
        self._logger = logger
        self._sink = sink
        self._thread = threading.Thread(target=self._read, name=f"axon-port {logger}", daemon=True)
        self._thread.start()

    def finish(self, timeout: float) -> None:
        """Wait for what was printed so far; a child that still holds the pipe is not waited for."""
        self._thread.join(timeout)

    def _read(self) -> None:
        rest = bytearray()
        while data := _read_some(self._fd):
            try:
                rest = self._lines_sent(rest + data)
            except MemoryError:
                # Whoever prints would wait for this thread for ever, as soon as the pipe is full.
                rest = bytearray()
                self._sink.leave_out()
        if rest:
            self._sink.line(self._logger, bytes(rest))

    def _lines_sent(self, printed: bytearray) -> bytearray:
        """What is left behind the last line."""
        while (end := printed.find(b"\n")) >= 0:
            self._sink.line(self._logger, bytes(printed[:end]).rstrip(b"\r"))
            del printed[: end + 1]
        if len(printed) > LINE_BYTES:
            return bytearray(self._sink.line_part(self._logger, bytes(printed)))
        return printed


def install(sink: LogSink) -> None:
    """Send Python's logging and warnings to `sink`."""
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [FrameHandler(sink)]
    sink.govern()


def _read_some(fd: int) -> bytes:
    try:
        return os.read(fd, LINE_BYTES)
    except OSError:
        return b""


def _encoded(frame: dict[str, Any]) -> bytes:
    try:
        return codec.encode(frame)
    except (TypeError, ValueError, RecursionError):
        frame.pop("fields", None)
        return codec.encode(frame)


def _frame(level: str, logger: str, message: str, created: float) -> dict[str, Any]:
    return {"type": "log", "timestamp": timestamp(created), "level": level, "logger": logger, "message": message}


def _level_name(number: int) -> str:
    return next((name for name, level in reversed(LEVELS.items()) if number >= level), "debug")


def _extras(record: logging.LogRecord) -> dict[str, Any] | None:
    extras = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {name: _plain(value) for name, value in extras.items()} or None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return shortened(value if isinstance(value, str) else _shown(value), MAX_MESSAGE_CHARACTERS)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  somebody's __repr__ failed
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _traceback(record: logging.LogRecord) -> str | None:
    if record.exc_info is None or record.exc_info[0] is None:
        return None
    try:
        return logging.Formatter().formatException(record.exc_info)
    except Exception as error:  # noqa: BLE001  an exception that cannot be shown (its own __str__ raises)
        return f"{record.exc_info[0].__name__} (its traceback cannot be shown: {type(error).__name__})"
