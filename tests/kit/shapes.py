"""What each frame of the worker looks like: section 3, 5 and 6 of the contract as one table.

`problems_of(frame)` gives what is wrong with a frame by itself, as sentences; what is wrong in a sequence of
frames is the business of `invariants`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .frames import Frame

Check = Callable[[Any], bool]

LEVELS = ("debug", "info", "warning", "error", "critical")
CHUNK_KINDS = ("text", "thinking", "output", "tool_call", "tool_return")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
RETRYABLE_STATUS = frozenset({408, 409, 425, 429})

NEVER_RETRYABLE = (
    *("FrameTooLarge", "InvalidJSON", "TruncatedFrame", "InvalidCommand", "UnknownCommand", "DuplicateId"),
    *("UnknownToolCall", "AgentNotFound", "AgentExists", "InvalidAgent", "ImportNotAllowed"),
    *("CapabilityNotAllowed", "InvalidHistory", "InvalidDeps", "UnexpectedModelBehavior", "ContentFilter"),
    *("ValidationError", "UsageLimitExceeded", "ToolError", "ToolRetriesExceeded", "Cancelled", "ParentGone"),
    *("ResultTooLarge", "InternalError"),
)
ALWAYS_RETRYABLE = ("Overloaded", "ShuttingDown", "ModelConnectionError", "ModelTimeout", "Timeout")
ERROR_TYPES = frozenset([*NEVER_RETRYABLE, *ALWAYS_RETRYABLE, "ModelHTTPError"])


def is_text(value: Any) -> bool:
    """A string that says something."""
    return isinstance(value, str) and value != ""


def is_integer(value: Any) -> bool:
    """An integer, which a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """An integer from 0 on."""
    return is_integer(value) and value >= 0


def is_id(value: Any) -> bool:
    """An id as section 2 allows it."""
    if isinstance(value, str):
        return 1 <= len(value) <= 256
    return is_integer(value) and -(2**63) <= value < 2**63


def one_of(*values: object) -> Check:
    """A check for membership."""
    return lambda value: value in values


def nullable(check: Check) -> Check:
    """A check that null passes too."""
    return lambda value: value is None or check(value)


def is_anything(value: Any) -> bool:
    """Any JSON value."""
    return True


def is_object(value: Any) -> bool:
    """A JSON object."""
    return isinstance(value, dict)


def is_list_of_objects(value: Any) -> bool:
    """What `messages` is, as far as the envelope goes."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in cast(list[Any], value))


def is_usage(value: Any) -> bool:
    """The five counters of `usage`, and whatever else the provider gave."""
    names = ("requests", "input_tokens", "output_tokens", "total_tokens", "tool_calls")
    return isinstance(value, dict) and all(is_count(cast(Frame, value).get(name)) for name in names)


def is_deferred(value: Any) -> bool:
    """The calls that a run has left to others."""
    if not isinstance(value, dict) or not is_list_of_objects(cast(Frame, value).get("calls")):
        return False
    return all(map(is_open_call, cast(list[Frame], value["calls"])))


def is_open_call(call: Frame) -> bool:
    """A call that waits for its result or, where it says so, for a person's word."""
    told = set(call) - {"approval"} == {"call_id", "name", "args"} and call.get("approval", True) is True
    return told and is_text(call["call_id"])


def is_limits(value: Any) -> bool:
    """The three limits that `ready` tells."""
    names = ("max_frame_bytes", "max_inflight", "max_tool_calls")
    return isinstance(value, dict) and all(is_count(cast(Frame, value).get(name)) for name in names)


def is_list_of_mistakes(value: Any) -> bool:
    """The details of an InvalidCommand; a frame that is no command at all may do without them."""
    if value is None:
        return True
    mistakes = cast(list[Frame], value) if is_list_of_objects(value) else [{"no": "list"}]
    return all(set(mistake) == {"loc", "msg", "type"} and isinstance(mistake["loc"], list) for mistake in mistakes)


