"""A child process and its two pipes: bytes and an exit status, nothing of frames.

The end of the process is noticed by itself, not by the end of its output: a descendant that inherited the pipe would
hold that open for as long as it lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import IO, Final, cast

import anyio

from axon_port.client.errors import WorkerNotStarted
from axon_port.client.launch import Launch

READ_BYTES: Final = 65_536
"""A pipe's own size on Linux."""


class Process:
    """Leads a session of its own: an interrupt at the terminal is the parent's, who then ends the worker in order."""

    def __init__(self, launch: Launch) -> None:
        """Start it. Raises `WorkerNotStarted` where there is no such program."""
        try:
            self._child = subprocess.Popen(  # noqa: S603  the caller's own command
                launch.argv(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=launch.environment(),
                cwd=launch.cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(launch, error) from error
        self._pipes = cast("tuple[IO[bytes], IO[bytes]]", (self._child.stdin, self._child.stdout))
        self.pid = self._child.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            with self._child:
                self.kill()
            raise _not_started(launch, error) from error
        self._into, self._from = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._into, False)
        os.set_blocking(self._from, False)

    def read(self) -> bytes | None:
        """What can be read now: nothing at the end of the output, None where nothing has come yet."""
        try:
            return os.read(self._from, READ_BYTES)
        except BlockingIOError:
            return None

    async def readable(self) -> None:
        await anyio.wait_readable(self._from)

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises `BrokenPipeError` where nobody reads; a cancellation may tear the last frame."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._into, rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._into)

    async def unheard(self) -> None:
        """Returns when nobody can read what is written any more."""
        await anyio.wait_readable(self._into)  # of a pipe's writing end: its error

    async def exited(self) -> int:
        """The exit status, negative for a signal, when the process has ended. For one waiter at a time."""
        while (status := self._child.poll()) is None:
            await anyio.wait_readable(self._pidfd)
        return status

    def kill(self) -> None:
        """End it, and whatever of its descendants is in its session, by force."""
        if self._child.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the descriptors, once the process has ended and nobody waits for them."""
        os.close(self._pidfd)
        for pipe in self._pipes:
            pipe.close()


def _not_started(launch: Launch, error: OSError) -> WorkerNotStarted:
    return WorkerNotStarted(f"{launch.command[0]} cannot be started: {error.strerror}")
