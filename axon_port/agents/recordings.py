"""Answers of a provider, kept in a file, and given again without a network (PROTOCOL.md, RECORDING-*).

A recording is text, a JSON object in each line: the digest of a request, the answer, and the events of the answer with
the milliseconds at which they came, where it was streamed. It holds no prompt, no address and no key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.to_thread
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    ModelResponseStreamEvent,
    PartStartEvent,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse, infer_model_profile
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext

from axon_port.agents.allow import Allowed
from axon_port.agents.finish import is_finished
from axon_port.agents.lines import NoAnswer
from axon_port.wire.errors import WireError

NAME: Final = "replay"

# Built when the first recording is used: it would take a twentieth of the start.
_EVENT = TypeAdapter[ModelResponseStreamEvent](ModelResponseStreamEvent, config=ConfigDict(defer_build=True))

_VOLATILE: Final = frozenset(
    {
        *("timestamp", "run_id", "conversation_id", "provider_response_id", "history_digest", "metadata"),
        *("usage", "provider_url", "provider_details", "provider_name", "model_name", "failed_attempts", "id"),
    }
)
"""Of messages and their parts: what differs between two runs that say the same."""

_logger = logging.getLogger("axon_port.recordings")

Hide = Callable[[Any], Any]
"""Takes secrets out of JSON values."""


class Unreadable(ValueError):
    """A file that is no recording; the message names the line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a model, whole, and as it was streamed: milliseconds and events. No events, if it was not."""

    model: str
    response: ModelResponse
    events: tuple[tuple[float, ModelResponseStreamEvent], ...] = ()


class Recording:
    """The file that answers are added to. Shared by all runs of a worker that name it."""

    def __init__(self, path: Path, hide: Hide) -> None:
        self._path = path
        self._hide = hide
        self._lock = threading.Lock()
        self.ended = False
        """Whether the file could not be written. A gap would give later answers to earlier requests."""

    async def add(self, request: str, answer: Answer) -> None:
        """Append an answer. Where the file cannot be written the recording ends, and nothing else does."""
        await anyio.to_thread.run_sync(self._append, request, answer)

    def _append(self, request: str, answer: Answer) -> None:
        line = self._line(request, answer)
        with self._lock:
            if self.ended:
                return
            try:
                _append_whole(self._path, line)
            except OSError:
                self.ended = True
                _logger.exception("recording %s cannot be written: it ends here", self._path.name)

    def _line(self, request: str, answer: Answer) -> bytes:
        kept = replace(answer.response, provider_url=None, failed_attempts=None)
        (response,) = ModelMessagesTypeAdapter.dump_python([kept], mode="json")
        events = [[at, _EVENT.dump_python(event, mode="json")] for at, event in answer.events]
        fields = {"request": request, "model": answer.model, "response": response, "events": events}
        return json.dumps(self._hide(fields), separators=(",", ":")).encode() + b"\n"


class Answers:
    """What a recording holds, by request. Equal requests get their answers in turn, then the last one again."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Raises `Unreadable`."""
        self.model = ""
        self._answers: defaultdict[str, list[Answer]] = defaultdict(list)
        self._given: defaultdict[str, int] = defaultdict(int)
        for number, line in enumerate(lines, start=1):
            try:
                request, answer = _read(line)
            except (KeyError, TypeError, ValueError, ValidationError):
                raise Unreadable(f"line {number} is no answer of a recording") from None
            self.model = self.model or answer.model
            self._answers[request].append(answer)

    def next(self, request: str) -> Answer | None:
        answers = self._answers.get(request)
        if answers is None:
            return None
        turn = self._given[request]
        self._given[request] = turn + 1
        return answers[min(turn, len(answers) - 1)]


