"""The line to a model: the tap, silence, second attempts, half answers, and the next model of a list."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pydantic_ai.exceptions import (
    ContentFilterError,
    FallbackExceptionGroup,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelHTTPError,
    ModelRateLimitError,
    ModelRequestTimeout,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from axon_port.agents import lines
from axon_port.agents.failures import wire_error
from axon_port.agents.lines import Line, NoAnswer, chain
from axon_port.wire.commands import RetryPolicy

from .stand_ins import Act, ToldModel, run_async, silence

BOTH = pytest.mark.parametrize("streaming", [True, False])
BUSY = ModelHTTPError(503, "told")
THRICE = RetryPolicy(attempts=3, base_ms=0)


class Ear:
    """A tap that remembers."""

    def __init__(self, *, streaming: bool = True) -> None:
        self.streaming = streaming
        self.sent = False
        self.held_until = 0.0
        self.tells = True
        self.answers = 0
        self.retries = 0
        self.heard: list[str] = []
        self.waits: list[str] = []

    def begin_answer(self, parameters: ModelRequestParameters) -> None:
        self.answers += 1
        self.sent = False

    def hear(self, event: ModelResponseStreamEvent) -> None:
        if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
            self._hear(event.part.content)
        elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
            self._hear(event.delta.content_delta)
        self.sent = self.tells

    def _hear(self, text: str) -> None:
        self.heard.append(text)
        self.waits.append(text)

    def take_back(self) -> None:
        if not self.sent:
            self.waits.clear()

    def retried(self) -> None:
        self.retries += 1

    def refine(self, parameters: ModelRequestParameters) -> ModelRequestParameters:
        return parameters


def line(model: Any, tap: Ear, *, idle: float | None = None, retry: RetryPolicy | None = None) -> Line:
    return Line(model, tap, idle_timeout=idle, retry=retry)


async def asked(model: Any, settings: ModelSettings | None = None) -> ModelResponse:
    return await model.request([], settings, ModelRequestParameters())


def answer(model: ToldModel, tap: Ear, **how: Any) -> ModelResponse:
    return run_async(lambda: asked(line(model, tap, **how)))


def failure(model: ToldModel, tap: Ear, **how: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        answer(model, tap, **how)
    return caught.value


def patient(main: Callable[[], Coroutine[Any, Any, ModelResponse]]) -> ModelResponse:
    """Run on a loop whose clock a test may put forward, so without a deadline."""
    return asyncio.run(main())


def text(response: ModelResponse) -> str:
    return "".join(part.content for part in response.parts if isinstance(part, TextPart))


def test_a_stream_is_heard_delta_by_delta_and_ends_as_a_whole_answer() -> None:
    tap = Ear()
    response = answer(ToldModel(["Hel", "lo", "!"]), tap)
    assert tap.heard == ["Hel", "lo", "!"]
    assert text(response) == "Hello!"
    assert tap.answers == 1


def test_a_model_that_cannot_stream_is_heard_when_it_has_answered() -> None:
    """clause: STREAM-LOOP"""
    tap = Ear()
    whole = FunctionModel(lambda _messages, _info: ModelResponse(parts=[TextPart("Hello!")]))
    response = run_async(lambda: asked(line(whole, tap)))
    assert (text(response), tap.heard) == ("Hello!", ["Hello!"])


def test_a_stream_that_somebody_else_opens_is_the_models_own() -> None:
    """An agent written in Python may stream by itself: then nobody taps it."""
    tap = Ear()

    async def main() -> ModelResponse:
        async with line(ToldModel(["Hel", "lo!"]), tap).request_stream([], None, ModelRequestParameters()) as stream:
            async for _ in stream:
                pass
            return stream.get()

    assert text(run_async(main)) == "Hello!"
    assert tap.heard == []


def test_a_plain_request_is_not_heard() -> None:
    tap = Ear(streaming=False)
    assert text(answer(ToldModel(["Hel", "lo!"]), tap)) == "Hello!"
    assert tap.heard == []


def test_others_get_a_turn_during_a_stream_that_never_waits() -> None:
    tap = Ear()
    turns: list[int] = []

    async def main() -> None:
        async def other() -> None:
            while True:
                turns.append(len(tap.heard))
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await asked(line(ToldModel(["x"] * (lines.TURN_EVERY * 10)), tap))
        task.cancel()

    run_async(main)
    assert len(set(turns)) >= 10


FAILURES: list[Exception] = [
    *(
        ModelHTTPError(status, "told")
        for status in (400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 504, 529)
    ),
    ModelAPIError("told", "an error event in a stream"),
    ModelConnectionError("told", "refused", phase="connect"),
    ModelTimeoutError("told", "slow"),
    ModelRequestTimeout("told", 5),
    ModelRateLimitError("told", "slow down"),
    ModelAuthenticationError("told", "no"),
    ModelHTTPError.for_category(ModelRateLimitError, status_code=429, model_name="told"),
    ContentFilterError("filtered"),
    UserError("wrong settings"),
    NoAnswer("no more turns"),
    UnexpectedModelBehavior("an answer that is none"),
    RuntimeError("inside a client"),
    ValueError("not JSON"),
    TimeoutError("slow"),
]


@BOTH
@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_request_is_made_again_exactly_where_a_parent_would_be_told_to_try_again(
    error: Exception, streaming: bool
) -> None:
    """clause: MODEL-RETRY"""
    tap, model = Ear(streaming=streaming), ToldModel([error], ["fine"])
    told_once = failure(ToldModel([error]), Ear(streaming=streaming))
    seen = wire_error(told_once)
    assert seen is not None
    if seen.retryable:
        assert text(answer(model, tap, retry=THRICE)) == "fine"
        assert (model.requests, tap.retries, tap.answers) == (2, 1, 2)
    else:
        assert failure(model, tap, retry=THRICE)
        assert (model.requests, tap.retries) == (1, 0)


MEANINGS: list[tuple[Exception, str]] = [
    (ModelHTTPError(418, "told"), "ModelHTTPError"),
    (ModelConnectionError("told", "refused"), "ModelConnectionError"),
    (ModelAPIError("told", "broke off"), "ModelConnectionError"),
    (RuntimeError("inside a client"), "ModelConnectionError"),
    (UnexpectedModelBehavior("not what was promised"), "ModelConnectionError"),
    (TimeoutError(), "ModelTimeout"),
    (ModelTimeoutError("told", "slow"), "ModelTimeout"),
    (ModelRequestTimeout("told", 5), "ModelTimeout"),
    (NoAnswer("no more turns"), "UnexpectedModelBehavior"),
    (ContentFilterError("filtered"), "ContentFilter"),
    (UserError("wrong"), "InvalidAgent"),
]


@BOTH
@pytest.mark.parametrize(("error", "error_type"), MEANINGS, ids=repr)
def test_whatever_goes_wrong_in_a_request_has_one_meaning(error: Exception, error_type: str, streaming: bool) -> None:
    seen = wire_error(failure(ToldModel([error]), Ear(streaming=streaming)))
    assert seen is not None
    assert seen.error_type == error_type


def test_an_error_of_a_client_says_its_kind_and_nothing_of_its_text() -> None:
    error = failure(ToldModel([RuntimeError("sk-secret")]), Ear())
    assert str(error) == "the answer of told could not be read: RuntimeError"
    assert isinstance(error.__cause__, RuntimeError)


@BOTH
def test_once_is_the_default(streaming: bool) -> None:
    model = ToldModel([BUSY], ["fine"])
    assert failure(model, Ear(streaming=streaming)) is BUSY
    assert model.requests == 1


@BOTH
def test_attempts_are_counted_in_all(streaming: bool) -> None:
    """clause: MODEL-RETRY"""
    tap, model = Ear(streaming=streaming), ToldModel([BUSY], [BUSY], [BUSY], ["never"])
    assert failure(model, tap, retry=THRICE) is BUSY
    assert (model.requests, tap.retries) == (3, 2)


def test_the_attempts_that_failed_stand_in_the_answer() -> None:
    response = answer(ToldModel([BUSY], [ModelConnectionError("told", "refused")], ["fine"]), Ear(), retry=THRICE)
    attempts = response.failed_attempts or []
    assert [attempt.outcome for attempt in attempts] == ["error", "error"]
    assert [attempt.model_name for attempt in attempts] == ["told", "told"]
    assert [(attempt.error or "").partition(":")[0] for attempt in attempts] == [
        "ModelHTTPError",
        "ModelConnectionError",
    ]


def test_an_answer_of_which_something_went_out_is_not_asked_for_again() -> None:
    """clause: MODEL-RETRY"""
    tap, model = Ear(), ToldModel(["half", BUSY], ["never"])
    assert failure(model, tap, retry=THRICE) is BUSY
    assert (model.requests, tap.retries, tap.heard) == (1, 0, ["half"])


def test_an_answer_that_nobody_was_told_of_is_asked_for_again() -> None:
    tap, model = Ear(), ToldModel(["half", BUSY], ["whole"])
    tap.tells = False
    assert text(answer(model, tap, retry=THRICE)) == "whole"
    assert tap.retries == 1


def test_an_answer_is_taken_back_before_the_wait_for_the_next() -> None:
    """Credit that comes during the wait must not send it. clause: MODEL-RETRY"""
    tap, model = Ear(), ToldModel(["half", BUSY], ["whole"])
    tap.tells = False
    during: list[list[str]] = []

    def retried() -> None:
        during.append(list(tap.waits))

    tap.retried = retried
    answer(model, tap, retry=THRICE)
    assert (during, tap.waits) == ([[]], ["whole"])


def test_an_answer_is_taken_back_before_the_next_model_is_asked() -> None:
    """clause: MODEL-LIST"""
    tap = Ear()
    tap.tells = False
    assert text(chained(tap, ToldModel(["half", BUSY], name="first"), told("whole", name="second"))) == "whole"
    assert tap.waits == ["whole"]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, in milliseconds; nobody waits."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(round(seconds * 1000, 3))

    monkeypatch.setattr(lines.anyio, "sleep", sleep)
    return waited


@pytest.mark.parametrize(("share", "expected"), [(0.0, [50, 100, 200, 250, 250]), (1.0, [100, 200, 400, 500, 500])])
def test_waits_grow_up_to_a_bound_and_are_jittered(
    share: float, expected: list[float], waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """clause: MODEL-RETRY-WAIT"""

    def uniform(least: float, most: float) -> float:
        return least + share * (most - least)

    monkeypatch.setattr(lines.random, "uniform", uniform)
    model = ToldModel(*([BUSY] for _ in range(6)))
    failure(model, Ear(), retry=RetryPolicy(attempts=6, base_ms=100, max_ms=500))
    assert waits == expected


def test_a_wait_is_at_least_half_of_what_it_may_be(waits: list[float]) -> None:
    failure(ToldModel(*([BUSY] for _ in range(60))), Ear(), retry=RetryPolicy(attempts=60, base_ms=100, max_ms=100))
    assert all(50 <= wait <= 100 for wait in waits)
    assert len(set(waits)) > 10


def test_the_providers_word_on_when_to_come_back_wins(waits: list[float]) -> None:
    """clause: MODEL-RETRY-WAIT"""
    asked_for = [7.5, 0.0, 120.0]
    model = ToldModel(*([ModelHTTPError(429, "told", retry_after=seconds)] for seconds in asked_for), ["fine"])
    answer(model, Ear(), retry=RetryPolicy(attempts=9, base_ms=1, max_ms=100))
    assert waits == [7500, 0, 120_000]


def test_a_policy_of_any_size_waits_no_longer_than_its_bound(waits: list[float]) -> None:
    most = 2**63 - 1
    failure(ToldModel(*([BUSY] for _ in range(100))), Ear(), retry=RetryPolicy(attempts=100, base_ms=most, max_ms=most))
    assert len(waits) == 99
    assert max(waits) <= most


@BOTH
def test_a_model_that_says_nothing_is_given_up(streaming: bool) -> None:
    """clause: MODEL-IDLE"""
    error = failure(ToldModel([silence]), Ear(streaming=streaming), idle=0.05)
    assert isinstance(error, ModelTimeoutError)
    assert str(error) == "told was silent for 50 ms"


def test_a_model_that_falls_silent_is_given_up_and_its_stream_closed() -> None:
    """clause: MODEL-IDLE"""
    tap, model = Ear(), ToldModel(["half", silence])
    error = failure(model, tap, idle=0.05)
    assert isinstance(error, ModelTimeoutError)
    assert tap.heard == ["half"]
    assert model.closed == 1


@pytest.mark.parametrize(
    ("pause", "held", "ends"), [(0.9, 0.0, True), (1.1, 0.0, False), (9, 8.1, True), (9, 7.9, False)]
)
def test_each_delta_begins_the_silence_anew_and_so_does_credit_that_comes(
    pause: float, held: float, ends: bool
) -> None:
    """Of each pause the parent wanted to hear nothing for so long. clause: MODEL-IDLE"""
    idle, tap = 1000.0, Ear()

    async def main() -> ModelResponse:
        loop = asyncio.get_running_loop()
        real, passed = loop.time, 0.0

        async def passes() -> None:
            nonlocal passed
            tap.held_until = loop.time() + held * idle
            passed += pause * idle
            # Whatever is due by now is done before the next delta.
            for _ in range(3):
                await asyncio.sleep(0)

        loop.time = lambda: real() + passed  # pyright: ignore[reportAttributeAccessIssue]
        return await asked(line(ToldModel(["a", passes, "b", passes, "c", passes, "d"]), tap, idle=idle))

    if ends:
        assert text(patient(main)) == "abcd"
    else:
        with pytest.raises(ModelTimeoutError):
            patient(main)


@BOTH
def test_a_silent_model_is_asked_again(streaming: bool) -> None:
    model = ToldModel([silence], ["fine"])
    assert text(answer(model, Ear(streaming=streaming), idle=0.05, retry=THRICE)) == "fine"


def test_a_run_that_is_cancelled_closes_the_stream_it_listened_to() -> None:
    reached = asyncio.Event()

    async def falls_silent() -> None:
        reached.set()
        await silence()

    model = ToldModel(["half", falls_silent])

    async def main() -> None:
        task = asyncio.create_task(asked(line(model, Ear())))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(main)
    assert model.closed == 1


@pytest.mark.parametrize("state", ["incomplete", "interrupted"])
def test_half_an_answer_is_no_answer(state: str) -> None:
    """clause: MODEL-FINISH"""
    model = ToldModel(["half"])
    model.state = state
    error = failure(model, Ear(streaming=False))
    assert isinstance(error, ModelConnectionError)
    assert str(error) == "the answer ended without the provider's finish"


class Recorded(OpenAIChatModel):
    """A provider's model that answers without its provider."""

    def __init__(self, *, finish: str | None) -> None:
        super().__init__("m", provider=OpenAIProvider(base_url="http://127.0.0.1:1", api_key="k"))
        self.seen: list[Any] = []
        self.finish = finish

    async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
        self.seen.append(model_settings)
        return ModelResponse(
            parts=[TextPart("x")], finish_reason="stop", provider_details={"finish_reason": self.finish}
        )


