"""A forked child of the worker: it waits for no lock of a thread that it does not have, and ends nothing of ours."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from axon_port.worker.forks import leave_to_parent
from axon_port.worker.logs import LogSink, RunTag
from tests.kit.processes import kill, wait_for_end

from .rig import SECONDS, Desk

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

DONE = 7


def forked(deed: Callable[[], object]) -> int:
    """The exit status of a child that does something."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            deed()
            status = DONE
        finally:
            os._exit(status)
    try:
        assert wait_for_end(child, SECONDS), "the child waits for ever"
    finally:
        kill(child)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@contextmanager
def held(lock: threading.RLock) -> Generator[None]:
    """The lock is another thread's."""
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        yield
    finally:
        free.set()
        thread.join()


def test_it_logs_and_sends_nothing_and_waits_for_no_lock_that_was_held_when_it_was_forked() -> None:
    """clause: LIFE-FORK"""
    desk = Desk()
    sink = LogSink(desk.exchanges, desk.redactor, "debug")
    run = desk.exchanges.claim("r", "run")
    assert run is not None

    def deed() -> None:
        sink.write("error", "asyncio", "a task was destroyed", tag=RunTag(run, "a"))
        sink.line("stdout", b"printed")
        assert desk.outbox.payloads == []
        run.send(b"{}")

    with held(desk.exchanges.lock):
        assert forked(deed) == DONE


def test_what_the_loop_had_to_do_is_not_undone_in_the_child() -> None:
    """clause: LIFE-FORK"""
    undone: list[str] = []

    class Handle:
        def __del__(self) -> None:
            undone.append("undone")

    class Loop:
        def __init__(self) -> None:
            self._ready: deque[Any] = deque([Handle()])

    loop = Loop()
    leave_to_parent(loop)

    def deed() -> None:
        assert not undone
        assert len(loop._ready) == 1  # pyright: ignore[reportPrivateUsage] - what ends the child

    assert forked(deed) == DONE
