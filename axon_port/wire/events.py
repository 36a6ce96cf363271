"""What the worker says: the shape of each frame (PROTOCOL.md, EVT-*), and how a frame too long is made to fit.

Frames are plain dicts of these shapes: the hot path builds and encodes them without a detour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict

from axon_port.wire import codec
from axon_port.wire.errors import WireError
from axon_port.wire.words import ChunkKind, Id, LogLevel

PROTOCOL_VERSION: Final = 1

Frame = Mapping[str, Any]

CUT: Final = "… ("
CUT_END: Final = " more characters)"
"""What stands around a number at the end of a text that was cut."""

MAX_MESSAGE_CHARACTERS: Final = 8_192
"""Of an error's or a log's `message`. Some providers answer with pages; nobody reads more than this."""

MAX_DETAILS_BYTES: Final = 65_536
"""Of an error's `details` as JSON. Longer ones are cut to a preview, as text."""


BESIDE_ID_BYTES: Final = 192
"""Of each frame, for what stands beside its id: the least that an error, a chunk, a log or a `tool_cancel` shrinks to.

An id that leaves less than this cannot be sent back (envelope.py). The least `--max-frame-bytes` leaves room for every
id of 256 plain characters; from 1730 on there is room for any id.
"""


class Limits(TypedDict):
    max_frame_bytes: int
    max_inflight: int
    max_tool_calls: int


class Ready(TypedDict):
    type: Literal["ready"]
    protocol: int
    version: str
    pid: int
    python: str
    pydantic_ai: str
    limits: Limits


class Result(TypedDict):
    type: Literal["result"]
    id: Id
    result: Any
    agent_id: NotRequired[str]
    run_id: NotRequired[str]
    status: NotRequired[Literal["complete", "deferred"]]
    messages: NotRequired[list[Any]]
    usage: NotRequired[dict[str, Any]]
    duration_ms: NotRequired[int]
    deferred: NotRequired[dict[str, Any]]


class Error(TypedDict):
    type: Literal["error"]
    id: Id | None
    error_type: str
    message: str
    retryable: bool
    details: NotRequired[Any]
    retry_after_ms: NotRequired[int]
    fatal: NotRequired[bool]
    run_id: NotRequired[Any]
    call_id: NotRequired[str]
    agent_id: NotRequired[str]
    usage: NotRequired[dict[str, Any]]
    messages: NotRequired[list[Any]]
    messages_omitted: NotRequired[bool]


class Chunk(TypedDict):
    type: Literal["chunk"]
    id: Id
    seq: int
    step: int
    kind: ChunkKind
    data: Any


class ToolCall(TypedDict):
    type: Literal["tool_call"]
    id: Id
    call_id: str
    agent_id: str
    name: str
    args: dict[str, Any]
    timeout_ms: NotRequired[int]
    traceparent: NotRequired[str]


class ToolCancel(TypedDict):
    type: Literal["tool_cancel"]
    id: Id
    call_id: str
    reason: Literal["cancelled", "timeout", "finished"]


class ApprovalRequest(TypedDict):
    type: Literal["approval_request"]
    id: Id
    call_id: str
    agent_id: str
    name: str
    args: dict[str, Any]


class Log(TypedDict):
    type: Literal["log"]
    timestamp: str
    level: LogLevel
    logger: str
    message: str
    id: NotRequired[Id]
    agent_id: NotRequired[str]
    fields: NotRequired[dict[str, Any]]
    traceback: NotRequired[str]


class Goodbye(TypedDict):
    type: Literal["goodbye"]
    reason: Literal["shutdown", "eof", "signal", "fatal"]


EVENTS: Final = (Ready, Result, Error, Chunk, ToolCall, ToolCancel, ApprovalRequest, Log, Goodbye)


