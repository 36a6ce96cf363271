"""A terminal for a program that behaves otherwise at one."""

import os
import pty
import tty
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

from tests.kit import REPOSITORY


@contextmanager
def at_a_terminal(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: Path = REPOSITORY,
    types: bool = False,
    raw: bool = False,
) -> Generator[tuple[Popen[bytes], int]]:
    """The process and our side of the terminal that it writes to and, if somebody `types` there, reads from; a
    program that speaks through one makes it `raw`."""
    ours, theirs = pty.openpty()
    if raw:
        tty.setraw(theirs)
    stdin = theirs if types else DEVNULL
    with Popen(command, stdin=stdin, stdout=theirs, stderr=theirs, cwd=cwd, env=environment) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read_terminal(descriptor: int) -> str:
    """Everything that is written until the other side has gone."""
    read = bytearray()
    while True:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # Linux says EIO when the other side of a terminal has gone
            data = b""
        if not data:
            return read.decode(errors="replace")
        read += data
