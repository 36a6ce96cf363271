"""The line to a model, for one run: taps a stream, watches for silence, tries again, and refuses half answers.

A `Line` wraps the model that pydantic-ai was given, so that a whole run goes through a plain `agent.run`: a request
is answered by consuming the model's stream here and handing each delta on, which costs a twentieth of pydantic-ai's
own event stream. Whatever a provider does wrong inside a request becomes one of pydantic-ai's API errors here and
nowhere else (PROTOCOL.md, MODEL-*).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar, cast

import anyio
import anyio.lowlevel
from pydantic_ai.exceptions import (
    ContentFilterError,
    FallbackExceptionGroup,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequestAttempt,
    ModelResponse,
    ModelResponseStreamEvent,
    PartStartEvent,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings, merge_model_settings
from pydantic_ai.usage import RequestUsage

from axon_port.agents.attachments import attachment_failure
from axon_port.agents.failures import remember_attempts
from axon_port.agents.finish import is_finished, times_bytes
from axon_port.agents.received import counts_make_sense, readable
from axon_port.wire.commands import RetryPolicy
from axon_port.wire.errors import WireError, invalid_command, retryable_status

T = TypeVar("T")

TURN_EVERY: Final = 64
"""Deltas after which others get a turn of the event loop; a model that never waits would hold it."""

CLOSE_SECONDS: Final = 1.0
"""How long a stream that is given up may take to close its connection."""

_ONCE: Final = RetryPolicy(attempts=1)

_TELLING: Final = (
    ModelHTTPError,
    ModelConnectionError,
    ModelRequestTimeout,
    ModelRequestRejectedError,
    ModelQuotaExceededError,
)
"""API errors that say which they are; the rest is an answer that broke off or made no sense."""


class NoAnswer(UnexpectedModelBehavior):
    """A script ran out of turns, a recording has none. It is the model that has no answer, not a line that broke."""


class Tap(Protocol):
    """Who hears a model's stream."""

    @property
    def streaming(self) -> bool:
        """Whether requests are made as streams."""
        ...

    @property
    def sent(self) -> bool:
        """Whether anything of the answer under way has gone out: then it cannot be asked for again."""
        ...

    @property
    def held_until(self) -> float:
        """Until when, by the loop's clock, the parent wanted to hear nothing: a model was not silent then."""
        ...

    def begin_answer(self, parameters: ModelRequestParameters) -> None: ...

    def take_back(self) -> None:
        """The answer under way has failed: unless something of it has gone out, nothing of it ever will."""
        ...

    def hear(self, event: ModelResponseStreamEvent) -> None: ...

    def retried(self) -> None: ...

    def refine(self, parameters: ModelRequestParameters) -> ModelRequestParameters:
        """The request with the schemas as the parent wrote them."""
        ...


