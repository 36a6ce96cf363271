"""From an exception to an error type, in one place (PROTOCOL.md, ERR-*).

What is not listed here is a fault of the worker: `InternalError`, with a general message; the traceback goes to the
log and not to the wire.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

from pydantic import ValidationError
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
    ToolRetryError,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
    UserError,
)

from axon_port.wire import codec
from axon_port.wire.errors import MAX_REPORTED_FAULTS, WireError, faults_of, retryable_status
from axon_port.wire.events import MAX_MESSAGE_CHARACTERS, shortened

OUTPUT_RETRIES_SPENT = "Exceeded maximum output retries"
TOOL_RETRIES_SPENT = "exceeded max retries count"
"""How pydantic-ai words the end of its two budgets; both come as `UnexpectedModelBehavior`."""

_EARLIER = "_axon_port_earlier_attempts"

MAX_BODY_CHARACTERS = 4_096
"""Of a provider's error body. A page of HTML tells nobody more than its beginning."""


REFUSALS = frozenset(
    {
        *("invalid_prompt", "data_residency_mismatch", "bio_policy", "misalignment_policy_violation"),
        *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
        *("image_too_large", "image_too_small", "image_parse_error", "image_content_policy_violation"),
        *("image_file_too_large", "unsupported_image_media_type", "empty_image_file", "image_file_not_found"),
    }
)
"""Codes of a failed answer of OpenAI's Responses API that the same request gets again."""


class NotFetched(ModelConnectionError):
    """An address in the prompt could not be fetched now (RUN-FETCH): its `host` is to blame, no provider was asked."""

    def __init__(self, model_name: str, host: str, reason: str) -> None:
        super().__init__(model_name, f"what is at {host} could not be fetched, so {model_name} was not asked: {reason}")
        self.host = host


def wire_error(error: BaseException) -> WireError | None:
    """The error a parent sees for `error`, or None where it is the worker's own fault."""
    seen = _named(error)
    tried = attempts_of(error)
    if seen is not None and len(tried) > 1:
        seen.details = {**_fields(seen.details), "attempts": [_attempt(one) for one in tried]}
    return seen


def _named(error: BaseException) -> WireError | None:
    match error:
        case WireError():
            return error
        case FallbackExceptionGroup():
            return _last_of_all(error)
        case ModelHTTPError():
            return _http_error(error)
        case ModelTimeoutError() | ModelRequestTimeout():
            return WireError("ModelTimeout", _text(error), details=_model_details(error))
        case NotFetched():
            return WireError(
                "ModelConnectionError", _text(error), details={**_model_details(error), "host": error.host}
            )
        case ModelConnectionError():
            return WireError("ModelConnectionError", _connection_text(error), details=_model_details(error))
        case ModelAPIError():
            return _api_error(error)
        case ContentFilterError():
            # Its text would have the whole answer behind it.
            message = shortened(error.message, MAX_MESSAGE_CHARACTERS)
            return WireError("ContentFilter", message, details={"body": _body(error.body)} if error.body else None)
        case UsageLimitExceeded():
            return WireError("UsageLimitExceeded", _text(error))
        case UnexpectedModelBehavior():
            return _unexpected(error)
        case UserError():
            return WireError("InvalidAgent", _text(error))
        case _:
            return None


def internal_error() -> WireError:
    """What the wire says of a fault of our own."""
    return WireError("InternalError", "the worker failed on this command; its log has the traceback")


def _http_error(error: ModelHTTPError) -> WireError:
    details = {"status_code": error.status_code, "model": error.model_name, "body": _body(error.body)}
    return WireError(
        "ModelHTTPError",
        f"{error.model_name} answered with HTTP status {error.status_code}{_said(error.body)}",
        details=details,
        retryable=retryable_status(error.status_code),
        retry_after_ms=_milliseconds(error),
    )


def _api_error(error: ModelAPIError) -> WireError:
    # An error event inside a stream, without a status: the provider refused, or the answer broke off.
    details = {**_model_details(error), "body": _body(error.body)}
    rejected = isinstance(error, ModelRequestRejectedError | ModelQuotaExceededError)
    if rejected or error.provider_error_code in REFUSALS:
        return WireError("UnexpectedModelBehavior", _text(error), details=details)
    return WireError("ModelConnectionError", _text(error), details=details, retry_after_ms=_milliseconds(error))


