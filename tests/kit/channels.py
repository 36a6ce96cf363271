"""Descriptors for a worker, and the thread that reads what comes back.

A channel is named for what the worker sees: `"pipe"`, `"nonblocking"` (a pipe with O_NONBLOCK), `"socket"`,
`"pty"` (a raw terminal), `"null"`, `"closed"`, a `Path` for a regular file, or an `int` for a descriptor that
the test has opened and goes on owning.
"""

import errno
import os
import pty
import select
import socket
import threading
import tty
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Channel = Literal["pipe", "nonblocking", "socket", "pty", "null", "closed"] | Path | int
Sink = Callable[[bytes], None]

READ_BYTES = 1 << 16


@dataclass
class Ends:
    """The two ends of one channel; `worker` is None where the worker gets no descriptor at all."""

    worker: int | None
    parent: int | None = None
    owned: bool = True
    """Whether the worker's end is ours to close."""

    def close_worker_end(self) -> None:
        """Closes our copy of the worker's end, once the worker has its own."""
        if self.worker is not None and self.owned:
            os.close(self.worker)
        self.worker = None


def open_channel(channel: Channel, *, towards_worker: bool) -> Ends:
    """Opens what the channel's name says; a `Path` is read when it leads to the worker, else created or
    emptied.
    """
    match channel:
        case "pipe" | "nonblocking":
            reading, writing = os.pipe()
            os.set_blocking(reading if towards_worker else writing, channel == "pipe")
            return Ends(reading, writing) if towards_worker else Ends(writing, reading)
        case "socket":
            ours, theirs = socket.socketpair()
            return Ends(theirs.detach(), ours.detach())
        case "pty":
            master, slave = pty.openpty()
            tty.setraw(slave)
            return Ends(slave, master)
        case "null":
            return Ends(os.open(os.devnull, os.O_RDONLY if towards_worker else os.O_WRONLY))
        case "closed":
            return Ends(None)
        case int():
            return Ends(channel, owned=False)
        case Path():
            flags = os.O_RDONLY if towards_worker else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            return Ends(os.open(channel, flags, 0o600))


def end_input(descriptor: int, *, shared: bool) -> None:
    """Ends what the worker reads; a socket that also carries its output is only half closed."""
    if not shared:
        os.close(descriptor)
        return
    with socket.socket(fileno=os.dup(descriptor)) as both_ways:
        both_ways.shutdown(socket.SHUT_WR)


class Pump(threading.Thread):
    """Reads several descriptors, gives what comes to their sinks, and `b""` at the end of each."""

    def __init__(self, sinks: Mapping[int, Sink]) -> None:
        super().__init__(name="kit-pump", daemon=True)
        self._sinks = dict(sinks)
        self._paused: set[int] = set()
        self._lock = threading.Lock()
        self._wake_reader, self._wake_writer = os.pipe()
        self._stopping = False

    def pause(self, descriptor: int) -> None:
        """From the return of this call on nothing more is read from the descriptor."""
        with self._lock:
            self._paused.add(descriptor)
        self._wake()

    def resume(self, descriptor: int) -> None:
        """Goes on reading a paused descriptor."""
        with self._lock:
            self._paused.discard(descriptor)
        self._wake()

    def stop(self) -> None:
        """Ends the thread; the descriptors stay open and belong to the caller."""
        self._stopping = True
        self._wake()
        self.join()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def run(self) -> None:
        """Pumps until stopped."""
        while not self._stopping:
            for descriptor in self._ready():
                if descriptor == self._wake_reader:
                    os.read(descriptor, READ_BYTES)
                else:
                    self._read(descriptor)

    def _wake(self) -> None:
        os.write(self._wake_writer, b"w")

    def _ready(self) -> list[int]:
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        with self._lock:
            for descriptor in self._sinks.keys() - self._paused:
                poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll()]

    def _read(self, descriptor: int) -> None:
        with self._lock:
            if descriptor in self._paused:
                return
            data = read_or_end(descriptor)
            sink = self._sinks[descriptor] if data else self._sinks.pop(descriptor)
            sink(data)


def read_or_end(descriptor: int) -> bytes:
    """What can be read now; a hung-up terminal and a reset socket are an end like any other."""
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError as problem:
        if problem.errno in (errno.EIO, errno.ECONNRESET):
            return b""
        raise