@pytest.mark.parametrize(
    ("given", "timeout"), [(None, 2.0), ({"timeout": 9}, 2.0), ({"timeout": 1.5}, 1.5), ({"temperature": 0}, 2.0)]
)
def test_a_client_that_times_each_byte_is_told_the_shorter_time(given: Any, timeout: float) -> None:
    model = Recorded(finish="stop")
    run_async(lambda: asked(line(model, Ear(streaming=False), idle=2.0), given))
    assert model.seen[0]["timeout"] == timeout
    assert {**model.seen[0], "timeout": None} == {**(given or {}), "timeout": None}


def test_a_client_is_told_nothing_where_nothing_was_asked_for() -> None:
    model = Recorded(finish="stop")
    run_async(lambda: asked(line(model, Ear(streaming=False)), None))
    assert model.seen == [None]


@pytest.mark.parametrize(
    ("finish", "finished"),
    [
        ("stop", True),
        ("length", True),
        (None, False),
        ("in_progress", False),
        ("queued", False),
        ("cancelled", False),
        ("failed", False),
    ],
)
def test_a_providers_answer_counts_only_where_the_provider_finished_it(finish: str | None, finished: bool) -> None:
    """clause: MODEL-FINISH"""
    model = Recorded(finish=finish)
    tap = Ear(streaming=False)
    if finished:
        assert text(run_async(lambda: asked(line(model, tap)))) == "x"
        return
    with pytest.raises(ModelConnectionError, match="without the provider's finish"):
        run_async(lambda: asked(line(model, tap)))


