"""The thread that needs no event loop. Nothing here ends a process: what would is put in its place."""

import threading
from typing import Any

import pytest

from axon_port.worker import watchdog as watchdogs
from axon_port.worker.watchdog import LAST_RESORT_SECONDS, Watchdog

from .rig import SECONDS, waited


class Resort:
    """What was asked of the helpers without Python: `faulthandler`, a timer, the interpreter's own switch."""

    SIGVTALRM = 26
    ITIMER_VIRTUAL = 1

    def __init__(self) -> None:
        self.asked: list[tuple[float, bool]] = []
        self.timers: list[float] = []
        self.intervals: list[float] = []
        self.dumped: list[int] = []

    def dump_traceback_later(self, timeout: float, *, exit: bool, file: Any) -> None:
        self.asked.append((timeout, exit))

    def register(self, signum: int, *, file: Any, chain: bool) -> None:
        assert chain
        self.dumped.append(signum)

    def setitimer(self, which: int, seconds: float) -> None:
        assert which == self.ITIMER_VIRTUAL
        self.timers.append(seconds)

    def setswitchinterval(self, seconds: float) -> None:
        self.intervals.append(seconds)


class Clock:
    """The time as a test says it is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def resort(monkeypatch: pytest.MonkeyPatch) -> Resort:
    stand_in = Resort()
    for name in ("faulthandler", "signal", "sys"):
        monkeypatch.setattr(watchdogs, name, stand_in)
    return stand_in


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process that looks like the parent."""
    seen = [4711]
    monkeypatch.setattr(watchdogs.os, "getppid", lambda: seen[0])
    return seen


def nothing() -> None:
    """Nobody listens."""


def ended(watchdog: Watchdog, before: set[threading.Thread]) -> None:
    """Let its thread end."""
    watchdog.expire_in(-1)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "axon-port watchdog":
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_a_timer_of_cpu_time_is_set_back_as_the_thread_turns(resort: Resort, parent: list[int]) -> None:
    orphaned = threading.Event()
    before = set(threading.enumerate())
    watchdog = Watchdog(nothing, orphaned.set)
    parent[0] = 1
    waited(orphaned)
    assert resort.dumped == [resort.SIGVTALRM]
    assert set(resort.timers) == {watchdogs.HELD_CPU_SECONDS}
    assert resort.intervals == []
    ended(watchdog, before)
    assert resort.intervals == [watchdogs.URGENT_SWITCH_SECONDS]


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.01])
def test_a_deadline_that_passes_is_told_once(seconds: float) -> None:
    expired, count = threading.Event(), [0]

    def on_expired() -> None:
        count[0] += 1
        expired.set()

    before = set(threading.enumerate())
    watchdog = Watchdog(on_expired, nothing)
    watchdog.expire_in(seconds)
    waited(expired)
    ended(watchdog, before)
    assert count == [1]


def test_the_earliest_deadline_counts() -> None:
    expired = threading.Event()
    before = set(threading.enumerate())
    watchdog = Watchdog(expired.set, nothing)
    watchdog.expire_in(1e6)
    watchdog.expire_in(0)
    waited(expired)
    ended(watchdog, before)


def test_a_later_deadline_changes_nothing(resort: Resort) -> None:
    before = set(threading.enumerate())
    watchdog = Watchdog(nothing, nothing)
    watchdog.expire_in(1e5)
    watchdog.expire_in(1e6)
    assert [timeout for timeout, _ in resort.asked] == [1e5 + LAST_RESORT_SECONDS]
    ended(watchdog, before)


def test_the_thread_without_python_is_armed_a_moment_later_and_exits(resort: Resort) -> None:
    before = set(threading.enumerate())
    watchdog = Watchdog(nothing, nothing)
    assert resort.asked == []
    watchdog.expire_in(1e6)
    assert resort.asked == [(1e6 + LAST_RESORT_SECONDS, True)]
    ended(watchdog, before)


def test_without_a_deadline_nothing_expires(parent: list[int]) -> None:
    expired, orphaned = threading.Event(), threading.Event()
    before = set(threading.enumerate())
    watchdog = Watchdog(expired.set, orphaned.set)
    # It has been round at least once when it has noticed that the parent is another.
    parent[0] = 1
    waited(orphaned)
    assert not expired.is_set()
    ended(watchdog, before)


def test_a_parent_that_has_gone_is_told_once(parent: list[int]) -> None:
    told, times = threading.Event(), [0]

    def on_orphaned() -> None:
        times[0] += 1
        told.set()

    before = set(threading.enumerate())
    watchdog = Watchdog(nothing, on_orphaned)
    parent[0] = 1
    waited(told)
    parent[0] = 2
    ended(watchdog, before)
    assert times == [1]


def test_the_lag_is_what_a_beat_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = set(threading.enumerate())
    watchdog = Watchdog(nothing, nothing)
    monkeypatch.setattr(watchdogs, "time", clock)
    watchdog.beat()
    assert watchdog.lag_ms == 0
    clock.now += watchdogs.BEAT_SECONDS
    assert watchdog.lag_ms == 0
    clock.now += 2.5
    assert watchdog.lag_ms == 2500
    watchdog.beat()
    assert watchdog.lag_ms == 0
    ended(watchdog, before)
