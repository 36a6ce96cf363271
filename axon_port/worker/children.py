"""The worker's descendants: none of them outlives it (PROTOCOL.md, LIFE-CHILDREN).

Where the worker comes to its end by itself, it ends them first. Where it is ended from outside, or by a fault of
somebody's C code, a process that watches over it does (guardian.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36

TERMINATE_SECONDS: Final = 0.3
"""Between SIGTERM and SIGKILL, for a child that ends itself in good order."""

KILL_ROUNDS: Final = 100
"""How often SIGKILL is sent: who dies may have started another one a moment before."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that is no zombie. Its number may be another's one day; the time of its start, in clock ticks since
    the machine's, tells them apart. It is the same one whoever its parent has become."""

    pid: int
    parent: int = field(compare=False)
    session: int = field(compare=False)
    started: int


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be found (Linux: prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(*, spared: Collection[int] = ()) -> None:
    """End every process below this one but those `spared`: SIGTERM, a moment, SIGKILL."""
    found = descendants() - set(spared)
    if not found:
        return
    send(found, signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_SECONDS
    while time.monotonic() < deadline and any(map(_runs, found)):
        time.sleep(0.01)
    # Those that a dying child left behind have become ours meanwhile, and one that starts its children anew may have
    # been killed after them.
    for _ in range(KILL_ROUNDS):
        found = descendants() - set(spared)
        if not found:
            return
        send(found, signal.SIGKILL)
        time.sleep(0.001)


def descendants() -> set[int]:
    """The pids below this process, zombies left out. Empty where there is no /proc."""
    return below({os.getpid()}, processes())


def below(roots: Iterable[int], listed: Iterable[Process]) -> set[int]:
    """The pids of those listed that come from `roots`, which do not count themselves."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for process in listed:
        children[process.parent].append(process.pid)
    found: set[int] = set()
    to_visit = list(roots)
    while to_visit:
        new = set(children[to_visit.pop()]) - found
        found |= new
        to_visit.extend(new)
    return found


def processes() -> list[Process]:
    """All processes of the machine that are no zombies."""
    pids = [int(name) for name in _listed("/proc") if name.isdecimal()]
    return [process for pid in pids if (process := process_of(pid)) is not None]


def process_of(pid: int) -> Process | None:
    """None for a zombie and where there is none."""
    stat = read_some(f"/proc/{pid}/stat", 1024)
    if stat is None:
        return None
    state, parent, _group, session, *rest = stat.rpartition(b")")[2].split()
    return None if state in {b"Z", b"X"} else Process(pid, int(parent), int(session), int(rest[15]))


def read_some(path: str, size: int) -> bytes | None:
    """The beginning of a file of /proc; None where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(fd, size) or None
    except OSError:
        return None
    finally:
        os.close(fd)


def send(pids: Iterable[int], number: int) -> None:
    """A signal for each that is still there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def _runs(pid: int) -> bool:
    return process_of(pid) is not None


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  as few steps as possible: a busy thread may hold us up at each
    except OSError:
        return []
