"""Runs the workloads: each peer in turn, and all of it again, so that what disturbs the machine disturbs everybody."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.peers import Peer
from tests.bench.results import Results
from tests.bench.task import PeerFailed, Task
from tests.bench.workloads import Figures, Workload
from tests.bench.workloads.growth import Growth


@dataclass(slots=True)
class Session:
    """Peers are started when they are first needed; leave the block and they are stopped."""

    peers: Sequence[Peer]
    repeats: int
    results: Results = field(default_factory=Results)
    grown: dict[tuple[str, str], list[Figures]] = field(default_factory=dict[tuple[str, str], list[Figures]])
    """The costs of each step, by growth and peer."""
    _running: dict[str, Peer] = field(default_factory=dict[str, Peer])
    _began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._running.values():
            peer.stop()
        self._running.clear()

    def measure(self, workload: Workload) -> None:
        fitting = [peer for peer in self.peers if workload.fits(peer)]
        for repeat in range(self.repeats * workload.rounds):
            # There and back: what a peer leaves behind falls on each of its neighbours.
            for peer in fitting if repeat % 2 == 0 else reversed(fitting):
                if (workload.name, peer.name) not in self.results.failures:
                    self._take(workload, peer, repeat)

    def grow(self, growth: Growth) -> None:
        for peer in self.peers:
            if not growth.fits(peer):
                continue
            self._say(f"growth of {growth.name}: {peer.name}")
            if growth.fresh:
                self._stopped(peer)
            try:
                self.grown[growth.name, peer.name] = growth.measure(self._started(peer))
            except PeerFailed as failure:
                self._failed(f"growth-{growth.name}", peer, failure)
            if growth.fresh:
                self._stopped(peer)

    def _take(self, workload: Workload, peer: Peer, repeat: int) -> None:
        self._say(f"{workload.name}: {peer.name} ({repeat + 1} of {self.repeats * workload.rounds})")
        # What the driver collects it collects before the clock runs.
        gc.collect()
        try:
            self.results.add(workload.name, peer.name, repeat, self._figures(workload, peer))
        except PeerFailed as failure:
            self._failed(workload.name, peer, failure)

    def _figures(self, workload: Workload, peer: Peer) -> Figures:
        if not workload.fresh:
            return workload.measure(self._started(peer))
        self._stopped(peer)
        try:
            return workload.measure(peer)
        finally:
            peer.stop()

    def _started(self, peer: Peer) -> Peer:
        if peer.name not in self._running:
            peer.start()
            self._running[peer.name] = peer
            warm_up(peer)
        return peer

    def _stopped(self, peer: Peer) -> None:
        if self._running.pop(peer.name, None) is not None:
            peer.stop()

    def _failed(self, what: str, peer: Peer, failure: PeerFailed) -> None:
        self._say(f"{what}: {peer.name} failed: {failure}")
        self.results.fail(what, peer.name, str(failure))
        self._stopped(peer)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", file=sys.stderr, flush=True)


def warm_up(peer: Peer) -> None:
    """Everything is imported and has been called once."""
    if "ping" in peer.ops:
        peer.measure(Task("ping", 100))
    if "run" in peer.ops:
        peer.measure(Task("run", 20, 4))
        peer.measure(Task("tool", 4, 2, size=1))
