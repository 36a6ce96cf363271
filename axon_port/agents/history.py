"""Messages in and out: pydantic-ai's own message JSON, stored by the parent (PROTOCOL.md, RUN-HISTORY)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, cast

from pydantic import ValidationError
from pydantic_ai.messages import (
    FileUrl,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturn,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_core import PydanticSerializationError

from axon_port.agents.attachments import attachments
from axon_port.wire import codec
from axon_port.wire.codec import JsonText
from axon_port.wire.errors import MAX_REPORTED_FAULTS, WireError, faults_of

INTERRUPTED: Final = "The call was interrupted before there was a result."
"""What the model is told of a call that was open when its run ended."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
"""No call has been answered."""

PLAIN: Final = {"axon_port": "json"}
"""Metadata of a tool's return that is JSON and nothing else. Without it pydantic-ai would read a picture, or an address
to fetch, out of an object that looks like one, when the message comes back."""

_CONTAINERS: Final = frozenset({dict, list})

_KIND: Final = b'"kind":'

ALLOW_LOCAL: Final = "allow-local"
"""The `force_download` that opens our own network to an address. A function may say so, a command may not."""


class Pending(Protocol):
    """What was enqueued and waits for its turn."""

    @property
    def messages(self) -> Sequence[ModelMessage]: ...


def parse_history(messages: list[Any]) -> list[ModelMessage]:
    """The messages of earlier results. Raises `WireError` `InvalidHistory`, which says where it is none."""
    written = codec.encode(messages)
    try:
        # As JSON text, because bytes in messages are base64 there and nowhere else.
        parsed = ModelMessagesTypeAdapter.validate_json(written)
    except ValidationError as error:
        details = faults_of(error)[:MAX_REPORTED_FAULTS]
        message = "`message_history` is no list of messages: give back the `messages` of earlier results as they were"
        raise WireError("InvalidHistory", message, details=details) from None
    # Both are rarely there, and looking through a long history takes its time.
    if ALLOW_LOCAL.encode() in written:
        _keep_out(parsed)
    if codec.encode(PLAIN) in written:
        _put_back(parsed, messages)
    return parsed


def plain(value: Any) -> Any:
    """A parent's result for pydantic-ai, so that it comes back as what it is."""
    return ToolReturn(value, metadata=PLAIN) if _looks_like_content(value) else value


def plain_of_code(value: Any, written: bytes) -> Any:
    """The same for what code in the worker returned, unless it holds more than JSON does: that may be content.

    `written` is the value as it stands in a message.
    """
    if type(value) not in _CONTAINERS or _KIND not in written or not _is_json(value):
        return value
    return ToolReturn(value, metadata=PLAIN)


def check_closed(messages: Sequence[ModelMessage], *, prompted: bool) -> None:
    """Raises `WireError` `InvalidHistory` where calls wait for an answer that a run without `deferred_results` has not.

    Without a prompt a run makes them anew, unless others of the same answer have been made: then the model would be
    told that what waits for a person was interrupted.
    """
    if not prompted and not any(message.parts for message in messages):
        raise WireError("InvalidHistory", "there is nothing in the history to go on from, and no prompt")
    begun = bool(messages) and not isinstance(messages[-1], ModelResponse)
    if (prompted or begun) and (calls := unanswered_calls(messages)):
        otherwise = "" if begun else ", or leave the prompt out to have them made"
        message = f"the history ends with open calls: answer them with `deferred_results`{otherwise}"
        raise WireError("InvalidHistory", message, details={"open": sorted(calls)})


def dump_history(messages: Sequence[ModelMessage]) -> JsonText:
    """Messages as JSON, once; the frame takes the bytes as they are."""
    listed = list(messages)
    try:
        return JsonText(ModelMessagesTypeAdapter.dump_json(listed))
    except (PydanticSerializationError, UnicodeEncodeError):
        # A lone surrogate in a model's answer: no UTF-8 can hold it.
        return JsonText(codec.encode(ModelMessagesTypeAdapter.dump_python(listed, mode="json")))


