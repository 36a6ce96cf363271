"""Messages in and out: pydantic-ai's own message JSON, stored by the parent (PROTOCOL.md, RUN-HISTORY)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse, repair_messages
from pydantic_core import PydanticSerializationError

from axon_port.wire import codec
from axon_port.wire.codec import JsonText
from axon_port.wire.errors import MAX_REPORTED_FAULTS, WireError


def parse_history(messages: list[Any]) -> list[ModelMessage]:
    """The messages of earlier results. Raises `WireError` `InvalidHistory`, which says where it is none."""
    try:
        # As JSON text, because bytes in messages are base64 there and nowhere else.
        return ModelMessagesTypeAdapter.validate_json(codec.encode(messages))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_REPORTED_FAULTS]
        details = [{"loc": list(fault["loc"]), "msg": fault["msg"], "type": fault["type"]} for fault in faults]
        message = "`message_history` is no list of messages: give back the `messages` of earlier results as they were"
        raise WireError("InvalidHistory", message, details=details) from None


def dump_history(messages: Sequence[ModelMessage]) -> JsonText:
    """Messages as JSON, once; the frame takes the bytes as they are."""
    listed = list(messages)
    try:
        return JsonText(ModelMessagesTypeAdapter.dump_json(listed))
    except (PydanticSerializationError, UnicodeEncodeError):
        # A lone surrogate in a model's answer: no UTF-8 can hold it.
        return JsonText(codec.encode(ModelMessagesTypeAdapter.dump_python(listed, mode="json")))


def resumable(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """What a next run can go on from: without the half answer of a request that broke off or was cancelled.

    Calls that were open get a return that says so: with a prompt after them, a history must not leave one open.
    """
    kept = list(messages)
    while kept and _is_half(kept[-1]):
        kept.pop()
    return repair_messages(kept) if kept else kept


def _is_half(message: ModelMessage) -> bool:
    if isinstance(message, ModelResponse):
        return message.state != "complete"
    return not message.parts
