"""Pings: what a frame costs, and how long a worker that is busy keeps one waiting."""

from __future__ import annotations

from typing import Final

from tests.bench.task import Sample, Task
from tests.bench.workloads.base import FEW_ROUNDS, ROUNDS, Figures, Metric, TaskWorkload, Workload, p50, p99

AT_ONCE: Final = 64
BUSY_RUNS: Final = 64

_P50 = Metric("p50", "µs", "p50")
_P99 = Metric("p99", "µs", "p99")
_CPU = Metric("cpu", "µs", "CPU")


def pings(*, quick: bool) -> list[Workload]:
    few = 10 if quick else 1
    return [
        TaskWorkload(
            "ping", "ping, one at a time", Task("ping", 1000 // few), (_P50, _P99, _CPU), _waiting, rounds=ROUNDS
        ),
        TaskWorkload(
            "ping-64",
            f"pings, {AT_ONCE} in each write",
            Task("ping", AT_ONCE * 50 // few, AT_ONCE, batch=True),
            (Metric("rate", "/s", "rate", more_is_better=True), _CPU),
            _rate,
            rounds=ROUNDS,
        ),
        TaskWorkload(
            "ping-busy",
            f"ping while {BUSY_RUNS} runs are busy",
            Task("ping", 100 // few, busy=BUSY_RUNS),
            (_P50, _P99),
            _waiting,
            rounds=FEW_ROUNDS,
        ),
    ]


def _waiting(task: Task, sample: Sample) -> Figures:
    return {"p50": p50(sample) * 1e6, "p99": p99(sample) * 1e6, "cpu": sample.cpu / task.count * 1e6}


def _rate(task: Task, sample: Sample) -> Figures:
    return {"rate": task.count / sample.wall, "cpu": sample.cpu / task.count * 1e6}
