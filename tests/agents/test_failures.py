"""From an exception to an error type: each of pydantic-ai's, and what it says to a parent."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_ai import exceptions
from pydantic_ai.exceptions import (
    ContentFilterError,
    FallbackExceptionGroup,
    IncompleteToolCall,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    ToolRetryError,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)
from pydantic_ai.messages import RetryFeedbackPart, RetryInfo

from axon_port.agents import failures
from axon_port.agents.failures import internal_error, output_faults, remember_attempts, wire_error
from axon_port.wire.errors import MAX_REPORTED_FAULTS, WireError
from axon_port.wire.events import MAX_MESSAGE_CHARACTERS
from axon_port.worker.redaction import Redactor
from tests.worker.programs import run_program

KEY = "sk-live-0123456789abcdef0123456789abcdef"


class Fields(BaseModel):
    """Something to be invalid."""

    n: int


def seen(error: BaseException) -> WireError:
    found = wire_error(error)
    assert found is not None
    return found


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Fields.model_validate({"n": "sk-secret"})
    return caught.value


def caused(error: Exception, *causes: BaseException) -> Exception:
    """The error with its causes, the nearest first."""
    at: BaseException = error
    for cause in causes:
        at.__cause__ = cause
        at = cause
    return error


TABLE: list[tuple[BaseException, str, bool]] = [
    (ModelHTTPError(400, "m"), "ModelHTTPError", False),
    (ModelHTTPError(401, "m"), "ModelHTTPError", False),
    (ModelHTTPError(404, "m"), "ModelHTTPError", False),
    (ModelHTTPError(408, "m"), "ModelHTTPError", True),
    (ModelHTTPError(409, "m"), "ModelHTTPError", True),
    (ModelHTTPError(425, "m"), "ModelHTTPError", True),
    (ModelHTTPError(429, "m"), "ModelHTTPError", True),
    (ModelHTTPError(500, "m"), "ModelHTTPError", True),
    (ModelHTTPError(529, "m"), "ModelHTTPError", True),
    (ModelHTTPError.for_category(ModelRateLimitError, status_code=429, model_name="m"), "ModelHTTPError", True),
    (ModelHTTPError.for_category(ModelRequestRejectedError, status_code=422, model_name="m"), "ModelHTTPError", False),
    (ModelHTTPError.for_category(ModelQuotaExceededError, status_code=402, model_name="m"), "ModelHTTPError", False),
    (ModelTimeoutError("m", "slow"), "ModelTimeout", True),
    (ModelRequestTimeout("m", 5), "ModelTimeout", True),
    (ModelConnectionError("m", "refused"), "ModelConnectionError", True),
    (ModelAPIError("m", "broke off"), "ModelConnectionError", True),
    (ModelAPIError("m", "no", provider_error_code="invalid_prompt"), "UnexpectedModelBehavior", False),
    (ModelAPIError("m", "no", provider_error_code="image_too_large"), "UnexpectedModelBehavior", False),
    (ModelAPIError("m", "no", provider_error_code="failed_to_download_image"), "ModelConnectionError", True),
    (ModelRateLimitError("m", "slow down"), "ModelConnectionError", True),
    (ModelServerError("m", "oops"), "ModelConnectionError", True),
    (ModelUnavailableError("m", "away"), "ModelConnectionError", True),
    (ModelOverloadedError("m", "full"), "ModelConnectionError", True),
    (ModelQuotaExceededError("m", "no credit"), "UnexpectedModelBehavior", False),
    (ModelRequestRejectedError("m", "bad"), "UnexpectedModelBehavior", False),
    (ModelAuthenticationError("m", "who"), "UnexpectedModelBehavior", False),
    (ModelNotFoundError("m", "what"), "UnexpectedModelBehavior", False),
    (ModelContextWindowExceededError("m", "long"), "UnexpectedModelBehavior", False),
    (ContentFilterError("filtered"), "ContentFilter", False),
    (UsageLimitExceeded("too much"), "UsageLimitExceeded", False),
    (UnexpectedModelBehavior("odd"), "UnexpectedModelBehavior", False),
    (IncompleteToolCall("cut"), "UnexpectedModelBehavior", False),
    (UserError("wrong"), "InvalidAgent", False),
    (UnexpectedModelBehavior("Exceeded maximum output retries (1)"), "ValidationError", False),
    (UnexpectedModelBehavior("Tool 'look' exceeded max retries count of 1"), "ToolRetriesExceeded", False),
    (WireError("ToolError", "own"), "ToolError", False),
]


@pytest.mark.parametrize(("error", "error_type", "retryable"), TABLE, ids=lambda value: repr(value)[:60])
def test_each_exception_has_one_error_type(error: BaseException, error_type: str, retryable: bool) -> None:
    """clause: ERR-TYPES, ERR-RETRYABLE"""
    found = seen(error)
    assert (found.error_type, found.retryable) == (error_type, retryable)
    assert found.message


UNKNOWN = [
    ValueError("x"),
    RuntimeError("x"),
    KeyError("x"),
    TimeoutError(),
    ExceptionGroup("g", [ValueError()]),
    SystemExit(3),
    MemoryError(),
]


@pytest.mark.parametrize("error", UNKNOWN, ids=repr)
def test_what_is_not_listed_is_a_fault_of_our_own(error: BaseException) -> None:
    assert wire_error(error) is None


def test_a_fault_of_our_own_says_nothing_of_itself() -> None:
    """clause: ERR-INTERNAL"""
    error = internal_error()
    assert (error.error_type, error.retryable, error.details) == ("InternalError", False, None)
    assert error.message == "the worker failed on this command; its log has the traceback"


def test_an_error_of_our_own_reaches_the_parent_as_it_stands() -> None:
    error = WireError("ToolError", "m", details=[1])
    assert wire_error(error) is error


def test_every_exception_of_pydantic_ais_api_is_in_the_table() -> None:
    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    public = {
        kind
        for kind in below(ModelAPIError)
        if kind.__module__ == exceptions.__name__ and not kind.__name__.startswith("_")
    }
    assert {kind.__name__ for kind in public} <= {type(error).__name__ for error, _, _ in TABLE}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, ""),
        ({"error": {"message": "wrong key"}}, ": wrong key"),
        ({"message": "flat"}, ": flat"),
        ({"error": "just text"}, ": just text"),
        ({"error": {"code": 5}}, ""),
        ({"error": {"message": 5}}, ""),
        ("a page", ""),
        ([1], ""),
    ],
)
def test_the_message_says_what_the_provider_said(body: Any, said: str) -> None:
    error = seen(ModelHTTPError(401, "m", body))
    assert error.message == f"m answered with HTTP status 401{said}"
    assert error.details == {"status_code": 401, "model": "m", "body": body}


@pytest.mark.parametrize(
    ("body", "limit"),
    [("p" * 10**6, failures.MAX_BODY_CHARACTERS), (object(), 200), (b"x" * 10**6, failures.MAX_BODY_CHARACTERS)],
)
def test_a_body_that_is_long_or_no_json_is_shown_as_a_short_text(body: Any, limit: int) -> None:
    shown = seen(ModelHTTPError(500, "m", body)).details["body"]
    assert isinstance(shown, str)
    assert len(shown) < limit + 50


def test_a_long_word_of_the_provider_is_cut() -> None:
    assert len(seen(ModelHTTPError(500, "m", {"message": "w" * 10**6})).message) < 1000


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(None, None), (0, 0), (1.5, 1500), (0.0001, 1), (3600, 3_600_000)]
)
def test_the_time_to_come_back_is_told(seconds: float | None, milliseconds: int | None) -> None:
    """clause: ERR-HTTP"""
    assert seen(ModelHTTPError(429, "m", retry_after=seconds)).retry_after_ms == milliseconds
    assert seen(ModelAPIError("m", "in a stream", retry_after=seconds)).retry_after_ms == milliseconds


def test_the_time_to_come_back_is_read_from_a_header() -> None:
    assert seen(ModelHTTPError(429, "m", headers={"Retry-After": "7"})).retry_after_ms == 7000
    assert seen(ModelHTTPError(429, "m", headers={"retry-after-ms": "250"})).retry_after_ms == 250


def test_a_connection_error_says_what_its_client_did_not() -> None:
    error = caused(ModelConnectionError("m", "Connection error."), RuntimeError("outer"), OSError(111, "refused"))
    assert seen(error).message == "Connection error. (ConnectionRefusedError: [Errno 111] refused)"
    assert seen(ModelConnectionError("m", "told all")).message == "told all"
    assert seen(caused(ModelConnectionError("m", "it was refused"), OSError("refused"))).message == "it was refused"


@pytest.mark.parametrize("before", [490, MAX_MESSAGE_CHARACTERS - 10, MAX_MESSAGE_CHARACTERS - 50])
def test_a_key_in_a_reason_that_was_cut_leaves_in_no_part(before: int) -> None:
    """clause: SEC-KEYS"""
    redactor = Redactor({"SOME_API_KEY": KEY})
    reason = "x" * before + KEY
    for error in (ModelConnectionError("m", reason), caused(ModelConnectionError("m", "off"), OSError(reason))):
        message = redactor.text(seen(error).message)
        assert KEY[:8] not in message
        assert len(message) < MAX_MESSAGE_CHARACTERS + 50


def test_a_model_error_says_which_model() -> None:
    for error in (
        ModelTimeoutError("m", "x"),
        ModelConnectionError("m", "x"),
        ModelAPIError("m", "x"),
        ModelRequestTimeout("m", 1),
    ):
        assert seen(error).details["model"] == "m"


def test_an_output_that_stayed_invalid_tells_its_last_faults() -> None:
    error = caused(UnexpectedModelBehavior("Exceeded maximum output retries (2)"), RuntimeError("between"), invalid())
    found = seen(error)
    assert found.message == "no valid output within the retries: Exceeded maximum output retries (2)"
    assert found.details == [{"loc": ["n"], "msg": found.details[0]["msg"], "type": "int_parsing"}]
    assert "secret" not in str(found.details)


def test_a_tool_that_was_called_wrongly_too_often_tells_why() -> None:
    text = "Tool 'look' exceeded max retries count of 1. Consider increasing the retries"
    found = seen(caused(UnexpectedModelBehavior(text), invalid()))
    assert found.message == "Tool 'look' exceeded max retries count of 1"
    assert found.details[0]["loc"] == ["n"]


def test_a_retry_is_told_in_its_own_words() -> None:
    cause = ToolRetryError(RetryFeedbackPart("try a number", retry=RetryInfo("model_retry")))
    assert output_faults(cause) == [{"loc": [], "msg": "try a number", "type": "retry"}]
    assert output_faults(ValueError("plain")) == [{"loc": [], "msg": "plain", "type": "retry"}]


@pytest.mark.parametrize("cause", [None, ValueError("")])
def test_without_a_cause_there_are_no_faults(cause: BaseException | None) -> None:
    assert output_faults(cause) == []


def test_faults_have_a_bound() -> None:
    class Many(BaseModel):
        model_config = {"extra": "forbid"}

    with pytest.raises(ValidationError) as caught:
        Many.model_validate({f"k{number}": 1 for number in range(500)})
    assert len(output_faults(caught.value)) == MAX_REPORTED_FAULTS


def group(*errors: Exception) -> FallbackExceptionGroup:
    return FallbackExceptionGroup("all failed", list(errors))


def test_of_a_list_of_models_the_last_ones_error_counts() -> None:
    """clause: MODEL-ATTEMPTS"""
    found = seen(group(ModelHTTPError(401, "a"), ModelHTTPError(429, "b", {"message": "slow"}, retry_after=2)))
    assert (found.error_type, found.retryable, found.retry_after_ms) == ("ModelHTTPError", True, 2000)
    assert found.message == "all models failed, the last with: b answered with HTTP status 429: slow"
    assert found.details == {
        "status_code": 429,
        "model": "b",
        "body": {"message": "slow"},
        "attempts": [
            {"model": "a", "error_type": "ModelHTTPError", "message": "a answered with HTTP status 401"},
            {"model": "b", "error_type": "ModelHTTPError", "message": "b answered with HTTP status 429: slow"},
        ],
    }


def test_an_attempt_that_nobody_knows_is_told_as_a_fault_of_our_own() -> None:
    found = seen(group(ModelHTTPError(500, "a"), RuntimeError("sk-secret")))
    assert found.error_type == "InternalError"
    assert "secret" not in f"{found.message}{found.details}"
    assert found.details["attempts"][1] == {
        "model": None,
        "error_type": "InternalError",
        "message": internal_error().message,
    }


def test_attempts_that_were_made_before_are_told_in_their_order() -> None:
    last = ModelHTTPError(503, "a")
    assert "attempts" not in seen(last).details
    remember_attempts(last, [ModelConnectionError("a", "refused"), ModelHTTPError(429, "a")])
    assert [one["error_type"] for one in seen(last).details["attempts"]] == [
        "ModelConnectionError",
        "ModelHTTPError",
        "ModelHTTPError",
    ]
    assert len(seen(group(last, ModelTimeoutError("b", "slow"))).details["attempts"]) == 4


class Hostile(UserError):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "message"),
    [(Hostile("x"), "Hostile"), (UserError(""), "UserError"), (UserError("m" * 10**6), "m" * MAX_MESSAGE_CHARACTERS)],
    ids=["hostile", "empty", "long"],
)
def test_an_error_with_any_text_has_a_message_of_some_length(error: Exception, message: str) -> None:
    """clause: ERR-BOUNDS"""
    assert seen(error).message.startswith(message)
    assert len(seen(error).message) < MAX_MESSAGE_CHARACTERS + 50


def test_causes_that_go_round_are_still_told() -> None:
    done = run_program(
        """
        from pydantic_ai.exceptions import ModelConnectionError, UnexpectedModelBehavior
        from axon_port.agents.failures import wire_error

        first, second = RuntimeError("a"), RuntimeError("b")
        first.__cause__, second.__cause__ = second, first
        broken, spent = ModelConnectionError("m", "off"), UnexpectedModelBehavior("Exceeded maximum output retries")
        for error in (broken, spent):
            error.__cause__ = first
            print(wire_error(error).error_type, flush=True)
        """,
        seconds=6,
    )
    assert done.stdout.split() == [b"ModelConnectionError", b"ValidationError"]
