"""The thread that needs no event loop. Nothing here ends a process: what would is put in its place."""

import threading
from collections.abc import Callable

import pytest

from axon_port.worker import watchdog as watchdogs
from axon_port.worker.watchdog import LAST_RESORT_SECONDS, Watchdog

from .rig import SECONDS, waited

STATUS = 70


class Timers:
    """What was asked of the timers without Python, and of the interpreter's own switch."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []
        self.held: list[float] = []
        self.intervals: list[float] = []

    def new_timer(self, status: int, *, cpu: bool) -> "Timer":
        assert status == STATUS
        return Timer(self.held if cpu else self.deadlines)

    def setswitchinterval(self, seconds: float) -> None:
        self.intervals.append(seconds)


class Timer:
    """Ends nothing."""

    def __init__(self, armed: list[float]) -> None:
        self._armed = armed

    def arm(self, seconds: float) -> None:
        self._armed.append(seconds)


class Clock:
    """The time as a test says it is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    stand_in = Timers()
    monkeypatch.setattr(watchdogs, "ExitTimer", stand_in.new_timer)
    monkeypatch.setattr(watchdogs, "sys", stand_in)
    return stand_in


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process that looks like the parent."""
    seen = [4711]
    monkeypatch.setattr(watchdogs.os, "getppid", lambda: seen[0])
    return seen


def nothing() -> None:
    """Nobody listens."""


def watching(on_expired: Callable[[], None], on_orphaned: Callable[[], None], drain_timeout: float = 30.0) -> Watchdog:
    return Watchdog(on_expired, on_orphaned, status=STATUS, drain_timeout=drain_timeout)


def ended(watchdog: Watchdog, before: set[threading.Thread]) -> None:
    """Let its thread end."""
    watchdog.expire_in(-1, busy=0)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "axon-port watchdog":
            thread.join(SECONDS)
            assert not thread.is_alive()


@pytest.mark.parametrize("drain_timeout", [0.0, 10.0, 86_400.0])
def test_a_timer_of_cpu_time_is_set_back_as_the_thread_turns(
    timers: Timers, parent: list[int], drain_timeout: float
) -> None:
    """clause: LIFE-HELD"""
    orphaned = threading.Event()
    before = set(threading.enumerate())
    watchdog = watching(nothing, orphaned.set, drain_timeout)
    parent[0] = 1
    waited(orphaned)
    shortest, longest = watchdogs.LEAST_HELD_CPU_SECONDS, watchdogs.HELD_CPU_SECONDS
    assert set(timers.held) == {min(longest, max(shortest, drain_timeout))}
    assert timers.intervals == []
    ended(watchdog, before)
    assert timers.intervals == [watchdogs.URGENT_SWITCH_SECONDS]


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.01])
def test_a_deadline_that_passes_is_told_once(seconds: float) -> None:
    """clause: LIFE-WATCHDOG"""
    expired, count = threading.Event(), [0]

    def on_expired() -> None:
        count[0] += 1
        expired.set()

    before = set(threading.enumerate())
    watchdog = watching(on_expired, nothing)
    watchdog.expire_in(seconds)
    waited(expired)
    ended(watchdog, before)
    assert count == [1]


@pytest.mark.parametrize("then", ["it is blocked", "it takes too long"])
def test_a_loop_that_turns_is_given_more_time(monkeypatch: pytest.MonkeyPatch, parent: list[int], then: str) -> None:
    """clause: LIFE-WATCHDOG"""
    clock, expired, orphaned = Clock(), threading.Event(), threading.Event()
    monkeypatch.setattr(watchdogs, "time", clock)
    watchdog = watching(expired.set, orphaned.set)
    watchdog.turned()
    watchdog.expire_in(0.5)
    clock.now += 0.9
    # It has been round at least once when it has noticed that the parent is another.
    parent[0] = 1
    waited(orphaned)
    assert not expired.is_set()
    clock.now += watchdogs.BLOCKED_SECONDS if then == "it is blocked" else watchdogs.BUSY_SECONDS
    if then == "it takes too long":
        watchdog.turned()
    waited(expired)


def test_the_earliest_deadline_counts() -> None:
    expired = threading.Event()
    before = set(threading.enumerate())
    watchdog = watching(expired.set, nothing)
    watchdog.expire_in(1e6)
    watchdog.expire_in(0)
    waited(expired)
    ended(watchdog, before)


def test_a_later_deadline_changes_nothing(timers: Timers) -> None:
    before = set(threading.enumerate())
    watchdog = watching(nothing, nothing)
    watchdog.expire_in(1e5)
    watchdog.expire_in(1e6)
    assert timers.deadlines == [1e5 + LAST_RESORT_SECONDS]
    ended(watchdog, before)


def test_the_timer_without_python_is_armed_for_a_moment_after_the_deadline(timers: Timers) -> None:
    before = set(threading.enumerate())
    watchdog = watching(nothing, nothing)
    assert timers.deadlines == []
    watchdog.expire_in(1e6)
    assert timers.deadlines == [1e6 + LAST_RESORT_SECONDS]
    ended(watchdog, before)
    assert timers.deadlines[-1] == LAST_RESORT_SECONDS


def test_without_a_deadline_nothing_expires(parent: list[int]) -> None:
    expired, orphaned = threading.Event(), threading.Event()
    before = set(threading.enumerate())
    watchdog = watching(expired.set, orphaned.set)
    # It has been round at least once when it has noticed that the parent is another.
    parent[0] = 1
    waited(orphaned)
    assert not expired.is_set()
    ended(watchdog, before)


def test_a_parent_that_has_gone_is_told_once(parent: list[int]) -> None:
    """clause: LIFE-PARENT"""
    told, times = threading.Event(), [0]

    def on_orphaned() -> None:
        times[0] += 1
        told.set()

    before = set(threading.enumerate())
    watchdog = watching(nothing, on_orphaned)
    parent[0] = 1
    waited(told)
    parent[0] = 2
    ended(watchdog, before)
    assert times == [1]


def test_the_lag_is_what_a_beat_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: LIFE-PING"""
    clock = Clock()
    before = set(threading.enumerate())
    watchdog = watching(nothing, nothing)
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
