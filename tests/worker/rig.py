"""Stand-ins for what stands around a part of the worker: an outbox in memory, a pipe with two ends."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from axon_port.wire.framing import FrameDecoder
from axon_port.worker.exchanges import Exchanges
from axon_port.worker.intake import Inbox, Intake
from axon_port.worker.outbox import CONGESTED_BYTES, Outbox
from axon_port.worker.redaction import Redactor
from axon_port.worker.stats import Stats
from axon_port.worker.watchdog import Watchdog

SECONDS: Final = 20.0
"""The longest that anything in these tests is waited for."""

SMALL_PIPE: Final = 4096

T = TypeVar("T")


class MemoryOutbox(Outbox):
    """An outbox whose frames stay here. `stall` makes it full, as a parent that does not read does."""

    def __init__(self) -> None:
        # Little of a real one: it would start a thread.
        self.lock = threading.RLock()
        os.register_at_fork(after_in_child=self._leave_to_parent)
        self.payloads: list[bytes] = []
        self.held: list[Callable[[], None]] = []
        self.waiting = 0
        self.broken = False
        self.frames_out = 0
        self.bytes_out = 0

    @property
    def waiting_bytes(self) -> int:
        return self.waiting

    @property
    def has_room(self) -> bool:
        return not self.waiting

    @property
    def congested(self) -> bool:
        return self.waiting > CONGESTED_BYTES

    @contextmanager
    def gathered(self) -> Generator[None]:
        yield

    def put_all(self, payloads: Sequence[bytes], *, soon: bool = False) -> None:
        self.payloads.extend(payloads)
        self.frames_out += len(payloads)

    def when_room(self, callback: Callable[[], None]) -> None:
        if self.has_room:
            callback()
        else:
            self.held.append(callback)

    async def room(self) -> None:
        if not self.has_room:
            roomy = asyncio.Event()
            self.held.append(roomy.set)
            await roomy.wait()

    def stall(self, waiting: int) -> None:
        self.waiting = waiting

    def drain(self) -> None:
        self.waiting = 0
        held, self.held = self.held, []
        for callback in held:
            callback()

    @property
    def frames(self) -> list[dict[str, Any]]:
        """What was put, read as the parent reads it."""
        return [json.loads(payload) for payload in self.payloads]


class NoWatchdog(Watchdog):
    """One that lets everybody live; a real one would start a thread."""

    def __init__(self) -> None:
        self._last_turn = 0.0


PONG: Final = {"status": "ok", "uptime_ms": 1, "inflight": 0, "agents": 0, "loop_lag_ms": 0}


class Desk:
    """An intake with all that stands around it, and no thread."""

    def __init__(self, max_frame_bytes: int = 2**20) -> None:
        self.outbox = MemoryOutbox()
        self.redactor = Redactor({})
        self.exchanges = Exchanges(self.outbox, self.redactor, max_frame_bytes)
        self.inbox = Inbox()
        self.stats = Stats()
        self.heard: list[object] = []
        self.intake = Intake(
            self.exchanges,
            self.inbox,
            self.stats,
            pong=lambda: dict(PONG),
            on_ended=lambda: self.heard.append("ended"),
            on_gone=lambda: self.heard.append("gone"),
            on_signal=self.heard.append,
            on_shutdown=self.heard.append,
            on_lost=lambda: self.heard.append("lost"),
            on_deaf=lambda: self.heard.append("deaf"),
        )

    def raw(self, *payloads: bytes) -> bool:
        """Payloads as the reader hands them on."""
        return self.intake.heard(list(payloads))


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a test's coroutine on a loop of its own, with a deadline."""

    async def within() -> T:
        async with asyncio.timeout(SECONDS):
            return await main()

    return asyncio.run(within())


def waited(event: threading.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(SECONDS), "nothing came in time"


@contextmanager
def pipe(*, size: int | None = None, blocking: bool = True) -> Generator[Ends]:
    """A pipe of a size of its own; `blocking` is about the end that is written to."""
    read_end, write_end = os.pipe()
    if size is not None:
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, size)
    os.set_blocking(write_end, blocking)
    ends = Ends(read_end, write_end)
    try:
        yield ends
    finally:
        ends.close_read()
        ends.close_write()


class Ends:
    """The two ends of a pipe, each closed once."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._open = {read_fd, write_fd}

    def close_read(self) -> None:
        self._close(self.read_fd)

    def close_write(self) -> None:
        self._close(self.write_fd)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def fill(self) -> int:
        """Fill the pipe; how many bytes it took."""
        flags = fcntl.fcntl(self.write_fd, fcntl.F_GETFL)
        os.set_blocking(self.write_fd, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.write_fd, bytes(SMALL_PIPE))
        except BlockingIOError:
            return filled
        finally:
            fcntl.fcntl(self.write_fd, fcntl.F_SETFL, flags)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes, which must come in time."""
        data = bytearray()
        while len(data) < count:
            readable, _, _ = select.select([self.read_fd], [], [], SECONDS)
            assert readable, f"only {len(data)} of {count} bytes came"
            piece = os.read(self.read_fd, count - len(data))
            assert piece, f"the pipe ended after {len(data)} of {count} bytes"
            data += piece
        return bytes(data)

    def read_payload(self) -> bytes:
        """The next frame's payload."""
        return self.read(int.from_bytes(self.read(4), "big"))

    def read_payloads(self, count: int) -> list[bytes]:
        """So many frames' payloads, taken with large reads."""
        decoder = FrameDecoder(2**31)
        payloads: list[bytes] = []
        while len(payloads) < count:
            readable, _, _ = select.select([self.read_fd], [], [], SECONDS)
            assert readable, f"only {len(payloads)} of {count} frames came"
            data = os.read(self.read_fd, 2**20)
            assert data, f"the pipe ended after {len(payloads)} of {count} frames"
            for event in decoder.receive(data):
                assert isinstance(event, bytes | bytearray)
                payloads.append(bytes(event))
        assert not decoder.inside_frame
        return payloads
