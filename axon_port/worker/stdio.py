"""The descriptors: which carry frames, and what user code finds in their place (PROTOCOL.md, STDIO-*).

Before any user code is imported, `claim` moves the frame descriptors out of reach:

- frames come and go on private duplicates that no child inherits;
- descriptor 0 becomes /dev/null, so that nobody can eat a frame;
- descriptor 1 becomes a pipe whose lines are sent as log frames, and so does 2 where it was joined to the frames.

It raises `BadDescriptor` with a sentence for a person. Afterwards `print`, a C library and a child process may
write what they like: no byte of it can reach a frame.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from dataclasses import dataclass, field
from io import TextIOWrapper
from typing import Final, cast

from axon_port.worker.stderr import replace_stderr

STANDARD: Final = (0, 1)
NOUSE_STDIO: Final = (3, 4)
PIPE_BYTES: Final = 262_144
"""What the input may hold, where it is a pipe and the system allows it: it counts the pages of all pipes of a user, and
makes small ones of those beyond 64 MiB."""

_CAPTURED: Final = {"stdout": 1, "stderr": 2}
"""The descriptors whose lines become logs, by the name of the logger."""

_FIRST_PRIVATE: Final = 5
"""Private duplicates stay above the descriptors that somebody may have a meaning for."""


class BadDescriptor(Exception):
    """A frame descriptor is not open, or open for the wrong direction."""


@dataclass(frozen=True, slots=True)
class FramePort:
    """The claimed descriptors. `captured` maps a pipe's read end to the logger its lines belong to."""

    read_fd: int | None
    write_fd: int
    captured: dict[int, str] = field(default_factory=dict[int, str])

    def release_captured(self) -> None:
        """Give up the write ends of the captured pipes, so that their readers see the end of what was printed."""
        for name in self.captured.values():
            # Not by a new descriptor: there may be none left. Somebody may have closed either of them.
            with contextlib.suppress(OSError):
                os.dup2(0, _CAPTURED[name])


def joined_to_frames(fd: int, *, nouse_stdio: bool) -> bool:
    """Whether what is written to `fd` would land among the frames (stderr_to_stdout).

    A terminal does not count: there both are the same device, and a person is reading.
    """
    frames = NOUSE_STDIO[1] if nouse_stdio else STANDARD[1]
    try:
        ours, theirs = os.fstat(fd), os.fstat(frames)
    except OSError:
        return False
    if stat.S_ISCHR(ours.st_mode):
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def carries_frames(fd: int, *, nouse_stdio: bool) -> bool:
    """Whether an open file is one of those that frames come from and go to, terminals included."""
    theirs = os.fstat(fd)
    if stat.S_ISCHR(theirs.st_mode) and not os.isatty(fd):
        # Anybody may throw away frames and whatever else into one /dev/null.
        return False
    for frames in NOUSE_STDIO if nouse_stdio else STANDARD:
        with contextlib.suppress(OSError):
            ours = os.fstat(frames)
            if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
                return True
    return False


def claim(*, nouse_stdio: bool) -> FramePort:
    """Take the frame descriptors and put harmless ones in their place. Call it once, first of all."""
    read_from, write_to = NOUSE_STDIO if nouse_stdio else STANDARD
    stderr_joined = joined_to_frames(2, nouse_stdio=nouse_stdio)
    readable, writable = _is_open(read_from, os.O_RDONLY), _is_open(write_to, os.O_WRONLY)
    if not writable or (nouse_stdio and not readable):
        missing = write_to if not writable else read_from
        direction = "writing" if not writable else "reading"
        raise BadDescriptor(f"descriptor {missing} is not open for {direction}: frames go there")
    fill_standard()
    read_fd = private(read_from) if readable else None
    if read_fd is not None:
        _widen(read_fd)
    write_fd = private(write_to)
    if nouse_stdio:
        os.close(read_from)
        os.close(write_to)
    _replace_with_null(0)
    if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]  (it is None where 1 was closed)
        # A print is to be heard when it is made, not when a buffer is full; and it fails in no locale.
        stdout = cast("TextIOWrapper", sys.stdout)
        stdout.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")
    captured = {_capture(_CAPTURED["stdout"]): "stdout"}
    if stderr_joined:
        captured[_capture(_CAPTURED["stderr"])] = "stderr"
    else:
        replace_stderr()
    os.register_at_fork(after_in_child=lambda: forget(read_fd, write_fd, *captured))
    return FramePort(read_fd, write_fd, captured)


def _is_open(fd: int, direction: int) -> bool:
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        return False
    return mode in {direction, os.O_RDWR}


def fill_standard() -> None:
    """A descriptor 0 to 2 that was closed at the start would be given to the next file that is opened."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def private(fd: int) -> int:
    """A duplicate that no child inherits, in nobody's place."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE)


def _widen(fd: int) -> None:
    # As a pipe is made, a command of megabytes comes in pieces of 64 KiB, with two processes taking turns at each.
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _replace_with_null(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd, inheritable=True)
    os.close(null)


def _capture(fd: int) -> int:
    read_end, write_end = os.pipe()
    os.dup2(write_end, fd, inheritable=True)
    os.close(write_end)
    kept = private(read_end)
    os.close(read_end)
    return kept


def forget(*fds: int | None) -> None:
    """In a forked child: it shares our descriptors until it execs, and must neither write nor hold them."""
    for fd in fds:
        if fd is not None:
            _replace_with_null(fd)
