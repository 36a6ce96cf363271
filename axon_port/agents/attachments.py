"""What a prompt holds besides text, and why it may not reach the model (PROTOCOL.md, RUN-FETCH).

Where a provider takes no address, pydantic-ai fetches it in this process before it asks (`download_item`), and it
needs a form and a media type for whatever it sends. What goes wrong there is a ValueError as any other. What tells
it apart is where it was raised: there stands what it is about, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from traceback import walk_tb
from types import TracebackType
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import BinaryContent, FileUrl
from pydantic_ai.models import download_item

from axon_port.agents.failures import NotFetched, causes
from axon_port.wire.errors import WireError, retryable_status
from axon_port.wire.events import shortened

Attachment = FileUrl | BinaryContent
Place = tuple[str | int, ...]

_NEVER: Final = (ValueError, LookupError, UserError, httpx2.InvalidURL, httpx2.HTTPStatusError)
"""What is raised for an address or a media type that is wrong."""

_NO_FORM: Final = (*_NEVER, RuntimeError, NotImplementedError, AssertionError)
"""What is raised for a part that a provider's interface has no form for."""

_MODELS: Final = "pydantic_ai.models"

_LATER: Final = (httpx2.RequestError, OSError, asyncio.CancelledError)
"""What is raised for an address that was not reached in time. Whoever cancels says so with another error."""

_NOT_OURS: Final = " Use force_download="
"""Where pydantic-ai begins to advise what no command can do."""


class UnusableAttachment(WireError):
    """An attachment that can never be sent to this model. Whose fault that is depends on where it came from."""

    def __init__(self, attachment: Attachment, message: str) -> None:
        super().__init__("InvalidCommand", message)
        self.attachment = attachment


def attachment_failure(error: BaseException, model_name: str) -> UnusableAttachment | NotFetched | None:
    """What `error` says of an attachment, if it was raised while one was made ready for the model."""
    for cause in causes(error):
        if (attachment := _worked_on(cause.__traceback__)) is not None:
            return _failure(cause, attachment, model_name)
    return None


def attachments(value: Any, place: Place = ()) -> Iterator[tuple[Place, Attachment]]:
    """Every attachment in messages or parts of them, and its place there."""
    if isinstance(value, FileUrl | BinaryContent):
        yield place, value
        return
    for step, inner in _steps(value):
        yield from attachments(inner, (*place, step))


def field_of(attachment: Attachment, given: Sequence[tuple[Place, Any]]) -> Place | None:
    """Where in the fields of a command an attachment stands."""
    for name, value in given:
        for place, found in attachments(value, name):
            if found == attachment:
                return (*place, "url" if isinstance(attachment, FileUrl) else "media_type")
    return None


def _steps(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        yield from cast("Mapping[str, Any]", value).items()
    elif isinstance(value, list | tuple):
        yield from enumerate(cast("Sequence[Any]", value))
    elif is_dataclass(value):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))


def _worked_on(traceback: TracebackType | None) -> tuple[Attachment, bool] | None:
    """What was being fetched, or asked for its form, when an error was raised; and whether it was being fetched."""
    found: tuple[Attachment, bool] | None = None
    for frame, _ in walk_tb(traceback):
        # There, as in `download_item`, an `item` of a prompt gets the form in which it is sent.
        of_a_model = str(frame.f_globals.get("__name__")).startswith(_MODELS)
        for name in ("self", "item") if of_a_model else ("self",):
            if isinstance(worked_on := frame.f_locals.get(name), FileUrl | BinaryContent):
                found = worked_on, frame.f_code is download_item.__code__
    return found


def _failure(
    error: BaseException, found: tuple[Attachment, bool], model_name: str
) -> UnusableAttachment | NotFetched | None:
    attachment, fetched = found
    reason = _reason(error, attachment)
    if isinstance(attachment, FileUrl) and fetched and _may_pass(error):
        return NotFetched(model_name, urlsplit(attachment.url).hostname or "the address", reason)
    if not isinstance(error, _NEVER if fetched else _NO_FORM):
        return None
    if not fetched:
        return UnusableAttachment(attachment, f"{model_name} cannot be sent this: {reason}")
    message = (
        f"the worker has to fetch this for {model_name} and cannot: {reason}; "
        "give another address, or the data itself as a `binary` part"
    )
    return UnusableAttachment(attachment, message)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx2.HTTPStatusError):
        return retryable_status(error.response.status_code)
    if isinstance(error.__cause__, socket.gaierror):
        return error.__cause__.errno == socket.EAI_AGAIN
    return isinstance(error, _LATER)


def _reason(error: BaseException, attachment: Attachment) -> str:
    """In words, without the address: its query may hold a key."""
    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answers with HTTP status {error.response.status_code}"
    if isinstance(error, asyncio.CancelledError):
        return "it took too long"
    if isinstance(error, LookupError) or not str(error):
        return "there is no form for its media type"
    text = str(error).partition(_NOT_OURS)[0].rstrip(".")
    if isinstance(attachment, FileUrl):
        text = text.replace(attachment.url, "…")
    if isinstance(error, _LATER):
        text = f"{type(error.__cause__ or error).__name__}: {text}".removesuffix(": ")
    return shortened(text, 500)
