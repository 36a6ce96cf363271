"""The worker's counters as metrics (PROTOCOL.md, OTEL-METRICS).

They are read when somebody collects them, on the SDK's thread, from the numbers that `stats` tells anyway: counting
costs a run nothing. Reading a counter of another thread is as good as `stats` a moment earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from axon_port.worker.stats import BUCKETS_MS, Stats, resident_bytes

SECONDS: Final = [milliseconds / 1000 for milliseconds in BUCKETS_MS]

Reading = Callable[[], Iterable[Observation]]


@dataclass(frozen=True)
class Figures:
    """Where the numbers are. Each may be asked from any thread."""

    stats: Stats
    frames: Callable[[], tuple[dict[str, int], dict[str, int]]]
    waiting_bytes: Callable[[], int]
    lag_ms: Callable[[], int]
    logs_dropped: Callable[[], int]


def observe(meter: Meter, figures: Figures) -> None:
    """Have `meter` read them."""
    stats = figures.stats
    totals: Mapping[str, tuple[str, str, Reading]] = {
        "axon_port.runs": ("{run}", "runs that have ended", lambda: _runs(stats)),
        "axon_port.tool.calls": ("{call}", "tool calls", lambda: [Observation(stats.tools["calls"])]),
        "axon_port.tool.faults": ("{call}", "tool calls that went wrong", lambda: _faults(stats)),
        "axon_port.retries": ("{retry}", "what was tried again", lambda: _each(stats.retries, "axon_port.kind")),
        "axon_port.tokens": ("{token}", "tokens used", lambda: _each(stats.tokens, "gen_ai.token.type")),
        "axon_port.commands": ("{command}", "commands taken", lambda: _each(stats.taken(), "axon_port.command")),
        "axon_port.frames": ("{frame}", "frames", lambda: _each(figures.frames()[0], "axon_port.direction")),
        "axon_port.io": ("By", "bytes of frames", lambda: _each(figures.frames()[1], "axon_port.direction")),
        "axon_port.logs.dropped": ("{log}", "logs dropped", lambda: [Observation(figures.logs_dropped())]),
    }
    levels: Mapping[str, tuple[str, str, Reading]] = {
        "axon_port.runs.inflight": ("{run}", "runs under way", lambda: [Observation(stats.inflight)]),
        "axon_port.outbox.waiting": ("By", "output that waits", lambda: [Observation(figures.waiting_bytes())]),
        "process.memory.usage": ("By", "resident memory", lambda: [Observation(resident_bytes())]),
    }
    for name, (unit, description, reading) in totals.items():
        meter.create_observable_counter(name, [_callback(reading)], unit, description)
    for name, (unit, description, reading) in levels.items():
        meter.create_observable_up_down_counter(name, [_callback(reading)], unit, description)
    lag = _callback(lambda: [Observation(figures.lag_ms() / 1000)])
    meter.create_observable_gauge("axon_port.loop.lag", [lag], "s", "how late the event loop is")


def _callback(reading: Reading) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: reading()


def _runs(stats: Stats) -> list[Observation]:
    failed = [_counted(count, "failed", error_type) for error_type, count in list(stats.runs_failed.items())]
    return [
        Observation(stats.runs_succeeded, {"axon_port.outcome": "succeeded"}),
        _counted(stats.runs_cancelled, "cancelled", "Cancelled"),
        *failed,
    ]


def _counted(count: int, outcome: str, error_type: str) -> Observation:
    return Observation(count, {"axon_port.outcome": outcome, "error.type": error_type})


def _faults(stats: Stats) -> list[Observation]:
    kinds = ("failed", "timed_out", "abandoned")
    return [Observation(stats.tools[kind], {"axon_port.kind": kind}) for kind in kinds]


def _each(counts: Mapping[str, Any], attribute: str) -> list[Observation]:
    return [Observation(count, {attribute: name}) for name, count in list(counts.items())]