def _connection_text(error: ModelConnectionError) -> str:
    """What went wrong, with the reason where the client only says that something did."""
    *_, root = causes(error)
    text, reason = _text(error), _text(root)
    return text if reason in text else f"{text} ({type(root).__name__}: {shortened(reason, 500)})"


def _milliseconds(error: ModelAPIError) -> int | None:
    return None if error.retry_after is None else math.ceil(error.retry_after * 1000)


def _unexpected(error: UnexpectedModelBehavior) -> WireError:
    text = _text(error)
    if text.startswith(OUTPUT_RETRIES_SPENT):
        faults = output_faults(error.__cause__)
        return WireError("ValidationError", f"no valid output within the retries: {text}", details=faults)
    if TOOL_RETRIES_SPENT in text:
        return WireError("ToolRetriesExceeded", text.split(". Consider", 1)[0], details=output_faults(error.__cause__))
    return WireError("UnexpectedModelBehavior", text)


def output_faults(cause: BaseException | None) -> Any:
    """The last errors that the model was told, as faults of `{"loc", "msg", "type"}`."""
    for error in causes(cause):
        if isinstance(error, ValidationError):
            return faults_of(error)[:MAX_REPORTED_FAULTS]
        if error.__cause__ is None and (text := _own_text(error)):
            content = error.tool_retry.content if isinstance(error, ToolRetryError) else text
            return [{"loc": [], "msg": shortened(str(content), MAX_MESSAGE_CHARACTERS), "type": "retry"}]
    return []


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what caused it, and what caused that; it ends where they go round."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _last_of_all(group: FallbackExceptionGroup) -> WireError:
    last = _named(group.exceptions[-1]) or internal_error()
    return WireError(
        last.error_type,
        f"all models failed, the last with: {last.message}",
        details=last.details,
        retryable=last.retryable,
        retry_after_ms=last.retry_after_ms,
    )


def _fields(details: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", details) if isinstance(details, dict) else {}


def remember_attempts(error: BaseException, earlier: Sequence[BaseException]) -> None:
    """Note with `error` what had been tried before it, for `details.attempts`."""
    setattr(error, _EARLIER, tuple(earlier))


def attempts_of(error: BaseException) -> tuple[BaseException, ...]:
    """Everything that was tried, `error` the last; of a list of models, what was tried with each."""
    if isinstance(error, FallbackExceptionGroup):
        return tuple(one for failed in error.exceptions for one in attempts_of(failed))
    return (*getattr(error, _EARLIER, ()), error)


def _attempt(error: BaseException) -> dict[str, Any]:
    """One failed attempt: `{"model", "error_type", "message"}`."""
    seen = _named(error) or internal_error()
    model = error.model_name if isinstance(error, ModelAPIError) else None
    return {"model": model, "error_type": seen.error_type, "message": seen.message}


def _model_details(error: ModelAPIError) -> dict[str, Any]:
    return {"model": error.model_name}


def _text(error: BaseException) -> str:
    return shortened(_own_text(error), MAX_MESSAGE_CHARACTERS) or type(error).__name__


def _own_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  an exception's own __str__ can fail, and the run must end all the same
        return ""


def _said(body: object | None) -> str:
    if isinstance(body, dict):
        inner: Any = body.get("error", body)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        said: Any = inner.get("message") if isinstance(inner, dict) else inner  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(said, str):
            return f": {shortened(said, 500)}"
    return ""


def _body(body: object | None) -> Any:
    if isinstance(body, str):
        return shortened(body, MAX_BODY_CHARACTERS)
    if body is None or isinstance(body, int | float):
        return body
    try:
        text = codec.encode(body).decode()
    except (TypeError, ValueError, RecursionError):
        return shortened(repr(body), MAX_BODY_CHARACTERS)
    return body if len(text) <= MAX_BODY_CHARACTERS else shortened(text, MAX_BODY_CHARACTERS)
