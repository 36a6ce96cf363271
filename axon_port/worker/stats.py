"""Counters since the start (PROTOCOL.md, LIFE-STATS)."""

from __future__ import annotations

import resource
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

BUCKETS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000)
"""Upper bounds of the duration histograms; the last bucket, `null`, has none."""

MAX_AGENTS: Final = 10_000
"""Agents counted one by one; those beyond share one line, so that a parent that makes names for ever costs nothing."""


@dataclass(slots=True)
class Histogram:
    """Durations, in Prometheus' way: each bucket counts what is at most its bound."""

    count: int = 0
    total: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))

    def add(self, milliseconds: float) -> None:
        self.count += 1
        self.total += milliseconds
        self.buckets[bisect_left(BUCKETS_MS, milliseconds)] += 1

    def as_json(self) -> dict[str, Any]:
        cumulative: list[list[int | None]] = []
        running = 0
        for bound, counted in zip((*BUCKETS_MS, None), self.buckets, strict=True):
            running += counted
            cumulative.append([bound, running])
        return {"count": self.count, "sum": round(self.total, 3), "buckets": cumulative}


@dataclass(slots=True)
class AgentCount:
    runs: int = 0
    tools: int = 0
    tokens: int = 0


class Stats:
    """Written on the event loop, but for the counters of frames, which other threads own."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.commands: Counter[str] = Counter()
        self.pings_at_once = 0
        self.runs_started = 0
        self.runs_succeeded = 0
        self.runs_cancelled = 0
        self.runs_failed: Counter[str] = Counter()
        self.inflight = 0
        self.tools: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.run_durations = Histogram()
        self.tool_durations = Histogram()
        self.agents: dict[str, AgentCount] = {}

    @property
    def uptime_ms(self) -> int:
        return round((time.monotonic() - self.started_at) * 1000)

    def agent(self, agent_id: str) -> AgentCount:
        if agent_id not in self.agents and len(self.agents) >= MAX_AGENTS:
            agent_id = "…"
        return self.agents.setdefault(agent_id, AgentCount())

    def taken(self) -> dict[str, int]:
        """Commands by their type. A ping is counted where it is answered: most of them never reach the loop."""
        at_once = {"ping": self.commands["ping"] + self.pings_at_once} if self.pings_at_once else {}
        return {**self.commands, **at_once}

    def as_json(self, *, frames: dict[str, int], bytes_: dict[str, int], logs_dropped: int) -> dict[str, Any]:
        return {
            "uptime_ms": self.uptime_ms,
            "commands": self.taken(),
            "runs": {
                "started": self.runs_started,
                "succeeded": self.runs_succeeded,
                "failed": dict(self.runs_failed),
                "cancelled": self.runs_cancelled,
                "inflight": self.inflight,
            },
            "tools": {name: self.tools[name] for name in ("calls", "failed", "timed_out", "abandoned")},
            "retries": {name: self.retries[name] for name in ("model", "tools", "output")},
            "tokens": {name: self.tokens[name] for name in ("input", "output")},
            "durations_ms": {"run": self.run_durations.as_json(), "tool": self.tool_durations.as_json()},
            "frames": frames,
            "bytes": bytes_,
            "logs_dropped": logs_dropped,
            "rss_bytes": resident_bytes(),
            "agents": {
                agent_id: {"runs": count.runs, "tools": count.tools, "tokens": count.tokens}
                for agent_id, count in self.agents.items()
            },
        }


def resident_bytes() -> int:
    """Resident memory: what /proc says now, or the peak where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
