"""The scripted model: answers without a network, the same every time (PROTOCOL.md, SCRIPT-*)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import anyio
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext
from pydantic_ai.usage import RequestUsage

from axon_port.agents.lines import NoAnswer
from axon_port.agents.output import StructuredOutput
from axon_port.wire import codec
from axon_port.wire.commands import Turn

NAME: Final = "script"

_BYTES_OF_A_TOKEN: Final = 4
"""Usage is counted as providers roughly do, so that limits can be tried."""

_OUTPUT_PIECES: Final = 8
"""A structured output is streamed in this many pieces."""


class ScriptedModel(Model[None]):
    """The turns of one run, taken in order: one for each request. Make a new one for each run."""

    def __init__(self, turns: Sequence[Turn], output: StructuredOutput | None) -> None:
        super().__init__(profile=ModelProfile(supports_json_schema_output=True, supports_json_object_output=True))
        self._turns = iter(turns)
        self._output = output

    @property
    def model_name(self) -> str:
        return NAME

    @property
    def system(self) -> str:
        return NAME

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        turn = await self._next_turn()
        parts = self._parts(turn, parameters)
        return ModelResponse(
            parts=parts,
            model_name=NAME,
            provider_name=NAME,
            finish_reason=_finish(turn),
            usage=RequestUsage(input_tokens=_tokens_of(messages), output_tokens=sum(map(_tokens, parts))),
        )

    async def count_tokens(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        return RequestUsage(input_tokens=_tokens_of(messages))

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        turn = await self._next_turn()
        stream = _ScriptedStream(parameters, turn, self._parts(turn, parameters))
        stream.count(RequestUsage(input_tokens=_tokens_of(messages)))
        yield stream

    async def _next_turn(self) -> Turn:
        turn = next(self._turns, None)
        if turn is None:
            raise NoAnswer("the script has no further turn for this request")
        if turn.delay_ms:
            await anyio.sleep(turn.delay_ms / 1000)
        if (error := turn.error) is not None:
            retry_after = None if error.retry_after_ms is None else error.retry_after_ms / 1000
            body = {"error": {"message": error.message}}
            raise ModelHTTPError(error.status, NAME, body, retry_after=retry_after)
        return turn

    def _parts(self, turn: Turn, parameters: ModelRequestParameters) -> list[ModelResponsePart]:
        parts: list[ModelResponsePart] = []
        if turn.thinking is not None:
            parts.append(ThinkingPart(turn.thinking))
        text = turn.text if turn.chunks is None else "".join(turn.chunks)
        if text is not None:
            parts.append(TextPart(text))
        parts.extend(ToolCallPart(call.name, _raw_args(call.args)) for call in turn.tool_calls)
        if turn.given("output"):
            parts.append(self._result(turn.output, parameters))
        return parts

    def _result(self, value: Any, parameters: ModelRequestParameters) -> ModelResponsePart:
        """The result in the way this run asks for it: the output tool's arguments, or JSON as text."""
        tool = parameters.output_tools[0] if parameters.output_tools else None
        if self._output is not None:
            value = self._output.wrapped(value)
        elif tool is not None and tool.outer_typed_dict_key is not None:
            value = {tool.outer_typed_dict_key: value}
        text = codec.encode(value).decode()
        return TextPart(text) if tool is None else ToolCallPart(tool.name, text)


@dataclass
class _ScriptedStream(StreamedResponse):
    turn: Turn
    scripted: list[ModelResponsePart]
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    def count(self, usage: RequestUsage) -> None:
        self._usage += usage

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        for place, part in enumerate(self.scripted):
            self.count(RequestUsage(output_tokens=_tokens(part)))
            async for event in self._events(place, part):
                yield event
        self.finish_reason = _finish(self.turn)

    async def _events(self, place: int, part: ModelResponsePart) -> AsyncIterator[ModelResponseStreamEvent]:
        manager = self._parts_manager
        for number, piece in enumerate(_pieces(part, self.turn)):
            if self.turn.chunk_delay_ms and (place, number) != (0, 0):
                await anyio.sleep(self.turn.chunk_delay_ms / 1000)
            match part:
                case TextPart():
                    for event in manager.handle_text_delta(vendor_part_id=place, content=piece):
                        yield event
                case ThinkingPart():
                    for event in manager.handle_thinking_delta(vendor_part_id=place, content=piece):
                        yield event
                case ToolCallPart():
                    call = manager.handle_tool_call_delta(
                        vendor_part_id=place,
                        tool_name=part.tool_name if number == 0 else None,
                        args=piece,
                        tool_call_id=part.tool_call_id,
                    )
                    if call is not None:
                        yield call
                case _:
                    continue

    async def close_stream(self) -> None:
        """Nothing to close: no connection stands behind a script."""

    @property
    def model_name(self) -> str:
        return NAME

    @property
    def provider_name(self) -> str:
        return NAME

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self.made


def _raw_args(args: Any) -> str | dict[str, Any]:
    return args if isinstance(args, str | dict) else codec.encode(args).decode()  # pyright: ignore[reportUnknownVariableType]


def _pieces(part: ModelResponsePart, turn: Turn) -> Sequence[str]:
    match part:
        case TextPart() if turn.chunks is not None and part.content == "".join(turn.chunks):
            return turn.chunks
        case TextPart() if not turn.given("output") or part.content == turn.text:
            return [part.content]
        case TextPart():
            return _cut(part.content)
        case ToolCallPart():
            return _cut(part.args if isinstance(part.args, str) else part.args_as_json_str())
        case ThinkingPart():
            return [part.content]
        case _:
            return []


def _cut(text: str) -> list[str]:
    length = max(1, -(-len(text) // _OUTPUT_PIECES))
    return [text[start : start + length] for start in range(0, len(text), length)] or [""]


def _finish(turn: Turn) -> Any:
    return "tool_call" if turn.tool_calls else "stop"


def _tokens(part: ModelResponsePart) -> int:
    content = part.args_as_json_str() if isinstance(part, ToolCallPart) else getattr(part, "content", "")
    return -(-len(str(content).encode(errors="replace")) // _BYTES_OF_A_TOKEN)


def _tokens_of(messages: Sequence[ModelMessage]) -> int:
    counted = 0
    for message in messages:
        for part in message.parts:
            content: Any = getattr(part, "content", None)
            text = content if isinstance(content, str) else "" if content is None else repr(content)
            length = len(text) if text.isascii() else len(text.encode(errors="replace"))
            counted += -(-length // _BYTES_OF_A_TOKEN)
    return counted
