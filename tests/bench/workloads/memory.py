"""Memory: at rest, for each agent, for each run that waits on a tool."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.clocks import resident_bytes
from tests.bench.peers.axon import Axon
from tests.bench.peers.base import Peer
from tests.bench.peers.in_process import InProcess
from tests.bench.task import Holding, Task
from tests.bench.workloads.base import Figures, Metric, Workload


@dataclass(frozen=True, slots=True)
class AtRest:
    """Everything is imported and nothing has been run. In process it is `import pydantic_ai`."""

    name: str = "rest"
    title: str = "memory at rest"
    metrics: tuple[Metric, ...] = (Metric("rss", "MB", "resident"),)
    fresh: bool = True
    rounds: int = 1

    def fits(self, peer: Peer) -> bool:
        return "run" in peer.ops and peer.name != "beam"

    def measure(self, peer: Peer) -> Figures:
        if isinstance(peer, InProcess):
            peer.start_plain()
        else:
            peer.start()
            peer.measure(Task("ping"))
            if isinstance(peer, Axon):
                # An agent is there when all is imported.
                peer.connection.prepare("run", 0)
        return {"rss": resident_bytes(peer.pid) / 1e6}


@dataclass(frozen=True, slots=True)
class Held:
    """So many agents, or runs that wait on a tool, in a process that has run before."""

    what: Holding
    count: int
    fresh: bool = True
    rounds: int = 1
    metrics: tuple[Metric, ...] = (Metric("each", "KB", "each"), Metric("rss", "MB", "resident"))

    @property
    def name(self) -> str:
        return f"{self.what}-{self.count}"

    @property
    def title(self) -> str:
        return f"memory of {self.count:,} {'agents' if self.what == 'agents' else 'runs waiting on a tool'}"

    def fits(self, peer: Peer) -> bool:
        return isinstance(peer, Axon | InProcess)

    def measure(self, peer: Peer) -> Figures:
        peer.start()
        peer.measure(Task("tool", 10, size=1))
        before = resident_bytes(peer.pid)
        peer.hold(self.what, self.count)
        after = resident_bytes(peer.pid)
        return {"each": (after - before) / self.count / 1e3, "rss": after / 1e6}


def memory(*, quick: bool) -> list[Workload]:
    counts = (100, 1_000) if quick else (1_000, 10_000)
    return [AtRest(), *(Held(what, count) for what in ("agents", "runs") for count in counts)]
