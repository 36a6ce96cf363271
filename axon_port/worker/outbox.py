"""The single writer: whole frames, in the order they were put, from any thread (PROTOCOL.md, OUT-*).

Where nothing waits and the pipe has room, the thread that puts a small frame writes it itself, chunks at the end of the
loop's turn; everything else goes through one writer thread, which gathers what waits into one `writev`. Nobody is ever
inside a frame when cancelled.
A parent that does not read makes frames wait here: above `HIGH_BYTES` producers hold back (admission.py), and
`congested` tells the logs and the reader when enough is enough.

All that frames pass on their way out shares one lock, which its holder may take again: wherever something is made the
collector can run anybody's finalizer, and many of those log. What is put from inside waits until the change is whole.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from axon_port.wire.framing import encode_frame

if TYPE_CHECKING:
    # Importing it takes longer than answering the first ping.
    import asyncio
    import contextvars

    from axon_port.worker.recorder import Recorder

HIGH_BYTES: Final = 4 * 1024 * 1024
"""Waiting output above which runs wait before they add theirs. One frame of any length may pass it."""

LOW_BYTES: Final = 1024 * 1024
"""Waiting output below which they go on; the distance keeps them from taking turns frame by frame."""

CONGESTED_BYTES: Final = 256 * 1024 * 1024
"""Waiting output above which even the reader stops: a parent that sends forever and never reads."""

INLINE_BYTES: Final = select.PIPE_BUF
"""A pipe that polls as writable takes this much at once without blocking (POSIX)."""

GATHERED_FRAMES: Final = 256
"""Frames of one `writev`: below IOV_MAX everywhere."""

FLUSH_TICK_SECONDS: Final = 0.001
"""How often `flush` looks whether everything has left."""


class _Change:
    """For `with`: what is between has a beginning and an end, whatever happens."""

    __slots__ = ("_begin", "_end")

    def __init__(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end

    def __enter__(self) -> None:
        self._begin()

    def __exit__(self, *_: object) -> None:
        self._end()


class Outbox:
    """Frames on their way out.

    `put` waits for no reader, and raises nothing but `MemoryError`: after `broken` it drops what it is given, nobody is
    listening. `on_broken` is called once, from whichever thread noticed; `on_mute` from the writer's, in an exception's
    handler, where that fails: nothing leaves any more. Close with `flush`, which waits until everything has left.
    """

    def __init__(
        self,
        fd: int,
        on_broken: Callable[[], None],
        on_mute: Callable[[], None],
        recorder: Recorder | None = None,
    ) -> None:
        self._fd = fd
        self._recorder = recorder
        self._on_broken = on_broken
        self._on_mute = on_mute
        self.lock = threading.RLock() if recorder is None else recorder.lock
        self._change = _Change(self._begin_change, self._end_change)
        self._changing = False
        self._late: deque[tuple[Sequence[bytes], list[bytes]]] = deque()
        # Its `put` may be called by a finalizer, as that of no Condition may.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._writing = False
        self._gathering = False
        self._turning = False
        self._held: list[Callable[[], None]] = []
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self.broken = False
        self._closed = False
        self._told = False
        self.frames_out = 0
        self.bytes_out = 0
        os.register_at_fork(after_in_child=self._leave_to_parent)
        threading.Thread(target=self._write_forever, name="axon-port writer", daemon=True).start()

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    @property
    def has_room(self) -> bool:
        return self._waiting_bytes <= HIGH_BYTES

    @property
    def congested(self) -> bool:
        return self._waiting_bytes > CONGESTED_BYTES

    def put(self, payload: bytes) -> None:
        """Send one frame. `payload` must not exceed `max_frame_bytes`: whoever makes it sees to that."""
        self.put_all((payload,))

    def close(self, payload: bytes) -> None:
        """Send one frame, and drop whatever is put after it."""
        with self._change:
            self._add((payload,), [encode_frame(payload)])
            self._closed = True
        self._send_now()

    def put_all(self, payloads: Sequence[bytes], *, soon: bool = False) -> None:
        """Send frames one behind the other, or, where there is no memory for them (`MemoryError`), none.

        `soon`, only on the event loop: what one turn of it puts leaves in one write, at its end or before a frame that
        is not to wait. Each write wakes the parent, which costs more than making a small frame.
        """
        frames = list(map(encode_frame, payloads))
        with self.lock:
            if self._changing:
                self._late.append((payloads, frames))
                return
            self._changing = True
            try:
                self._add(payloads, frames, soon=soon)
            finally:
                self._changing = False
            if self._late:
                self._take_late()
        self._tell()

    def _begin_change(self) -> None:
        self.lock.acquire()
        self._changing = True

    def _end_change(self) -> None:
        self._changing = False
        try:
            self._take_late()
        finally:
            self.lock.release()

    def _take_late(self) -> None:
        """No change is under way: what was put has its turn, and what is put from inside that."""
        while self._late:
            self._changing = True
            try:
                self._add(*self._late.popleft())
            finally:
                self._changing = False

    def _add(self, payloads: Sequence[bytes], frames: list[bytes], *, soon: bool = False) -> None:
        if self.broken or self._closed:
            return
        if self._recorder is not None:
            for payload in payloads:
                self._recorder.said(payload)
        length = sum(map(len, frames))
        self.frames_out += len(frames)
        self.bytes_out += length
        self._waiting.extend(frames)
        self._waiting_bytes += length
        if soon and self._waiting_bytes <= INLINE_BYTES:
            self._send_at_turn()
        elif not self._gathering:
            self._send_waiting()

    def _send_at_turn(self) -> None:
        if not self._turning:
            import asyncio

            asyncio.get_running_loop().call_soon(self._turned)
            self._turning = True

    def _turned(self) -> None:
        self._turning = False
        self._send_now()

    def _send_now(self) -> None:
        with self._change:
            if not self._gathering:
                self._send_waiting()
        self._tell()

    @contextlib.contextmanager
    def gathered(self) -> Generator[None]:
        """What is put inside the block leaves together at its end, which has to come soon: other threads' frames wait
        for it too. Not to be entered twice."""
        with self._change:
            self._gathering = True
        try:
            yield
        finally:
            with self._change:
                self._gathering = False
            self._send_now()

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, from whichever thread makes room; at once where there is room."""
        with self.lock:
            if not self.broken and self._waiting_bytes > LOW_BYTES:
                self._held.append(callback)
                return
        callback()

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything has left, at most `timeout` seconds. False where something stayed."""
        until = None if timeout is None else time.monotonic() + timeout
        self._send_now()
        while not self._is_idle():
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(FLUSH_TICK_SECONDS)
        return not self.broken

    def break_off(self) -> None:
        """Nobody is listening: drop what waits, wake whoever waits."""
        with self._change:
            self._drop_all()
        self._announce_broken()

    def _is_idle(self) -> bool:
        with self.lock:
            return self.broken or (not self._waiting and not self._writing)

    def _send_waiting(self) -> None:
        """What is small is written here where the pipe has room for it; the writer's thread does the rest."""
        waiting = self._waiting
        while waiting and not self._writing and len(waiting[0]) <= INLINE_BYTES:
            try:
                data = self._next_small()
            except MemoryError:
                # They are taken already: to raise would have them sent twice.
                break
            try:
                written = os.write(self._fd, data) if self._poll.poll(0) else 0
            except BlockingIOError:
                written = 0
            except OSError:
                self._drop_all()
                return
            self._waiting_bytes -= written
            if written < len(data):
                waiting.appendleft(data[written:])
                break
        if waiting:
            self._ring()

    def _next_small(self) -> bytes:
        """Out of what waits, as many frames as one inline write takes, or, where there is no memory, none."""
        waiting = self._waiting
        if len(waiting) == 1:
            return waiting.popleft()
        count, length = 0, 0
        for frame in waiting:
            length += len(frame)
            if length > INLINE_BYTES:
                break
            count += 1
        data = b"".join(islice(waiting, count))
        for _ in range(count):
            waiting.popleft()
        return data

    def _drop_all(self) -> None:
        self.broken = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._ring()

    def _ring(self) -> None:
        """Have the writer's thread look."""
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def _write_forever(self) -> None:
        try:
            self._write_until_broken()
        except OSError:
            self.break_off()
        except BaseException:  # noqa: BLE001  whoever hears of it tells it
            self._on_mute()

    def _write_until_broken(self) -> None:
        while not self.broken:
            self._bell.get()
            while batch := self._next_batch():
                self._write_batch(batch)
                self._batch_written()

    def _next_batch(self) -> list[bytes]:
        with self._change:
            self._rung = False
            if self.broken or self._gathering or not self._waiting:
                return []
            self._writing = True
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), GATHERED_FRAMES))]

    def _write_batch(self, batch: list[bytes]) -> None:
        views = deque(memoryview(frame) for frame in batch)
        while views and not self.broken:
            try:
                written = os.writev(self._fd, list(views))
            except BlockingIOError:
                self._poll.poll()
                continue
            with self._change:
                self._waiting_bytes = max(0, self._waiting_bytes - written)
            while written:
                if written < len(views[0]):
                    views[0] = views[0][written:]
                    break
                written -= len(views.popleft())

    def _batch_written(self) -> None:
        with self._change:
            self._writing = False
        self._release_if_roomy()

    def _announce_broken(self) -> None:
        with self.lock:
            told, self._told = self._told, True
        if not told:
            self._on_broken()
        self._release_held()

    def _tell(self) -> None:
        """Without the lock: whoever is called may take others."""
        if self.broken:
            self._announce_broken()
        elif self._held:
            self._release_if_roomy()

    def _release_if_roomy(self) -> None:
        if self._waiting_bytes <= LOW_BYTES:
            self._release_held()

    def _release_held(self) -> None:
        with self.lock:
            held, self._held = self._held, []
        for callback in held:
            callback()

    def _leave_to_parent(self) -> None:
        # In a forked child, where the lock may be held by a thread that does not exist: its frames go nowhere.
        self.lock = threading.RLock()
        self._changing = False
        self.broken = True


def call_on(
    loop: asyncio.AbstractEventLoop, callback: Callable[[], object], context: contextvars.Context | None = None
) -> None:
    """Call `callback` on the event loop, from any thread; nothing happens where the loop has ended.

    Without a `context` it is called in a copy of the thread's.
    """
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, context=context)