def error_frame(frame_id: Id | None, error: WireError, **extra: Any) -> dict[str, Any]:
    """An `error` frame. `extra` holds `run_id`, `call_id`, `agent_id`, `usage`, `messages` or `fatal`."""
    frame: dict[str, Any] = {
        "type": "error",
        "id": frame_id,
        "error_type": error.error_type,
        "message": shortened(error.message, MAX_MESSAGE_CHARACTERS),
        "retryable": error.retryable,
    }
    if error.details is not None:
        frame["details"] = error.details
    if error.retry_after_ms is not None:
        frame["retry_after_ms"] = error.retry_after_ms
    frame.update(extra)
    return frame


def result_frame(frame_id: Id, result: Any, **extra: Any) -> dict[str, Any]:
    """A `result` frame."""
    return {"type": "result", "id": frame_id, "result": result, **extra}


def result_payloads(frame_ids: Sequence[Id], result: Any) -> list[bytes]:
    """The payloads of `result` frames that differ in their id only: what they have in common is encoded once."""
    end = codec.encode(result)
    return [b'{"type":"result","id":%b,"result":%b}' % (codec.encode(frame_id), end) for frame_id in frame_ids]


def shortened(text: str, limit: int) -> str:
    """`text`, cut in the middle of nowhere if need be, with the number of characters that went."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}{CUT}{len(text) - limit}{CUT_END}"


def halved(payload: bytes, texts: dict[str, Any], field: str, room: int, encode: Callable[[], bytes]) -> bytes:
    """`payload`, or what `encode` makes when `texts[field]` was halved until it fits, or is one character."""
    while len(payload) > room and len(texts.get(field, "")) > 1:
        texts[field] = texts[field][: len(texts[field]) // 2]
        payload = encode()
    return payload


def encode_terminal(frame: Frame, max_frame_bytes: int) -> bytes:
    """The payload of a `result` or an `error`, whatever it holds, never longer than `max_frame_bytes`.

    A result too long, or one with no JSON form, becomes an error of its id. An error sheds its messages, then its
    details, then its text (FRAME-OUT). Raises only where not even an error can be encoded.
    """
    try:
        payload = codec.encode(frame)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the answer cannot be written as JSON: {shortened(str(error), 200)}"
        replacement = _replacement(frame, WireError("InternalError", message))
        return _fitting_error(replacement, codec.encode(replacement), max_frame_bytes)
    if len(payload) <= max_frame_bytes and frame["type"] == "result":
        return payload
    if frame["type"] == "result":
        message = (
            f"the result takes {len(payload)} bytes, a frame at most {max_frame_bytes}: ask for less, or raise "
            "--max-frame-bytes"
        )
        details = {"length": len(payload), "max_frame_bytes": max_frame_bytes}
        too_large = WireError("ResultTooLarge", message, details=details)
        return encode_terminal(_replacement(frame, too_large), max_frame_bytes)
    return _fitting_error(dict(frame), payload, max_frame_bytes)


def _replacement(frame: Frame, error: WireError) -> dict[str, Any]:
    kept = {key: frame[key] for key in ("agent_id", "usage") if key in frame}
    return error_frame(frame.get("id"), error, **kept)


def _preview(details: bytes) -> str:
    # Marked as cut, so that a key that is cut in two is found (SEC-KEYS); the mark has room within the limit.
    kept = details[: MAX_DETAILS_BYTES - 64].decode(errors="ignore")
    return shortened(details.decode(), len(kept))


def _fitting_error(frame: dict[str, Any], payload: bytes, max_frame_bytes: int) -> bytes:
    if "details" in frame and len(codec.encode(frame["details"])) > MAX_DETAILS_BYTES:
        frame["details"] = {"preview": _preview(codec.encode(frame["details"]))}
        payload = codec.encode(frame)
    if len(payload) > max_frame_bytes and frame.pop("messages", None) is not None:
        frame["messages_omitted"] = True
        payload = codec.encode(frame)
    for field in ("details", "usage", "agent_id", "call_id", "run_id"):
        if len(payload) > max_frame_bytes and frame.pop(field, None) is not None:
            payload = codec.encode(frame)
    if len(payload) > max_frame_bytes:
        frame["message"] = shortened(frame["message"], 100)
        payload = codec.encode(frame)
    if len(payload) > max_frame_bytes:
        frame["message"] = frame["message"][:1]
        payload = codec.encode(frame)
    return payload
