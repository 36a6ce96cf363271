"""Small records, written by hand: a line for each frame."""

from __future__ import annotations

from typing import Any

from axon_port.wire.record import Entry

AGENT: dict[str, Any] = {"type": "create_agent", "id": "a", "agent_id": "guide", "model": {"script": []}}
RUN: dict[str, Any] = {"type": "run", "id": 1, "agent_id": "guide", "prompt": "go"}
CALL: dict[str, Any] = {
    "type": "tool_call",
    "id": 1,
    "call_id": "7",
    "agent_id": "guide",
    "name": "weather",
    "args": {"city": "Riga"},
}
ANSWER: dict[str, Any] = {"type": "tool_result", "id": 1, "call_id": "7", "result": 8}
RESULT: dict[str, Any] = {"type": "result", "id": 1, "result": "a coat", "run_id": "x", "status": "complete"}


def into(at: int, frame: dict[str, Any]) -> Entry:
    return Entry(at, "in", frame)


def out(at: int, frame: dict[str, Any]) -> Entry:
    return Entry(at, "out", frame)


def a_run_with_a_call() -> list[Entry]:
    """An agent is created, and its run asks once."""
    return [
        out(0, {"type": "ready", "protocol": 1}),
        into(1000, AGENT),
        into(2000, RUN),
        out(3000, {"type": "result", "id": "a", "result": {}}),
        out(5000, CALL),
        into(9000, ANSWER),
        out(10_000, RESULT),
        out(11_000, {"type": "goodbye", "reason": "eof"}),
    ]