def test_the_request_goes_out_with_the_schemas_of_the_parent() -> None:
    refined = ModelRequestParameters(function_tools=[ToolDefinition(name="refined")])
    seen: list[ModelRequestParameters] = []

    class Refining(Ear):
        def refine(self, parameters: ModelRequestParameters) -> ModelRequestParameters:
            return refined

        def begin_answer(self, parameters: ModelRequestParameters) -> None:
            seen.append(parameters)

    answer(ToldModel(["x"]), Refining())
    assert seen == [refined]


def chained(tap: Ear, *models: ToldModel, **how: Any) -> ModelResponse:
    return run_async(lambda: asked(chain([line(model, tap, **how) for model in models], tap)))


def test_one_model_is_no_chain() -> None:
    tap = Ear()
    only = line(ToldModel(), tap)
    assert chain([only], tap) is only


def told(*acts: Act, name: str) -> ToldModel:
    return ToldModel(*([act] for act in acts), name=name)


@BOTH
@pytest.mark.parametrize(
    "error", [ModelHTTPError(401, "a"), BUSY, ModelConnectionError("a", "refused"), RuntimeError("x")], ids=repr
)
def test_a_model_that_fails_hands_over_to_the_next(error: Exception, streaming: bool) -> None:
    """clause: MODEL-LIST"""
    first, second = told(error, name="first"), told("fine", name="second")
    assert text(chained(Ear(streaming=streaming), first, second)) == "fine"
    assert (first.requests, second.requests) == (1, 1)


