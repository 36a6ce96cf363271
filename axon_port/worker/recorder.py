"""Writes a record of every frame, on a thread of its own (PROTOCOL.md, REC-*).

The threads that read and write frames only hand over bytes: a slow disk holds up nobody. What a disk cannot take in
time is left out of the record and counted there; a disk that fails, or a fault of ours, ends the record, and nothing
else.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from axon_port import __version__
from axon_port.wire import codec
from axon_port.wire.record import Direction, Head, entry_line, head_line, unreadable, without_secrets
from axon_port.wire.words import timestamp
from axon_port.worker import stdio
from axon_port.worker.redaction import Redactor

WAITING_BYTES: Final = 64 * 1024 * 1024
"""Frames that wait for the disk; beyond this they are left out, and their number is recorded."""

_OBJECT: Final = re.compile(rb"[ \t\r\n]*\{")

_logger = logging.getLogger("axon_port.recorder")


class Recorder:
    """One record: `start` it once, tell it of frames from any thread, `close` it once.

    Raises `OSError` where the file cannot be opened.
    """

    def __init__(self, path: Path, redactor: Redactor, options: Mapping[str, Any]) -> None:
        self._file = os.fdopen(_opened(path, nouse_stdio=bool(options.get("nouse_stdio"))), "wb")
        # A child would go on holding the lock when we are gone, and the worker in our place could not record.
        os.register_at_fork(after_in_child=self._leave_to_parent)
        self._redactor = redactor
        self._began = time.monotonic_ns()
        # The outbox takes it for its own: see there why there is one for all.
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._waiting: deque[tuple[int, Direction, bytes]] = deque()
        self._waiting_bytes = 0
        self._left_out = 0
        self._closing = False
        self._head = Head(__version__, timestamp(time.time()), options)
        self._thread: threading.Thread | None = None

    def start(self, on_failed: Callable[[OSError], None]) -> None:
        """Write from now on. `on_failed` is called once, from the recorder's thread, if the disk fails."""
        self._thread = threading.Thread(
            target=self._write_forever, args=(on_failed,), name="axon-port recorder", daemon=True
        )
        self._thread.start()

    def heard(self, payload: bytes | bytearray) -> None:
        """A frame of JSON came in."""
        # No command is anything but an object, and whoever reads the record relies on it.
        self._keep("in", bytes(payload) if _begins_object(payload) else unreadable(len(payload)))

    def skipped(self, length: int) -> None:
        """A frame came in that was too long, or no JSON."""
        self._keep("in", unreadable(length))

    def said(self, payload: bytes) -> None:
        """A frame goes out; its secrets were removed before."""
        self._keep("out", payload)

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds. What is kept afterwards is not recorded."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def _leave_to_parent(self) -> None:
        if not self._file.closed:
            stdio.forget(self._file.fileno())

    def _keep(self, direction: Direction, payload: bytes) -> None:
        length = len(payload)
        with self._changed:
            # Whoever waited for the lock must not go back behind those that did not.
            at = (time.monotonic_ns() - self._began) // 1000
            if self._closing:
                return
            if self._waiting_bytes + length > WAITING_BYTES:
                self._left_out += 1
                return
            self._waiting_bytes += length
            self._waiting.append((at, direction, payload))
            self._changed.notify_all()

    def _write_forever(self, on_failed: Callable[[OSError], None]) -> None:
        try:
            with self._file as file:
                self._write_all(file)
        except OSError as error:
            self._end()
            on_failed(error)
        except Exception:
            self._end()
            _logger.exception("the record ends here: the recorder failed")

    def _end(self) -> None:
        with self._changed:
            self._closing = True
            self._waiting.clear()

    def _write_all(self, file: IO[bytes]) -> None:
        file.write(head_line(self._head))
        while (batch := self._next_batch()) is not None:
            file.writelines(self._line(*entry) for entry in batch)
            file.flush()

    def _next_batch(self) -> deque[tuple[int, Direction, bytes]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            batch, self._waiting = self._waiting, deque()
            if self._left_out:
                batch.append((batch[-1][0], batch[-1][1], codec.encode({"left_out_frames": self._left_out})))
                self._left_out = 0
            self._waiting_bytes = 0
            return batch

    def _line(self, at: int, direction: Direction, payload: bytes) -> bytes:
        if direction == "in":
            payload = self._redactor.payload(without_secrets(payload))
        return entry_line(at, direction, payload)


def _opened(path: Path, *, nouse_stdio: bool) -> int:
    """An empty file that nobody else reads or writes. Raises `OSError`, and has changed no file then."""
    try:
        # A FIFO that nobody reads would be waited for, before anybody has heard a word of us.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ENXIO and path.is_fifo():
            raise OSError(errno.ENXIO, "nobody reads from this FIFO") from None
        raise
    try:
        if stdio.carries_frames(fd, nouse_stdio=nouse_stdio):
            raise OSError(errno.EINVAL, "frames come or go there, and nothing else may")
        os.set_blocking(fd, True)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _make_ours(fd)
        return stdio.private(fd)
    finally:
        os.close(fd)


def _make_ours(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, "another worker is recording there") from None
    except OSError:
        # Some file systems know no locks. A record without one is better than none.
        _logger.debug("no lock for the record", exc_info=True)
    # Frames are other people's conversations: nobody else on this machine has to read them.
    os.fchmod(fd, 0o600)
    os.ftruncate(fd, 0)


def _begins_object(payload: bytes | bytearray) -> bool:
    return _OBJECT.match(payload) is not None
