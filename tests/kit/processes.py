"""Looks at processes from outside, by their number, through /proc and pidfds."""

import os
import select
import signal
from pathlib import Path


def wait_for_end(pid: int, timeout: float) -> bool:
    """Whether the process ended within the time; it is left to be reaped. The pid is a child of ours."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(descriptor)


def is_running(pid: int) -> bool:
    """Whether there is such a process and it is more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def processes_with(mark: str) -> list[int]:
    """The running processes that have the mark in the environment they were started with."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or another user's
        if mark.encode() in environment and is_running(int(entry.name)):
            found.append(int(entry.name))
    return found


def kill(pid: int) -> None:
    """Kills one process that may already have gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """How much memory the process holds now, or has held at most since `forget_peak`."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {wanted}")


def forget_peak(pid: int) -> None:
    """Starts a new peak at what the process holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> list[str]:
    """What each open descriptor of the process leads to; the one with which a directory of them is read is none."""
    found: list[str] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue  # closed meanwhile
    return sorted(found)


def threads(pid: int) -> int:
    """How many threads the process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def children(pid: int) -> list[int]:
    """The children of all the process's threads, zombies included."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue  # ended meanwhile
    return found
