"""Python tools that do what a tool should not, and end all the same; the last ones end the worker."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time

EXCEPTIONS: dict[str, BaseException] = {
    "ValueError": ValueError("no value"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError("by itself"),
    "MemoryError": MemoryError(),
    "BaseExceptionGroup": BaseExceptionGroup("several", [KeyboardInterrupt(), SystemExit(4)]),
}


def throw(kind: str) -> str:
    """Raises, on a thread."""
    raise type(EXCEPTIONS[kind])(*EXCEPTIONS[kind].args)


async def throw_later(kind: str) -> str:
    """Raises, on the loop."""
    await asyncio.sleep(0)
    raise type(EXCEPTIONS[kind])(*EXCEPTIONS[kind].args)


def leave() -> str:
    """Ends the program, as a script would."""
    sys.exit("from a tool")


def recurse(n: int = 0) -> int:
    """Calls itself without end."""
    return recurse(n + 1) + 1


def shout(lines: int) -> str:
    """Prints, and writes what looks like a frame past everything that Python knows of."""
    for number in range(lines):
        print(f"line {number}")
    payload = b'{"type":"goodbye","reason":"eof"}'
    os.write(1, len(payload).to_bytes(4, "big") + payload + b"\n")
    return "shouted"


def fork() -> str:
    """Forks; the child prints, and ends as a program does."""
    child = os.fork()
    if child == 0:
        print("from the fork")
        sys.exit(5)
    _, status = os.waitpid(child, 0)
    return f"ended {os.WIFEXITED(status)}"


def start(seconds: float) -> int:
    """Runs a program that takes its time and inherits what there is."""
    return subprocess.run(["/bin/sleep", str(seconds)], check=True, close_fds=False).returncode


def hold_thread(seconds: float) -> str:
    """Holds its thread."""
    time.sleep(seconds)
    return "late"


async def hold_loop(seconds: float) -> str:
    """Holds the event loop."""
    time.sleep(seconds)  # noqa: ASYNC251 - this is what it is for
    return "late"


async def go_on(seconds: float) -> str:
    """Waits on the loop and does not let itself be cancelled."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
    return "late"


# ---------------------------------------------------------------- the end of the worker


def die(how: str) -> str:
    """Ends the process in a way that it cannot answer."""
    match how:
        case "_exit":
            os._exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case _:
            os.kill(os.getpid(), signal.SIGKILL)
    return "alive"
