"""The figures as tables in Markdown, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from tests.bench.peers import Peer
from tests.bench.session import Session
from tests.bench.targets import OURS, TARGETS
from tests.bench.workloads import Workload
from tests.bench.workloads.base import ROUNDS
from tests.bench.workloads.growth import TIMES, Growth

PACKAGES: Final = ("pydantic-ai", "pydantic", "anyio", "orjson", "uvloop", "fastapi", "uvicorn", "grpcio", "mcp")


def markdown(session: Session, workloads: Sequence[Workload], growths: Sequence[Growth], peers: Sequence[Peer]) -> str:
    parts = [
        f"Medians of {session.repeats * ROUNDS} measurements, fewer where one takes long; "
        "in brackets by axon-port's figure.",
        figures_table(session, workloads, peers),
        targets_table(session),
        growth_table(session, growths),
        "\n".join(f"- {work}, {peer}: {why}" for (work, peer), why in session.results.failures.items()),
    ]
    return "\n\n".join(part for part in parts if part)


def figures_table(session: Session, workloads: Sequence[Workload], peers: Sequence[Peer]) -> str:
    results = session.results
    rows: list[list[str]] = []
    for workload in workloads:
        for metric in workload.metrics:
            ours = results.median(workload.name, OURS, metric.name)
            figures = [results.median(workload.name, peer.name, metric.name) for peer in peers]
            if all(figure is None for figure in figures):
                continue
            title = f"{workload.title}: {metric.of}, {metric.unit}"
            rows.append([title, *(_cell(figure, ours, peer) for figure, peer in zip(figures, peers, strict=True))])
    return _table(["workload", *(peer.title for peer in peers)], rows) if rows else ""


def targets_table(session: Session) -> str:
    rows: list[list[str]] = []
    for target in TARGETS:
        figure = target.figure(session.results)
        if figure is not None:
            reached = "yes" if target.reached(figure) else "**no**"
            rows.append([f"{target.workload}, {target.metric}", target.text, short(figure), reached])
    return _table(["target", "wanted", "figure", "reached"], rows) if rows else ""


def growth_table(session: Session, growths: Sequence[Growth]) -> str:
    rows: list[list[str]] = []
    for growth in growths:
        for metric in growth.metrics:
            for (name, peer), figures in session.grown.items():
                if name == growth.name:
                    title = f"{growth.title}: {metric.of}, {metric.unit}"
                    steps = f"{growth.steps[0]:,} to {growth.steps[-1]:,}"
                    rows.append([title, peer, steps, *_costs([figure[metric.name] for figure in figures])])
    heading = ["work", "peer", "how much", *(f"{times:,}×" for times in TIMES), "the last 10×"]
    return _table(heading, rows) if rows else ""


def as_json(session: Session, growths: Sequence[Growth]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "repeats": session.repeats,
        "figures": session.results.as_json(),
        "failures": [
            {"workload": work, "peer": peer, "reason": why} for (work, peer), why in session.results.failures.items()
        ],
        "targets": [
            {
                "workload": target.workload,
                "metric": target.metric,
                "wanted": target.text,
                "figure": figure,
                "reached": target.reached(figure),
            }
            for target in TARGETS
            if (figure := target.figure(session.results)) is not None
        ],
        "growth": [
            {"name": growth.name, "peer": peer, "steps": list(growth.steps), "figures": [dict(one) for one in figures]}
            for growth in growths
            for (name, peer), figures in session.grown.items()
            if name == growth.name
        ],
    }


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _costs(costs: Sequence[float]) -> list[str]:
    last = f"×{short(costs[-1] / costs[-2])}" if costs[-2] > 0 else ""
    return [*(short(cost) for cost in costs), *[""] * (len(TIMES) - len(costs)), last]


def short(figure: float) -> str:
    """Three digits."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def _cell(figure: float | None, ours: float | None, peer: Peer) -> str:
    if figure is None:
        return ""
    return short(figure) if peer.name == OURS or not ours else f"{short(figure)} (×{short(figure / ours)})"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
