"""The spans around one run, and what stands in their place where nobody traces (PROTOCOL.md, OTEL-*).

    run support ┬ queue                    from the frame's arrival to the agent's turn
                ├ invoke_agent support     pydantic-ai's: chat, execute_tool
                │   └ execute_tool lookup
                │       └ tool_call lookup what the parent needs for its answer
                └ write                    from the agent's end to the terminal frame

`Telemetry` and `RunSpans` do nothing; `telemetry.py` has those that do. It knows opentelemetry's API only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Final, Literal, Self, TypeVar

from opentelemetry import context as contexts
from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, get_current_span, set_span_in_context

from axon_port.agents import tracing
from axon_port.agents.host import Broken, Call, Decision, Failed, Retry
from axon_port.agents.tracing import Instrumentation
from axon_port.wire import commands
from axon_port.wire.errors import WireError
from axon_port.wire.events import Frame
from axon_port.worker.chunk_flow import ChunkFlow
from axon_port.worker.exchanges import Exchange
from axon_port.worker.measured_flow import MeasuredFlow

Answer = TypeVar("Answer")

ERROR_TYPE: Final = "error.type"

_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Asked:
    """A call that waits for the parent. This one is not traced."""

    fields: Mapping[str, str] = _NO_FIELDS
    """What the frame says of the trace."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def sent(self) -> None:
        """The frame is on its way: from now on it is the parent that is waited for."""

    def answered(self, answer: Answer) -> Answer:
        """The parent's answer, given back."""
        return answer


class RunSpans:
    """One run, from its arrival to its terminal frame. This one is not traced, and joins the parent's trace only for
    spans that somebody else makes."""

    flow: ClassVar[type[ChunkFlow]] = ChunkFlow
    """What sends the chunks of such a run."""

    def enter(self, traceparent: str | None) -> bool:
        """Make what the current task does a part of the trace; False for a `traceparent` that is none."""
        return traceparent is None or tracing.join(traceparent)

    def executing(self, model: str) -> None:
        """The run has its turn."""

    def delivering(self) -> None:
        """The agent has ended: what is left is to be written."""

    def asking(self, kind: Literal["tool_call", "approval_request"], call: Call) -> Asked:
        """The parent is asked."""
        return _NOT_ASKED

    def retried(self) -> None:
        """The model is asked again."""

    def ended(self, frame: Frame, seconds: float, flow: ChunkFlow) -> None:
        """The terminal frame is about to leave, `seconds` after the command came."""


class Telemetry:
    """What observes a worker. This one does not."""

    instrumentation: Instrumentation | None = None
    """What pydantic-ai's own spans are made with."""

    def run(self, exchange: Exchange, command: commands.Run | commands.Stream) -> RunSpans:
        """The spans of a run that has just arrived."""
        return _NOT_TRACED

    def end(self, seconds: float) -> None:
        """Export what is left, in at most `seconds`. Blocking; at the end of the process."""


NO_TELEMETRY: Final = Telemetry()
_NOT_TRACED: Final = RunSpans()
_NOT_ASKED: Final = Asked()


class TracedRun(RunSpans):
    """One run as a trace of its own, or as a part of its parent's."""

    flow = MeasuredFlow

    def __init__(
        self,
        tracer: Tracer,
        durations: Histogram,
        exchange: Exchange,
        command: commands.Run | commands.Stream,
        *,
        content: bool,
    ) -> None:
        self._tracer = tracer
        self._durations = durations
        self._kind = command.type
        self._content = content
        found = None if command.traceparent is None else tracing.context_of(command.traceparent)
        self._well_formed = command.traceparent is None or found is not None
        now = time.time_ns()
        # A command that came before anybody knew that there would be traces has no time of its own.
        arrived = min(exchange.claimed_ns or now, now)
        self._root = tracer.start_span(
            f"{command.type} {command.agent_id}",
            found or contexts.Context(),
            SpanKind.SERVER,
            {"gen_ai.agent.name": command.agent_id, "axon_port.command.id": exchange.id},
            start_time=arrived,
        )
        self._context = set_span_in_context(self._root, found or contexts.Context())
        frame_wait = {"axon_port.frame_wait": round((now - arrived) / 1e9, 6)}
        self._queue = tracer.start_span("queue", self._context, attributes=frame_wait, start_time=arrived)
        self._write: Span | None = None

    def enter(self, traceparent: str | None) -> bool:
        # Never detached: what a task attaches ends with it.
        contexts.attach(self._context)
        return self._well_formed

    def executing(self, model: str) -> None:
        self._root.set_attribute("axon_port.model", model)
        self._queue.end()

    def delivering(self) -> None:
        self._write = self._tracer.start_span("write", self._context)

    def asking(self, kind: Literal["tool_call", "approval_request"], call: Call) -> Asked:
        return _TracedCall(self._tracer, kind, call)

    def retried(self) -> None:
        get_current_span().add_event("axon_port.model_retry")

    def ended(self, frame: Frame, seconds: float, flow: ChunkFlow) -> None:
        error_type = frame.get("error_type")
        outcome = {"axon_port.outcome": frame.get("status", "error")}
        if error_type is not None:
            outcome[ERROR_TYPE] = error_type
        self._durations.record(seconds, {**outcome, "axon_port.command": self._kind}, self._context)
        if self._queue.is_recording():
            self._queue.end()
        if self._write is not None:
            self._write.end()
        root = self._root
        if root.is_recording():
            root.set_attributes({**outcome, **_usage(frame)})
            if isinstance(flow, MeasuredFlow) and self._kind == "stream":
                root.set_attributes(flow.figures())
            if error_type is not None:
                root.set_status(Status(StatusCode.ERROR, frame["message"] if self._content else None))
        root.end()


class _TracedCall(Asked):
    """The parent at work on a call: a client's span, whose context goes out with a tool call."""

    def __init__(self, tracer: Tracer, kind: Literal["tool_call", "approval_request"], call: Call) -> None:
        attributes = {"gen_ai.tool.name": call.name, "axon_port.call_id": call.call_id}
        self._span = tracer.start_span(f"{kind} {call.name}", kind=SpanKind.CLIENT, attributes=attributes)
        spoken = tracing.traceparent_of(self._span) if kind == "tool_call" else None
        self.fields = _NO_FIELDS if spoken is None else {"traceparent": spoken}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            self._fail("timeout")
        elif isinstance(error, WireError):
            self._fail(error.error_type)
        elif error is not None:
            self._span.set_attribute("axon_port.answer", "none")
        self._span.end()

    def sent(self) -> None:
        self._span.add_event("axon_port.sent")

    def answered(self, answer: Answer) -> Answer:
        match answer:
            case Decision(approved):
                said = "approved" if approved else "denied"
            case Retry():
                said = "retry"
            case Failed():
                said = "failed"
            case Broken():
                said = "error"
                self._fail("ToolError")
            case _:
                said = "result"
        self._span.set_attribute("axon_port.answer", said)
        return answer

    def _fail(self, error_type: str) -> None:
        self._span.set_attribute(ERROR_TYPE, error_type)
        self._span.set_status(StatusCode.ERROR)


def _usage(frame: Frame) -> dict[str, Any]:
    """pydantic-ai's id of the run and what it cost. Not under the conventions' names: who adds those up over a trace
    would count the model's requests again."""
    usage: dict[str, Any] = frame.get("usage") or {}
    told = {f"axon_port.usage.{name}": value for name, value in usage.items() if isinstance(value, int)}
    return told if frame.get("run_id") is None else {"gen_ai.agent.call.id": frame["run_id"], **told}
