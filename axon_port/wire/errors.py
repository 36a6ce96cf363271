"""Every error a parent can see, in one table (PROTOCOL.md, ERR-*).

`error_type` and `retryable` are for programs, `message` tells a person what to do next. Anything else that is
raised inside the worker becomes `InternalError`: a general message on the wire, the traceback in a log frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from pydantic import ValidationError

ErrorType = Literal[
    # the parent broke the protocol
    "FrameTooLarge",
    "InvalidJSON",
    "TruncatedFrame",
    "InvalidCommand",
    "UnknownCommand",
    "DuplicateId",
    "UnknownToolCall",
    # here and now
    "Overloaded",
    "ShuttingDown",
    # agents
    "AgentNotFound",
    "AgentExists",
    "InvalidAgent",
    "ImportNotAllowed",
    "CapabilityNotAllowed",
    # the run's input
    "InvalidHistory",
    "InvalidDeps",
    # the provider and the model
    "ModelHTTPError",
    "ModelConnectionError",
    "ModelTimeout",
    "UnexpectedModelBehavior",
    "ContentFilter",
    "ValidationError",
    "UsageLimitExceeded",
    # tools
    "ToolError",
    "ToolRetriesExceeded",
    # ends of a run
    "Timeout",
    "Cancelled",
    "ParentGone",
    "ResultTooLarge",
    "InternalError",
]

ERROR_TYPES: Final[tuple[str, ...]] = get_args(ErrorType)

RETRYABLE: Final = frozenset({"Overloaded", "ShuttingDown", "ModelConnectionError", "ModelTimeout", "Timeout"})
"""Retryable whatever the circumstances. `ModelHTTPError` depends on its status: see `RETRYABLE_STATUS`."""

RETRYABLE_STATUS: Final = frozenset({408, 409, 425, 429})
"""Besides every 5xx."""

MAX_REPORTED_FAULTS: Final = 32
"""How many wrong fields one `InvalidCommand` names; more would only bury the first."""

MAX_LOC_TEXT: Final = 256
"""Characters of one step of a `loc`: a step can be a key that the parent chose."""


class WireError(Exception):
    """A failure with a name a program can match. What is raised as this reaches the parent as it stands."""

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        *,
        details: Any = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type: ErrorType = error_type
        self.message = message
        self.details = details
        self.retryable = error_type in RETRYABLE if retryable is None else retryable
        self.retry_after_ms = retry_after_ms


def retryable_status(status: int) -> bool:
    """Whether a provider's HTTP status may be different next time."""
    return status in RETRYABLE_STATUS or 500 <= status <= 599


def invalid_command(loc: Sequence[str | int], message: str, kind: str = "value_error") -> WireError:
    """An `InvalidCommand` for one field."""
    return WireError("InvalidCommand", _summary(loc, message), details=[_fault(loc, message, kind)])


def invalid_fields(error: ValidationError, *, prefix: Sequence[str | int] = ()) -> WireError:
    """An `InvalidCommand` naming each wrong field; what stood there is not repeated, it can hold a key."""
    faults = [
        _fault((*prefix, *_visible(item["loc"])), item["msg"].removeprefix("Value error, "), item["type"])
        for item in faults_of(error)[:MAX_REPORTED_FAULTS]
    ]
    first = faults[0]
    return WireError("InvalidCommand", _summary(first["loc"], first["msg"]), details=faults)


def faults_of(error: ValidationError) -> list[dict[str, Any]]:
    """What pydantic found, each as `{"loc", "msg", "type"}`: without the input, which can hold a key."""
    return [
        {"loc": list(item["loc"]), "msg": item["msg"], "type": item["type"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _visible(loc: Iterable[str | int]) -> list[str | int]:
    # Tags of unions begin with a NUL in commands.py: they name our models, not a place in the command.
    return [step for step in loc if not (isinstance(step, str) and step.startswith("\0"))]


def _fault(loc: Sequence[str | int], message: str, kind: str) -> dict[str, Any]:
    return {
        "loc": [step[:MAX_LOC_TEXT] if isinstance(step, str) else step for step in loc],
        "msg": message,
        "type": kind,
    }


def _summary(loc: Sequence[str | int], message: str) -> str:
    place = ".".join(str(step)[:MAX_LOC_TEXT] for step in loc)
    return f"{place}: {message}" if place else message
