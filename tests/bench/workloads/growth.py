"""Growth: what 10, 100 and 1,000 times the work costs, in CPU time of the peer or in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tests.bench.clocks import cpu_seconds, resident_bytes
from tests.bench.peers.axon import Axon
from tests.bench.peers.base import Peer
from tests.bench.peers.in_process import InProcess
from tests.bench.task import Holding, Task
from tests.bench.workloads.base import Figures, Metric

TIMES: Final = (1, 10, 100, 1_000)

RUNS_AT_ONCE: Final = 1_000
"""Runs of the workload that varies how many of them are in flight."""

_CPU: Final = Metric("cpu", "ms", "CPU")
_RSS: Final = Metric("rss", "MB", "memory")


class Growth(Protocol):
    """A cost that is taken at each of `steps`."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def fresh(self) -> bool:
        """Whether it wants a process of its own."""
        ...

    def fits(self, peer: Peer) -> bool: ...

    def measure(self, peer: Peer) -> list[Figures]:
        """The figures of each step. Raises `PeerFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class TaskGrowth:
    """A task that has more and more to do. The cost is that of the whole task."""

    name: str
    title: str
    task: Callable[[int], Task]
    steps: Sequence[int]
    metrics: tuple[Metric, ...] = (_CPU,)
    fresh: bool = False

    def fits(self, peer: Peer) -> bool:
        return isinstance(peer, Axon | InProcess) and self.task(1).op in peer.ops

    def measure(self, peer: Peer) -> list[Figures]:
        return [self._step(peer, self.task(step)) for step in self.steps]

    def _step(self, peer: Peer, task: Task) -> Figures:
        if task.size:
            # Once unmeasured: the agent is made and the texts are built when they are first needed.
            peer.measure(task)
        return {"cpu": peer.measure(task).cpu * 1e3}


@dataclass(frozen=True, slots=True)
class HeldGrowth:
    """More and more agents, or runs that wait on a tool, in one process."""

    name: str
    title: str
    what: Holding
    steps: Sequence[int]
    metrics: tuple[Metric, ...] = (_CPU, _RSS)
    fresh: bool = True

    def fits(self, peer: Peer) -> bool:
        return isinstance(peer, Axon | InProcess)

    def measure(self, peer: Peer) -> list[Figures]:
        cpu, rss = cpu_seconds(peer.pid), resident_bytes(peer.pid)
        held = 0
        figures: list[Figures] = []
        for step in self.steps:
            peer.hold(self.what, step - held)
            held = step
            figures.append({"cpu": (cpu_seconds(peer.pid) - cpu) * 1e3, "rss": (resident_bytes(peer.pid) - rss) / 1e6})
        return figures


def growths(*, quick: bool) -> list[Growth]:
    """A quick session leaves the last step out."""
    times = TIMES[:-1] if quick else TIMES

    def steps(first: int) -> tuple[int, ...]:
        return tuple(first * step for step in times)

    return [
        TaskGrowth("pings", "pings, 64 in each write", lambda n: Task("ping", n, 64, batch=True), steps(100)),
        TaskGrowth("runs", "runs, 16 at once", lambda n: Task("run", n, 16), steps(10)),
        TaskGrowth("at-once", f"{RUNS_AT_ONCE:,} runs, so many at once", _at_once, steps(1)),
        TaskGrowth("deltas", "deltas of a stream", lambda n: Task("stream", 1, size=n), steps(10)),
        TaskGrowth("calls", "tool calls in one answer", lambda n: Task("tool", 1, size=n), steps(1)),
        TaskGrowth("history", "messages of a history", lambda n: Task("history", 1, size=n), steps(2)),
        TaskGrowth("prompt", "bytes of a prompt", lambda n: Task("prompt", 1, size=n), steps(1 << 14)),
        TaskGrowth("answer", "bytes of an answer", lambda n: Task("answer", 1, size=n), steps(1 << 14)),
        HeldGrowth("agents", "agents, made and held", "agents", steps(10)),
        HeldGrowth("waiting", "runs waiting on a tool", "runs", steps(10)),
    ]


def _at_once(count: int) -> Task:
    return Task("run", RUNS_AT_ONCE, count)
