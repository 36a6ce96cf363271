"""All figures of a session, repeat by repeat."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tests.bench.workloads.base import Figures

Key = tuple[str, str, str]
"""A workload, a peer, a metric."""


class Results:
    """Filled once, then read. A figure that was not taken is None everywhere."""

    def __init__(self) -> None:
        self._taken: defaultdict[Key, dict[int, float]] = defaultdict(dict)
        self.failures: dict[tuple[str, str], str] = {}
        """What went wrong, by workload and peer."""

    def add(self, workload: str, peer: str, repeat: int, figures: Figures) -> None:
        for metric, figure in figures.items():
            self._taken[workload, peer, metric][repeat] = figure

    def fail(self, workload: str, peer: str, reason: str) -> None:
        self.failures[workload, peer] = reason

    def median(self, workload: str, peer: str, metric: str) -> float | None:
        taken = self._taken.get((workload, peer, metric))
        return statistics.median(taken.values()) if taken else None

    def ratio(self, ours: Key, theirs: Key) -> float | None:
        """The median of the ratios of each repeat: what disturbs one repeat disturbs both of its figures."""
        mine, other = self._taken.get(ours, {}), self._taken.get(theirs, {})
        ratios = [mine[repeat] / other[repeat] for repeat in mine.keys() & other.keys() if other[repeat]]
        return statistics.median(ratios) if ratios else None

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "workload": workload,
                "peer": peer,
                "metric": metric,
                "median": statistics.median(taken.values()),
                "figures": _listed(taken),
            }
            for (workload, peer, metric), taken in self._taken.items()
        ]


def _listed(taken: dict[int, float]) -> Sequence[float]:
    return [taken[repeat] for repeat in sorted(taken)]
