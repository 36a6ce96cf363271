"""What tools do to the process that they run in. Workers may import this module."""

import asyncio
import ctypes
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

LONG_S = 600
_fork = multiprocessing.get_context("fork")
_hoarded: list[int] = []


def add(x: int, y: int) -> int:
    """The sum."""
    return x + y


# ---------------------------------------------------------------- children

STUBBORN = f"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep({LONG_S})
"""

RESTARTING = f"""
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    subprocess.Popen(["/bin/sleep", "{LONG_S}"], start_new_session=True).wait()
"""


def raise_family() -> str:
    """Leaves processes of every kind, with whatever descriptors they could inherit: a child, a daemon, a fork, one that
    ignores SIGTERM, one that starts its own child again and again.
    """
    subprocess.Popen(["/bin/sleep", str(LONG_S)], close_fds=False)
    daemon = ["/bin/sh", "-c", f"/bin/sleep {LONG_S} & exit 0"]
    subprocess.run(daemon, check=True, close_fds=False, start_new_session=True)
    _fork.Process(target=time.sleep, args=(LONG_S,)).start()
    for source in (STUBBORN, RESTARTING):
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", source], stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout is not None
        child.stdout.readline()
    return "raised"


def terminate_fork() -> int | None:
    """Forks a child by multiprocessing, sends it SIGTERM at once, and tells its exit status."""
    child = _fork.Process(target=time.sleep, args=(LONG_S,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode


def status_of_false() -> int:
    """The exit status of a program that fails."""
    return subprocess.run(["/bin/false"], check=False).returncode


async def _ended(child: int) -> int:
    end = os.pidfd_open(child)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(end, ended.set)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(end)
    os.close(end)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])  # noqa: ASYNC222  it has ended


def fork_and(deed: str) -> int:
    """Forks on a thread; the child does something and goes on. The child's exit status."""
    child = os.fork()
    if child == 0:
        return _deed(deed)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def fork_later_and(deed: str) -> int:
    """Forks on the event loop; the child does something and goes on. The child's exit status."""
    child = os.fork()
    if child == 0:
        if deed == "wait":
            await asyncio.sleep(LONG_S)
        return _deed(deed)
    return await _ended(child)


def _deed(deed: str) -> int:
    if deed == "exit":
        sys.exit(5)
    if deed == "raise":
        raise ValueError("in the child")
    print(f"the child did {deed}", flush=True)
    return 0


# ---------------------------------------------------------------- ends


def crash() -> str:
    """Reads where nothing is, as a faulty extension does."""
    return ctypes.string_at(0).decode()


def leave() -> str:
    """Ends the process on the spot."""
    os._exit(3)


def allocate() -> int:
    """Wants more memory than there can be."""
    return len(bytearray(1 << 60))


# ---------------------------------------------------------------- scarcity


def hoard() -> str:
    """Uses up all descriptors, and keeps them."""
    while True:
        _hoarded.append(os.dup(0))


def share() -> int:
    """Closes what was hoarded; how much that was."""
    count = len(_hoarded)
    while _hoarded:
        os.close(_hoarded.pop())
    return count


async def limit_processes(limit: int) -> str:
    """So many processes and threads may there be of this user, and no more."""
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
    return "limited"


_woken = threading.Event()


def doze() -> str:
    """Holds its thread until it is woken."""
    _woken.wait(LONG_S)
    return "awake"


async def wake() -> str:
    """Wakes those that doze; takes no thread."""
    _woken.set()
    return "woken"


def write(path: str) -> str:
    """Writes a file."""
    Path(path).write_text("much", encoding="utf-8")
    return "written"


def say(text: str) -> str:
    """Prints a text, and hands it back."""
    print(text)
    return text


async def nap(seconds: float) -> str:
    """Waits on the loop."""
    await asyncio.sleep(seconds)
    return "awake"
