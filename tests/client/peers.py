"""Programs that are almost workers, and a loop to meet them on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import wraps
from textwrap import dedent
from typing import Any, ParamSpec, TypeVar

from axon_port.client import Launch, Restarts, Worker
from tests.kit.processes import is_running

SECONDS = 30.0
"""The longest that anything in these tests is waited for."""

NEVER = Restarts(limit=0)
AT_ONCE = Restarts(limit=1000, first=0.0)

LIMITS = {"max_frame_bytes": 4096, "max_inflight": 8, "max_tool_calls": 2}
READY = {
    "type": "ready",
    "protocol": 1,
    "version": "0",
    "pid": 1,
    "python": "3",
    "pydantic_ai": "2",
    "limits": LIMITS,
}

PEER = f"""\
import json, os, signal, sys, time

def frame(**fields):
    data = json.dumps(fields).encode()
    return len(data).to_bytes(4, "big") + data

def say(**fields):
    os.write(1, frame(**fields))

def ready():
    say(**({READY!r} | {{"pid": os.getpid()}}))

def exactly(n):
    data = b""
    while len(data) < n:
        piece = os.read(0, n - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data

def hear():
    return json.loads(exactly(int.from_bytes(exactly(4), "big")))

def result(command, value=None):
    extra = {{}}
    if command["type"] in ("run", "stream"):
        extra = {{"agent_id": "a", "run_id": "r", "status": "complete", "usage": {{}}, "duration_ms": 0}}
    say(type="result", id=command["id"], result=value, **extra)

def serve():
    while True:
        command = hear()
        result(command, {{}} if command["type"] != "run" else "done")
        if command["type"] == "shutdown":
            say(type="goodbye", reason="shutdown")
            sys.exit(0)

"""

P = ParamSpec("P")
T = TypeVar("T")


def on_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """The test on an event loop of its own, which has to end in time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(SECONDS):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


def peer(body: str, *, restarts: Restarts = NEVER, **launch: Any) -> Worker:
    """A worker whose process is a program of ours."""
    command = [sys.executable, "-S", "-c", PEER + dedent(body)]
    options: Any = {"max_frame_bytes": 4096, **launch}
    return Worker.spawn(Launch(command, **options), restarts=restarts, grace_ms=0)


@contextmanager
def nothing_left() -> Generator[list[int]]:
    """No descriptor more than before is open when the block ends, and none of the processes noted in it runs."""
    pids: list[int] = []
    before = len(os.listdir("/proc/self/fd"))
    yield pids
    assert len(os.listdir("/proc/self/fd")) == before
    assert [pid for pid in pids if is_running(pid)] == []
