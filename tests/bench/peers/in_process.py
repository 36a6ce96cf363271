"""Peers that drive themselves: a task goes in as a line of JSON, what was seen comes back as another."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, ClassVar

from tests.bench.peers.base import AGENT_OPS, Peer
from tests.bench.task import Holding, Op, PeerFailed, Sample, Task


class SelfDriven(Peer):
    def measure(self, task: Task) -> Sample:
        return Sample.from_json(self._ask({"do": "measure", **asdict(task)}))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        line = process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} has ended with status {process.wait()}")
        return json.loads(line)


class InProcess(SelfDriven):
    """The limit for agents."""

    name: ClassVar[str] = "in-process"
    title: ClassVar[str] = "pydantic-ai in process"
    ops: ClassVar[frozenset[Op]] = AGENT_OPS

    def start(self) -> None:
        self.spawn_python("in_process.py")

    def start_plain(self) -> None:
        """Instead of `start`: an application that has imported pydantic-ai and nothing else."""
        process = self.spawn_python("plain.py")
        assert process.stdout is not None
        if process.stdout.readline() != b"imported\n":
            raise PeerFailed("pydantic-ai could not be imported")

    def run_plain(self) -> None:
        """Have that application make one run."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"run\n")
        if not self.process.stdout.readline():
            raise PeerFailed("the run failed")

    def hold(self, what: Holding, count: int) -> None:
        self._ask({"do": "hold", "what": what, "count": count})
