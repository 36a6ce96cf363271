"""The stderr that user code finds: writing to it never waits and never fails (PROTOCOL.md, STDIO-STDERR).

A full pipe behind descriptor 2 stops whoever writes to it, and a warning printed on the event loop would stop them
all. What cannot be written now is lost. The descriptor itself stays what it was: its flags are shared with others,
and what the interpreter and C libraries say last goes there.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_DESCRIPTOR: Final = 2


class _Lossy(io.RawIOBase):
    """A descriptor whose writes take everything, written or not."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        length = len(rest)
        # A poll object must not be used by two threads, so each write has its own.
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while rest and any(events & select.POLLOUT for _, events in poll.poll(0)):
            try:
                # A pipe that polls as writable takes this much without blocking.
                rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]
            except OSError:
                break
        return length


def replace_stderr() -> None:
    """Put such a stream in the place of `sys.stderr`."""
    buffered = io.BufferedWriter(_Lossy(_DESCRIPTOR))
    stream = io.TextIOWrapper(buffered, "utf-8", "backslashreplace", line_buffering=True, write_through=True)
    sys.stderr = sys.__stderr__ = stream  # pyright: ignore[reportAttributeAccessIssue]
