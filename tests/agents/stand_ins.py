"""Stand-ins around an agent: a model that does as it is told, and a host that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponseStreamEvent, TextPart
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext

from axon_port.agents.host import Answer, ArgumentsCheck, Call, ChunkKind, Decision, Happened, Returned

SECONDS: Final = 20.0
"""The longest that anything in these tests is waited for."""

T = TypeVar("T")

Act = str | Exception | Callable[[], Awaitable[None]]
"""A piece of text, an error, or something that is awaited."""


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a test's coroutine on a loop of its own, with a deadline."""

    async def within() -> T:
        async with asyncio.timeout(SECONDS):
            return await main()

    return asyncio.run(within())


async def silence() -> None:
    """Never ends by itself."""
    await asyncio.Event().wait()


class ToldModel(Model[None]):
    """Each request takes the next list of acts: what a streamed answer is made of, or fails with."""

    def __init__(self, *answers: Sequence[Act], name: str = "told") -> None:
        super().__init__()
        self._answers = iter(answers)
        self._name = name
        self.requests = 0
        self.closed = 0
        self.state: Any = "complete"

    @property
    def model_name(self) -> str:
        return self._name

    @property
    def system(self) -> str:
        return "told"

    def _next(self) -> Sequence[Act]:
        self.requests += 1
        return next(self._answers)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        text = ""
        for act in self._next():
            text += await performed(act)
        return ModelResponse(parts=[TextPart(text)], model_name=self._name, state=self.state)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        yield ToldStream(model_request_parameters, self, self._next())


@dataclass
class ToldStream(StreamedResponse):
    """An answer that comes act by act."""

    told: ToldModel
    acts: Sequence[Act]
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        for act in self.acts:
            text = await performed(act)
            for event in self._parts_manager.handle_text_delta(vendor_part_id=0, content=text):
                yield event

    async def close_stream(self) -> None:
        self.told.closed += 1

    @property
    def model_name(self) -> str:
        return self.told.model_name

    @property
    def provider_name(self) -> str:
        return "told"

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self.made


async def performed(act: Act) -> str:
    """The text of an act, or its error."""
    if isinstance(act, str):
        return act
    if isinstance(act, Exception):
        raise act
    await act()
    return ""


class Desk:
    """A host that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.asked: list[Call] = []
        self.happened: list[str] = []
        self.answer: Callable[[Call], Awaitable[Answer] | Answer] = lambda _call: Returned("fine")
        self.decision: Callable[[Call, ArgumentsCheck], Decision] = lambda _call, _faults: Decision(True)
        self._last = 0

    def new_call_id(self) -> str:
        self._last += 1
        return str(self._last)

    async def call_parent(self, call: Call) -> Answer:
        self.calls.append(call)
        answer = self.answer(call)
        return await answer if isinstance(answer, Awaitable) else answer

    async def ask_approval(self, call: Call, *, faults: ArgumentsCheck) -> Decision:
        self.asked.append(call)
        return self.decision(call, faults)

    def chunk(self, kind: ChunkKind, step: int, data: Any) -> None:
        raise AssertionError("no chunk was asked for")

    def wants(self, kind: ChunkKind) -> bool:
        return False

    def begin_answer(self) -> None:
        """Nothing of an answer is heard here."""

    def held_until(self) -> float:
        return 0.0

    def answer_sent(self) -> bool:
        return False

    def take_back(self) -> None:
        """Nothing waits."""

    def note(self, event: Happened) -> None:
        assert event.seconds >= 0
        self.happened.append(event.what)
