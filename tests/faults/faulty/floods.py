"""Too much of something: logs, threads, bytes for stderr; and tools that wait for each other."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import warnings
from typing import Any

from pydantic_ai import RunContext

log = logging.getLogger("faulty")
_gate = threading.Event()
_ticks = [0]


def log_many(count: int) -> str:
    """Logs many records, on a thread."""
    for number in range(count):
        log.warning("record %d", number)
    return "logged"


def print_many(count: int) -> str:
    """Prints many lines, on a thread."""
    for number in range(count):
        print(f"line {number}")
    return "printed"


def eight_threads(each: int) -> str:
    """Logs and prints from eight threads at once."""
    start = threading.Barrier(8)

    def write(name: int) -> None:
        start.wait()
        for number in range(each):
            text = f"{name}.{number}." + "x" * (number * 97 % 3000)
            if number % 2:
                os.write(1, f"{text}\n".encode())
            else:
                log.warning("%s", text)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "written"


async def fill_stderr(size: int) -> str:
    """Writes to stderr on the event loop, by every road of Python's that leads there."""
    print("x" * size, file=sys.stderr)
    sys.stderr.write("y" * size)
    sys.stderr.buffer.write(b"z" * size)
    sys.stderr.flush()
    logging.lastResort.handle(logging.makeLogRecord({"msg": "w" * size}))  # pyright: ignore[reportOptionalMemberAccess]
    sys.excepthook(ValueError, ValueError("v" * size), None)
    _Unraisable(size)
    thread = threading.Thread(target=_raise, name="raises")
    thread.start()
    await asyncio.to_thread(thread.join)
    warnings.warn("u" * 100, stacklevel=1)
    return "written"


class _Unraisable:
    """Its destructor raises."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __del__(self) -> None:
        raise ValueError("t" * self.size)


def _raise() -> None:
    raise ValueError("in a thread")


def wait_at_gate() -> str:
    """Holds its thread until the gate is opened."""
    _gate.wait()
    return "through"


async def open_gate() -> str:
    """Lets through whoever waits."""
    _gate.set()
    return "opened"


async def interrupt(start: bool) -> int:
    """Starts or stops a signal every half a millisecond; how many have come."""

    def tick(_number: int, _frame: Any) -> None:
        _ticks[0] += 1

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, *((0.0005, 0.0005) if start else (0.0, 0.0)))
    return _ticks[0]


def slow(value: Any) -> Any:
    """Its argument, after other threads had their turn."""
    time.sleep(0)
    return value


def deps_of(ctx: RunContext[Any]) -> Any:
    """What the run was given."""
    return ctx.deps


def big(size: int) -> str:
    """A long text."""
    return "x" * size
