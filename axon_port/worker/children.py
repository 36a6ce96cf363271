"""The worker's descendants: none of them outlives it (PROTOCOL.md, LIFE-CHILDREN)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36

TERMINATE_SECONDS: Final = 0.3
"""Between SIGTERM and SIGKILL, for a child that ends itself in good order."""


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be found (Linux: prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """End every process below this one: SIGTERM, a moment, SIGKILL. Blocks for the moment at most."""
    found = descendants()
    if not found:
        return
    _send(found, signal.SIGTERM)
    deadline = time.monotonic() + TERMINATE_SECONDS
    while time.monotonic() < deadline and any(map(_runs, found)):
        time.sleep(0.01)
    # Those that a dying child left behind have become ours meanwhile.
    _send(found | descendants(), signal.SIGKILL)


def descendants() -> set[int]:
    """The pids below this process, zombies left out. Empty where there is no /proc."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid in (int(name) for name in _listed("/proc") if name.isdecimal()):
        if (state := _state(pid)) is not None and state[0] != "Z":
            children[state[1]].append(pid)
    found: set[int] = set()
    to_visit = [os.getpid()]
    while to_visit:
        below = children[to_visit.pop()]
        found.update(below)
        to_visit.extend(below)
    return found


def _runs(pid: int) -> bool:
    state = _state(pid)
    return state is not None and state[0] != "Z"


def _state(pid: int) -> tuple[str, int] | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        fields = os.read(fd, 1024).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(fd)
    return fields[0].decode(), int(fields[1])


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  as few steps as possible: a busy thread may hold us up at each
    except OSError:
        return []


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue
