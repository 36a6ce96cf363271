"""What a workload is, and the most common one: a task for a peer that is running."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tests.bench.peers.base import Peer
from tests.bench.task import Sample, Task

ROUNDS: Final = 10
"""Measurements in one repeat, of workloads that take a second of each peer: a shared machine's speed flips within
seconds, and only what is measured side by side can be compared."""

FEW_ROUNDS: Final = 3
"""The same of workloads that take longer."""

Figures = Mapping[str, float]
"""What one measurement gave, by the names of the metrics."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its unit. The first metric of a workload is the one that the chart shows."""

    name: str
    unit: str
    of: str
    more_is_better: bool = False


class Workload(Protocol):
    """Something to be measured of each peer that it fits."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def fresh(self) -> bool:
        """Whether each measurement starts and stops the peer itself."""
        ...

    @property
    def rounds(self) -> int:
        """How many measurements one repeat takes. Short ones, peer after peer, see the same machine."""
        ...

    def fits(self, peer: Peer) -> bool: ...

    def measure(self, peer: Peer) -> Figures:
        """Raises `PeerFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class TaskWorkload:
    """One task; `figures` takes from its sample what counts."""

    name: str
    title: str
    task: Task
    metrics: tuple[Metric, ...]
    figures: Callable[[Task, Sample], Figures]
    fresh: bool = False
    rounds: int = 1

    def fits(self, peer: Peer) -> bool:
        return self.task.op in peer.ops and (not self.task.busy or peer.drives_busy)

    def measure(self, peer: Peer) -> Figures:
        return self.figures(self.task, peer.measure(self.task))


def p50(sample: Sample) -> float:
    return statistics.median(sample.latencies)


def p99(sample: Sample) -> float:
    ordered = sorted(sample.latencies)
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
