"""The chunks of one run on their way into the outbox, and what is taken back before."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from axon_port.wire import commands
from axon_port.worker import measured_flow
from axon_port.worker.chunk_flow import ChunkFlow
from axon_port.worker.measured_flow import MeasuredFlow
from axon_port.worker.outbox import HIGH_BYTES

from .rig import Desk, run_async


def flow_of(
    desk: Desk, kind: type[ChunkFlow] = ChunkFlow, *, credit: int | None = None, max_frame_bytes: int = 2**20
) -> ChunkFlow:
    """The flow of a stream with id 1."""
    exchange = desk.exchanges.claim(1, "stream")
    assert exchange is not None
    fields = {} if credit is None else {"credit": credit}
    command = commands.parse_command({"type": "stream", "id": 1, "agent_id": "a", "prompt": "go", **fields})
    assert isinstance(command, commands.Stream)
    return kind(exchange, command, desk.outbox, max_frame_bytes)


def sent(desk: Desk) -> list[tuple[int, Any]]:
    return [(frame["seq"], frame["data"]) for frame in desk.outbox.frames]


@pytest.mark.parametrize("waits_for", ["credit", "room"])
def test_an_answer_that_waits_is_not_sent_and_can_be_taken_back(waits_for: str) -> None:
    """clause: MODEL-RETRY, STREAM-CREDIT, OUT-MARKS"""

    async def main() -> None:
        desk = Desk()
        flow = flow_of(desk, credit=0 if waits_for == "credit" else None)
        if waits_for == "room":
            desk.outbox.stall(HIGH_BYTES + 1)
        flow.begin_answer()
        flow.add("text", 1, "half")
        assert not flow.answer_sent
        flow.take_back()
        flow.begin_answer()
        flow.add("text", 1, "whole")
        flow.grant(1)
        desk.outbox.drain()
        await flow.drained()
        assert flow.answer_sent
        assert sent(desk) == [(0, "whole")]

    run_async(main)


def test_an_answer_that_is_in_the_outbox_stays_there() -> None:
    """clause: MODEL-RETRY"""

    async def main() -> None:
        desk = Desk()
        flow = flow_of(desk)
        flow.begin_answer()
        flow.add("text", 1, "half")
        assert flow.answer_sent
        flow.take_back()
        assert sent(desk) == [(0, "half")]

    run_async(main)


def test_a_text_kept_for_a_key_leaves_when_the_next_answer_begins() -> None:
    """clause: SEC-KEYS"""
    desk = Desk()
    desk.redactor.learn("sk-secret-0123456789")
    flow = flow_of(desk)
    flow.begin_answer()
    flow.add("text", 1, "tasks")
    assert sent(desk) == [(0, "task")]
    flow.begin_answer()
    assert sent(desk) == [(0, "task"), (1, "s")]


def test_what_is_taken_back_is_not_counted_as_held_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """clause: OTEL-WRITE"""
    seconds = count()
    monkeypatch.setattr(measured_flow.time, "monotonic", lambda: next(seconds))
    desk = Desk()
    flow = flow_of(desk, MeasuredFlow, credit=0)
    assert isinstance(flow, MeasuredFlow)
    flow.begin_answer()
    flow.add("text", 1, "half")
    flow.take_back()
    next(seconds)
    assert flow.figures()["axon_port.credit_wait"] == 1
    assert flow.chunks == 0


@pytest.mark.parametrize("max_frame_bytes", range(512, 560))
def test_what_stands_for_a_short_key_makes_no_chunk_too_long(max_frame_bytes: int) -> None:
    """clause: FRAME-OUT, STREAM-OMITTED, SEC-KEYS"""
    desk = Desk()
    desk.redactor.learn("12345678")
    flow = flow_of(desk, max_frame_bytes=max_frame_bytes)
    flow.add("tool_call", 1, {"name": "look", "call_id": "c", "args": {"a": "12345678" * 50}})
    (payload,) = desk.outbox.payloads
    assert len(payload) <= max_frame_bytes
    assert b"12345678" not in payload
