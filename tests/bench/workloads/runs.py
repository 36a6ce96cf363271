"""Runs: alone, many at once, with a tool, streamed, with long texts and long histories."""

from __future__ import annotations

from typing import Final

from tests.bench.task import Sample, Task
from tests.bench.workloads.base import FEW_ROUNDS, ROUNDS, Figures, Metric, TaskWorkload, Workload, p50, p99

MIB: Final = 1 << 20
LONG: Final = 16 * MIB
DELTAS: Final = 10_000
AT_ONCE: Final = 64

PAUSE_SECONDS: Final = 0.005
"""Between runs that come one by one, so that whoever makes them has been idle: a worker always has, an application
that calls its agents in a loop never."""

_P50 = Metric("p50", "ms", "p50")
_P99 = Metric("p99", "ms", "p99")
_CPU = Metric("cpu", "ms", "CPU")
_RATE = Metric("rate", "/s", "rate", more_is_better=True)


def runs(*, quick: bool) -> list[Workload]:
    few = 5 if quick else 1
    deltas = DELTAS // few
    alone = (_P50, _P99, _CPU)
    stream = (Metric("rate", "deltas/s", "rate", more_is_better=True), Metric("cpu", "µs", "CPU of a delta"))
    bulk = (Metric("rate", "MB/s", "rate", more_is_better=True), _CPU)
    return [
        TaskWorkload("run", "run, alone", Task("run", 100 // few), alone, _waiting, rounds=ROUNDS),
        TaskWorkload(
            "run-apart",
            f"run, {PAUSE_SECONDS * 1e3:.0f} ms after the one before",
            Task("run", 100 // few, pause=PAUSE_SECONDS),
            alone,
            _waiting,
            rounds=ROUNDS,
        ),
        TaskWorkload(
            "run-64", f"run, {AT_ONCE} at once", Task("run", 192 // few, AT_ONCE), (_RATE, _CPU), _rate, rounds=ROUNDS
        ),
        TaskWorkload(
            "tool-64",
            f"run with one parent tool call, {AT_ONCE} at once",
            Task("tool", 128 // few, AT_ONCE, size=1),
            (_RATE, _CPU),
            _rate,
            rounds=ROUNDS,
        ),
        TaskWorkload(
            "stream", f"stream of {deltas:,} deltas", Task("stream", 1, size=deltas), stream, _deltas, rounds=ROUNDS
        ),
        TaskWorkload("prompt", "prompt of 16 MiB", Task("prompt", 4, size=LONG), bulk, _bytes, rounds=FEW_ROUNDS),
        TaskWorkload("answer", "answer of 16 MiB", Task("answer", 4, size=LONG), bulk, _bytes, rounds=FEW_ROUNDS),
        *(
            TaskWorkload(
                f"history-{messages}",
                f"run with a history of {messages:,} messages",
                Task("history", count // few, size=messages),
                alone,
                _waiting,
                rounds=ROUNDS,
            )
            for messages, count in ((10, 50), (100, 25), (1000, 5))
        ),
    ]


def _waiting(task: Task, sample: Sample) -> Figures:
    return {"p50": p50(sample) * 1e3, "p99": p99(sample) * 1e3, "cpu": sample.cpu / task.count * 1e3}


def _rate(task: Task, sample: Sample) -> Figures:
    return {"rate": task.count / sample.wall, "cpu": sample.cpu / task.count * 1e3}


def _deltas(task: Task, sample: Sample) -> Figures:
    deltas = task.count * task.size
    return {"rate": deltas / sample.wall, "cpu": sample.cpu / deltas * 1e6}


def _bytes(task: Task, sample: Sample) -> Figures:
    # The median keeps the first one out, which grows buffers.
    return {"rate": task.size / 1e6 / p50(sample), "cpu": sample.cpu / task.count * 1e3}
