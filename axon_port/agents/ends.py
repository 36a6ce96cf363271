"""How a tool can end: its run with it, or because somebody asked it to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.tools import ToolDenied

from axon_port.wire.errors import WireError

SAID_TO_PYDANTIC_AI: Final = (ApprovalRequired, CallDeferred, ModelRetry, ToolFailed)
"""What a tool says by raising it: no failures, pydantic-ai has a meaning for each."""

_logger = logging.getLogger("axon_port.tools")


class ToolFault(WireError):
    """A tool ended the run."""

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__("ToolError", message, details=details)


def fault_of(tool: str, error: BaseException) -> ToolFault:
    """The end of a run whose tool raised what only the log may tell in full; logs it."""
    _logger.error("tool %s raised %s", tool, type(error).__name__, exc_info=error)
    return ToolFault(f"tool {tool} raised {type(error).__name__}; the worker's log has the traceback")


def too_late(timeout_ms: int | None) -> ModelRetry:
    """What the model is told of a call that took longer than its tool may."""
    return ModelRetry(f"the tool did not answer within {timeout_ms} ms")


def heard_out(work: asyncio.Task[Any]) -> None:
    """For work whose answer nobody wants any more: asyncio complains of an exception that nobody took."""
    if not work.cancelled() and (error := work.exception()) is not None:
        _logger.debug("a tool that was given up ended with %r", error)


def denial(message: str | None) -> ToolDenied:
    """A person's refusal; without a message the model is told pydantic-ai's own."""
    return ToolDenied(message) if message else ToolDenied()


def is_our_cancellation(error: BaseException) -> bool:
    """Whether the task was asked to stop. A `CancelledError` that a tool made up is a failure like any other."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