def resumable(
    messages: Sequence[ModelMessage],
    since: int = 0,
    *,
    answered: Mapping[str, Any] = NOTHING,
    pending: Sequence[Pending] = (),
) -> list[ModelMessage]:
    """What a next run can go on from, of the messages from `since` on: a run's own, where the parent has the others.

    It is without the half answer of a request that broke off or was cancelled. Calls that were open get what their
    tools returned, `answered` by call id, or a return that says that there is none: with a prompt after them, a
    history must not leave one open. What was enqueued and not delivered comes last.
    """
    kept = list(messages)
    while len(kept) > since and _is_half(kept[-1]):
        kept.pop()
    close_calls(kept, INTERRUPTED, outcome="interrupted", since=since, answered=answered)
    if kept:
        kept += enqueued(pending, kept[-1])
    return kept[since:]


def close_calls(
    messages: list[ModelMessage],
    said: str,
    *,
    outcome: Literal["success", "interrupted"],
    since: int = 0,
    answered: Mapping[str, Any] = NOTHING,
) -> list[ToolReturnPart]:
    """Have the open calls of the last answer answered, where need be with `said`, in a message from `since` on.

    Gives the returns that were added.
    """
    returns: list[ToolReturnPart] = []
    shown: list[UserPromptPart] = []
    for call_id, call in unanswered_calls(messages).items():
        if call_id in answered:
            full = whole(answered[call_id])
            returned = ToolReturnPart(call.tool_name, full.return_value, tool_call_id=call_id, metadata=full.metadata)
            returns.append(returned)
            shown += [] if full.content is None else [UserPromptPart(full.content)]
        else:
            returns.append(ToolReturnPart(call.tool_name, said, tool_call_id=call_id, outcome=outcome))
    parts = [*returns, *shown]
    if not parts:
        return []
    if isinstance(last := messages[-1], ModelRequest) and len(messages) > since:
        messages[-1] = replace(last, parts=[*last.parts, *parts])
    else:
        messages.append(ModelRequest(parts=parts, run_id=last.run_id, conversation_id=last.conversation_id))
    return returns


def whole(value: Any) -> ToolReturn[Any]:
    """What a tool returned, with what is shown to the model besides."""
    return cast("ToolReturn[Any]", value) if isinstance(value, ToolReturn) else ToolReturn(value)


def _looks_like_content(value: Any) -> bool:
    """Whether an object somewhere in it has a `kind`, as what pydantic-ai shows a model has."""
    # Faster than a walk through a million values, and the quotes of a text would be escaped.
    return type(value) in _CONTAINERS and _KIND in codec.encode(value)


def _is_json(value: object) -> bool:
    walked = [value]
    for each in walked:
        if type(each) is dict:
            walked.extend(cast("dict[object, object]", each).values())
        elif isinstance(each, list | tuple):
            walked.extend(cast("Sequence[object]", each))
        elif not isinstance(each, str | int | float | None):
            return False
    return True


def _put_back(parsed: Sequence[ModelMessage], messages: Sequence[Any]) -> None:
    for message, given in zip(parsed, messages, strict=True):
        for part, raw in zip(message.parts, given["parts"], strict=True):
            if isinstance(part, ToolReturnPart) and part.metadata == PLAIN:
                part.content = raw["content"]


def enqueued(pending: Iterable[Pending], last: ModelMessage) -> list[ModelRequest]:
    """What was added to a run and not delivered, as messages that follow its last one."""
    requests = (message for one in pending for message in one.messages if isinstance(message, ModelRequest))
    stamp = {"timestamp": datetime.now(UTC), "run_id": last.run_id, "conversation_id": last.conversation_id}
    return [replace(request, **stamp) for request in requests]


def unanswered_calls(messages: Sequence[ModelMessage]) -> dict[str, ToolCallPart]:
    """The calls in the last answer that nothing after it answers, by their id."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ModelResponse):
            calls = (part for part in message.parts if isinstance(part, ToolCallPart))
            return {call.tool_call_id: call for call in calls if call.tool_call_id not in answered}
        answered.update(part.tool_call_id for part in message.parts if isinstance(part, ToolReturnPart))
    return {}


def _keep_out(messages: Sequence[ModelMessage]) -> None:
    """Fetch as from a prompt what asks for more (SEC-HISTORY)."""
    for _, attachment in attachments(messages):
        if isinstance(attachment, FileUrl) and attachment.force_download == ALLOW_LOCAL:
            attachment.force_download = True


def _is_half(message: ModelMessage) -> bool:
    if isinstance(message, ModelResponse):
        return message.state != "complete"
    return not message.parts
