"""A parent of the floor: it sends, keeps what comes, and knows some agents."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from axon_port.worker.options import Options

from .floor import Floor

TOOL = {"name": "look", "parameters": {"type": "object"}}
CALL = {"text": "wait", "tool_calls": [{"name": "look"}, {"name": "look"}]}
DONE = {"chunks": ["do", "ne"]}
AGENTS: dict[str, dict[str, Any]] = {
    "talks": {"model": {"script": [DONE]}},
    "waits": {"model": {"script": [{"delay_ms": 86_400_000}]}},
    "looks": {"model": {"script": [CALL, DONE]}, "tools": [TOOL]},
    "asks": {"model": {"script": [CALL, DONE]}, "tools": [{**TOOL, "requires_approval": True}]},
    "fails": {"model": {"script": [{"error": {"status": 503}}]}},
}
ENDS = ("result", "error")
KINDS = pytest.mark.parametrize("kind", ["run", "stream"])


class Parent:
    """Sends and keeps what comes."""

    def __init__(self, options: Options | None = None) -> None:
        self.frames: list[dict[str, Any]] = []
        self.floor = Floor(options or Options(), self.frames.extend)
        for name, fields in AGENTS.items():
            self.send("create_agent", f"create {name}", agent_id=name, **fields)
        self.floor.until(lambda: len(self.frames) == len(AGENTS))
        assert all(frame["type"] == "result" for frame in self.frames)

    def send(self, kind: str, frame_id: Any, **fields: Any) -> None:
        self.floor.receive(json.dumps({"type": kind, "id": frame_id, **fields}).encode())

    def cancel(self, target: Any) -> bool:
        """Send a cancel; whether the target had no terminal frame right before."""
        running: list[bool] = []
        self.floor.receive(
            json.dumps({"type": "cancel", "id": "c", "target": target}).encode(),
            expecting=lambda: running.append(all(frame["type"] not in ENDS for frame in self.of(target))),
        )
        return running[0]

    def of(self, frame_id: Any) -> list[dict[str, Any]]:
        """The frames with this id."""
        return [frame for frame in self.frames if frame.get("id") == frame_id]

    def terminal(self, frame_id: Any) -> dict[str, Any]:
        """The terminal frame, which must come, and be the last."""
        self.floor.until(lambda: any(frame["type"] in ENDS for frame in self.of(frame_id)))
        self.floor.turns(20)
        last = self.of(frame_id)[-1]
        assert [frame["type"] in ENDS for frame in self.of(frame_id)].count(True) == 1
        assert last["type"] in ENDS
        return last

    def start(self, kind: str, agent: str, **fields: Any) -> None:
        self.send(kind, "r", agent_id=agent, prompt="go", **fields)


@contextmanager
def parent(options: Options | None = None) -> Generator[Parent]:
    someone = Parent(options)
    try:
        yield someone
    finally:
        someone.floor.close()
