"""The thread that reads: it never waits for a handler or for the writer (PROTOCOL.md, IN-*).

It watches four things at once: the input, the other end of the output, the signals, and its own stop. What it
reads it hands to `listener`, on this thread. It works on whatever the descriptors are, blocking or not, and leaves
their flags alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Final, Protocol

from axon_port.wire.framing import FrameDecoder, FramingLost, Oversize

READ_BYTES: Final = 122_880
"""One read. From 128 KiB on the C library would have the system make fresh pages for each."""

MEMORY_SECONDS: Final = 0.01
"""Between two attempts to read, where there is no memory."""

_HALF_CLOSED: Final = getattr(select, "POLLRDHUP", 0)
"""A socket says no more of its other end's `shutdown`; a pipe's end is seen whatever is asked for."""

_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Listener(Protocol):
    """Who hears what is read. None of these may block."""

    def heard(self, frames: list[bytes | bytearray | Oversize | FramingLost]) -> bool:
        """Frames, in order. False to be read no further until `Reader.resume`."""
        ...

    def ended(self, *, truncated: bool) -> None:
        """End of input."""
        ...

    def ending(self) -> None:
        """The other end of the input was closed, and what came before that is still to be read."""
        ...

    def listener_gone(self) -> None:
        """The other end of the output was closed."""
        ...

    def signalled(self, number: int) -> None:
        """A signal came."""
        ...

    def deaf(self) -> None:
        """The thread has failed, in an exception's handler: nothing will be heard any more."""
        ...


class Reader:
    """Reads frames from `read_fd` (None: closed from the start) and watches `write_fd`."""

    def __init__(self, read_fd: int | None, write_fd: int, listener: Listener, max_frame_bytes: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._listener = listener
        self._decoder = FrameDecoder(max_frame_bytes)
        self._poll = select.poll()
        self._wake_read, self._wake_write = _pipe()
        self._signal_read, self.signal_fd = _pipe()
        self._paused = False
        self._leaving = False
        self._thread = threading.Thread(target=self._hear, name="axon-port reader", daemon=True)
        self.bytes_in = 0

    def start(self) -> None:
        self._thread.start()

    def resume(self) -> None:
        """Read on after `heard` said no."""
        os.write(self._wake_write, b"r")

    def leave_input(self) -> None:
        """Read no more: what was not read stays unread. Signals and the end of the output are heard until the end."""
        self._leaving = True
        os.write(self._wake_write, b"l")

    def _hear(self) -> None:
        try:
            self._watch()
        except BaseException:
            self._listener.deaf()
            raise

    def _watch(self) -> None:
        self._poll.register(self._wake_read, select.POLLIN)
        self._poll.register(self._signal_read, select.POLLIN)
        self._poll.register(self._write_fd, 0)
        if self._read_fd is None:
            self._listener.ended(truncated=False)
        else:
            self._poll.register(self._read_fd, select.POLLIN)
        while True:
            for fd, events in self._poll.poll():
                if fd != self._read_fd:
                    self._react(fd, events)
                elif self._leaving:
                    self._ignore_input()
                elif self._paused:
                    # All that is seen of it now is its end, for as long as one looks.
                    self._poll.unregister(fd)
                    self._listener.ending()
                else:
                    self._read(fd)

    def _react(self, fd: int, events: int) -> None:
        if fd == self._write_fd and events & _GONE:
            self._poll.unregister(fd)
            self._listener.listener_gone()
        elif fd == self._signal_read:
            for number in os.read(fd, 64):
                self._listener.signalled(number)
        elif fd == self._wake_read:
            os.read(fd, 64)
            if self._leaving:
                self._ignore_input()
            elif self._paused and self._read_fd is not None:
                self._paused = False
                self._poll.register(self._read_fd, select.POLLIN)

    def _ignore_input(self) -> None:
        if self._read_fd is not None:
            with contextlib.suppress(KeyError):  # it may be out already
                self._poll.unregister(self._read_fd)
            self._read_fd = None

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        except MemoryError:
            # What waits in the pipe is not lost, and there may be some again soon.
            time.sleep(MEMORY_SECONDS)
            return
        except OSError:
            # A terminal that was hung up, a socket that was reset: no more will come.
            data = b""
        if not data:
            self._ignore_input()
            self._listener.ended(truncated=self._decoder.inside_frame)
            return
        self.bytes_in += len(data)
        if not self._listener.heard(self._decoder.receive(data)) and not self._paused:
            self._paused = True
            self._poll.modify(fd, _HALF_CLOSED)


def _pipe() -> tuple[int, int]:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    return read_end, write_end
