"""The one loop that asks, whoever answers: a closed loop of so many operations in flight.

It is synchronous, so that what it costs itself is little and the same for every peer.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Protocol

from tests.bench.task import Op, PeerFailed, Sample, Task

BUSY_IDS: Final = 1 << 30
"""Ids of the runs that only keep a peer busy."""


class Event(NamedTuple):
    """Something an operation brought: a delta of its stream, a tool call to be answered, its end."""

    kind: Literal["delta", "call", "done"]
    id: int
    call: Any = None


class Connection(Protocol):
    """A way to a peer. What is sent leaves together with the next `events`."""

    def prepare(self, op: Op, size: int) -> None:
        """Whatever has to be there before an operation of this kind: an agent, the bytes of a request."""
        ...

    def send(self, number: int, op: Op, size: int) -> None: ...

    def answer(self, event: Event) -> None:
        """Answer a tool call."""
        ...

    def events(self) -> list[Event]:
        """Wait for what comes next. Raises `PeerFailed`."""
        ...


class _Loop:
    """One task on its way."""

    def __init__(self, connection: Connection, task: Task) -> None:
        self._connection = connection
        self._task = task
        self._numbers = itertools.count(1)
        self._busy_numbers = itertools.count(BUSY_IDS)
        self._begun: dict[int, float] = {}
        self._busy: set[int] = set()
        self._busy_ended = 0
        self._deltas = 0
        self.latencies: list[float] = []

    def run(self) -> None:
        task = self._task
        for _ in range(task.busy):
            self._keep_busy()
        if task.busy:
            # The peer is at it when the first of them has ended.
            while not self._busy_ended:
                self._hear()
        left = task.count
        while left or self._begun:
            free = task.inflight - len(self._begun)
            if not task.batch or free == task.inflight:
                for _ in range(min(left, free)):
                    self._begin()
                    left -= 1
            self._hear()
        self._check()

    def settle(self) -> None:
        """Hear out the runs that kept the peer busy."""
        while self._busy:
            self._hear(go_on=False)

    def _begin(self) -> None:
        number = next(self._numbers)
        if self._task.pause:
            time.sleep(self._task.pause)
        self._begun[number] = time.perf_counter()
        self._connection.send(number, self._task.op, self._task.size)

    def _keep_busy(self) -> None:
        number = next(self._busy_numbers)
        self._busy.add(number)
        self._connection.send(number, "run", 0)

    def _hear(self, *, go_on: bool = True) -> None:
        for event in self._connection.events():
            if event.kind == "delta":
                self._deltas += 1
            elif event.kind == "call":
                self._connection.answer(event)
            elif event.id in self._busy:
                self._busy.discard(event.id)
                self._busy_ended += 1
                if go_on:
                    self._keep_busy()
            else:
                self.latencies.append(time.perf_counter() - self._begun.pop(event.id))

    def _check(self) -> None:
        if self._task.op == "stream" and self._deltas < self._task.count * self._task.size:
            # Fewer, longer pieces would be another measurement.
            raise PeerFailed(f"{self._deltas} deltas came of {self._task.count * self._task.size}")


def drive(connection: Connection, task: Task, cpu: Callable[[], float]) -> Sample:
    """Measure one task. `cpu` reads the peer's CPU clock. Raises `PeerFailed`."""
    connection.prepare(task.op, task.size)
    if task.busy:
        connection.prepare("run", 0)
    loop = _Loop(connection, task)
    own, cpu_then, then = time.process_time(), cpu(), time.perf_counter()
    loop.run()
    sample = Sample(loop.latencies, time.perf_counter() - then, cpu() - cpu_then, time.process_time() - own)
    loop.settle()
    return sample
