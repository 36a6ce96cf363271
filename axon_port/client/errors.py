"""What a caller can catch: one tree (PROTOCOL.md, ERR-*).

    AxonPortError                   `retryable`: whether the same call may succeed later
    ├── WorkerGone                  the process ended, or was ended, before the answer came
    │   ├── WorkerNotStarted        it never came as far as `ready`
    │   └── ProtocolViolation       what it wrote is not the protocol
    └── CommandError                the worker's own word, an `error` frame
        ├── WrongCommand            FrameTooLarge, InvalidJSON, TruncatedFrame, InvalidCommand, UnknownCommand,
        │                           DuplicateId, UnknownToolCall
        ├── Unavailable             Overloaded, ShuttingDown
        ├── WrongAgent              AgentNotFound, AgentExists, InvalidAgent, ImportNotAllowed, CapabilityNotAllowed
        ├── WrongInput              InvalidHistory, InvalidDeps
        ├── ModelError              ModelHTTPError, ModelConnectionError, ModelTimeout, UnexpectedModelBehavior,
        │                           ContentFilter, ValidationError, UsageLimitExceeded
        ├── ToolFailure             ToolError, ToolRetriesExceeded
        ├── RunEnded                Timeout, Cancelled, ParentGone
        └── ResultTooLarge, InternalError

Each `error_type` is a class of that name; one of a later version is a plain `CommandError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from axon_port.wire.errors import ERROR_TYPES, WireError


class AxonPortError(Exception):
    """Whatever goes wrong between a program and its worker."""

    retryable: bool = False


class WorkerGone(AxonPortError):
    """The worker's process ended before the answer came. `status` is its exit status, negative for a signal.

    Nobody knows how far the command got. It may be sent again, to the worker that takes this one's place, by whoever
    can bear that it happens twice.
    """

    retryable = True

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status

    def again(self) -> WorkerGone:
        """The same error for another caller: a traceback belongs to one."""
        return type(self)(self.message, self.status)


class WorkerNotStarted(WorkerGone):
    """There is no such program, or it ended or was silent where `ready` was due."""

    retryable = False


class ProtocolViolation(WorkerGone):
    """The program wrote what no worker writes, and was ended."""


class CommandError(AxonPortError):
    """An `error` frame. Match on the class, or on `error_type`, and on `retryable`; `message` is for people.

    `usage` and `messages` are there where a run had begun: a next run can be given the messages as its
    `message_history` and go on from there.
    """

    def __init__(self, frame: Mapping[str, Any]) -> None:
        super().__init__(frame["message"])
        self.error_type: str = frame["error_type"]
        self.message: str = frame["message"]
        self.retryable: bool = frame["retryable"]
        self.details: Any = frame.get("details")
        self.retry_after_ms: int | None = frame.get("retry_after_ms")
        self.agent_id: str | None = frame.get("agent_id")
        self.usage: dict[str, Any] | None = frame.get("usage")
        self.messages: list[Any] | None = frame.get("messages")

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message}"


class WrongCommand(CommandError):
    """The command broke the protocol."""


class FrameTooLarge(WrongCommand):
    pass


class InvalidJSON(WrongCommand):
    pass


class TruncatedFrame(WrongCommand):
    pass


class InvalidCommand(WrongCommand):
    pass


class UnknownCommand(WrongCommand):
    pass


class DuplicateId(WrongCommand):
    pass


class UnknownToolCall(WrongCommand):
    pass


class Unavailable(CommandError):
    """Not here, or not now."""


class Overloaded(Unavailable):
    pass


class ShuttingDown(Unavailable):
    pass


class WrongAgent(CommandError):
    """There is no such agent, or it cannot be made."""


class AgentNotFound(WrongAgent):
    pass


class AgentExists(WrongAgent):
    pass


class InvalidAgent(WrongAgent):
    pass


class ImportNotAllowed(WrongAgent):
    pass


class CapabilityNotAllowed(WrongAgent):
    pass


class WrongInput(CommandError):
    """The run was given what it cannot begin with."""


class InvalidHistory(WrongInput):
    pass


class InvalidDeps(WrongInput):
    pass


class ModelError(CommandError):
    """The provider or the model failed."""


class ModelHTTPError(ModelError):
    pass


class ModelConnectionError(ModelError):
    pass


class ModelTimeout(ModelError):
    pass


class UnexpectedModelBehavior(ModelError):
    pass


class ContentFilter(ModelError):
    pass


class ValidationError(ModelError):
    pass


class UsageLimitExceeded(ModelError):
    pass


class ToolFailure(CommandError):
    """A tool ended the run. Where it was one of the caller's functions, `__cause__` is what it raised."""


class ToolError(ToolFailure):
    pass


class ToolRetriesExceeded(ToolFailure):
    pass


class RunEnded(CommandError):
    """The run was ended before it was done; `messages` are what a next one can go on from."""


class Timeout(RunEnded):
    pass


class Cancelled(RunEnded):
    pass


class ParentGone(RunEnded):
    pass


class ResultTooLarge(CommandError):
    """The answer does not fit a frame."""


class InternalError(CommandError):
    """A fault of the worker; its log of level error has the traceback."""


def _below(kind: type[CommandError]) -> dict[str, type[CommandError]]:
    found = {kind.__name__: kind}
    for child in kind.__subclasses__():
        found |= _below(child)
    return found


BY_TYPE: Final[Mapping[str, type[CommandError]]] = {
    name: kind for name, kind in _below(CommandError).items() if name in ERROR_TYPES
}


def command_error(frame: Mapping[str, Any]) -> CommandError:
    """The exception of an `error` frame."""
    return BY_TYPE.get(frame["error_type"], CommandError)(frame)


def local_error(error: WireError, **of_the_run: Any) -> CommandError:
    """The exception for what the worker would say, said on this side: what is refused, or ends, before it is sent."""
    fields = {"error_type": error.error_type, "message": error.message, "retryable": error.retryable, **of_the_run}
    return command_error(fields if error.details is None else {**fields, "details": error.details})