class Line(WrapperModel):
    """One model as one run sees it. Make a new one for each run; the model behind it is shared."""

    def __init__(self, wrapped: Model, tap: Tap, *, idle_timeout: float | None, retry: RetryPolicy | None) -> None:
        super().__init__(wrapped)
        self._tap = tap
        self._idle = idle_timeout
        self._retry = retry or _ONCE
        self._by_bytes = times_bytes(wrapped)
        self.failed: list[ModelRequestAttempt] = []

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        parameters = self._tap.refine(model_request_parameters)
        settings = self._timed(model_settings)
        response = await self._attempted(lambda: self._answer(messages, settings, parameters), parameters)
        return _with_attempts(response, list(self.failed))

    async def _attempted(self, attempt: Callable[[], Awaitable[T]], parameters: ModelRequestParameters) -> T:
        """What comes of the first attempt that does not fail. Raises the last failure, as pydantic-ai names it."""
        failed = self.failed
        failed.clear()
        failures: list[Exception] = []
        while True:
            self._tap.begin_answer(parameters)
            started, clock = datetime.now(UTC), time.monotonic()
            try:
                return await attempt()
            except Exception as error:
                failure = self._understood(error, parameters)
                failed.append(self._record(failure, started, time.monotonic() - clock))
                # Before anything is decided: what waits could go out during the wait for the next attempt.
                self._tap.take_back()
                if len(failed) >= self._retry.attempts or self._tap.sent or not _may_pass(failure):
                    remember_attempts(failure, failures)
                    if failure is error:
                        raise
                    raise failure from error
                failures.append(failure)
                self._tap.retried()
                await anyio.sleep(self._wait(len(failed), failure))

    @asynccontextmanager
    async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamedResponse]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Used where an agent written in Python streams by itself: no tap, no second attempt."""
        async with self.wrapped.request_stream(*args, **kwargs) as stream:
            yield stream

    async def count_tokens(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        """For `count_tokens_before_request`: a request like any other, with its attempts and its clock.

        Raises `WireError` `InvalidCommand` where the provider counts nothing.
        """
        parameters = self._tap.refine(model_request_parameters)
        settings = self._timed(model_settings)

        async def count() -> RequestUsage:
            try:
                async with asyncio.timeout(self._clock):
                    return await self.wrapped.count_tokens(messages, settings, parameters)
            except NotImplementedError:
                message = f"{self.model_name} cannot count tokens before a request: leave the field out"
                raise invalid_command(("usage_limits", "count_tokens_before_request"), message) from None

        return await self._attempted(count, parameters)

    @property
    def _clock(self) -> float | None:
        """Seconds of silence that end an attempt, where the provider's client does not time them itself."""
        return None if self._by_bytes else self._idle

    async def _answer(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> ModelResponse:
        if self._tap.streaming and _can_stream(self.wrapped):
            response = await self._listened(messages, settings, parameters)
        else:
            async with asyncio.timeout(self._clock):
                response = await self.wrapped.request(messages, settings, parameters)
            if self._tap.streaming:
                for index, part in enumerate(response.parts):
                    self._tap.hear(PartStartEvent(index=index, part=part))
        return self._finished(response)

    async def _listened(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> ModelResponse:
        async with (
            _listening(self._clock, self._tap) as heard_something,
            self.wrapped.request_stream(messages, settings, parameters) as stream,
            _closing(stream),
        ):
            heard = 0
            async for event in stream:
                self._tap.hear(event)
                heard += 1
                if heard % TURN_EVERY == 0:
                    await anyio.lowlevel.checkpoint()
                heard_something()
        return stream.get()

    def _timed(self, settings: ModelSettings | None) -> ModelSettings | None:
        if self._idle is None or not self._by_bytes:
            return settings
        given = cast("dict[str, Any]", settings or {}).get("timeout")
        shorter = min(self._idle, given) if isinstance(given, int | float) else self._idle
        return merge_model_settings(settings, ModelSettings(timeout=shorter))

    def _finished(self, response: ModelResponse) -> ModelResponse:
        if not is_finished(self.wrapped, response):
            raise ModelConnectionError(self.model_name, "the answer ended without the provider's finish", phase="read")
        if not counts_make_sense(response.usage):
            raise ModelConnectionError(self.model_name, "the answer counts more tokens than there are", phase="read")
        return readable(response)

    def _understood(self, error: Exception, parameters: ModelRequestParameters) -> Exception:
        if (failure := attachment_failure(error, self.model_name)) is not None:
            return failure
        if isinstance(error, ContentFilterError | UserError | NoAnswer | FallbackExceptionGroup | WireError):
            return error
        if isinstance(error, ModelAPIError):
            return error if isinstance(error, _TELLING) else _unreadable(error)
        if isinstance(error, NotImplementedError):
            # A part of the prompt that this provider's interface has no form for.
            return UserError(f"{self.model_name}: {error}")
        if isinstance(error, TimeoutError):
            limit = 0 if self._idle is None else round(self._idle * 1000)
            return ModelTimeoutError(self.model_name, f"{self.model_name} was silent for {limit} ms")
        if (reason := self._untold(parameters)) is not None:
            return UserError(f"{self.model_name} cannot be told a schema of this agent: {reason}")
        message = f"the answer of {self.model_name} could not be read: {type(error).__name__}"
        return ModelConnectionError(self.model_name, message, phase="read")

    def _untold(self, parameters: ModelRequestParameters) -> Exception | None:
        """Why the schemas have no form in the provider's dialect: its client finds out before it asks."""
        try:
            self.wrapped.prepare_request(None, parameters)
        except Exception as error:  # noqa: BLE001  each client has its own word for it
            return error
        return None

    def _record(self, failure: Exception, started: datetime, seconds: float) -> ModelRequestAttempt:
        return ModelRequestAttempt(
            model_name=self.model_name,
            provider_name=self.system,
            outcome="error",
            error=f"{type(failure).__name__}: {failure}",
            timestamp=started,
            duration=timedelta(seconds=seconds),
        )

    def _wait(self, attempt: int, failure: Exception) -> float:
        asked = failure.retry_after if isinstance(failure, ModelAPIError) else None
        if asked is not None:
            return asked
        ceiling = min(self._retry.max_ms, self._retry.base_ms * 2 ** min(attempt - 1, 32))
        return ceiling * random.uniform(0.5, 1.0) / 1000  # noqa: S311  jitter is no secret


def chain(lines: list[Line], tap: Tap) -> Model:
    """A list of models, each tried when the one before it has failed; never after something has gone out."""
    if len(lines) == 1:
        return lines[0]

    def moves_on(error: Exception) -> bool:
        return isinstance(error, ModelAPIError) and not tap.sent

    return _Chain(lines[0], *lines[1:], fallback_on=moves_on)


class _Chain(FallbackModel):
    """Tells every attempt at each model; FallbackModel itself counts one for each."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        lines = [model for model in self.models if isinstance(model, Line)]
        for line in lines:
            line.failed.clear()
        response = await super().request(messages, model_settings, model_request_parameters)
        tried = [attempt for line in lines for attempt in line.failed]
        return replace(response, failed_attempts=tried or None)

    async def count_tokens(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        """As the first model counts that can be reached: they are asked in that order."""
        failures: list[Exception] = []
        for model in self.models:
            try:
                return await model.count_tokens(messages, model_settings, model_request_parameters)
            except ModelAPIError as failure:
                failures.append(failure)
        raise FallbackExceptionGroup("no model of the list could count the tokens", failures)


@asynccontextmanager
async def _listening(seconds: float | None, tap: Tap) -> AsyncGenerator[Callable[[], None]]:
    """For `async with`: what it gives is to be called whenever something is heard.

    Raises `TimeoutError` where it was not for `seconds`. The clock stands while the parent gives no credit.
    """
    if seconds is None:
        yield lambda: None
        return
    loop = asyncio.get_running_loop()
    last = loop.time()

    def heard() -> None:
        nonlocal last
        last = loop.time()

    def look() -> None:
        nonlocal timer
        if (remaining := max(last, tap.held_until) + seconds - loop.time()) > 0:
            timer = loop.call_later(remaining, look)
        else:
            limit.reschedule(loop.time())

    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(seconds, look)
        try:
            yield heard
        finally:
            timer.cancel()


@asynccontextmanager
async def _closing(stream: StreamedResponse) -> AsyncGenerator[None]:
    # A stream that is given up holds its connection until it is collected, unless it is closed.
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_SECONDS):
            await stream.cancel()
        raise


def _unreadable(error: ModelAPIError) -> ModelConnectionError:
    return ModelConnectionError(
        error.model_name,
        str(error),
        phase="read",
        body=error.body,
        retry_after=error.retry_after,
        in_stream=error.in_stream,
    )


def _can_stream(model: Model) -> bool:
    """Whether a model answers in pieces; an agent written in Python may have one that does not."""
    # A FunctionModel without a function for it. Its module is not imported here: few need it, every start would pay.
    if getattr(model, "stream_function", model) is None:
        return False
    return type(model).request_stream is not Model.request_stream


def _may_pass(failure: Exception) -> bool:
    if isinstance(failure, ModelHTTPError):
        return retryable_status(failure.status_code)
    return isinstance(failure, ModelConnectionError | ModelRequestTimeout)


def _with_attempts(response: ModelResponse, failed: list[ModelRequestAttempt]) -> ModelResponse:
    return replace(response, failed_attempts=[*failed, *(response.failed_attempts or [])]) if failed else response
