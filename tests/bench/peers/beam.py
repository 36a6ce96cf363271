"""The BEAM as a parent: Elixir drives axon-port through a port, and measures by itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from typing import Any, ClassVar

from tests.bench import scenes
from tests.bench.clocks import cpu_seconds
from tests.bench.peers.axon import TOOL, WORKER
from tests.bench.peers.base import PROGRAMS
from tests.bench.peers.in_process import SelfDriven
from tests.bench.task import Op, PeerFailed, Sample, Task


class Beam(SelfDriven):
    name: ClassVar[str] = "beam"
    title: ClassVar[str] = "axon-port from Elixir"
    ops: ClassVar[frozenset[Op]] = frozenset({"ping", "run", "stream", "tool", "answer"})

    def missing(self) -> str | None:
        return None if shutil.which("elixir") else "there is no Elixir"

    def start(self) -> None:
        process = self.spawn(["elixir", PROGRAMS / "beam.exs", *WORKER])
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise PeerFailed("Elixir did not start: erlang-jiffy may be missing")
        self._worker: int = json.loads(line)["worker"]
        self._made: set[str] = set()

    @property
    def pid(self) -> int:
        return self._worker

    def measure(self, task: Task) -> Sample:
        setup, command = self._commands(task)
        more: dict[str, Any] = {"setup": setup, "command": command, "tool_result": scenes.TOOL_RESULT}
        then = cpu_seconds(self._worker)
        seen = self._ask({**asdict(task), **more})
        return Sample.from_json({**seen, "cpu": cpu_seconds(self._worker) - then})

    def _commands(self, task: Task) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        if task.op == "ping":
            return [], {"type": "ping"}
        agent = f"{task.op}-{task.size}"
        setup: list[dict[str, Any]] = []
        if agent not in self._made:
            self._made.add(agent)
            create = {"type": "create_agent", "id": f"create {agent}", "agent_id": agent}
            tools = [TOOL] if task.op == "tool" else []
            setup.append({**create, "model": {"script": scenes.turns(task.op, task.size)}, "tools": tools})
        kind = "stream" if task.op == "stream" else "run"
        return setup, {"type": kind, "agent_id": agent, "prompt": scenes.PROMPT, "messages": "none"}