def is_call_id(value: Any) -> bool:
    """A counter as a string."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z]*\d+", value) is not None


def is_timestamp(value: Any) -> bool:
    """UTC with microseconds."""
    return isinstance(value, str) and TIMESTAMP.fullmatch(value) is not None


@dataclass(frozen=True)
class Shape:
    """The members of one type of frame. An `open` shape may have more."""

    required: Mapping[str, Check]
    optional: Mapping[str, Check] = field(default_factory=dict[str, Check])
    open: bool = False


_CALL = {"id": is_id, "call_id": is_call_id, "name": is_text, "args": is_object}

SHAPES: Mapping[str, Shape] = {
    "ready": Shape(
        {
            "protocol": one_of(1),
            "version": is_text,
            "pid": is_count,
            "python": is_text,
            "pydantic_ai": is_text,
            "limits": is_limits,
        }
    ),
    "result": Shape(
        {"id": is_id, "result": is_anything},
        {
            "agent_id": is_text,
            "run_id": is_text,
            "messages": is_list_of_objects,
            "usage": is_usage,
            "duration_ms": lambda value: isinstance(value, int | float) and value >= 0,
            "status": one_of("complete", "deferred"),
            "deferred": is_deferred,
        },
    ),
    "error": Shape(
        {
            "id": nullable(is_id),
            "error_type": lambda value: value in ERROR_TYPES,
            "message": is_text,
            "retryable": lambda value: isinstance(value, bool),
        },
        {
            "details": is_anything,
            "retry_after_ms": is_count,
            "agent_id": is_text,
            "usage": is_usage,
            "messages": is_list_of_objects,
            "messages_omitted": one_of(True),
            "run_id": is_id,
            "call_id": is_anything,
            "fatal": one_of(True),
        },
    ),
    "chunk": Shape(
        {
            "id": is_id,
            "seq": is_count,
            "step": lambda value: is_integer(value) and value >= 1,
            "kind": one_of(*CHUNK_KINDS),
            "data": is_anything,
        }
    ),
    "tool_call": Shape({**_CALL, "agent_id": is_text}, {"timeout_ms": nullable(is_count), "traceparent": is_text}),
    "approval_request": Shape(_CALL, {"agent_id": is_text}),
    "tool_cancel": Shape({"id": is_id, "call_id": is_call_id, "reason": one_of("cancelled", "timeout", "finished")}),
    "log": Shape(
        {
            "timestamp": is_timestamp,
            "level": one_of(*LEVELS),
            "logger": is_text,
            "message": lambda value: isinstance(value, str),
        },
        {"id": is_id, "agent_id": is_text, "fields": is_object, "traceback": is_text},
    ),
    "goodbye": Shape({"reason": one_of("shutdown", "eof", "signal", "fatal")}, open=True),
}

_CHUNK_DATA: Mapping[str, Check] = {
    "text": lambda value: isinstance(value, str),
    "thinking": lambda value: isinstance(value, str),
    "output": is_anything,
    "tool_call": lambda value: is_object(value) and set(value) == {"name", "args", "call_id"},
    "tool_return": lambda value: is_object(value) and set(value) == {"name", "content", "call_id"},
}


def problems_of(frame: Frame) -> Iterator[str]:
    """Yields a sentence for each thing that is wrong with the frame taken alone."""
    kind = frame.get("type")
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        yield f"the type {kind!r} is not one of the contract"
        return
    for name in shape.required:
        if name not in frame:
            yield f"{kind} without {name}"
    for name, value in frame.items():
        check = shape.required.get(name) or shape.optional.get(name)
        if check is None:
            if name != "type" and not shape.open:
                yield f"{kind} with a member {name!r} that the contract does not know"
        elif not check(value):
            yield f"{kind} with {name} = {value!r:.200}"
    yield from _special_problems(frame)


def _special_problems(frame: Frame) -> Iterator[str]:
    match frame:
        case {"type": "chunk", "kind": str(kind), "data": data}:
            if kind in _CHUNK_DATA and not _CHUNK_DATA[kind](data):
                yield f"a chunk of {kind} with data {data!r:.200}"
        case {"type": "error", "error_type": error_type, "retryable": retryable}:
            if retryable is not _retryable(frame):
                yield f"{error_type} with retryable {retryable}"
            if error_type == "InvalidCommand" and not is_list_of_mistakes(frame.get("details")):
                yield f"InvalidCommand with details {frame.get('details')!r:.200}"
        case _:
            return


def _retryable(frame: Frame) -> bool:
    if frame["error_type"] != "ModelHTTPError":
        return frame["error_type"] in ALWAYS_RETRYABLE
    details = frame.get("details")
    status = cast(Frame, details).get("status_code") if isinstance(details, dict) else None
    return isinstance(status, int) and (status in RETRYABLE_STATUS or 500 <= status <= 599)