class Recordings:
    """The recordings of one worker. From any thread; opening and reading block."""

    def __init__(self, allowed: Allowed, hide: Hide) -> None:
        self._allowed = allowed
        self._hide = hide
        self._lock = threading.Lock()
        self._open: dict[Path, Recording] = {}

    def open(self, name: str) -> Recording:
        """The recording that answers are added to. Raises `WireError` `InvalidAgent`."""
        path = self._allowed.recording(name)
        with self._lock:
            if path not in self._open or self._open[path].ended:
                try:
                    _make_private(path)
                except OSError as error:
                    raise WireError("InvalidAgent", f"recording {name!r} cannot be written: {error.strerror}") from None
                self._open[path] = Recording(path, self._hide)
            return self._open[path]

    def read(self, name: str) -> Answers:
        """The answers of a recording. Raises `WireError` `InvalidAgent`."""
        try:
            return Answers(self._allowed.recording(name).read_text("utf-8").splitlines())
        except OSError as error:
            raise WireError("InvalidAgent", f"recording {name!r} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise WireError("InvalidAgent", f"recording {name!r} cannot be read: {error}") from None


class RecordingModel(WrapperModel):
    """Passes everything on and keeps the answers that the provider finished."""

    def __init__(self, wrapped: Model, recording: Recording) -> None:
        super().__init__(wrapped)
        self._recording = recording

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        response = await self.wrapped.request(messages, model_settings, model_request_parameters)
        await self._keep(digest(messages, model_settings, model_request_parameters), response, ())
        return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        began = time.monotonic()
        async with self.wrapped.request_stream(
            messages, model_settings, model_request_parameters, run_context
        ) as stream:
            overheard = _Overheard(stream, began)
            yield cast("StreamedResponse", overheard)
        request = digest(messages, model_settings, model_request_parameters)
        await self._keep(request, stream.get(), tuple(overheard.events))

    async def _keep(
        self, request: str, response: ModelResponse, events: tuple[tuple[float, ModelResponseStreamEvent], ...]
    ) -> None:
        if is_finished(self.wrapped, response):
            await self._recording.add(request, Answer(self.wrapped.model_id, response, events))


class _Overheard:
    """A stream whose events are noted as they pass; in everything else it is that stream."""

    def __init__(self, stream: StreamedResponse, began: float) -> None:
        self._stream = stream
        self._began = began
        self.events: list[tuple[float, ModelResponseStreamEvent]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aiter__(self) -> AsyncIterator[ModelResponseStreamEvent]:
        async for event in self._stream:
            self.events.append((round((time.monotonic() - self._began) * 1000, 3), event))
            yield event


class ReplayedModel(Model[None]):
    """Answers from a recording, streamed as it came."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(profile=infer_model_profile(answers.model))
        self._answers = answers

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
        return self._answer(messages, model_settings, model_request_parameters).response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        answer = self._answer(messages, model_settings, model_request_parameters)
        yield _ReplayedStream(model_request_parameters, answer)

    def _answer(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> Answer:
        answer = self._answers.next(digest(messages, settings, parameters))
        if answer is None:
            raise NoAnswer("the recording has no answer to this request: record it again")
        return answer


@dataclass
class _ReplayedStream(StreamedResponse):
    answer: Answer
    began: float = field(default_factory=time.monotonic)

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        for at, event in self.answer.events or self._whole():
            await anyio.sleep(max(0.0, self.began + at / 1000 - time.monotonic()))
            yield event

    def _whole(self) -> Iterator[tuple[float, ModelResponseStreamEvent]]:
        return ((0.0, PartStartEvent(index=index, part=part)) for index, part in enumerate(self.answer.response.parts))

    def __aiter__(self) -> AsyncIterator[ModelResponseStreamEvent]:
        # Not the base class's: the ends of parts and the final result are among the events already.
        return self._get_event_iterator()

    def get(self) -> ModelResponse:
        return self.answer.response

    @property
    def model_name(self) -> str:
        return self.answer.response.model_name or NAME

    @property
    def provider_name(self) -> str | None:
        return self.answer.response.provider_name

    @property
    def provider_url(self) -> str | None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self.answer.response.timestamp


def digest(messages: Sequence[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters) -> str:
    """What a request asks, in 64 hexadecimal digits: messages, tools, output and settings, without times and ids."""
    asked = {
        "messages": list(map(_still, ModelMessagesTypeAdapter.dump_python(list(messages), mode="json"))),
        "tools": [_tool(tool) for tool in (*parameters.function_tools, *parameters.output_tools)],
        "output": parameters.output_mode,
        "settings": {name: str(value) for name, value in (settings or {}).items() if name != "timeout"},
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _make_private(path: Path) -> None:
    """A file of that name that only its user can read, an older one included. Raises `OSError`."""
    fd = _open_private(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def _open_private(path: Path | str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _append_whole(path: Path, line: bytes) -> None:
    """Raises `OSError`, and leaves no half line behind, which would make the whole file unreadable."""
    # Somebody may have removed it meanwhile; what is made anew is as private.
    with open(path, "ab", buffering=0, opener=_open_private) as file:
        end = file.tell()
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def _tool(tool: Any) -> list[Any]:
    return [tool.name, tool.description, tool.parameters_json_schema]


def _still(message: dict[str, Any]) -> dict[str, Any]:
    # Not what lies deeper: an `id` among the arguments of a call is what the model said.
    parts: list[dict[str, Any]] = message["parts"]
    return {**_kept(message), "parts": [_kept(part) for part in parts]}


def _kept(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _VOLATILE}


def _read(line: str) -> tuple[str, Answer]:
    fields: Mapping[str, Any] = json.loads(line)
    (response,) = ModelMessagesTypeAdapter.validate_python([fields["response"]])
    if not isinstance(response, ModelResponse):
        raise TypeError
    events = tuple((float(at), _EVENT.validate_python(event)) for at, event in fields["events"])
    return str(fields["request"]), Answer(str(fields["model"]), response, events)
