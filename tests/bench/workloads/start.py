"""Start: from the spawn to the first pong and to the first result."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from tests.bench.clocks import cpu_seconds
from tests.bench.peers.base import Peer
from tests.bench.peers.in_process import InProcess
from tests.bench.task import Task
from tests.bench.workloads.base import ROUNDS, Figures, Metric, Workload

_METRICS: Final = (
    Metric("pong", "ms", "first pong"),
    Metric("result", "ms", "first result"),
    Metric("cpu", "ms", "CPU until then"),
)


@dataclass(frozen=True, slots=True)
class Start:
    """In process it is the import of pydantic-ai and one run."""

    name: str = "start"
    title: str = "spawn"
    metrics: tuple[Metric, ...] = _METRICS
    fresh: bool = True
    rounds: int = ROUNDS

    def fits(self, peer: Peer) -> bool:
        return "run" in peer.ops and peer.name != "beam"

    def measure(self, peer: Peer) -> Figures:
        then = time.perf_counter()
        if isinstance(peer, InProcess):
            peer.start_plain()
            peer.run_plain()
            return {"result": _since(then), "cpu": cpu_seconds(peer.pid) * 1e3}
        peer.start()
        peer.measure(Task("ping"))
        pong = _since(then)
        peer.measure(Task("run"))
        return {"pong": pong, "result": _since(then), "cpu": cpu_seconds(peer.pid) * 1e3}


def starts() -> list[Workload]:
    return [Start()]


def _since(then: float) -> float:
    return (time.perf_counter() - then) * 1e3