def test_each_model_of_a_list_has_its_own_attempts() -> None:
    """clause: MODEL-LIST"""
    first, second = told(BUSY, BUSY, BUSY, name="first"), told(BUSY, "fine", name="second")
    assert text(chained(Ear(), first, second, retry=THRICE)) == "fine"
    assert (first.requests, second.requests) == (3, 2)


def test_no_model_follows_one_that_was_heard() -> None:
    """clause: MODEL-LIST"""
    tap = Ear()
    first, second = ToldModel(["half", BUSY], name="first"), told("never", name="second")
    with pytest.raises(ModelHTTPError):
        chained(tap, first, second)
    assert second.requests == 0


@pytest.mark.parametrize("error", [ContentFilterError("filtered"), NoAnswer("over"), UserError("wrong")], ids=repr)
def test_only_a_line_that_fails_hands_over(error: Exception) -> None:
    first, second = told(error, name="first"), told("never", name="second")
    with pytest.raises(type(error)):
        chained(Ear(), first, second)
    assert second.requests == 0


def test_when_all_have_failed_each_of_them_is_told() -> None:
    """clause: MODEL-ATTEMPTS"""
    with pytest.raises(FallbackExceptionGroup) as caught:
        chained(Ear(), told(BUSY, name="first"), told(ModelConnectionError("second", "refused"), name="second"))
    seen = wire_error(caught.value)
    assert seen is not None
    assert (seen.error_type, seen.retryable) == ("ModelConnectionError", True)
    assert [attempt["error_type"] for attempt in seen.details["attempts"]] == ["ModelHTTPError", "ModelConnectionError"]


