"""What a run hears of its model, and what of it the parent hears (PROTOCOL.md, STREAM-*).

A tap in the model's line costs a fraction of iterating pydantic-ai's event stream for each delta.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_ai.messages import (
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import ModelRequestParameters

from axon_port.agents.host import Happened, Host
from axon_port.agents.output import PartialOutput, StructuredOutput
from axon_port.wire import codec


class RunTap:
    """Hears a model's stream for one run and tells the host what it wants to know."""

    def __init__(self, host: Host, output: StructuredOutput | None, *, streaming: bool) -> None:
        self._host = host
        self._output = output
        self._streaming = streaming
        self._step = 0
        self._structured_text = False
        self._output_tools: frozenset[str] = frozenset()
        self._partials: dict[int, PartialOutput] = {}

    def expect(self, output: StructuredOutput) -> None:
        """What this run ends with is another output than its agent's."""
        self._output = output

    @property
    def streaming(self) -> bool:
        return self._streaming

    @property
    def sent(self) -> bool:
        return self._host.answer_sent()

    @property
    def held_until(self) -> float:
        return self._host.held_until()

    def begin_step(self) -> None:
        self._step += 1

    def begin_answer(self, parameters: ModelRequestParameters) -> None:
        self._host.begin_answer()
        self._structured_text = parameters.output_mode in {"native", "prompted"}
        self._output_tools = frozenset(tool.name for tool in parameters.output_tools)
        self._partials = {}

    def take_back(self) -> None:
        self._host.take_back()

    def refine(self, parameters: ModelRequestParameters) -> ModelRequestParameters:
        return parameters if self._output is None else self._output.refine(parameters)

    def retried(self) -> None:
        self._host.note(Happened("model_retry"))

    def tell(self, kind: Any, data: Any) -> None:
        if self._host.wants(kind):
            # Calls that a run carries on with come before its first request.
            self._host.chunk(kind, self._step or 1, data)

    def hear(self, event: ModelResponseStreamEvent) -> None:
        if isinstance(event, PartDeltaEvent):
            delta = event.delta
            if isinstance(delta, TextPartDelta):
                self._text(event.index, delta.content_delta)
            elif isinstance(delta, ThinkingPartDelta):
                if delta.content_delta:
                    self.tell("thinking", delta.content_delta)
            elif isinstance(delta, ToolCallPartDelta):
                self._output_delta(event.index, delta.args_delta)
        elif isinstance(event, PartStartEvent):
            part = event.part
            if isinstance(part, TextPart):
                self._text(event.index, part.content)
            elif isinstance(part, ThinkingPart):
                if part.content:
                    self.tell("thinking", part.content)
            elif isinstance(part, ToolCallPart) and part.tool_name in self._output_tools and not self._partials:
                # Of several the first is the result; what the others say would look like more of it.
                self._partials[event.index] = self._new_partial()
                self._output_delta(event.index, part.args)

    def _text(self, index: int, text: str) -> None:
        if not text:
            return
        if not self._structured_text:
            self.tell("text", text)
            return
        if index not in self._partials:
            self._partials[index] = self._new_partial()
        self._output_delta(index, text)

    def _output_delta(self, index: int, piece: str | Mapping[str, Any] | None) -> None:
        partial = self._partials.get(index)
        if partial is None or not piece:
            return
        partial.add(piece if isinstance(piece, str) else codec.encode(piece).decode())
        self.tell("output", partial)

    def _new_partial(self) -> PartialOutput:
        return PartialOutput(None if self._output is None else self._output.wrap_key)
