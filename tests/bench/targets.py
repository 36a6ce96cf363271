"""What is wanted of the figures: ratios within one session, on a machine of two cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tests.bench.results import Results

OURS: Final = "axon-port"


@dataclass(frozen=True, slots=True)
class Target:
    """`figure` of axon-port against that of `versus`: a peer, every other worker (`others`), or nothing."""

    workload: str
    metric: str
    sign: Literal["<=", ">="]
    limit: float
    versus: str | None = None
    versus_workload: str | None = None
    versus_metric: str | None = None
    unit: str = ""

    @property
    def text(self) -> str:
        sign = "at most" if self.sign == "<=" else "at least"
        what = {None: self.unit, "others": "× the best of the other workers"}.get(self.versus, f"× {self.versus}")
        return f"{sign} {self.limit:g} {what}"

    def figure(self, results: Results) -> float | None:
        """The figure, or the ratio; None where it was not measured."""
        if self.versus is None:
            return results.median(self.workload, OURS, self.metric)
        peers = WORKERS if self.versus == "others" else (self.versus,)
        ratios = [
            ratio
            for peer in peers
            if (
                ratio := results.ratio(
                    (self.workload, OURS, self.metric),
                    (self.versus_workload or self.workload, peer, self.versus_metric or self.metric),
                )
            )
            is not None
        ]
        if not ratios:
            return None
        # Against the best of them: the ratio that is hardest to reach.
        return max(ratios) if self.sign == "<=" else min(ratios)

    def reached(self, figure: float) -> bool:
        return figure <= self.limit if self.sign == "<=" else figure >= self.limit


WORKERS: Final = ("fastapi", "grpc", "mcp")
"""The other ways to agents in a process of their own."""

TARGETS: Final = (
    Target("ping", "p50", "<=", 1.5, "python-echo"),
    Target("ping-busy", "p50", "<=", 5000, unit="µs"),
    Target("ping-busy", "p50", "<=", 1.0, "grpc"),
    Target("ping-64", "rate", ">=", 0.6, "json-echo"),
    Target("run", "p50", "<=", 1.05, "in-process"),
    Target("run-64", "rate", ">=", 1.15, "in-process"),
    Target("run-64", "rate", ">=", 1.0, "others"),
    Target("tool-64", "rate", ">=", 1.0, "in-process"),
    Target("stream", "rate", ">=", 5.0, "in-process"),
    Target("stream", "rate", ">=", 4.0, "others"),
    Target("start", "pong", "<=", 0.12, "in-process", versus_metric="result"),
    Target("start", "result", "<=", 0.75, "in-process"),
    Target("rest", "rss", "<=", 1.1, "in-process"),
    Target("agents-1000", "each", "<=", 8, unit="KB"),
    Target("agents-10000", "each", "<=", 8, unit="KB"),
    Target("runs-1000", "each", "<=", 80, unit="KB"),
    Target("runs-10000", "each", "<=", 80, unit="KB"),
    Target("runs-10000", "rss", "<=", 1000, unit="MB"),
    Target("prompt", "rate", ">=", 0.8, "json-echo"),
    Target("history-1000", "p50", "<=", 1.4, "in-process"),
)
