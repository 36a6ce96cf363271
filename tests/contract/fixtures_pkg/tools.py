"""Python handlers: what tools do, and what they should not do."""

import asyncio
import atexit
import ctypes
import dataclasses
import datetime
import decimal
import logging
import math
import os
import re
import subprocess
import sys
import threading
import time
from os import getcwd
from typing import Annotated, Any

from opentelemetry import trace
from pydantic import AfterValidator
from pydantic_ai import ModelRetry, RunContext, ToolFailed

from .inner import inside

__all__ = ["getcwd", "inside"]

LONG_S = 600
log = logging.getLogger(__name__)
not_a_function = 7


# ---------------------------------------------------------------- well-behaved


def add(x: int, y: int = 1) -> int:
    """Adds two numbers."""
    return x + y


def current_trace() -> str:
    """The trace that a span would now belong to."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


async def add_later(x: int, y: int = 1) -> int:
    """Adds two numbers on the event loop."""
    await asyncio.sleep(0)
    return x + y


def thread_name() -> str:
    """Whether the function runs on the main thread, which is the loop's."""
    return "main" if threading.current_thread() is threading.main_thread() else "other"


def _check(value: int) -> int:
    if value > 1000:
        raise SystemExit(9)
    if value > 100:
        raise KeyError(value)
    return value


def picky(x: Annotated[int, AfterValidator(_check)]) -> int:
    """Whose argument is checked by code that does not take everything well."""
    return x


def count_down(depth: int) -> Any:
    """What can be read only once, inside other values."""
    value: Any = iter([3, 2, 1])
    for _ in range(depth):
        value = {"in": [value]}
    return value


def deps_of(ctx: RunContext[Any]) -> Any:
    """What the run was given."""
    return ctx.deps


def echo(value: Any) -> Any:
    """Its argument."""
    return value


def ask_again(n: int) -> str:
    """Accepts numbers from 10 on."""
    if n < 10:
        raise ModelRetry("a greater number, please")
    return "thanks"


def give_up() -> str:
    """Says that it has failed."""
    raise ToolFailed("there is none")


# ---------------------------------------------------------------- output


def print_lines(lines: list[str]) -> str:
    """Prints lines in the usual way."""
    for line in lines:
        print(line)
    return "printed"


def print_long(size: int) -> str:
    """Prints one long line."""
    print("x" * size)
    return "printed"


def print_many(count: int) -> str:
    """Prints many lines."""
    for n in range(count):
        print(f"line {n}")
    return "printed"


def print_unfinished() -> str:
    """Writes a line that does not end."""
    sys.stdout.write("without an end")
    sys.stdout.flush()
    return "printed"


def write_1() -> str:
    """Writes to the descriptor."""
    os.write(1, b"by descriptor \xff\xfe\n")
    return "written"


def write_frame() -> str:
    """Writes what looks like a frame."""
    payload = b'{"type":"goodbye","reason":"eof"}'
    os.write(1, len(payload).to_bytes(4, "big") + payload + b"\n")
    return "written"


def puts() -> str:
    """Prints as a C library does."""
    library = ctypes.CDLL(None)
    library.puts(b"by puts")
    library.fflush(None)
    return "put"


def child_prints() -> str:
    """Lets a child process print on the descriptor that it inherits."""
    subprocess.run(["/bin/echo", "by a child"], check=True)
    return "printed"


def log_warning(text: str) -> str:
    """Logs in the usual way."""
    log.warning("a warning: %s", text)
    return "logged"


def log_exception() -> str:
    """Logs an exception with its traceback."""
    try:
        {}["looked up in vain"]
    except LookupError:
        log.exception("it went wrong")
    return "logged"


def log_many(count: int) -> str:
    """Logs many records."""
    for n in range(count):
        log.warning("record %d", n)
    return "logged"


# ---------------------------------------------------------------- input


def read_line() -> str:
    """Reads what a person would type."""
    try:
        return input()
    except EOFError:
        return "end of file"


def read_0() -> str:
    """Reads the descriptor."""
    return os.read(0, 100).decode()


def child_reads() -> str:
    """Lets a child process read the descriptor that it inherits."""
    return subprocess.run(["/bin/cat"], check=True, capture_output=True, text=True).stdout


# ---------------------------------------------------------------- results that are hard to write


@dataclasses.dataclass
class Point:
    """A value that is no JSON by itself."""

    x: int
    y: float


