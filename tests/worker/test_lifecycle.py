"""The end of a worker: whatever was read is answered, done or not."""

from __future__ import annotations

import json
from typing import Any

from axon_port.worker.exchanges import Exchange
from axon_port.worker.lifecycle import Lifecycle
from axon_port.worker.options import Options

from .floor import parts_at
from .rig import Desk, run_async


def lifecycle_of(desk: Desk) -> Lifecycle:
    """The lifecycle of a worker of which nothing else is there."""
    return Lifecycle(parts_at(desk, Options()))


def test_a_command_that_was_read_and_not_taken_before_the_end_is_answered() -> None:
    """clause: LIFE-GOODBYE, ENV-ONE-TERMINAL"""
    desk = Desk()
    commands: list[dict[str, Any]] = [
        {"type": "stats", "id": 1},
        {"type": "run", "id": 2, "agent_id": "nobody", "prompt": "go"},
        {"type": "create_agent", "id": 3, "agent_id": "a", "model": {"script": []}},
    ]

    async def main() -> None:
        lifecycle = lifecycle_of(desk)
        desk.raw(*(json.dumps(command).encode() for command in commands))
        await lifecycle.finish()

    run_async(main)
    answers = {frame["id"]: frame.get("error_type") for frame in desk.outbox.frames}
    assert answers == {1: None, 2: "AgentNotFound", 3: "ShuttingDown"}
    assert list(desk.exchanges) == []


def test_a_shutdown_is_left_to_the_process_to_answer() -> None:
    """It is the last to be answered. clause: LIFE-SHUTDOWN"""
    desk = Desk()
    claimed: list[Exchange | None] = []

    async def main() -> None:
        lifecycle = lifecycle_of(desk)
        claimed.extend(desk.exchanges.claim(number, "shutdown") for number in (1, 2))
        lifecycle.shutdowns.append(next(exchange for exchange in claimed if exchange is not None))
        await lifecycle.finish()

    run_async(main)
    assert [(frame["id"], frame["error_type"]) for frame in desk.outbox.frames] == [(2, "ShuttingDown")]
    assert list(desk.exchanges) == [claimed[0]]
