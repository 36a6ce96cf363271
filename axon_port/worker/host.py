"""The worker as the host of one run (`axon_port.agents.host.Host`): its calls, its chunks, its counters."""

from __future__ import annotations

from typing import Any

from axon_port.agents.host import Answer, ArgumentsCheck, Call, ChunkKind, Decision, Happened
from axon_port.wire import commands
from axon_port.worker.exchanges import Exchange
from axon_port.worker.open_calls import OpenCalls
from axon_port.worker.services import RunServices
from axon_port.worker.spans import RunSpans


class RunHost:
    """Everything that a run sends before its terminal frame goes through here."""

    def __init__(
        self, exchange: Exchange, command: commands.Run | commands.Stream, services: RunServices, spans: RunSpans
    ) -> None:
        self._agent_id = command.agent_id
        self._services = services
        self._spans = spans
        self.calls = OpenCalls(exchange, command.agent_id, services, spans)
        self.chunks = spans.flow(exchange, command, services.outbox, services.max_frame_bytes)

    def new_call_id(self) -> str:
        return self.calls.new_call_id()

    async def call_parent(self, call: Call) -> Answer:
        return await self.calls.tool(call)

    async def ask_approval(self, call: Call, *, faults: ArgumentsCheck) -> Decision:
        self.chunks.close_text()
        return await self.calls.approval(call, faults)

    def wants(self, kind: ChunkKind) -> bool:
        return kind in self.chunks.events

    def chunk(self, kind: ChunkKind, step: int, data: Any) -> None:
        self.chunks.add(kind, step, data)

    def begin_answer(self) -> None:
        self.chunks.begin_answer()

    def answer_sent(self) -> bool:
        return self.chunks.answer_sent

    def held_until(self) -> float:
        return self.chunks.held_until

    def take_back(self) -> None:
        self.chunks.take_back()

    def note(self, event: Happened) -> None:
        stats = self._services.stats
        match event.what:
            case "tool_called":
                self.chunks.close_text()
                stats.tools["calls"] += 1
                stats.agent(self._agent_id).tools += 1
            case "tool_answered":
                stats.tool_durations.add(event.seconds * 1000)
            case "tool_failed" | "tool_timed_out":
                stats.tools[event.what.removeprefix("tool_")] += 1
                stats.tool_durations.add(event.seconds * 1000)
            case "tool_abandoned":
                stats.tools["abandoned"] += 1
            case "model_retry":
                stats.retries["model"] += 1
                self._spans.retried()
