"""A process that ends what the worker leaves behind (PROTOCOL.md, LIFE-CHILDREN).

A worker that is killed, that a fault of C code ends, or whose interpreter is held to its last moment
(last_resort.py) cannot end its descendants, and once it is gone nothing ties them to it. So a child of the worker,
forked before anything else is there, looks at them while the worker lives and ends them when it does not.

It knows them in three ways: it looks at the worker's family four times a second; they have a mark in the environment
they were started with; they are in the worker's session, where it leads one, as under the BEAM. What escapes is who
gives up all three in the last moment. The process holds no descriptor, has a session of its own, and hears no signal
that can be ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Final, NoReturn

from axon_port.worker import children
from axon_port.worker.children import Process

TICK_SECONDS: Final = 0.25
"""How late the end of the worker is noticed, and how long a process must have been there to be known."""

MARK: Final = "AXON_PORT_WORKER"
"""The variable that every process is started with that a tool starts."""

_SMALL: Final = 4096
_ENVIRONMENT: Final = 2 * 1024 * 1024
"""Linux allows no longer one, by default."""


class Guardian:
    """The process that watches. `pid` is None where there is none: without a /proc, or where no process is left."""

    def __init__(self) -> None:
        self.pid: int | None = None
        worker = children.process_of(os.getpid())
        if worker is None:
            return
        os.environ[MARK] = f"{worker.pid}-{worker.started}"
        try:
            self.pid = os.fork()
        except OSError:
            return
        if self.pid == 0:
            _watch_over(worker)

    @property
    def pids(self) -> frozenset[int]:
        return frozenset() if self.pid is None else frozenset({self.pid})

    def dismiss(self) -> None:
        """The worker has ended its descendants itself. Returns when the process has gone."""
        if self.pid is not None:
            children.send(self.pids, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def _watch_over(worker: Process) -> NoReturn:
    try:
        _let_go()
        _end(_remembered(worker.pid), worker)
    finally:
        os._exit(0)


def _let_go() -> None:
    """Hold nothing that somebody waits for the end of."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _remembered(worker: int) -> frozenset[Process]:
    """Who came from the worker, when it has gone."""
    known: frozenset[Process] = frozenset()
    newest = None
    while os.getppid() == worker:
        # Where no process was started on this machine since, there is nothing to learn.
        if (last := _newest_pid()) is None or last != newest:
            newest = last
            found = frozenset(_family(worker))
            if os.getppid() == worker:
                known = found
        time.sleep(TICK_SECONDS)
    return known


def _newest_pid() -> bytes | None:
    loads = children.read_some("/proc/loadavg", _SMALL)
    return None if loads is None else loads.split()[-1]


def _family(worker: int) -> Iterator[Process]:
    to_visit = [worker]
    while to_visit:
        for pid in _children_of(to_visit.pop()):
            if pid != os.getpid() and (process := children.process_of(pid)) is not None:
                yield process
                to_visit.append(pid)


def _children_of(pid: int) -> list[int]:
    """Read from its threads: looking through all processes of the machine would cost too much, four times a second."""
    found = [children.read_some(f"/proc/{pid}/task/{task}/children", 16 * _SMALL) for task in _tasks(pid)]
    return [int(child) for listed in found if listed is not None for child in listed.split()]


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
    except OSError:
        return []


def _end(known: frozenset[Process], worker: Process) -> None:
    """Stop all of them, so that nobody starts another one; then kill them."""
    stopped: set[int] = set()
    while True:
        listed = children.processes()
        theirs = {process.pid for process in listed if process in known or _is_marked(process, worker)}
        found = theirs | children.below(theirs, listed)
        if found <= stopped:
            break
        children.send(found - stopped, signal.SIGSTOP)
        stopped |= found
    children.send(stopped, signal.SIGKILL)


def _is_marked(process: Process, worker: Process) -> bool:
    if process.pid == os.getpid():
        return False
    if worker.session == worker.pid == process.session:
        return True
    environment = children.read_some(f"/proc/{process.pid}/environ", _ENVIRONMENT)
    return environment is not None and f"{MARK}={worker.pid}-{worker.started}".encode() in environment.split(b"\0")