def strange(kind: str) -> Any:
    """A value that JSON does not know, or not quite."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    values: dict[str, Any] = {
        "nan": math.nan,
        "infinity": [math.inf, -math.inf],
        "great integer": 2**70,
        "greatest integer": 10**4500,
        "surrogate": "a\ud800b",
        "surrogate key": {"a\ud800b": 1},
        "bytes": b"abc",
        "bad bytes": b"\xff\xfe",
        "set": {1},
        "tuple": (1, 2),
        "cycle": cycle,
        "deep": deep,
        "decimal": decimal.Decimal("1.5"),
        "date": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "dataclass": Point(1, 2.5),
        "exception": ValueError("as a value"),
        "function": add,
        "object": object(),
        "keys": {1: "a", None: "b"},
        "generator": (n for n in range(3)),
    }
    return values[kind]


def big(size: int) -> str:
    """A long text."""
    return "x" * size


# ---------------------------------------------------------------- exceptions


class HostileError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text either")

    __repr__ = __str__


def _exception(kind: str) -> BaseException:
    made: dict[str, BaseException] = {
        "ValueError": ValueError("no value"),
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "GeneratorExit": GeneratorExit(),
        "CancelledError": asyncio.CancelledError("by itself"),
        "StopIteration": StopIteration(1),
        "StopAsyncIteration": StopAsyncIteration(),
        "BaseException": BaseException("base"),
        "BaseExceptionGroup": BaseExceptionGroup("several", [KeyboardInterrupt(), SystemExit(4)]),
        "ExceptionGroup": ExceptionGroup("several", [ValueError(str(n)) for n in range(10_000)]),
        "RecursionError": RecursionError("too deep"),
        "MemoryError": MemoryError(),
        "TimeoutError": TimeoutError("own"),
        "BrokenPipeError": BrokenPipeError(32, "own"),
        "hostile": HostileError(),
        "surrogate": ValueError("a\ud800b"),
        "long": ValueError("x" * 10_000_000),
    }
    return made[kind]


def throw(kind: str) -> str:
    """Raises what it is told to, on a thread."""
    raise _exception(kind)


async def throw_later(kind: str) -> str:
    """Raises what it is told to, on the loop."""
    await asyncio.sleep(0)
    raise _exception(kind)


async def cancel_itself() -> str:
    """Cancels its own task, which nobody asked for."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return "never"


def spoil_the_end() -> str:
    """Closes the descriptors that the worker listens to, and registers an exit handler that fails."""
    os.close(1)
    os.close(2)
    atexit.register(_exception, "no such exception")
    return "spoilt"


def _leave() -> None:
    print("leaving", flush=True)
    time.sleep(LONG_S)


def leave_slowly() -> str:
    """Registers an exit handler that takes its time."""
    atexit.register(_leave)
    return "not yet"


def recurse(n: int = 0) -> int:
    """Calls itself without end."""
    return recurse(n + 1) + 1


# ---------------------------------------------------------------- tools that do not stop


def hang() -> str:
    """Holds its thread."""
    log.info("begun")
    time.sleep(LONG_S)
    return "late"


async def hang_later() -> str:
    """Waits on the loop, and can be cancelled."""
    log.info("begun")
    await asyncio.sleep(LONG_S)
    return "late"


async def swallow_cancellation() -> str:
    """Waits on the loop and does not let itself be cancelled."""
    log.info("begun")
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            log.debug("cancelled, but going on")
    return "late"


def _tell(fifo: str) -> None:
    with open(fifo, "wb") as telling:
        telling.write(b"blocking")


async def block_loop(fifo: str) -> str:
    """Says so, then holds the event loop."""
    _tell(fifo)
    time.sleep(LONG_S)  # noqa: ASYNC251 - this is what it is for
    return "late"


def hold_gil(fifo: str) -> str:
    """Says so, then holds the interpreter itself, so that no thread can run."""
    _tell(fifo)
    return str(re.match(r"(a+)+$", "a" * 60 + "!"))


# ---------------------------------------------------------------- processes


def start_child() -> int:
    """Leaves a child that outlives the call and has inherited whatever there was to inherit."""
    return subprocess.Popen(["/bin/sleep", str(LONG_S)], close_fds=False).pid


def start_grandchild() -> str:
    """Leaves a process in a session of its own whose parent has gone."""
    command = ["/bin/sh", "-c", f"/bin/sleep {LONG_S} & exit 0"]
    subprocess.run(command, check=True, close_fds=False, start_new_session=True)
    return "left"


def fork() -> str:
    """Forks; the child prints, and ends as a program does."""
    child = os.fork()
    if child == 0:
        print("from the fork")
        sys.exit(5)
    _, status = os.waitpid(child, 0)
    return f"ended {os.WIFEXITED(status)}"


async def count_tasks() -> int:
    """How many tasks the event loop has now."""
    return len(asyncio.all_tasks())
