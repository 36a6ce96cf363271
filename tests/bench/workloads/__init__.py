"""What is measured."""

from __future__ import annotations

from tests.bench.workloads.base import Figures, Metric, Workload
from tests.bench.workloads.memory import memory
from tests.bench.workloads.pings import pings
from tests.bench.workloads.runs import runs
from tests.bench.workloads.start import starts


def workloads(*, quick: bool) -> list[Workload]:
    """In the order of the report."""
    return [*pings(quick=quick), *runs(quick=quick), *starts(), *memory(quick=quick)]


__all__ = ["Figures", "Metric", "Workload", "workloads"]