# --- counting tokens before a request


class Counter(ToldModel):
    """Counts as it is told: a text of so many characters is as many tokens."""

    async def count_tokens(self, *args: Any, **kwargs: Any) -> RequestUsage:
        return RequestUsage(input_tokens=len(text(await self.request(*args, **kwargs))))


def counted(model: Model) -> int:
    return run_async(lambda: model.count_tokens([], None, ModelRequestParameters())).input_tokens


def test_counting_is_tried_again_like_any_request() -> None:
    """clause: RUN-LIMITS, MODEL-RETRY"""
    tap, model = Ear(), Counter([BUSY], [BUSY], ["four"])
    tap.sent = True  # of the answer before: of this one nothing has been asked yet
    assert counted(line(model, tap, retry=THRICE)) == 4
    assert (model.requests, tap.retries) == (3, 2)


def test_a_model_that_is_silent_while_it_counts_is_given_up() -> None:
    """clause: RUN-LIMITS, MODEL-IDLE"""
    with pytest.raises(ModelTimeoutError, match="silent for 50 ms"):
        counted(line(Counter([silence]), Ear(), idle=0.05))


def test_a_count_that_makes_no_sense_is_a_broken_answer() -> None:
    """clause: RUN-LIMITS, MODEL-FINISH"""
    with pytest.raises(ModelConnectionError, match="could not be read: KeyError"):
        counted(line(Counter([KeyError("totalTokens")]), Ear()))


def test_of_a_list_the_first_that_can_be_reached_counts() -> None:
    """clause: RUN-LIMITS, MODEL-LIST"""
    tap = Ear()
    assert counted(chain([line(Counter([BUSY]), tap), line(Counter(["two+"]), tap)], tap)) == 4
    with pytest.raises(FallbackExceptionGroup) as caught:
        counted(chain([line(Counter([BUSY]), tap), line(Counter([BUSY]), tap)], tap))
    assert list(caught.value.exceptions) == [BUSY, BUSY]
